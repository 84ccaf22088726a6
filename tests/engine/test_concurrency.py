"""Threads that share an engine while generations are sealed, flushed and merged."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest

from flin.engine import Engine

WRITES = 3000  # by each writer: with the smallest memory limit some ten flushes and several compactions
KEYS = 40  # of each writer, so that each is overwritten in every generation


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Switch threads every 50 microseconds instead of 5 milliseconds: a hundred times the interleavings."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class Crew:
    """Threads whose first exception is the test's."""

    def __init__(self) -> None:
        self.stop = Event()
        self.errors: list[BaseException] = []
        self._threads: list[Thread] = []

    def start(self, work: Callable[..., None], *arguments: Any) -> Thread:
        thread = Thread(target=self._run, args=(work, arguments))
        self._threads.append(thread)
        thread.start()
        return thread

    def _run(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self.errors.append(error)
            self.stop.set()

    def end(self, writers: list[Thread]) -> None:
        for thread in writers:
            thread.join()
        self.stop.set()
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def key_of(writer: int, number: int) -> bytes:
    return b"w%d:%04d" % (writer, number)


def write_rising(db: Engine, writer: int, crew: Crew) -> None:
    """Every write has a higher number than all before, so that a step back in time shows."""
    for count in range(1, WRITES + 1):
        key = key_of(writer, count % KEYS)
        if count % 5 == 0:
            db.put_many({key: b"%d" % count, b"pair" + key: b"%d" % count})
        else:
            db.put(key, b"%d" % count + b"." * 40)
        if crew.stop.is_set():
            return


def number_of(value: bytes) -> int:
    return int(value.rstrip(b"."))


def read_rising(db: Engine, writers: int, crew: Crew, seed: int) -> None:
    """A read never returns something older than a read before."""
    rng = random.Random(seed)
    seen: dict[bytes, int] = {}
    while not crew.stop.is_set():
        key = key_of(rng.randrange(writers), rng.randrange(KEYS))
        value = db.get(key)
        number = 0 if value is None else number_of(value)
        assert number >= seen.get(key, 0), (key, number, seen[key])
        seen[key] = number


def read_snapshots(db: Engine, crew: Crew) -> None:
    """A snapshot says the same forever, by scan, by get and by count; a scan is no older than a get before it."""
    while not crew.stop.is_set():
        with db.snapshot() as view:
            first = dict(view.scan())
            assert len(view) == len(first)
            assert {key: view.get(key) for key in first} == first
            assert dict(view.scan(reverse=True)) == first
        seen = db.get(key_of(0, 1))
        scanned = dict(db.scan(prefix=b"w0:"))
        if seen is not None:
            assert number_of(scanned[key_of(0, 1)]) >= number_of(seen)


def delete_ranges(db: Engine, crew: Crew) -> None:
    """A range delete leaves nothing that was there before, and nothing comes back."""
    count = 0
    while not crew.stop.is_set():
        count += 1
        db.put_many({b"range:%03d" % number: b"%d" % count for number in range(50)})
        db.delete_range(b"range:010", b"range:040")
        left = [key for key, _ in db.scan(prefix=b"range:")]
        assert len(left) == 20, (count, left)
        assert db.get(b"range:020") is None


@pytest.mark.parametrize(
    ("runner", "shards"),
    [
        ("thread", 1),
        ("helper", 4),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("thread", 4), ("helper", 1))),
    ],
)
def test_everything_at_once(open_engine: Callable[..., Engine], eager_threads: None, runner: str, shards: int) -> None:
    db = open_engine(runner=runner, shards=shards, memory_limit="1mb", sync="never")
    crew = Crew()
    writers = [crew.start(write_rising, db, writer, crew) for writer in range(3)]
    for seed in range(2):
        crew.start(read_rising, db, len(writers), crew, seed)
    crew.start(read_snapshots, db, crew)
    crew.start(delete_ranges, db, crew)
    crew.end(writers)
    for writer in range(len(writers)):
        for number in range(KEYS):
            value = db.get(key_of(writer, number))
            last = WRITES - (WRITES - number) % KEYS
            assert value is not None
            assert number_of(value) == last
    assert len(db) == sum(1 for _ in db.scan())
    assert db.stats()["flush"]["jobs"] >= 3


def test_counters_from_many_threads(open_engine: Callable[..., Engine], eager_threads: None) -> None:
    """No increment is lost, no compare-and-set succeeds twice."""
    db = open_engine(runner="thread", memory_limit="1mb")
    crew = Crew()
    won: list[bytes] = []

    def count(name: bytes) -> None:
        for number in range(500):
            db.incr(b"counter")
            if db.put_if_absent(b"claim:%d" % number, name):
                won.append(b"claim:%d" % number)

    crew.end([crew.start(count, b"t%d" % thread) for thread in range(4)])
    assert db.get(b"counter") == b"2000"
    assert sorted(won) == sorted(b"claim:%d" % number for number in range(500))


def test_close_while_others_read_and_write(open_engine: Callable[..., Engine], eager_threads: None) -> None:
    """They get ClosedError at the beginning of a call, never anything else; what was written is there."""
    from flin.errors import ClosedError

    db = open_engine(runner="thread", memory_limit="1mb")
    written = [0, 0]
    crew = Crew()

    def write(writer: int) -> None:
        try:
            while True:
                db.put(b"%d:%08d" % (writer, written[writer]), b"x" * 50)
                written[writer] += 1
        except ClosedError:
            return

    def read() -> None:
        try:
            while True:
                db.get(b"0:00000001")
                for _ in db.scan(limit=5):
                    pass
        except ClosedError:
            return

    threads = [crew.start(write, 0), crew.start(write, 1), crew.start(read), crew.start(read)]
    while min(written) < 3000 and not crew.errors:
        crew.stop.wait(0.01)
    db.close()
    db.close()
    crew.end(threads)
    again = open_engine()
    for writer in range(2):
        assert sum(1 for _ in again.scan(prefix=b"%d:" % writer)) in (written[writer], written[writer] + 1)
