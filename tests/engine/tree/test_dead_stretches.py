"""Dead stretches: queues, stacks and many range deletes, taken from again and again, against a dict."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine import memtable
from flin.engine.boundaries import covers
from flin.engine.engine import Engine
from flin.engine.entry import TOMBSTONE, Entry
from flin.engine.tree.dead_stretches import MAX_PUTS, MAX_SEARCHES, MAX_STRETCHES, DeadStretches
from flin.engine.tree.ordered_reads import MAX_TOMBSTONES

KEYS = st.integers(0, 30).map(lambda number: b"%02d" % number)
FOUND = st.tuples(KEYS, KEYS)
POINTS: st.SearchStrategy[dict[bytes, Entry]] = st.dictionaries(KEYS, st.sampled_from([b"v", TOMBSTONE]), max_size=4)


@given(st.lists(st.one_of(FOUND, POINTS), max_size=20), st.lists(POINTS, max_size=3), FOUND)
def test_a_put_splits_a_stretch(
    steps: list[Any], meanwhile: list[dict[bytes, Entry]], found: tuple[bytes, bytes]
) -> None:
    dead, model = DeadStretches(), set[bytes]()
    every = [b"%02d" % number for number in range(31)]
    for step in steps:
        if isinstance(step, dict):
            dead.commit(step)
            model -= {key for key, entry in step.items() if entry is not TOMBSTONE}
        else:
            dead.end(dead.begin(b"", b"\xff"), *step)
            model |= {key for key in every if step[0] <= key < step[1]}
        assert {key for key in every if covers(dead.known, key)} == model
        assert dead.heeds_puts == bool(dead.known)
    search, before, parted = dead.begin(b"", b"\xff"), dead.known, dead.parted
    for points in meanwhile:
        dead.commit(points)
        model -= {key for key, entry in points.items() if entry is not TOMBSTONE}
    put = {key for points in meanwhile for key, entry in points.items() if entry is not TOMBSTONE}
    assert (dead.parted == parted) == (not any(covers(before, key) for key in put)), "readers see that it has changed"
    dead.end(search, *found)
    model |= {key for key in every if found[0] <= key < found[1]} - put
    assert {key for key in every if covers(dead.known, key)} == model


def test_bounds() -> None:
    dead = DeadStretches()
    searches = [dead.begin(b"a", b"c") for _ in range(MAX_SEARCHES + 1)]
    dead.end(searches[0], b"a", b"c")
    assert dead.known == [], "the oldest was given up"
    for _ in range(MAX_PUTS + 1):
        dead.put(b"b")
    dead.end(searches[-1], b"a", b"c")
    assert (dead.known, dead.heeds_puts) == ([], False), "too much was put meanwhile"
    for number in range(MAX_STRETCHES + 1):
        dead.end(dead.begin(b"", b"\xff"), b"%05d" % (2 * number), b"%05d" % (2 * number + 1))
    assert len(dead.known) == 2
    dead.forget()
    assert not dead.heeds_puts


class Looked:
    """Counts the keys that the memtables gave to scans."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.keys = 0
        for name in ("page", "head"):
            self._count(patch, name, getattr(memtable.Memtable, name))

    def _count(self, patch: pytest.MonkeyPatch, name: str, original: Callable[..., Any]) -> None:
        def counted(*arguments: Any, **named: Any) -> Any:
            page = original(*arguments, **named)
            self.keys += len(page[0])
            return page

        patch.setattr(memtable.Memtable, name, counted)

    def of(self, work: Callable[[], None]) -> int:
        self.keys = 0
        work()
        return self.keys


def queue(db: Engine, takes: int) -> None:
    for _ in range(takes):
        tail = db.last()
        db.put(b"%08d" % (int(tail or 0) + 1), b"x")
        key, _ = db.popitem()
        assert db.first() == b"%08d" % (int(key) + 1)


def stack(db: Engine, takes: int) -> None:
    """A stack that grows and shrinks, and shrinks more than it grows."""
    for number in range(takes):
        top = db.last()
        assert top is not None
        db.delete(top)
        if number % 3 == 0:
            db.put(top, b"again")


def cursor(db: Engine, takes: int) -> None:
    """A queue after a first key that stays."""
    db.put(b"", b"stays")
    for _ in range(takes):
        key = db.next_key(b"")
        assert key is not None
        db.delete(key)


def iterator(db: Engine, takes: int) -> None:
    for _ in range(takes):
        del db[next(iter(db))]


def sessions(db: Engine, takes: int) -> None:
    """Sessions, each with its own range, which does not touch the one before."""
    for _ in range(takes):
        key = db.first()
        assert key is not None
        db.delete_range(key, key + b"\0")


