"""Leaders that are stopped until another replica leads, and clients that keep their connections to them: what a node
that goes on then answers and appends.

    python -m tests.cluster.stopped_leaders lease_checked_before
    python -m tests.cluster.stopped_leaders no_fence

Each is first done to nodes that are only slow, and nothing may be wrong; then to the same nodes with the bug, and it
must be refused. Chance alone hardly finds either: the stop must fall between a look and what rests on it, and ordinary
clients have left by then. So nodes are slow right there, and a few clients do not leave.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count as counting
from pathlib import Path
from typing import Any, Final

from flin.testing import process
from flin.testing.cluster.bystanders import Bystanders
from flin.testing.cluster.faults import Scene
from flin.testing.cluster.history import Call, Command, Outcome
from flin.testing.cluster.linearizable import NotLinearizable, check
from flin.testing.cluster.load import PAUSE_SECONDS, Objects, called
from flin.testing.cluster.nodes import Nodes, until_told
from flin.testing.process import PATIENCE_SECONDS

TICK_SECONDS: Final = 0.2
"""A tick of a leader takes so long after its beginning: nearly every stop falls into one."""

APPEND_SECONDS: Final = 0.8
"""So long an append, before it is made: a writer waits for little else."""

PULSE_SECONDS: Final = 1.0
"""So much later the pulse looks who leads: a leader that goes on has had an append answered by then. Not so much that
its lease lapses."""

CONNECTIONS: Final = 6
"""To each replica. All have asked something by the time that a tick begins, so it reads from all; what they ask during
a stop comes into the same one."""

READS: Final = 3
"""Of the counter at the new leader, before the old one goes on, and after that."""

TRIES: Final = 5
"""Of a broken node. Nearly every first one is refused; now and then a stop falls beside what is slow."""


def slow() -> None:
    """In each process of a node: where a file says so, and what a file of its name asks for is broken."""
    from flin.cluster.etcd.key_value import ModRevision
    from flin.cluster.log import replicated_log
    from flin.cluster.log.replicated_log import ReplicatedLog
    from flin.cluster.replica import takeover
    from flin.cluster.replica.pulse import Pulse
    from flin.net.run.leased_tick import LeasedTick

    held: dict[LeasedTick, bool] = {}
    enter, put_aside, end, append = LeasedTick.enter, LeasedTick.put_aside, LeasedTick.end, ReplicatedLog.append
    wait = Pulse._wait

    def begin(tick: LeasedTick) -> None:
        if not tick.is_scheduled and os.path.exists("slow-lease_checked_before"):
            held[tick] = tick._has_lease()
            time.sleep(TICK_SECONDS)

    def slow_enter(tick: LeasedTick, sink: Any) -> None:
        begin(tick)
        enter(tick, sink)

    def slow_put_aside(tick: LeasedTick) -> None:
        begin(tick)
        put_aside(tick)

    def end_later(tick: LeasedTick) -> None:
        """Broken: what counts is what was seen at the beginning."""
        has_lease, had_lease = tick._has_lease, held.pop(tick, True)
        if os.path.exists("lease_checked_before"):
            tick._has_lease = lambda: had_lease
        try:
            end(tick)
        finally:
            tick._has_lease = has_lease

    def append_later(log: ReplicatedLog, *arguments: Any) -> None:
        if os.path.exists("slow-no_fence"):
            time.sleep(APPEND_SECONDS)
        append(log, *arguments)

    def wait_longer(pulse: Pulse, seconds: float) -> None:
        wait(pulse, seconds)
        if os.path.exists("slow-no_fence"):
            for _ in range(10):  # one sleep would be over when a stop is
                time.sleep(PULSE_SECONDS / 10)

    def compare(key: bytes, equals: int) -> ModRevision:
        """Broken: an append does not ask who leads; its number must be free still."""
        is_asked = b"/leader/" not in key or not os.path.exists("no_fence")
        return ModRevision(key, equals) if is_asked else ModRevision(b"nothing", 0)

    changes: tuple[tuple[object, str, object], ...] = (
        (LeasedTick, "enter", slow_enter), (LeasedTick, "put_aside", slow_put_aside), (LeasedTick, "end", end_later),
        (ReplicatedLog, "append", append_later), (replicated_log, "ModRevision", compare),
        (Pulse, "_wait", wait_longer),
        (takeover, "SETTLED_SECONDS", float("inf")),  # nobody hands over by itself meanwhile
    )  # fmt: skip
    for change in changes:
        setattr(*change)


class Moved(Exception):
    """The leader has lost its place before it was stopped, as on a machine that is too busy."""


class Writer:
    """A client of one replica alone, which counts there, one call at a time, until stop(), or until it is not told what
    came of one."""

    def __init__(self, objects: Objects, place: tuple[str, int]) -> None:
        self._objects = objects
        self._place = place
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Waits for the answer to its last call. Idempotent."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        outcome = Outcome.DONE
        while outcome is not Outcome.UNKNOWN and not self._is_over.is_set():
            outcome = count("writer", self._objects, self._place)
            if outcome is Outcome.REFUSED:
                self._is_over.wait(PAUSE_SECONDS)


def count(who: str, objects: Objects, place: tuple[str, int]) -> Outcome:
    """Count at this replica; what came of it."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    [name] = objects.now
    commands: tuple[Command, ...] = (("INCR", counter(name)),)
    settings: Any = {"retry": Retry(NoBackoff(), 0), "socket_timeout": PATIENCE_SECONDS, "decode_responses": True}
    with redis.Redis(*place, **settings) as client:
        call = called(who, name, commands, client)
    objects.note(call)
    return call.outcome


