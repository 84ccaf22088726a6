"""Redis's own names for what a server is told at its start: those that Flin understands, and what it says of others.

They may stand wherever options may: on the command line, in the environment, in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from flin.net.settings.literal import HIDDEN, literal
from flin.net.settings.options import ROWS

_MADE_DURABLE: Final = "every write goes into the write-ahead log; --sync says when it is made durable"
_NO_SNAPSHOT: Final = (
    "Flin writes no RDB file: the directory of --dir holds the whole database, and BGSAVE adds a backup to --backup-dir"
)
_FOREGROUND: Final = "flin serve runs in the foreground: start it from systemd, or with nohup and &"
_REPLICATION: Final = "a server of its own has no replicas; the nodes of a cluster have: see --node-id"
_IN_A_FILE: Final = "users are lines of a file: see --aclfile"

HINTS: Final = {
    "tls-ciphersuites": "the cipher suites of TLS 1.3 are OpenSSL's own; see --tls-ciphers for TLS 1.2",
    "tls-dh-params-file": "keys are exchanged on elliptic curves only",
    "tls-client": "Flin is no TLS client: it does not replicate",
    "tls-replication": "nodes of a cluster talk over TLS with --cluster-tls",
    "tls-cluster": "nodes of a cluster talk over TLS with --cluster-tls",
    "tls": "see --tls-port",
    "dbfilename": _NO_SNAPSHOT,
    "appendfilename": _MADE_DURABLE,
    "appenddirname": _MADE_DURABLE,
    "supervised": _FOREGROUND,
    "syslog-enabled": "see --logfile",
    "replicaof": _REPLICATION,
    "slaveof": _REPLICATION,
    "cluster": "a cluster on one machine is made by --workers, one of several nodes by --node-id",
    "io-threads": "one thread answers all clients; helper processes flush and compact",
    "user": _IN_A_FILE,
    "include": "a file is read as a whole: write its lines into one",
    "host": "it is called --bind",
    "password": "it is called --requirepass",
    "data": "it is called --dir",
    "rename-command": "Flin renames no commands; users may be denied some: see --aclfile",
}
"""The name of each here, or why there is none. A name also stands for longer ones that begin with it and a dash: tls
for tls-port."""


class Meant(NamedTuple):
    """What a name of Redis and its value stand for."""

    option: str
    text: str


Translate: TypeAlias = Callable[[str], Meant | None]
"""None: it is so anyway. Raises ValueError, with what to do."""


def _always(value: str, hint: str) -> Translate:
    def translate(text: str) -> None:
        if text != value:
            raise ValueError(f"it can only be {value!r} here: {hint}")

    return translate


def _renamed(option: str, words: dict[str, str]) -> Translate:
    def translate(text: str) -> Meant:
        if text not in words:
            raise ValueError(
                f"it must be one of {', '.join(words)}, which --{option} calls {', '.join(words.values())}"
            )
        return Meant(option, words[text])

    return translate


LEVELS: Final = {"debug": "debug", "verbose": "debug", "notice": "info", "warning": "warning"}
"""Redis's, and Flin's."""

UNDERSTOOD: Final[dict[str, Translate]] = {
    "appendonly": _always("yes", _MADE_DURABLE),
    "appendfsync": _renamed("sync", {"always": "always", "everysec": "interval", "no": "never"}),
    "loglevel": _renamed("log_level", LEVELS),
    "save": _always("", _NO_SNAPSHOT),
    "daemonize": _always("no", _FOREGROUND),
}
"""By name, with dashes."""


def hint_of(name: str) -> str:
    """What to do instead; empty: it is no name of Redis that people try. name: with dashes."""
    for known, hint in HINTS.items():
        if name == known or name.startswith(f"{known}-"):
            return hint
    return ""


# A file of Redis's that is given for one of Flin's.


def maybe_mapped(text: str) -> str:
    """What a redis.conf says, as lines of TOML, for an error; empty: it is none. Passwords are left out."""
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines or any("=" in line[0] or line[0].startswith("[") for line in lines):
        return ""
    known = {row.parameters[0].decode() for row in ROWS.values()} | {*UNDERSTOOD, *HINTS}
    if not known & {line[0].lower() for line in lines}:
        return ""
    mapped = [_mapped(name.lower(), *rest) for name, *rest in lines]
    return ", ".join(dict.fromkeys(filter(None, mapped)))


def _mapped(name: str, value: str = "") -> str:
    """One line; empty if it says nothing to Flin."""
    value = value.strip().strip("\"'")
    if name in UNDERSTOOD:
        try:
            meant = UNDERSTOOD[name](value)
        except ValueError:
            return ""
        if meant is None:
            return ""
        name, value = meant
    row = ROWS.get(name.replace("-", "_"))
    if row is None:
        return ""
    if row.is_secret:
        return f"{row.name} = {HIDDEN}"
    try:
        found = row.kind.of_text(value)
        row.kind.check(found)
    except ValueError:
        return ""
    return f"{row.name} = {literal(found)}"
