"""Who waits for whom: a writer gives way before it takes the commit lock, and only to another thread that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest

from flin.engine.tree import turns
from flin.testing.process import PATIENCE_SECONDS

Write = Callable[[Any], object]

WRITES: dict[str, Write] = {
    "put": lambda db: db.put(b"a", b"1"),
    "delete": lambda db: db.delete(b"a"),
    "batch": lambda db: db.put_many({b"a": b"1", b"b": b"2"}),
    "incr": lambda db: db.incr(b"n"),
}


@pytest.fixture
def db(open_engine: Callable[..., Any]) -> Any:
    return open_engine(runner="inline")


@contextmanager
def another_writer(store: Any) -> Iterator[Callable[[], None]]:
    """A thread in the middle of a write; the function lets it end."""
    inside, end = Event(), Event()

    def work() -> None:
        with store._commit_lock:
            store._blocked = True
            inside.set()
            assert end.wait(PATIENCE_SECONDS)
            store._blocked = False

    thread = Thread(target=work)
    thread.start()

    def let_go() -> None:
        end.set()
        thread.join()

    try:
        assert inside.wait(PATIENCE_SECONDS)
        yield let_go
    finally:
        let_go()


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("last", [1, 4, len(turns.GIVE_WAY_SECONDS)])
def test_a_writer_pauses_until_the_other_has_ended(
    db: Any, name: str, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    with another_writer(db._store) as let_go:

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == last:
                let_go()

        monkeypatch.setattr(turns, "sleep", sleep)
        WRITES[name](db)
    assert pauses == list(turns.GIVE_WAY_SECONDS[:last])


def test_a_writer_waits_for_the_lock_in_the_end(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(turns, "sleep", pauses.append)
    with another_writer(db._store) as let_go:
        writer = Thread(target=db.put, args=(b"a", b"1"))
        writer.start()
        writer.join(0.05)
        assert writer.is_alive()
        assert db.get(b"a") is None
        let_go()
        writer.join()
    assert pauses == list(turns.GIVE_WAY_SECONDS)
    assert db.get(b"a") == b"1"


def no_pause(seconds: float) -> None:
    raise AssertionError("it pauses")


@pytest.mark.parametrize("name", WRITES)
def test_a_mark_that_nobody_has_cleared_costs_no_pause(db: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "sleep", no_pause)
    db._store._blocked = True
    WRITES[name](db)
    assert not db._store._blocked


def test_a_write_that_re_enters_does_not_pause(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for its own thread."""
    monkeypatch.setattr(turns, "sleep", no_pause)
    store = db._store
    with store._commit_lock:
        store._blocked = True
        db.put(b"a", b"1")
        assert db.get(b"a") is None, "put off"
    db.put(b"b", b"2")
    assert db.get(b"a") == b"1"


def test_a_writer_that_must_wait_anyway_does_not_pause(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "sleep", no_pause)
    store = db._store
    with another_writer(store) as let_go:
        monkeypatch.setattr(store, "_must_wait", True)
        writer = Thread(target=db.put, args=(b"a", b"1"))
        writer.start()
        let_go()
        writer.join()
    assert db.get(b"a") == b"1"
