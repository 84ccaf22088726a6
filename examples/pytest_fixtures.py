"""Fixtures for tests of code that uses the engine, and tests that use them.

pytest examples/pytest_fixtures.py
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import flin.engine


@pytest.fixture
def db(tmp_path: Path) -> Iterator[flin.engine.Engine]:
    """An engine of its own for each test. "inline" starts no thread and no process: it opens in milliseconds."""
    with flin.engine.open(tmp_path / "db", runner="inline", sync="never") as engine:
        yield engine


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flin.engine.Engine]:
    """One engine for all tests of a module; with pytest-xdist each worker process gets its own directory."""
    with flin.engine.open(tmp_path_factory.mktemp("shared") / "db", runner="inline", sync="never") as engine:
        yield engine


@pytest.fixture
def clean(shared: flin.engine.Engine) -> flin.engine.Engine:
    """The shared engine, empty. clear() is one range delete, however many keys there are."""
    shared.clear()
    return shared


class Clock:
    """Time that stands still until the test moves it: no sleeping, and no patched time module."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def test_one(db: flin.engine.Engine) -> None:
    db[b"a"] = b"1"
    assert dict(db) == {b"a": b"1"}


def test_another(db: flin.engine.Engine) -> None:
    assert not db


def test_shared(clean: flin.engine.Engine) -> None:
    clean[b"a"] = b"1"
    assert len(clean) == 1


def test_shared_again(clean: flin.engine.Engine) -> None:
    assert len(clean) == 0


def test_expiry(tmp_path: Path) -> None:
    clock = Clock()
    with flin.engine.open(tmp_path / "db", runner="inline", clock_ms=clock) as db:
        db.put(b"session", b"token", ttl=60)
        clock.now_ms += 59_999
        assert b"session" in db
        clock.now_ms += 1
        assert b"session" not in db