def counter(name: str) -> str:
    return f"{name}n"


def stop_and_go_on(nodes: Nodes, seed: int, *, is_written: bool) -> list[Call]:
    """A leader is stopped until another one leads. is_written: that one is written to meanwhile. What clients saw."""
    for number in counting():
        objects = Objects(f"stopped:{seed}:{number}:{is_written}", 1, seed)
        with suppress(Moved):
            _stop_and_go_on(Scene(nodes, random.Random(seed)), objects, is_written=is_written)
            return objects.history
    raise AssertionError


def _stop_and_go_on(scene: Scene, objects: Objects, *, is_written: bool) -> None:
    nodes = scene.nodes
    nodes.wait_until_whole()
    first = scene.leader(0)
    bystanders = Bystanders(objects, {0: [*nodes.places[0]] * CONNECTIONS}, 1)
    writer = Writer(objects, first.place)

    def reads(*, here: bool) -> int:
        """How often the counter was told by the first leader, or by others."""
        wanted = ((("GET", counter(objects.now[0])),), here)
        return sum((call.commands, call.client == f"at {first.port}") == wanted for call in objects.history)

    def await_here(happened: Callable[[], object], what: str) -> None:
        until_told(lambda: happened() or scene.leader(0) != first, what)
        if scene.leader(0) != first:
            raise Moved

    def await_reads_elsewhere() -> None:
        seen = reads(here=False)
        until_told(lambda: reads(here=False) >= seen + READS, "the counter is read elsewhere")

    bystanders.start()
    try:
        await_here(lambda: count("driver", objects, first.place) is Outcome.DONE, "it can be written to")
        await_here(lambda: reads(here=True) >= READS, "the counter is read")
        pid = nodes.pid(first)
        writer.start()
        await_here(lambda: by(objects, "writer") >= 2, "it is written to")
        scene.pause(2)
        if is_written:  # the reply ends a tick, so that the stop falls into the next one; it would end an append, too
            pid = nodes.pid(first)
        with process.stopped([pid]):
            until_told(lambda: scene.leader(0).place != first.place, "another replica leads")
            if is_written:
                until_told(
                    lambda: count("driver", objects, scene.leader(0).place) is Outcome.DONE, "that is written to"
                )
            await_reads_elsewhere()
        writer.stop()
        await_reads_elsewhere()
    finally:
        writer.stop()
        bystanders.stop()


def by(objects: Objects, who: str) -> int:
    return sum(call.client == who and call.outcome is Outcome.DONE for call in objects.history)


@contextmanager
def slow_nodes(folder: Path) -> Iterator[Nodes]:
    """Three, with one group, in a folder that is theirs."""
    program = f"import sys; sys.path[:0] = {sys.path!r}; from tests.cluster.stopped_leaders import slow; slow()"
    nodes = Nodes(folder, 1, more=program)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.kill()


BUGS: Final = {"lease_checked_before": True, "no_fence": False}
"""Whether the new leader is written to before the old one goes on. An append that nobody fenced off needs a number that
is free; an old read is seen only if there is something newer."""


def refused(nodes: Nodes, bug: str, seed: int) -> str:
    """Slow nodes do nothing wrong; those that have the bug, too, are refused: at which stop, and by what. After that
    they are of no use. AssertionError."""
    slowly, broken = (nodes.folder / name for name in (f"slow-{bug}", bug))
    slowly.touch()
    check(stop_and_go_on(nodes, seed, is_written=BUGS[bug]))
    broken.touch()
    try:
        for number in range(1, TRIES + 1):
            try:
                check(stop_and_go_on(nodes, seed + number, is_written=BUGS[bug]))
            except NotLinearizable as error:
                return f"{bug}: refused at stop {number}: {' '.join(str(error).split())[:300]}"
    finally:
        slowly.unlink()
        broken.unlink()
    raise AssertionError(f"{bug} was not refused within {TRIES} stops")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.stopped_leaders")
    parser.add_argument("bug", choices=BUGS)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, slow_nodes(Path(folder)) as nodes:
        print(refused(nodes, asked.bug, asked.seed))


if __name__ == "__main__":
    main()
