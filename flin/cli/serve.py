"""`flin serve`: serves a database to Redis clients until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from flin.cli.parsing import Commands, UsageError, add_command
from flin.cluster.choice import Choice, choose
from flin.cluster.groups import read_groups
from flin.engine import Options
from flin.engine.catalog.manifest import read as read_manifest
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.sealed_files import unlocked
from flin.key_file import read_key
from flin.net.settings.config import (
    DEBUG_COMMAND,
    SYNC_MODES,
    TLS_AUTH_CLIENTS,
    TLS_PROTOCOLS,
    ConfigError,
    ServerOptions,
    options_from_file,
    with_values,
)

SUMMARY = "serve a database to Redis clients"
DETAILS = """\
Opens the directory (and creates it if needed) and serves it to Redis clients on the port. Answered writes survive
kill -9 in every sync mode. --sync says which writes a power cut may lose: none (always), those of about the last
second (interval), or those that the kernel had not written yet (never). SIGTERM or Ctrl-C ends the server cleanly.

With --workers 2 or more it is a Redis Cluster of as many processes, for more than one core: worker i listens on the
port plus 100 times i, and clients must know clusters, as most libraries do (docs/workers.md).

Options come from the defaults, then from the --config file (a [server] table with the names below and those that
CONFIG SET takes, with underscores, such as memory_limit = "4gb"), then from the command line; the last one wins.
Every user of the machine can see a password on the command line: put it into the file."""
EXAMPLES = """\
  flin serve
  flin serve --dir data --port 6380 --sync always --memory-limit 4gb
  flin serve --config flin.toml
  flin serve --workers 4 --dir new-directory
  redis-cli -p 6380 SET greeting hello"""

EXTRA: Final = ("uvloop", "hiredis")
"""The packages that the `server` extra installs."""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "serve", run, SUMMARY, DETAILS, EXAMPLES)
    defaults = ServerOptions()
    add = parser.add_argument
    add("--config", metavar="FILE", help="a TOML file with a [server] table")
    add(
        "--port",
        type=_integer,
        metavar="N",
        help=f"TCP port (default {defaults.port}; 0: a free one, or none beside --tls-port or --unixsocket)",
    )
    add("--bind", action="append", metavar="ADDRESS", help="address to listen on, may be repeated (default 127.0.0.1)")
    add("--dir", metavar="DIR", help=f"the database's directory (default {defaults.dir})")
    add("--backup-dir", metavar="DIR", help="where SAVE and BGSAVE add a backup of the database (default: nowhere)")
    add("--backup-keep", type=_integer, metavar="N", help="how many of these backups stay (default 0: all)")
    add(
        "--workers",
        type=_integer,
        metavar="N",
        help="processes, each with a range of the keys: a Redis Cluster, fixed when the directory is made (default 1)",
    )
    add("--sync", choices=SYNC_MODES, help=f"when writes are made durable (default {defaults.sync})")
    add("--memory-limit", metavar="SIZE", help="memory for memtables, caches and helpers together (default 1gb)")
    add("--shards", type=_integer, metavar="N", help="a power of two; fixed when the database is created (default 1)")
    add(
        "--value-threshold",
        metavar="SIZE",
        help=f"values of at least this size are not copied into tables (default {defaults.value_threshold}; 0: all)",
    )
    add("--encryption-key-file", metavar="FILE", help="the key of an encrypted database: 64 hex digits, or 32 bytes")
    add("--requirepass", metavar="PASSWORD", help="clients must send it with AUTH")
    add("--aclfile", metavar="FILE", help="users and what they may do, as ACL SAVE writes them")
    add(
        "--protected-mode",
        type=_yes_or_no,
        metavar="yes|no",
        help="without a password, refuse clients on other machines (default yes)",
    )
    add(
        "--databases", type=_integer, metavar="N", help=f"number of databases for SELECT (default {defaults.databases})"
    )
    add(
        "--maxclients",
        type=_integer,
        metavar="N",
        help=f"maximum number of connections (default {defaults.maxclients})",
    )
    add("--timeout", type=_integer, metavar="SECONDS", help="close clients that are idle this long (default 0: never)")
    add(
        "--tcp-keepalive",
        type=_integer,
        metavar="SECONDS",
        help=f"interval of keepalive probes (default {defaults.tcp_keepalive}; 0: off)",
    )
    add(
        "--tcp-backlog",
        type=_integer,
        metavar="N",
        help=f"connections that may wait to be accepted (default {defaults.tcp_backlog})",
    )
    add(
        "--request-timeout",
        type=_integer,
        metavar="SECONDS",
        help=f"close clients whose request stays incomplete this long (default {defaults.request_timeout})",
    )
    add("--cluster-announce-ip", metavar="ADDRESS", help="where workers are, if clients need another one than they use")
    _add_observing(parser, defaults)
    _add_listeners(parser, defaults)


def _add_observing(parser: argparse.ArgumentParser, defaults: ServerOptions) -> None:
    add = parser.add_argument
    add(
        "--slowlog-log-slower-than",
        type=_integer,
        metavar="MICROSECONDS",
        help=f"put slower commands into the slow log (default {defaults.slowlog_log_slower_than}; -1: none)",
    )
    add(
        "--slowlog-max-len",
        type=_integer,
        metavar="N",
        help=f"entries of the slow log (default {defaults.slowlog_max_len})",
    )
    add(
        "--notify-keyspace-events",
        metavar="CLASSES",
        help="events of keys that clients may listen to, as in Redis: KEA (default none)",
    )
    add(
        "--latency-monitor-threshold",
        type=_integer,
        metavar="MILLISECONDS",
        help="LATENCY shows commands that take so long (default 0: none)",
    )
    add(
        "--enable-debug-command",
        choices=DEBUG_COMMAND,
        help=f"who may send DEBUG (default {defaults.enable_debug_command}; for tests)",
    )
    add(
        "--redis-version",
        metavar="X.Y.Z",
        help=f"the version of Redis that clients are told (default {defaults.redis_version})",
    )


def _add_listeners(parser: argparse.ArgumentParser, defaults: ServerOptions) -> None:
    add = parser.add_argument
    add("--tls-port", type=_integer, metavar="N", help="TCP port for TLS (default none; 0: a free one)")
    add("--tls-cert-file", metavar="FILE", help="the server's certificate, PEM; read again on SIGHUP")
    add("--tls-key-file", metavar="FILE", help="the key of the certificate, PEM")
    add("--tls-key-file-pass", metavar="PASSWORD", help="the password of the key, if it has one")
    add("--tls-ca-cert-file", metavar="FILE", help="authorities whose certificates clients may show, PEM")
    add("--tls-ca-cert-dir", metavar="DIR", help="the same, a directory as `openssl rehash` makes it")
    add(
        "--tls-auth-clients",
        choices=TLS_AUTH_CLIENTS,
        help=f"whether clients must show a certificate (default {defaults.tls_auth_clients})",
    )
    add("--tls-protocols", metavar="VERSIONS", help=f'versions of TLS (default "{" ".join(TLS_PROTOCOLS)}")')
    add("--tls-ciphers", metavar="LIST", help="ciphers of TLS 1.2, in OpenSSL's words")
    add(
        "--tls-maxclients",
        type=_integer,
        metavar="N",
        help=f"maximum number of TLS connections (default {defaults.tls_maxclients})",
    )
    add("--unixsocket", metavar="PATH", help="Unix socket to listen on (default none)")
    add(
        "--unixsocketperm",
        metavar="OCTAL",
        help=f"permissions of the Unix socket (default {defaults.unixsocketperm}: its owner's)",
    )


def run(arguments: argparse.Namespace) -> int:
    options = options_of(arguments)
    choice = choice_of(options)
    options = replace(options, workers=choice.workers)
    check_engine_options(options)
    check_backup_directory(options)
    missing = missing_of_extra()
    if missing:
        print(f"flin: without {' and '.join(missing)} the server is slow: pip install 'flin[server]'", file=sys.stderr)
    if choice.workers > 1:
        from flin.cluster.supervisor import supervise

        return supervise(options)
    from flin.net.server import serve

    return serve(options, choice.remark)


def choice_of(options: ServerOptions) -> Choice:
    """How many processes. UsageError if the directory is for another number, or if an option has no sense then."""
    groups = len(read_groups(options.dir))
    has_database = MANIFEST in _names_at(options.dir)
    choice = choose(options.workers, groups, has_database, usable_cores(), options.dir)
    if choice.refusal:
        raise UsageError(choice.refusal)
    if choice.workers > 1 and options.unixsocket:
        raise UsageError("--unixsocket cannot be had with --workers: a cluster sends its clients from port to port")
    return choice


def usable_cores() -> int:
    """The processors that this process may use, where the system tells that, else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_engine_options(options: ServerOptions) -> None:
    """UsageError for options that the engine would refuse when it opens, such as another number of shards."""
    try:
        Options(memory_limit=options.memory_limit, shards=options.shards)
    except ValueError as error:
        raise UsageError(error) from error
    if options.encryption_key_file and options.shards is None:
        return  # the key file may be a pipe, which can be read only once
    groups = read_groups(options.dir)
    for directory in [str(group.directory) for group in groups] or [options.dir]:
        shards = _shards_at(directory, options.encryption_key_file)
        if shards and options.shards not in (None, shards):
            raise UsageError(f"{directory} has {shards} shards, which is fixed; leave --shards out")


