"""A round: the requests that many connections send in one round of the event loop, run together where they are alike.

Without pipelines a request costs a dozen calls, most of which do the same for every connection. So a connection puts a
short chunk aside (`Lane`) instead of running it. At the end of the round the chunks are joined, cut into columns
(wire/columns.py), run by the command's batch form, committed with everything else of the tick, and answered one by one.

What is put aside is only the ordinary: a chunk of a session whose gates are all open, in the first database, that
neither subscribes nor tracks, none of whose replies is held. What turns out to be unusual is given back to its
connection, which runs it as if it had just arrived. No two chunks of one connection are put aside: before a second one,
or the end of its input, the first is run. Requests of different connections in one round have no order that a client
can tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import ceil
from operator import attrgetter
from types import GeneratorType
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

from flin.engine.table.cold_read import ColdRead
from flin.net.batch.pending import BATCH_BYTES, BATCH_ENTRIES
from flin.net.command.command import Flag
from flin.net.command.registry import UNTIMED
from flin.net.run.call import run_batch
from flin.net.run.gates import StalledError
from flin.net.serve.dispatch import failure, position_for
from flin.net.serve.waiting import after_command
from flin.net.wire.columns import MIN_REQUESTS, Column, columns_of_chunks
from flin.net.wire.replies import Reply
from flin.net.wire.requests import maybe_single

if TYPE_CHECKING:
    from flin.net.command.command import Command
    from flin.net.run.context import Context
    from flin.net.run.services import Services

logger = logging.getLogger(__name__)

MAX_CHUNK_BYTES: Final = 4096
"""A longer chunk gains nothing: its own bytes cost more than the calls."""

MAX_GROUP_BYTES: Final = 1 << 20
"""What is run together is not more than this: the size of a frame."""

CACHED_BYTES: Final = 144 << 10
"""About so much is cut at once, so that it is still in the processor's cache when it becomes a frame: 256 MSETs of ten
cost 6 % less in three groups than in one. Pipelines of 16 SETs on 64 connections cost 6 % more in two."""

FEWEST: Final = 64
"""Nor are more connections split into groups of fewer, which cost more than they save: a SET of 4 KB 10 % more in
groups of 34."""

_MISSES: Final = 2
"""After so many requests in a row of which none could run with others, the rest run by themselves."""

_skips_gates: Final = attrgetter("session.skips_gates")


_Given = TypeVar("_Given")


class Joining(Protocol):
    """A connection, as far as the round knows it."""

    @property
    def context(self) -> Context: ...

    def receive(self, data: bytes) -> None:
        """Run the chunk alone, as if it had just arrived."""

    def deliver(self, name: bytes, reply: bytes) -> None:
        """Send the replies to its chunk: its tick has ended well."""

    def owe(self, name: bytes, columns: list[Column], replies: Sequence[bytes]) -> None:
        """Append the replies to its output of this tick: they may still be judged."""

    def show(self, position: int) -> None:
        """What it owes may leave once the WAL is synced up to the position (`always`)."""

    def run_rest(self, requests: list[list[bytes]]) -> None:
        """Run the requests behind those that are answered."""

    def abort(self) -> None:
        """Close now."""


Lane: TypeAlias = dict[Joining, bytes]
"""The chunks that are put aside, one of each connection: of those that speak one version of the protocol."""

_Answers: TypeAlias = tuple[list[Joining], Sequence[bytes], bytes, list[Column], int]
"""Connections, their replies, the command's name, the other arguments, and how many requests each connection sent."""


