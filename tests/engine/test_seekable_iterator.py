"""Iterators that can be moved, against a plain list with a place in it, and against plyvel if that is installed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flin.errors import ClosedError
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

KEYS = sorted([b"", b"\xff", b"\xff\0", b"\xff\x01x", *(b"k%02d" % number for number in range(0, 80, 2))])
TARGETS = st.sampled_from([*KEYS, b"k", b"k07", b"k31", b"z", b"\xff\xff"])
MOVES = st.lists(
    st.one_of(st.sampled_from(["next", "next", "prev", "seek_to_start", "seek_to_stop", "many", "back"]), TARGETS),
    max_size=12,
)
BOUNDS = st.one_of(st.none(), TARGETS)


@pytest.fixture(scope="module", params=["engine", "snapshot", "batch", "slice", "tables"])
def view(request: pytest.FixtureRequest) -> Iterator[Any]:
    import flin.engine

    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", clock_ms=ManualClock()) as db:
        db.put_many({key: b"v" + key for key in KEYS[::3]})
        db.put_many({key + b"gone": b"" for key in KEYS})
        if request.param == "tables":
            db.flush()
        db.put_many({key: b"v" + key for key in KEYS if key not in KEYS[::3]})
        db.delete_many(key + b"gone" for key in KEYS)
        if request.param == "tables":
            db.flush()
        batch = db.write_batch()
        if request.param == "batch":
            db.delete(KEYS[5])
            batch.put(KEYS[5], b"v" + KEYS[5])
        yield {"snapshot": db.snapshot(), "batch": batch, "slice": db[:]}.get(request.param, db)


class PlainIterator:
    """The oracle: a list, and a place in it."""

    def __init__(self, keys: list[bytes], reverse: bool) -> None:
        self.keys = keys
        self.reverse = reverse
        self.place = len(keys) if reverse else 0

    def step(self, down: bool) -> bytes | None:
        self.place += -1 if down else 1
        if 0 <= self.place - (not down) < len(self.keys):
            return self.keys[self.place - (not down)]
        self.place = min(max(self.place, 0), len(self.keys))
        return None

    def move(self, name: str | bytes) -> list[bytes | None]:
        if isinstance(name, bytes):
            self.place = bisect_left(self.keys, name)
        elif name.startswith("seek"):
            self.place = 0 if name == "seek_to_start" else len(self.keys)
        else:
            times = 20 if name in ("many", "back") else 1
            return [self.step(self.reverse is (name in ("next", "many"))) for _ in range(times)]
        return []


def moved(iterator: Any, name: str | bytes) -> list[Any]:
    if isinstance(name, bytes):
        iterator.seek(name)
    elif name.startswith("seek"):
        getattr(iterator, name)()
    else:
        step = iterator.prev if name in ("prev", "back") else iterator.__next__
        return [_step(step) for _ in range(20 if name in ("many", "back") else 1)]
    return []


def _step(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except StopIteration:
        return None


@given(start=BOUNDS, stop=BOUNDS, includes=st.tuples(st.booleans(), st.booleans()), reverse=st.booleans(), moves=MOVES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_move(
    view: Any,
    start: bytes | None,
    stop: bytes | None,
    includes: tuple[bool, bool],
    reverse: bool,
    moves: list[str | bytes],
) -> None:
    options = {"start": start, "stop": stop, "include_start": includes[0], "include_stop": includes[1]}
    plain = PlainIterator(sorted(view.scan_keys(**options)), reverse)
    given = view.iterator(**options, reverse=reverse)
    keys_alone = view.iterator(**options, reverse=reverse, include_value=False)
    for name in moves:
        expected = plain.move(name)
        assert moved(given, name) == [None if key is None else (key, b"v" + key) for key in expected]
        assert moved(keys_alone, name) == expected


@given(reverse=st.booleans(), moves=MOVES)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plyvel_does_the_same(plyvels: Any, reverse: bool, moves: list[str | bytes]) -> None:
    theirs, ours = plyvels.iterator(reverse=reverse), PlainIterator(KEYS, reverse)
    for name in moves:
        assert moved(theirs, name) == [None if key is None else (key, b"v" + key) for key in ours.move(name)]


@pytest.fixture(scope="module")
def plyvels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    plyvel = pytest.importorskip("plyvel")
    path: Path = tmp_path_factory.mktemp("plyvel")
    db = plyvel.DB(str(path), create_if_missing=True)
    for key in KEYS:
        db.put(key, b"v" + key)
    yield db
    db.close()


def test_what_it_gives(view: Any) -> None:
    key = KEYS[7]
    for keys, values, wanted in ((True, True, (key, b"v" + key)), (True, False, key), (False, True, b"v" + key)):
        assert next(view.iterator(start=key, include_key=keys, include_value=values)) == wanted
    assert next(view.iterator(start=key, include_key=False, include_value=False)) is None
    assert list(view.iterator(prefix=b"k0", include_value=False)) == [k for k in KEYS if k.startswith(b"k0")]
    assert list(view.iterator(start=b"z", stop=b"a")) == []


def test_it_shows_one_moment(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put_many({b"%03d" % number: b"v" for number in range(100)})
    with db.write_batch() as batch:
        batch.put(b"050", b"batch")
        iterators = db.iterator(), batch.iterator()
        batch.put(b"050", b"later")
        batch.delete_range(b"060", b"070")
    db.clear()
    assert [dict(iterator)[b"050"] for iterator in iterators] == [b"v", b"batch"]
    for iterator in iterators:
        iterator.seek(b"065")
        assert (next(iterator)[0], iterator.prev()[0], iterator.prev()[0]) == (b"065", b"065", b"064")


def test_it_can_be_closed(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put(b"k", b"v")
    with db.iterator() as iterator:
        assert list(iterator) == [(b"k", b"v")]
    for use in (iterator.__next__, iterator.prev, iterator.seek_to_start, lambda: iterator.seek(b"k")):
        with pytest.raises(ClosedError, match="the iterator is closed"):
            use()
    iterator.close()
    with pytest.raises(TypeError, match="a key must be bytes"):
        db.iterator().seek("k")