def check_backup_directory(options: ServerOptions) -> None:
    """UsageError if it lies in the database's own directory, or the other way round."""
    places = [os.path.join(os.path.realpath(path), "") for path in (options.dir, options.backup_dir)]
    if options.backup_dir and os.path.commonpath(places) in {place[:-1] or "/" for place in places}:
        raise UsageError(f"--backup-dir {options.backup_dir} and --dir {options.dir}: neither may lie in the other")


def _shards_at(directory: str, key_file: str) -> int:
    """The shards of the database; 0 if there is none. EncryptionError, WrongKeyError."""
    if MANIFEST not in _names_at(directory):
        return 0
    key = read_key(key_file)[0] if key_file else None
    manifest = read_manifest(unlocked(OsFileSystem(), directory, key), directory)
    return 0 if manifest is None else manifest.shards


def _names_at(directory: str) -> list[str]:
    return os.listdir(directory) if Path(directory).is_dir() else []


def missing_of_extra() -> list[str]:
    """The packages that are not installed. The server works without them, at about half the speed."""
    return [name for name in EXTRA if importlib.util.find_spec(name) is None]


def options_of(arguments: argparse.Namespace) -> ServerOptions:
    """The defaults, then the file, then the command line. UsageError if a value makes no sense."""
    given: dict[str, Any] = {
        name: value
        for name, value in vars(arguments).items()
        if name in ServerOptions.__dataclass_fields__ and value is not None
    }
    try:
        options = options_from_file(arguments.config) if arguments.config else ServerOptions()
        return with_values(options, given)
    except ConfigError as error:
        raise UsageError(error) from error
    except OSError as error:
        raise UsageError(f"{arguments.config}: {error.strerror}") from error


def _integer(text: str) -> int:
    """A number of digits and a sign only; int() would also accept 1_0 and blanks."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"