class Round:
    """The present round of one server."""

    __slots__ = ("_answered", "_committed", "_services", "lanes")

    def __init__(self, services: Services) -> None:
        self.lanes: dict[int, Lane] = {2: {}, 3: {}}  # by protocol; the same two dicts for the server's life
        self._answered: list[_Answers] = []  # in the batch that is not committed yet
        self._committed: list[_Answers] = []
        self._services = services
        services.tick.round = self

    # Called by the tick: see tick.RoundLike.

    def run(self) -> None:
        for lane in self.lanes.values():
            if lane:
                chunks = lane.copy()
                lane.clear()
                self._run(chunks)

    def batch_committed(self) -> None:
        self._committed += self._answered
        self._answered.clear()

    def batch_refused(self) -> None:
        for connections, replies, name, columns, each in self._answered:
            for index, connection in enumerate(connections):
                own = slice(index * each, (index + 1) * each)
                connection.owe(name, [column[own] for column in columns], replies[own])
        self._answered.clear()

    def owe_all(self) -> None:
        self._answered = self._committed + self._answered
        self._committed = []
        self.batch_refused()

    def release(self) -> int:
        spoke = 0
        answers = self._committed + self._answered
        for connections, replies, name, _, each in answers:
            if each == 1:
                for connection, reply in zip(connections, replies, strict=True):
                    connection.deliver(name, reply)
            else:
                for index, connection in enumerate(connections):
                    connection.deliver(name, b"".join(replies[index * each : (index + 1) * each]))
            spoke += len(connections)
        self._committed.clear()
        self._answered.clear()
        return spoke

    def _may_leave(self, command: Command) -> bool:
        """Whether replies to this command may leave once the batch is committed. In `always` most are held."""
        reply_barrier = self._services.pending.reply_barrier
        return reply_barrier is None or (bool(command.flags & Flag.READONLY) and reply_barrier.is_clear)

    def _run(self, put_aside: Lane) -> None:
        self._services.pending.refresh_clock()
        for connections in _groups(put_aside):
            chunks = [put_aside[each] for each in connections]
            found = None if len(chunks) < MIN_REQUESTS else columns_of_chunks(chunks)
            if found is None:
                self._run_singles(connections, chunks)
            else:
                name, columns = found
                self._run_columns(connections, chunks, name, columns, len(columns[0]) // len(chunks))

    def _run_singles(self, connections: list[Joining], chunks: list[bytes]) -> None:
        """Run chunks that are of no common layout: those that are one request together, where their arguments are as
        many, the others alone."""
        kinds: dict[tuple[bytes, int], list[tuple[Joining, bytes, list[bytes]]]] = {}
        for connection, chunk in zip(connections, chunks, strict=True):
            requests = maybe_single(chunk) if len(chunks) >= MIN_REQUESTS else None
            if requests is None:
                _alone(connection, connection.receive, chunk)
            else:
                request = requests[0]
                kinds.setdefault((request[0], len(request)), []).append((connection, chunk, request))
        for (name, _), alike in kinds.items():
            own, of_own, found = zip(*alike, strict=True)
            self._run_columns([*own], [*of_own], name, [*zip(*found, strict=True)][1:], 1)

    def _run_columns(
        self, connections: list[Joining], chunks: list[bytes], name: bytes, columns: list[Column], each: int
    ) -> None:
        """Run the requests of one command, `each` of each connection. One that cannot run so runs alone."""
        command = UNTIMED.get(name)
        begin = misses = 0
        most = len(connections)
        if command is None or not command.minimum <= len(columns) + 1 <= command.untimed_maximum:
            misses = _MISSES
        while misses < _MISSES and begin < len(connections):
            assert command is not None
            end = min(begin + most, len(connections))
            some = connections[begin:end]
            if not all(map(_skips_gates, some)):
                break
            own = [column[begin * each : end * each] for column in columns]
            whole = self._run_some(some, chunks[begin:end], command, name, own, each)
            begin += min(whole + 1, len(some))
            misses = 0 if whole else misses + 1
            # A batch form may look at all requests before it stops: so it gets few behind a place where it has.
            most = 2 * (most if whole == len(some) else max(whole, 1))
        for connection, chunk in zip(connections[begin:], chunks[begin:], strict=True):
            _alone(connection, connection.receive, chunk)

    def _leading(self, context: Context, command: Command, columns: list[Column]) -> list[Column]:
        """The first requests, up to one whose keys a cluster has elsewhere."""
        gate = self._services.slot_gate
        if gate is None:
            return columns
        number = gate.leading(command, columns, context.keyspace.hot.young)
        return columns if number == len(columns[0]) else [column[:number] for column in columns]

    def _run_some(
        self,
        connections: list[Joining],
        chunks: list[bytes],
        command: Command,
        name: bytes,
        columns: list[Column],
        each: int,
    ) -> int:
        """Run the requests up to one that cannot run so, and then that connection's alone. Returns how many connections
        were before it."""
        context = connections[0].context
        replies: Sequence[bytes] = ()
        takes_batch = command.takes_batch(len(columns))
        own = columns if takes_batch and command.is_batch_gated else self._leading(context, command, columns)
        if takes_batch and own[0]:
            replies = run_batch(context, command, own)
        if not replies and command.is_batch_gated:
            own = self._leading(context, command, columns)
        if not replies and own[0]:
            replies = _run_each(connections, command, name, own, each)
        whole, part = divmod(len(replies), each)
        self._services.counters.input_bytes += sum(map(len, chunks[:whole]))
        if self._may_leave(command):
            self._answered.append((connections[:whole], replies[: whole * each], name, columns, each))
        else:
            for index, connection in enumerate(connections[:whole]):
                some = slice(index * each, (index + 1) * each)
                _hold(connection, command, name, [column[some] for column in columns], replies[some])
        next_one = [column[whole * each : (whole + 1) * each] for column in columns] if part else []
        if part:  # before the batch is committed that they have written to
            self._services.counters.input_bytes += len(chunks[whole])
            connections[whole].owe(name, [column[:part] for column in next_one], replies[whole * each :])
        _after_batch(self._services)
        if whole < len(connections):
            connection = connections[whole]
            if part:
                rest = zip(*(column[part:] for column in next_one), strict=True)
                _alone(connection, connection.run_rest, [[name, *row] for row in rest])
            else:
                _alone(connection, connection.receive, chunks[whole])
        return whole


def _hold(connection: Joining, command: Command, name: bytes, columns: list[Column], replies: Sequence[bytes]) -> None:
    """Append the replies to the connection's output, which in `always` is held until what they show is durable."""
    connection.owe(name, columns, replies)
    if connection.context.services.pending.reply_barrier is not None:
        rows = zip(*columns, strict=True)
        shown = rows if command.flags & Flag.READONLY else islice(rows, 1)  # one write waits for everything
        connection.show(position_for(connection.context, [[name, *row] for row in shown]))


def _run_each(
    connections: list[Joining], command: Command, name: bytes, columns: list[Column], each: int
) -> list[bytes]:
    """Run the requests of a brief command one after another, up to one that must run alone, or after which something
    waits. Returns their replies.

    Only what is about keys: a script may commit, leave the loop and have remarks in its connection's transcript, which
    SELECT has, too."""
    services = connections[0].context.services
    replies: list[bytes] = []
    if services.tick.is_sampled or not command.keys.first:  # the former: they are timed one by one
        return replies
    pending, points, handler = services.pending, services.pending.points, command.handler
    contexts = [connection.context for connection in connections for _ in range(each)]
    for context, row in zip(contexts, zip(*columns, strict=True)):  # noqa: B905  a gate may have left fewer rows
        try:
            value = handler(context, [name, *row])
            if type(value) is GeneratorType:  # of a long string: it has not begun
                break
            replies.append(value.data if type(value) is Reply else context.session.encode(value))
        except (ColdRead, StalledError):
            break
        except Exception as error:
            replies.append(failure(context, command, error))
            continue
        if pending.large_bytes >= BATCH_BYTES or len(points) >= BATCH_ENTRIES or len(replies[-1]) > MAX_CHUNK_BYTES:
            break
    command.calls += len(replies)
    return replies


def _alone(connection: Joining, run: Callable[[_Given], None], given: _Given) -> None:
    """Run what a connection runs by itself. If that fails unexpectedly, do what the loop does outside a round: the
    others are still to be answered."""
    try:
        run(given)
    except Exception:
        logger.exception("closing %s: an unexpected exception", connection.context.session.address)
        connection.abort()


def _groups(chunks: Lane) -> Iterator[list[Joining]]:
    """The connections by how their chunks begin: as far as a name of three letters."""
    groups: dict[bytes, list[Joining]] = {}
    for connection, chunk in chunks.items():
        groups.setdefault(chunk[:11], []).append(connection)
    for group in groups.values():
        most = min(max(CACHED_BYTES // len(chunks[group[0]]), FEWEST), MAX_GROUP_BYTES // MAX_CHUNK_BYTES)
        size = ceil(len(group) / ceil(len(group) / most))
        for at in range(0, len(group), size):
            yield group[at : at + size]


def _after_batch(services: Services) -> None:
    """Do what waits for the end of a command, if anything does."""
    if services.pending.is_full or services.waiters.ready:
        after_command(services)
