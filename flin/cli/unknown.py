"""The error for an option or argument that a subcommand does not take, above all for the names that Redis has."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

_MADE_DURABLE: Final = "every write goes into the write-ahead log; --sync says when it is made durable"
_NO_SNAPSHOT: Final = "Flin writes no RDB file: the directory of --dir holds the whole database"
_NO_EVICTION: Final = "--memory-limit bounds memory; data beyond it stays on disk, and nothing is evicted"
_FOREGROUND: Final = "flin serve runs in the foreground: start it from systemd, or with nohup and &"
_STDERR: Final = "messages go to stderr: redirect it to a file (2>> flin.err)"
_IN_A_FILE: Final = "users are lines of a file: see --aclfile"

REDIS_OPTIONS: Final = {
    "--tls-ciphersuites": "the cipher suites of TLS 1.3 are OpenSSL's own; see --tls-ciphers for TLS 1.2",
    "--tls-dh-params-file": "keys are exchanged on elliptic curves only",
    "--tls-client": "Flin is no TLS client: it does not replicate",
    "--tls-replication": "Flin does not replicate",
    "--tls-cluster": "the nodes of a cluster send each other nothing; see --workers and --tls-port",
    "--tls": "see --tls-port",
    "--appendonly": _MADE_DURABLE,
    "--appendfsync": "it is called --sync: always, interval (Redis: everysec) or never (Redis: no)",
    "--save": _NO_SNAPSHOT,
    "--dbfilename": _NO_SNAPSHOT,
    "--appendfilename": _MADE_DURABLE,
    "--maxmemory": _NO_EVICTION,
    "--maxmemory-policy": _NO_EVICTION,
    "--daemonize": _FOREGROUND,
    "--supervised": _FOREGROUND,
    "--pidfile": _FOREGROUND,
    "--logfile": _STDERR,
    "--loglevel": _STDERR,
    "--syslog-enabled": _STDERR,
    "--replicaof": "Flin does not replicate",
    "--slaveof": "Flin does not replicate",
    "--cluster": "a cluster on one machine is made by --workers",
    "--io-threads": "one thread answers all clients; helper processes flush and compact",
    "--user": _IN_A_FILE,
    "--host": "it is called --bind",
    "-h": "it is called --bind",
    "-p": "it is called --port",
    "-a": "it is called --requirepass",
    "--password": "it is called --requirepass",
    "--data": "it is called --dir",
    "--rename-command": "Flin renames no commands",
}
"""The name of each here, or why there is none. A name also stands for longer ones that begin with it and a dash: --tls
for --tls-port."""


def unknown_text(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> str:
    """One line about the first of the arguments that the parser did not take."""
    first = unknown[0]
    known = [option for action in parser._actions for option in action.option_strings]  # argparse has no public list
    if not first.startswith("-"):
        return f"{parser.prog} does not take {first!r}{_places(parser)}. See {parser.prog} --help"
    option = first.partition("=")[0]
    hint = _hint(option, known, is_server="--port" in known)
    return f"{parser.prog}: there is no option {option}{hint and f': {hint}'}. See {parser.prog} --help"


def _places(parser: argparse.ArgumentParser) -> str:
    """The end of an error: after which arguments this one is too many, or how files and directories are named."""
    places = [str(action.metavar or action.dest) for action in parser._actions if not action.option_strings]
    if places:
        return f" after {' '.join(places)}"
    options = {option for action in parser._actions for option in action.option_strings}
    return ": a configuration file is named by --config, a directory by --dir" if "--dir" in options else ""


def _hint(option: str, known: Iterable[str], *, is_server: bool) -> str:
    spelled = option.replace("_", "-")
    if spelled in known:
        return f"it is spelled {spelled}"
    if is_server:
        for name, hint in REDIS_OPTIONS.items():
            if spelled == name or (spelled.startswith(f"{name}-") and name.startswith("--")):
                return hint
    longer = [name for name in known if name.startswith(spelled)] or get_close_matches(spelled, known, 1)
    return f"{' or '.join(longer)} is meant, perhaps" if longer and len(spelled) > 2 else ""
