"""A node's own directory, and the secret that lies beside it.

DIR/node.json        which node of which cluster this is; written before its etcd is started for the first time
DIR/etcd/            the data of its etcd, etcd.log what that says
DIR/group-00/ ...    its copies of the groups
DIR/WORKERS          locked as long as any process of the node lives (workers_lock.py)
DIR/LOCK             held by the node's supervisor
DIR/../cluster-secret   who can read it may let nodes join
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from flin.errors import CorruptionError, FormatVersionError, StorageError
from flin.net.settings.options import ConfigError
from flin.net.settings.whole_file import write_whole

NODE: Final = "node.json"
FORMAT: Final = 1
SECRET: Final = "cluster-secret"
WORKERS: Final = "WORKERS"

MIN_SECRET_BYTES: Final = 16
"""128 bits, if they are random: nobody guesses that."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    node: str
    cluster: str
    """Its name, in the keys of etcd."""
    groups: int
    replicas: int
    token: str = ""
    """It keeps members of different clusters apart; no secret. Empty: etcd is not the node's own."""
    members: tuple[tuple[str, str], ...] = ()
    """Names and peer URLs with which etcd was started first; it remembers later ones itself."""
    is_joining: bool = False
    """Its etcd joined others."""
    endpoints: tuple[str, ...] = ()
    """Where the etcd of other nodes is, or one that is not Flin's: whom to ask at the next start."""


def read_record(directory: str) -> NodeRecord | None:
    """None: the directory is not a node's. CorruptionError, FormatVersionError, StorageError."""
    path = os.path.join(directory, NODE)
    try:
        content: Any = json.loads(Path(path).read_bytes())
        number = content.pop("flin_node")
        if type(number) is int and number > FORMAT:
            raise FormatVersionError(path, f"format {number}, of a newer Flin: this one reads {FORMAT}")
        lists = {name: tuple(map(_tuple, content[name])) for name in ("members", "endpoints")}
        return NodeRecord(**{**content, **lists})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError("read", path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptionError(
            path, 0, "it does not say which node this is: restore the directory, or join anew"
        ) from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def write_record(directory: str, record: NodeRecord) -> None:
    """StorageError."""
    path = os.path.join(directory, NODE)
    try:
        write_whole(path, json.dumps({"flin_node": FORMAT, **asdict(record)}, indent=1).encode() + b"\n")
    except OSError as error:
        raise StorageError("write", path, error) from error


def secret_path(given: str, directory: str) -> str:
    """The file with the cluster's secret: the one that is named, or that beside the node's directory."""
    return given or os.path.join(os.path.dirname(os.path.abspath(directory)), SECRET)


def read_secret(path: str) -> bytes:
    """ConfigError, also if others may read the file."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read().strip()
    except OSError as error:
        raise ConfigError(
            f"the cluster's secret {path}: {error.strerror}; the first node makes it: copy it from there, or name it "
            "with --cluster-secret-file"
        ) from error
    if mode & 0o077:
        raise ConfigError(f"the cluster's secret {path} can be read by others: chmod 600 {path}")
    if len(secret) < MIN_SECRET_BYTES or not secret.isascii() or len(secret.split()) != 1:
        raise ConfigError(
            f"the cluster's secret {path} must be one word of at least {MIN_SECRET_BYTES} ASCII characters"
        )
    return secret


def make_secret(path: str) -> bytes:
    """The secret in the file; a new one if there is no such file. ConfigError."""
    if not os.path.lexists(path):
        try:
            write_whole(path, secrets.token_hex(32).encode() + b"\n")
        except OSError as error:
            raise ConfigError(f"the cluster's secret {path} cannot be written: {error.strerror}") from error
    return read_secret(path)
