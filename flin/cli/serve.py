"""`flin serve`: serves a database to Redis clients until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from flin.cli import exit_code
from flin.cli.parsing import Commands, UsageError, add_command
from flin.cluster.node.node_directory import NODE
from flin.cluster.workers.choice import Choice, choose
from flin.cluster.workers.groups import read_groups
from flin.engine import Options
from flin.engine.catalog.manifest import read as read_manifest
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.memory_fs import MEMORY
from flin.engine.disk.sealed_files import unlocked
from flin.key_file import read_key
from flin.net.settings.literal import HIDDEN, literal
from flin.net.settings.options import ROWS, ConfigError, ServerOptions
from flin.net.settings.reading import CONFIG_VARIABLE, options_from_file, with_environment, with_flags
from flin.net.settings.redis_names import UNDERSTOOD
from flin.net.settings.row import Row, Section, flag_of

SUMMARY = "serve a database to Redis clients"
DETAILS = """\
Opens the directory (and creates it if needed) and serves it to Redis clients on the port. Answered writes survive
kill -9 in every sync mode. --sync says which writes a power cut may lose: none (always), those of about the last
second (interval), or those that the kernel had not written yet (never). SIGTERM or Ctrl-C ends the server cleanly.
With --dir :memory: all is in memory only, for tests and caches.

With --workers 2 or more it is a Redis Cluster of as many processes, for more than one core: worker i listens on the
port plus 100 times i, and clients must know clusters, as most libraries do (docs/workers.md).

Options come from the defaults, then from the --config file (a [server] table with the names below, with underscores,
such as memory_limit = "4gb"), then from the environment (FLIN_MEMORY_LIMIT=4gb), then from the command line; the last
one wins. Every user of the machine can see a password on the command line: put it into the file."""
EXAMPLES = """\
  flin serve
  flin serve --dir data --port 6380 --sync always --memory-limit 4gb
  flin serve --config flin.toml
  flin serve --workers 4 --dir new-directory
  redis-cli -p 6380 SET greeting hello"""

DEFAULT_FILE: Final = "flin.toml"
"""Read, if it lies in the working directory and no other is named."""

EXTRA: Final = ("uvloop", "hiredis")
"""The packages that the `server` extra installs."""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "serve", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument(
        "--config", metavar="FILE", help=f"a TOML file with a [server] table (default {DEFAULT_FILE}, if there is one)"
    )
    groups = {section: parser.add_argument_group(section.value) for section in Section}
    for row in ROWS.values():
        add_row(groups[row.section], row)
    for name in UNDERSTOOD:
        parser.add_argument(f"--{name}", nargs="*", action="extend", help=argparse.SUPPRESS)
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="show the options and where they come from, serve nothing",
    )


def add_row(group: argparse._ArgumentGroup, row: Row) -> None:
    """The option of a row: its texts, which are read with those of the other places (`options_of`)."""
    group.add_argument(
        *map(flag_of, row.names),
        dest=row.name,
        action="extend",
        nargs="+" if row.is_repeated else 1,
        metavar=row.kind.metavar,
        help=f"{row.doc} (default {row.default_text})".replace("%", "%%"),
    )


def run(arguments: argparse.Namespace) -> int:
    options = options_of(arguments)
    check_memory(options)
    if options.node_id:
        return run_node(options, arguments.check_config)
    choice = choice_of(options)
    options = replace(options, workers=choice.workers)
    check_engine_options(options)
    check_backup_directory(options)
    if arguments.check_config:
        print(given_options(options))
        return exit_code.OK
    warn_of_missing()
    page = attend = None
    if options.http:
        from flin.admin.attendant import attendant, page_of

        page = page_of(options)
        attend = attendant(page)
    if choice.workers > 1:
        from flin.cluster.workers.supervisor import supervise

        return supervise(options, page)
    from flin.net.server import serve

    return serve(options, choice.remark, attend=attend)


def run_node(options: ServerOptions, check_config: bool) -> int:
    """A node of a cluster, whose workers are one for each group, whatever --workers says."""
    given = dict(options.file_values) | dict(options.overridden)
    if "dir" not in given:
        options = replace(options, dir=os.path.join(options.dir, options.node_id))
    check_engine_options(options)
    if check_config:
        print(given_options(options))
        return exit_code.OK
    remark = f", --workers {options.workers} changes nothing for a node" if "workers" in given else ""
    warn_of_missing()
    from flin.admin.attendant import page_of

    try:
        from flin.cluster.node.node import serve_node
    except ModuleNotFoundError as error:
        raise UsageError(f"a node needs more packages (no {error.name} here): pip install 'flin[cluster]'") from error
    return serve_node(options, page_of(options), remark)


def given_options(options: ServerOptions) -> str:
    """As a file would give them, with where they come from; passwords are left out."""
    if options.tls_port is not None:
        from flin.net.serve.certificates import tls_context  # brings ssl, which no other command needs

        tls_context(options)
    places = dict.fromkeys(dict(options.file_values), options.config_file) | dict(options.overridden)
    lines = [
        f"{name} = {HIDDEN if ROWS[name].is_secret else literal(getattr(options, name))}  # {place}"
        for name, place in places.items()
    ]
    return "\n".join(
        ["# The options are right. All others have their defaults (flin serve --help).", "[server]", *lines]
    )


def choice_of(options: ServerOptions) -> Choice:
    """How many processes. UsageError if the directory is for another number, or if an option has no sense then."""
    if options.dir == MEMORY:  # whatever may lie at this path
        return Choice(1)
    if NODE in _names_at(options.dir):
        raise UsageError(f"{options.dir} is of a node of a cluster: give its --node-id, --http and --raft, too")
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
    if options.dir == MEMORY or (options.encryption_key_file and options.shards is None):
        return  # a key file may be a pipe, which can be read only once
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


def warn_of_missing() -> None:
    missing = missing_of_extra()
    if missing:
        print(f"flin: without {' and '.join(missing)} the server is slow: pip install 'flin[server]'", file=sys.stderr)


def missing_of_extra() -> list[str]:
    """The packages that are not installed. The server works without them, at about half the speed."""
    return [name for name in EXTRA if importlib.util.find_spec(name) is None]


def check_memory(options: ServerOptions) -> None:
    """UsageError for what a database without files cannot have."""
    given = {
        "--workers": options.workers > 1,
        "--backup-dir": options.backup_dir,
        "--encryption-key-file": options.encryption_key_file,
        "--node-id": options.node_id,
    }
    for name in [name for name, is_given in given.items() if is_given and options.dir == MEMORY]:
        raise UsageError(f"{name} is for a database in files, and --dir {MEMORY} has none: leave one of the two out")


def options_of(arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> ServerOptions:
    """From the defaults, the file, the environment, the command line. UsageError if a value makes no sense."""
    given = {name: texts for name in (*ROWS, *UNDERSTOOD) if (texts := getattr(arguments, name)) is not None}
    path = config_path(arguments.config, environ)
    try:
        options = options_from_file(path) if path else ServerOptions()
        return with_flags(with_environment(options, environ), given).check()
    except ConfigError as error:
        raise UsageError(error) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def config_path(given: str | None, environ: Mapping[str, str]) -> str:
    """The file that is read: the one that is named, or the one that lies here; empty: none, as for --config ''."""
    named = environ.get(CONFIG_VARIABLE) if given is None else given
    if named is None:
        return DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else ""
    return named