@pytest.mark.parametrize("way", [queue, stack, cursor, iterator, sessions])
@pytest.mark.parametrize("settled", ["in memory", "in tables"])
def test_what_a_take_looks_at_does_not_grow(
    way: Callable[[Engine, int], None], settled: str, open_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_engine(runner="inline")
    db.put_many({b"%08d" % number: b"x" for number in range(2500)})
    if settled == "in tables":
        db.flush()
    looked = Looked(monkeypatch)
    first = looked.of(lambda: way(db, 500))
    way(db, 1000)
    last = looked.of(lambda: way(db, 500))
    assert last <= 1.5 * first + 500 * MAX_TOMBSTONES, (first, last)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("seed", range(2))
def test_random_work_at_both_ends(open_engine: Any, shards: int, seed: int) -> None:
    """Takes, puts into what was found dead, batches, range deletes, expiries, a clock that jumps, flushes, merges."""
    chance = random.Random(seed)
    now = [1_000_000]
    db: Engine = open_engine(runner="inline", shards=shards, clock_ms=lambda: now[0])
    model: dict[bytes, tuple[bytes, int]] = {}
    snapshots: list[tuple[Any, list[bytes]]] = []

    def alive() -> list[bytes]:
        return sorted(key for key, (_, expires) in model.items() if not expires or expires > now[0])

    def key() -> bytes:
        return b"%04d" % chance.randrange(2000)

    def put() -> None:
        ttl = chance.choice((None, None, None, 0.5, 60.0))
        name = key()
        db.put(name, b"v", ttl=ttl)
        model[name] = (b"v", 0 if ttl is None else now[0] + round(ttl * 1000))

    def take() -> None:
        forwards = chance.random() < 0.6
        for _ in range(chance.choice((1, 10, 150))):
            name = db.first() if forwards else db.last()
            assert name == ((alive()[0] if forwards else alive()[-1]) if alive() else None)
            if name is None:
                return
            db.delete(name)
            del model[name]

    def batch() -> None:
        low, high = sorted((key(), key()))
        with db.write_batch() as writes:
            writes.delete_range(low, high)
            writes.put(low, b"b")
        for name in [name for name in model if low <= name < high]:
            del model[name]
        model[low] = (b"b", 0)

    def delete_range() -> None:
        low, high = sorted((key(), key()))
        high = min(high, b"%04d" % (int(low) + chance.choice((1, 5, 300))))
        db.delete_range(low, high)
        for name in [name for name in model if low <= name < high]:
            del model[name]

    def refill() -> None:
        pairs = {key(): b"r" for _ in range(chance.choice((2, 300)))}
        db.put_many(pairs)
        model.update({name: (value, 0) for name, value in pairs.items()})

    def move_clock() -> None:
        now[0] += chance.choice((100, 1000, 100_000, -800))
        db._compactor.sweep()
        for name in [name for name, (_, expires) in model.items() if 0 < expires <= now[0]]:
            del model[name]

    def look() -> None:
        names, start = alive(), key()
        assert list(db) == names
        assert list(db.scan_keys(reverse=True)) == names[::-1]
        later = [name for name in names if name >= start]
        for limit in (1, 3, 300):
            assert [name for name, _ in db.scan(start=start, limit=limit)] == later[:limit]
            assert (
                list(db.scan_keys(stop=start, reverse=True, limit=limit))
                == [n for n in names[::-1] if n < start][:limit]
            )
        assert db.next_key(start) == next((name for name in later if name > start), None)
        for view, then in snapshots:
            assert list(view) == then
            assert view.first() == (then[0] if then else None)

    def snapshot() -> None:
        snapshots.append((db.snapshot(), alive()))
        if len(snapshots) > 2:
            snapshots.pop(0)[0].close()

    steps = [put] * 8 + [take] * 8 + [batch, delete_range, refill, refill, move_clock, look, snapshot, db.flush]
    refill()
    for number in range(250):
        chance.choice(steps)()
        if number % 60 == 59:
            db.compact()
        if number % 10 == 9:
            look()
    for view, _ in snapshots:
        view.close()


def test_a_put_while_a_scan_looks_for_its_first_key(open_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stretch that the scan has found is not dead there now: the next one sees the put, and leaps over the rest."""
    db: Engine = open_engine(runner="inline")
    db.put_many({b"%04d" % number: b"" for number in range(200)})
    db.delete_many([b"%04d" % number for number in range(150)])
    db._store.freeze()
    db._store._dead.learns = True  # as if a scan had passed many tombstones before
    original = memtable.Memtable.pages

    def put_first(asked: memtable.Memtable, *arguments: Any, **named: Any) -> Any:
        for page in original(asked, *arguments, **named):
            monkeypatch.setattr(memtable.Memtable, "pages", original)
            db.put(b"0100", b"new")
            yield page

    monkeypatch.setattr(memtable.Memtable, "pages", put_first)
    assert next(iter(db)) == b"0150", "it was put after the scan had begun"
    assert db._store._dead.known == [b"", b"0100", b"0100\0", b"0150"]
    assert db.first() == b"0100"
    db.delete(b"0100")
    assert db.first() == b"0150"


def test_a_put_into_a_stretch_while_a_head_is_read(open_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader has taken the list of stretches and not yet the lock."""
    db: Engine = open_engine(runner="inline")
    db.put_many({b"%04d" % number: b"" for number in range(200)})
    db.delete_many([b"%04d" % number for number in range(150)])
    assert db.first() == b"0150"
    assert db._store._dead.known == [b"", b"0150"]
    state_type = type(db._store.state)
    original = state_type._head

    def put_first(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(state_type, "_head", original)
        db.put(b"0100", b"new")
        return original(*arguments, **named)

    monkeypatch.setattr(state_type, "_head", put_first)
    assert db.first() == b"0100"


def test_expired_entries_are_no_dead_stretch(open_engine: Any) -> None:
    """If the clock is set back, they are alive."""
    now = [1_000_000]
    db: Engine = open_engine(runner="inline", clock_ms=lambda: now[0])
    db.put_many({b"%04d" % number: b"" for number in range(200)}, ttl=1)
    db.put(b"1", b"")
    now[0] += 2000
    assert db.first() == b"1"
    now[0] -= 2000
    assert db.first() == b"0000"
