"""The process of a replica, as a node's supervisor starts it: what it is told, its signals, and how it asks others.

Its pipes and signals are those of a worker (workers/worker.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flin.admin.attendant import line_attendant
from flin.cluster.joining import post
from flin.cluster.replica.checkpoint_giver import copy_answer
from flin.cluster.replica.checkpoint_transfer import COPY_PATH, Ask
from flin.cluster.replica.comparing import Answer, Comparable
from flin.cluster.replica.replica import Replica
from flin.cluster.workers.assignment import ReplicaPlace, Report, decode_assignment
from flin.cluster.workers.lines import MAX_NODE_MESSAGE_BYTES
from flin.cluster.workers.worker import read_line, report, sockets_of, take_streams, watch_lifeline
from flin.engine.engine import store_of
from flin.errors import FlinError
from flin.net.cluster.board import Board
from flin.net.diagnostics import Diagnostics
from flin.net.serve.listeners import BoundSockets
from flin.net.serve.neighbours import Neighbours
from flin.net.server import Server, hang_up, keep_freed_memory, run_on_loop, tune_interpreter

if TYPE_CHECKING:
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.net.server import Attend

COPY_SECONDS: Final = 120.0
"""For one answer of a node that gives a copy: it may have to flush first."""


def main() -> int:
    lifeline, reports = take_streams()
    assignment = decode_assignment(read_line(lifeline))
    for each in assignment.descriptors:
        os.set_inheritable(each, False)
    options, place = assignment.options, assignment.replica
    assert place is not None
    board = Board(assignment.board, place.groups + 1)
    os.close(assignment.board)
    try:
        options.check()
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        keep_freed_memory(options.memory_limit)
        with Diagnostics(options, f"group {place.group}") as diagnostics:
            store = _etcd(place, is_own=not options.etcd)
            replica = Replica(
                options,
                place,
                store,
                BoundSockets(sockets_of(assignment.plain), sockets_of(assignment.tls)),
                attend=None if assignment.page is None else _attend(assignment.page, lambda: replica),
                on_serve=partial(_note_server, diagnostics),
                on_ready=lambda: _begin(replica, reports),
                on_endpoints=store.channels.set_endpoints,
                on_wait=lambda what: report(reports, Report(waits_for=what)),
                ask=asking(place),
                neighbours=Neighbours(
                    board, socket.socket(fileno=assignment.control), place.group, MAX_NODE_MESSAGE_BYTES
                ),
            )
            return run_on_loop(_run(replica, lifeline))
    except (FlinError, OSError, ValueError) as error:
        report(reports, Report(failure=str(error)))
        return 1


def _note_server(diagnostics: Diagnostics, server: Server) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hang_up, server)
    loop.add_signal_handler(signal.SIGUSR1, diagnostics.reopen)
    server.services.config.on_log_level = diagnostics.set_level


async def _run(replica: Replica, lifeline: int) -> int:
    """To make a copy may take long: it ends with its supervisor, too."""
    watch_lifeline(lifeline, replica.request_stop)
    return await replica.run()


def _begin(replica: Replica, reports: int) -> None:
    """Clients are answered."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, replica.request_stop)
    tune_interpreter()
    report(reports, Report())


def _attend(page: int, replica: Callable[[], Replica]) -> Attend:
    """Each server answers on its own copy of the supervisor's line."""

    def answers(server: Server) -> dict[str, Answer]:
        engine = replica().engine
        return {**Comparable(store_of(engine), replica().group_log).answers(server), "copy": copy_answer(engine)}

    end = socket.socket(fileno=page)
    return lambda server, engine: line_attendant(end.dup(), answers)(server, engine)


def asking(place: ReplicaPlace) -> Ask | None:
    """How it asks other nodes for a copy; None: it knows no secret, and asks nobody."""
    from flin.cluster.etcd.certificates import read_certificates

    if not place.secret:
        return None
    context = read_certificates(place.tls).client_context() if place.tls else None

    def ask(address: str, question: Mapping[str, Any]) -> bytes:
        body = json.dumps(question).encode()
        return post(address, COPY_PATH, body, place.secret.encode(), context, COPY_SECONDS)

    return ask


def _etcd(place: ReplicaPlace, *, is_own: bool) -> EtcdKeyValueStore:
    from flin.cluster.etcd.certificates import read_certificates
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.cluster.etcd.etcd_channels import FOREIGN_PING_SECONDS, OWN_PING_SECONDS, Access

    certificates = read_certificates(place.tls) if place.tls else None
    access = Access(certificates, OWN_PING_SECONDS if is_own else FOREIGN_PING_SECONDS)
    return EtcdKeyValueStore(place.endpoints, access)
