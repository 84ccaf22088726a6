"""A commit with range deletes is seen whole or not at all by readers that take no lock: between any two lines of the
commit all keys are read, by a trace function that stands for the other threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from flin.engine.engine import Engine

KEYS = [b"cfg:%02d" % number for number in range(6)]


class Watcher:
    """What reads see at each line of a call."""

    def __init__(self, db: Engine) -> None:
        self._db = db
        self.seen: list[tuple[bytes | None, ...]] = []
        self.lines = 0

    def during(self, call: Callable[[], object]) -> list[tuple[bytes | None, ...]]:
        """The different answers, in the order in which they came."""
        self.seen, self.lines = [self._all()], 0
        sys.settrace(self._trace)
        try:
            call()
        finally:
            sys.settrace(None)
        self._look()
        return self.seen

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if "/flin/engine/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            sys.settrace(None)
            self.lines += 1
            self._look()
            sys.settrace(self._trace)
        return self._trace

    def _look(self) -> None:
        found = self._all()
        if found != self.seen[-1]:
            self.seen.append(found)

    def _all(self) -> tuple[bytes | None, ...]:
        return tuple(self._db.get_many(KEYS))


def write(db: Engine, version: bytes) -> None:
    """What was there goes, and some keys come again."""
    with db.write_batch() as batch:
        batch.delete_prefix(b"cfg:")
        for key in KEYS[:4]:
            batch.put(key, version)


PLACES: dict[str, Callable[[Engine], object]] = {
    "active": lambda db: None,
    "frozen": lambda db: db._store.freeze(),
    "large": lambda db: db.put_many({b"%04d" % number: b"" for number in range(1000)}),
    "tables": lambda db: db.flush(),
}


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("place", PLACES)
def test_a_batch_is_seen_whole(open_engine: Any, shards: int, place: str) -> None:
    db = open_engine(shards=shards, runner="inline")
    db.put_many(dict.fromkeys(KEYS, b"0"))
    PLACES[place](db)
    watcher = Watcher(db)
    whole = [(b"0",) * 6, (b"1",) * 4 + (None, None), (b"2",) * 4 + (None, None)]
    for version in (1, 2):
        assert watcher.during(lambda: write(db, b"%d" % version)) == whole[version - 1 : version + 1]  # noqa: B023
        assert watcher.lines > 40
        PLACES[place](db)
    assert watcher.during(lambda: db.delete_prefix(b"cfg:")) == [whole[2], (None,) * 6]
    assert watcher.lines > 20
    assert list(db.scan(prefix=b"cfg:")) == []


def test_threads_find_what_is_there_before_and_after(open_engine: Any) -> None:
    db = open_engine()
    write(db, b"0")
    missing: list[bytes] = []
    reads = 0
    ended = threading.Event()

    def read() -> None:
        nonlocal reads
        while not ended.is_set():
            values = db.get_many(KEYS[:4])
            missing.extend(key for key, value in zip(KEYS, values, strict=False) if value is None)
            reads += len(values)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=read)
    thread.start()
    try:
        version = 0
        while version < 300 or reads < 4000:
            version += 1
            write(db, b"%d" % version)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(switch)
    assert missing == []
