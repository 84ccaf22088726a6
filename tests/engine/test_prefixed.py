"""Parts below a prefix: each call does in its part what it does in a whole database, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flin.engine import Snapshot, WriteBatch
from flin.engine.prefixed import PrefixedBatch, PrefixedEngine, PrefixedSnapshot, PrefixedTransaction
from flin.engine.transaction import Transaction
from flin.engine.updates import Updates
from flin.errors import ClosedError, ConflictError, ReadOnlyError
from flin.testing import ManualClock, SimulatedDisk

OpenEngine = Callable[..., Any]

PREFIXES = [b"p", b"user:", b"\xfe\xff", b"\xff", b"\xff\xff", b"\0", b"{tag}"]
KEYS = [b"", b"\0", b"a", b"ab", b"b", b"user:", b"\xff", b"\xff\0", b"\xff\x01x", b"\xff\xff"]


@pytest.fixture(params=PREFIXES)
def prefix(request: pytest.FixtureRequest) -> bytes:
    found: bytes = request.param
    return found


def neighbours(prefix: bytes) -> dict[bytes, bytes]:
    """Keys right beside the part."""
    below = bytes([prefix[0] - 1]) + b"\xff\xff" if prefix[0] else b""
    above = bytes([prefix[0] + 1]) if prefix[0] < 255 else None
    found = {below: b"below", prefix[:-1] + b"\0": b"before" if prefix[-1] else b""}
    if above is not None:
        found[above] = b"above"
    return {key: value for key, value in found.items() if not key.startswith(prefix)}


def test_it_is_a_database_of_its_own(open_engine: OpenEngine, prefix: bytes) -> None:
    db = open_engine(fs=SimulatedDisk(), clock_ms=ManualClock(), shards=4)
    db.put_many(neighbours(prefix))
    whole = open_engine("whole", fs=SimulatedDisk(), clock_ms=ManualClock())
    part = db.prefixed(prefix)
    for target in (part, whole):
        target.put_many({key: b"v" + key for key in KEYS})
        target.put(b"short", b"v", ttl=5, sync=True)
        target[b"counter"] = b"5"
    db.flush()
    for target in (part, whole):
        del target[b"ab"]
        target.delete(b"absent")
        target.delete_many([b"\xff\0", bytearray(b"none")])
    _reads_alike(part, whole)
    assert (part.incr(b"counter", 2), part.incr(b"new")) == (7, 1)
    assert part.put_if_absent(b"counter", b"x") is False
    assert part.compare_and_set(b"counter", b"7", b"8") is True
    assert (part.expire(b"counter", 60), part.persist(b"counter"), part.persist(b"none")) == (True, True, False)
    assert (part.setdefault(b"set", b"1"), part.setdefault(b"set", b"2")) == (b"1", b"1")
    assert (part.pop(b"set"), part.pop(b"set", b"d"), part.popitem()) == (b"1", b"d", (b"", b"v"))
    with pytest.raises(KeyError, match=r"b'set'"):
        part.pop(b"set")
    part.clear()
    assert (list(part), len(part), bool(part), part.first()) == ([], 0, False, None)
    with pytest.raises(KeyError, match="the database is empty"):
        part.popitem()
    assert dict(db.items()) == neighbours(prefix), "nothing else was touched"


def _reads_alike(part: Any, whole: Any) -> None:
    assert list(part.items()) == list(whole.items())
    assert list(reversed(part.keys())) == list(reversed(whole.keys()))
    assert list(part.values()) == list(whole.values())
    assert len(part) == len(whole)
    assert part.get_many(KEYS) == whole.get_many(KEYS)
    assert [key in part for key in KEYS] == [key in whole for key in KEYS]
    assert (part.ttl(b"short"), part.ttl(b"a")) == (whole.ttl(b"short"), None)
    assert (part.first(), part.last()) == (whole.first(), whole.last())
    for key in KEYS:
        assert (part.next_key(key), part.prev_key(key)) == (whole.next_key(key), whole.prev_key(key))
        for other in KEYS:
            for options in ({"start": key, "stop": other}, {"prefix": key, "start": other, "limit": 2}):
                for reverse in (False, True):
                    assert list(part.scan(**options, reverse=reverse)) == list(whole.scan(**options, reverse=reverse))
                    assert list(part.iterator(**options_of(options), reverse=reverse)) == list(
                        whole.iterator(**options_of(options), reverse=reverse)
                    )
            assert list(part[key:other].items()) == list(whole[key:other].items())


def options_of(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "limit"}


@pytest.mark.parametrize("prefix", [b"p", b"\xfe\xff", b"\xff"])
def test_ranges_end_at_the_prefix(open_engine: OpenEngine, prefix: bytes) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put_many(neighbours(prefix))
    part = db.prefixed(prefix)
    for start in KEYS:
        for stop in (*KEYS, None):
            part.put_many(dict.fromkeys(KEYS, b"v"))
            if stop is None:
                del part[start:]
            else:
                part.delete_range(start, stop)
            assert list(part) == [key for key in KEYS if not (key >= start and (stop is None or key < stop))]
            part.delete_prefix(b"a")
            assert part.get(b"a") is None
            assert neighbours(prefix).items() <= dict(db.items()).items()


def test_prefixes_nest_by_concatenation(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    inner = db.prefixed(b"a:").prefixed(b"b:")
    inner[b"k"] = b"v"
    assert (list(db), inner.prefix, list(db.prefixed(b"a:"))) == ([b"a:b:k"], b"a:b:", [b"b:k"])
    inner.clear()
    assert len(db) == 0


def test_snapshots_and_batches(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    part = db.prefixed(b"p:")
    part[b"a"] = b"1"
    with part.snapshot() as view, db.snapshot() as whole:
        with part.write_batch(sync=True) as batch:
            batch.put(b"b", b"2")
            batch.prefixed(b"q:")[b"c"] = b"3"
            del batch[b"a"]
            assert (dict(batch.items()), batch.writes) == ({b"b": b"2", b"q:c": b"3"}, 3)
            assert part.get(b"b") is None
            iterator = batch.iterator(include_value=False)
        assert list(iterator) == [b"b", b"q:c"]
        assert dict(view.items()) == dict(whole.prefixed(b"p:").items()) == {b"a": b"1"}
        assert list(whole.prefixed(b"p").prefixed(b":")) == [b"a"]
    assert dict(db) == {b"p:b": b"2", b"p:q:c": b"3"}
    for closed in (view, batch):
        with pytest.raises(ClosedError):
            closed.get(b"a")
    with suppress(ZeroDivisionError), part.write_batch() as batch:
        batch.clear()
        batch[b"none"] = b"%d" % (1 // 0)
    batch = part.write_batch()
    batch.clear()
    batch.discard()
    later = db.write_batch().prefixed(b"z")
    later[b""] = b"4"
    later.commit()
    assert list(db) == [b"p:b", b"p:q:c", b"z"]
    snapshot = part.snapshot()
    snapshot.close()
    with pytest.raises(ClosedError):
        len(snapshot)


def test_a_transaction_reads_what_is_taken_of_its_parts(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put_many({b"p%03d" % number: b"1" for number in range(300)} | {b"q": b"1"})
    read: Callable[[Any], Any]
    for taken, conflicts in ((b"p002", True), (b"p010", False), (b"q", False)):
        for read in (lambda t: t.prefixed(b"p")[:b"005"], lambda t: t[b"p":b"q"][:b"p005"], lambda t: t.prefixed(b"p")):
            with db.transaction() as t:
                for number, _ in enumerate(read(t).items()):
                    if number == 4:
                        break
                part = t.prefixed(b"p")
                assert (part.incr(b"n"), part.pop(b"n"), part.setdefault(b"m", b"2"), len(part[b"1":b"2"])) == (
                    *(1, b"1", b"2", 100),
                )
                db.put(taken, b"meanwhile")
                if conflicts:
                    with pytest.raises(ConflictError, match="was written"):
                        t.commit()
                    assert part.conflict is not None
    with db.prefixed(b"p").transaction() as t:
        numbers = t.prefixed(b"0").typed(key=str, value=int)
        assert (numbers["05"], numbers.incr("05", 4), numbers.conflict) == (1, 5, None)
        db.put(b"p005", b"7")
        with pytest.raises(ConflictError):
            numbers.commit()
    with db.typed(key=str, value=int).transaction() as t:
        t["p005"] = t["p005"] + 1
    assert db[b"p005"] == b"8"


def test_what_is_refused(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    part = db.prefixed(bytearray(b"p"))
    with pytest.raises(ValueError, match="an empty prefix is that of every key"):
        db.prefixed(b"")
    with pytest.raises(ValueError, match="ttl must be"):
        part.put(b"k", b"v", ttl=0)
    wrong: Callable[[], Any]
    for wrong in (lambda: db.prefixed("p"), lambda: part.put("k", b"v"), lambda: part.get("k"), lambda: "k" in part,
                  lambda: part.put(b"k", "v"), lambda: part.update(k=b"v"), lambda: part.put(b"k", b"v", tll=5),
                  lambda: db.write_batch().prefixed(b"p").put(b"k", b"v", sync=True)):  # fmt: skip
        with pytest.raises(TypeError):
            wrong()
    part[b"text"] = b"abc"
    with pytest.raises(ConflictError):
        part.incr(b"text")
    db.close()
    for late in (lambda: part.get(b"k"), lambda: part.put(b"k", b"v"), part.snapshot, lambda: list(part)):
        with pytest.raises(ClosedError):
            late()


def test_what_was_committed_in_a_part(open_engine: OpenEngine, prefix: bytes) -> None:
    db = open_engine(fs=SimulatedDisk(), clock_ms=ManualClock(), wal_retention=1 << 20)
    whole = open_engine("whole", fs=SimulatedDisk(), clock_ms=ManualClock())
    part = db.prefixed(prefix)
    feeds = [part.watch(), whole.watch(), part.watch(b"a"), whole.watch(b"a")]
    for target in (part, whole):
        target.put_many(dict.fromkeys(KEYS, b"v"))
        target.delete(b"a")
        target.put(b"ab", b"w", ttl=5)
        target.delete_range(b"a", b"b")
        target.delete_prefix(b"\xff")
        target.clear()
    events = [list(iter(feed.poll, None)) for feed in feeds]
    assert events[0] == events[1]
    assert events[2] == events[3]
    assert len(events[0]) > len(events[2]) > 0
    assert list(iter(part.watch(since=0).poll, None)) == events[0]
    db.put_many(neighbours(prefix))
    db.clear()
    (cleared,) = iter(feeds[0].poll, None)
    assert (cleared.kind, cleared.key, cleared.stop) == ("delete_range", b"", None)
    db.delete_range(b"", prefix + b"b")
    (below,) = iter(feeds[0].poll, None)
    assert (below.key, below.stop) == (b"", b"b"), "what goes beyond the part is cut off"
    assert list(iter(part.prefixed(b"x").watch(since=below.sequence).poll, None)) == []
    with pytest.raises(TypeError, match="a prefix must be"):
        part.watch("text")


def test_functions_that_are_transactions_of_a_part(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    part: PrefixedEngine = db.prefixed(b"p:")
    tries: list[bytes | None] = []

    @part.transactional(retries=2)
    def add(t: PrefixedTransaction, amount: int) -> int:
        tries.append(t.get(b"n"))
        if len(tries) < 3:
            db.put(b"p:n", b"%d" % len(tries))
        return t.incr(b"n", amount)

    assert (add(5), tries, db[b"p:n"]) == (7, [None, b"1", b"2"], b"7")
    ages = part.typed(key=str, value=int)
    assert ages.transactional()(lambda t, name: t.incr(name) + t["n"])("Ada") == 8
    assert dict(ages) == {"n": 7, "Ada": 1}
    with pytest.raises(TypeError, match="sync must be True"):
        part.transactional(sync=1)(lambda t: None)()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="retries"):
        ages.transactional(retries=-1)


def test_views_of_a_reader(open_engine: OpenEngine) -> None:
    disk = SimulatedDisk()
    db = open_engine(fs=disk)
    db.prefixed(b"p:").typed(key=str, value=int).update({"a": 1, "b": 2})
    reader = open_engine(fs=disk.for_another_program(), read_only=True)
    part = reader.prefixed(b"p:")
    ages = part.typed(key=str, value=int)
    assert (dict(part), dict(ages), len(ages[:"b"])) == ({b"a": b"1", b"b": b"2"}, {"a": 1, "b": 2}, 1)
    with part.snapshot() as view, part.transaction() as t:
        assert (view[b"a"], t[b"a"], list(t.typed(key=str, value=str).values())) == (b"1", b"1", ["1", "2"])
    db[b"p:a"] = b"3"
    assert (ages["a"], reader.refresh(), ages["a"]) == (1, True, 3)
    for write in (
        lambda: part.put(b"a", b""),
        part.clear,
        part.compact,
        lambda: ages.incr("a"),
        lambda: ages.transactional()(lambda t: t.incr("a"))(),
        lambda: part.transactional()(lambda t: t.clear())(),
        part.watch,
    ):
        with pytest.raises(ReadOnlyError):
            write()
    assert (ages["a"], ages.transactional()(lambda t: t["a"])()) == (3, 3)


OF_A_RANGE = {"prefixed", "typed", "memoize", "compact", "approximate_size", "write_batch", "snapshot", "transaction"}
OF_A_RANGE |= {"transactional", "watch"}
OF_A_RANGE |= {"put_many", "delete", "delete_many", "delete_range", "delete_prefix"}
"""What an engine has for a part of it, besides the calls of a mapping and its atomic updates."""


@pytest.mark.parametrize(
    ("part", "calls"),
    [
        (
            PrefixedEngine,
            {*dir(Updates), *OF_A_RANGE},
        ),
        (PrefixedBatch, {*dir(WriteBatch)}),
        (PrefixedTransaction, {*dir(Transaction)}),
        (PrefixedSnapshot, {*dir(Snapshot)}),
    ],
)
def test_it_has_the_calls_of_what_is_below(part: type, calls: set[str]) -> None:
    assert {name for name in calls if not name.startswith("_")} - {*dir(part)} == set()
