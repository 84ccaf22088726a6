"""What a worker is told when it starts: its options, and its sockets. And what it tells: that it is ready, or why not.

Messages are lines of JSON in the pipes between the supervisor and a worker. Options go through a pipe, and not on the
command line, because every user of the machine can read that, and a password may be among them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flin.cluster.workers.groups import Group
from flin.net.cluster.topology import Node, Topology
from flin.net.settings.options import ROWS, ConfigError, ServerOptions, share_of


@dataclass(frozen=True, slots=True)
class ReplicaPlace:
    """For the process of a replica (replica.py), beside its options: `dir` and the ports are its own, and there is no
    topology, which it reads in etcd. Whatever process had the place before has ended, or this one would not start."""

    cluster: str
    """Its name in etcd (keys.py)."""
    node: str
    group: int
    groups: int
    """How many there are: the board has a place for each."""
    start: str
    """Names this process, as in LeaderValue."""
    endpoints: tuple[str, ...]
    """The URLs of etcd's members, the node's own first."""
    tls: str = ""
    """The directory with the certificates for etcd and other nodes; empty: without TLS."""
    secret: str = field(default="", repr=False)
    """The cluster's, which other nodes ask for; empty: it asks none."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """For one worker."""

    options: ServerOptions
    plain: tuple[int, ...]
    """Descriptors of bound sockets, which it inherits."""
    tls: tuple[int, ...]
    lock: int
    """Likewise, of the lock that it shares with its supervisor (workers_lock.py)."""
    board: int
    """Likewise, of the page that all workers map (net/cluster/board.py)."""
    control: int
    """Likewise, of the socket through which it is given the lines to the other workers (lines.py)."""
    page: int | None = None
    """Likewise, of the socket on which the supervisor's page asks it (workers_page.py). None: there is no page."""
    replica: ReplicaPlace | None = None
    """What else a replica in a cluster of nodes is told; None: it is a worker of a single server."""

    @property
    def descriptors(self) -> list[int]:
        """All that it inherits."""
        page = [] if self.page is None else [self.page]
        return [*self.plain, *self.tls, self.lock, self.board, self.control, *page]


@dataclass(frozen=True, slots=True)
class Report:
    """From one worker: it is ready, unless there is a failure, or something that it waits for."""

    recovered: int = 0
    """Records of its write-ahead log."""
    failure: str = ""
    waits_for: str = ""
    """What, from whom, and what helps."""


def shared(options: ServerOptions) -> ServerOptions:
    """The options of all workers. What is limited for the whole server is divided: memory, clients. ConfigError if
    a share is too small."""
    count = options.workers
    try:
        shares = {row.name: share_of(row, getattr(options, row.name), count) for row in ROWS.values()}
        return replace(options, **shares).check()
    except ConfigError as error:
        raise ConfigError(f"for each of {count} workers: {error}") from error


def divided(
    options: ServerOptions, groups: Sequence[Group], ports: Sequence[tuple[int, int]]
) -> tuple[ServerOptions, ...]:
    """The options of each worker, of what `shared` gives. ports: plain and TLS, 0 for none."""
    nodes = tuple(
        Node(group.id, options.cluster_announce_ip, port or tls_port, group.first, group.last, tls_port)
        for group, (port, tls_port) in zip(groups, ports, strict=True)
    )
    return tuple(
        replace(
            options,
            dir=str(group.directory),
            backup_dir=options.backup_dir and str(Path(options.backup_dir, group.directory.name)),
            port=port,
            pidfile="",
            tls_port=None if options.tls_port is None else tls_port,
            topology=Topology(nodes, group.number),
        )
        for group, (port, tls_port) in zip(groups, ports, strict=True)
    )


def encode_assignment(assignment: Assignment) -> bytes:
    return _line(asdict(assignment))


def decode_assignment(line: bytes) -> Assignment:
    message = json.loads(line)
    options: dict[str, Any] = message["options"]
    topology, place = options["topology"], message["replica"]
    options |= {name: _tuples(value) for name, value in options.items()} | {
        "topology": topology and Topology(tuple(Node(**node) for node in topology["nodes"]), topology["own"]),
    }
    return Assignment(
        ServerOptions(**options),
        tuple(message["plain"]),
        tuple(message["tls"]),
        message["lock"],
        message["board"],
        message["control"],
        message["page"],
        None if place is None else ReplicaPlace(**{name: _tuples(value) for name, value in place.items()}),
    )


def _tuples(value: Any) -> Any:
    """JSON has lists only."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def encode_report(report: Report) -> bytes:
    return _line(asdict(report))


def decode_report(line: bytes) -> Report:
    return Report(**json.loads(line))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
