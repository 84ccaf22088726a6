"""The argument of put_many; and exactly bytes go in and come out, whatever kind of bytes a caller has."""

from __future__ import annotations

from array import array
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import pytest

from flin.engine.pairs import points_of
from flin.testing import SimulatedDisk

OpenEngine = Callable[..., Any]

PLAIN = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]
POINTS = {b"a": b"2", b"b": b"3"}


class KeysOnly:
    """Like dbm: keys() and [], but no Mapping."""

    def keys(self) -> list[bytes]:
        return list(POINTS)

    def __getitem__(self, key: bytes) -> bytes:
        return POINTS[key]


class Lazy(Mapping[bytes, bytes]):
    def __getitem__(self, key: bytes) -> bytes:
        raise KeyError(key)  # like a mapping whose keys have expired since they were listed

    def __iter__(self) -> Iterator[bytes]:
        return iter(POINTS)

    def __len__(self) -> int:
        return len(POINTS)

    def items(self) -> Any:
        return POINTS.items()


@pytest.mark.parametrize(
    "pairs",
    [
        PLAIN,
        tuple(PLAIN),
        iter(PLAIN),
        [list(pair) for pair in PLAIN],
        (tuple(map(bytearray, pair)) for pair in PLAIN),
        [(memoryview(bytearray(key)), array("B", value)) for key, value in PLAIN],
        POINTS,
        POINTS.items(),
        OrderedDict(POINTS),
        UserDict(POINTS),
        MappingProxyType(POINTS),
        KeysOnly(),
        Lazy(),
        {memoryview(b"a"): b"2", b"b": bytearray(b"3")},
    ],
    ids=lambda pairs: type(pairs).__name__,
)
def test_points_of(pairs: Any) -> None:
    found = points_of(pairs)
    assert found == POINTS
    assert {type(part) for pair in found.items() for part in pair} == {bytes}
    assert found is not pairs


def test_stored_keys() -> None:
    assert points_of({b"\xff": b"1", b"\xfe": b"2"}) == {b"\xff\0": b"1", b"\xfe": b"2"}
    assert points_of([]) == points_of({}) == {}


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (5, "pass a mapping or pairs of a key and a value, not int"),
        (None, "not NoneType"),
        ([5], "5 is no such pair"),
        ([()], "is no such pair"),
        ([b"ab"], "a key must be bytes, not int"),
        (["ab"], r"a key must be bytes, not str: use \.encode\(\)"),
        ({"a": b"b"}, r"a key must be bytes, not str: use \.encode\(\)"),
        ({b"a": "b"}, r"a value must be bytes, not str: use \.encode\(\)"),
        ([(b"a", b"1"), (b"b", None)], "a value must be bytes, not NoneType"),
    ],
    ids=str,
)
def test_what_is_no_pairs(pairs: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        points_of(pairs)


@pytest.mark.parametrize("parts", [(b"a",), (b"a", b"b", b"c")])
def test_less_or_more_than_two_parts(parts: Any) -> None:
    with pytest.raises(TypeError, match="is no such pair"):
        points_of([parts])


# Subclasses of bytes.


class Id(bytes):
    """A harmless one: a name for a kind of key."""


class Lying(bytes):
    """Equal to everything, with one hash for all, and showing other bytes than it holds."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(b"a")

    def __lt__(self, other: bytes) -> bool:
        return True

    __ge__ = __gt__ = __le__ = __lt__

    def __bytes__(self) -> bytes:
        return b"other"

    def __len__(self) -> int:
        return 0

    def __getitem__(self, where: Any) -> Any:
        return b"\xff"


def _refuse(*_: object) -> NoReturn:
    raise RuntimeError("nobody may ask this of a key")


class Raising(bytes):
    """Every call of it in Python fails."""

    __eq__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bytes__ = __len__ = __getitem__ = __iter__ = __add__ = __contains__ = __bool__ = _refuse
    rstrip = startswith = hex = _refuse  # type: ignore[assignment]


KINDS: list[Callable[[bytes], Any]] = [
    Id,
    Lying,
    Raising,
    bytearray,
    lambda data: memoryview(bytearray(data)),
    lambda data: memoryview(b"".join(bytes((byte, 0)) for byte in data))[::2],
    lambda data: array("B", data),
]
NAMES = ["subclass", "lying subclass", "raising subclass", "bytearray", "writable view", "every second byte", "array"]


@pytest.mark.parametrize("settle", ["memory", "frozen", "flushed", "compacted", "reopened"])
@pytest.mark.parametrize("of", KINDS, ids=NAMES)
def test_exactly_bytes_go_in_and_come_out(open_engine: OpenEngine, of: Callable[[bytes], Any], settle: str) -> None:
    disk = SimulatedDisk()
    db = open_engine(fs=disk)
    _write(db, of)
    model = {bytes((letter,)): b"%d" % number for number, letter in enumerate(b"abcdefghijklm")} | {b"\xffn": b"13"}
    if settle == "frozen":
        db.snapshot().close()
    elif settle in ("flushed", "compacted"):
        db.flush()
        if settle == "compacted":
            db.compact()
    elif settle == "reopened":
        db.close()
        db = open_engine(fs=disk)
    with db.snapshot() as view, db.write_batch() as batch:
        for reader in (db, view, batch):
            _read(reader, of, model)
    db.delete_many([of(b"a"), of(b"\xffn")])
    db.delete_range(of(b"b"), of(b"d"))
    db.delete_prefix(of(b"d"))
    db.delete(of(b"e"))
    assert db.pop(of(b"f")) == b"5"
    assert b"".join(db) == b"ghijklm"


def _write(db: Any, of: Callable[[bytes], Any]) -> None:
    """Use each way to write once; the values count from 0."""
    db.put(of(b"a"), of(b"0"))
    db[of(b"b")] = of(b"1")
    db.put_many({b"c": of(b"2")})
    db.put_many([(of(b"d"), of(b"3")), (of(b"e"), of(b"4"))])
    db.update([(of(b"f"), of(b"5"))])
    with db.write_batch() as batch:
        batch.put(of(b"g"), of(b"6"))
        batch[of(b"h")] = of(b"7")
        batch.put_many([(of(b"i"), of(b"8")), (of(b"x"), of(b""))])
        batch.delete(of(b"x"))
        batch.delete_range(of(b"x"), of(b"z"))
        batch.delete_prefix(of(b"x"))
    db.put(of(b"j"), of(b"9"), ttl=1000)
    assert db.setdefault(of(b"k"), of(b"10")) == b"10"
    assert db.put_if_absent(of(b"l"), of(b"11"))
    assert db.compare_and_set(of(b"m"), None, of(b"11"))
    assert not db.compare_and_set(of(b"m"), of(b"x"), of(b""))
    assert db.compare_and_set(of(b"m"), of(b"11"), of(b"12"))
    assert db.incr(of(b"\xffn"), 13) == 13
    assert db.persist(of(b"j"))
    assert db.expire(of(b"j"), 50)


def _read(reader: Any, of: Callable[[bytes], Any], model: dict[bytes, bytes]) -> None:
    pairs = list(reader.scan())
    assert pairs == sorted(model.items())
    singles = [reader.get(of(key)) for key in model] + [reader[of(key)] for key in model]
    assert singles == [*model.values(), *model.values()]
    assert reader.get_many(map(of, model)) == list(model.values())
    ordered = sorted(model)
    edges = [reader.first(), reader.last(), reader.next_key(of(b"a")), reader.prev_key(of(b"c"))]
    assert edges == [ordered[0], ordered[-1], b"b", b"b"]
    ranges = [*reader.scan(start=of(b"b"), stop=of(b"d")), *reader.scan(prefix=of(b"\xff"), reverse=True)]
    assert ranges == [(b"b", b"1"), (b"c", b"2"), (b"\xffn", b"13")]
    assert list(reader.scan(start=of(b"b"), include_start=False, limit=1)) == [(b"c", b"2")]
    assert all(of(key) in reader for key in model)
    assert of(b"z") not in reader
    assert (reader.get(of(b"z")), reader.ttl(of(b"z"))) == (None, None)
    got = [*singles, *edges, *(part for pair in pairs + ranges for part in pair)]
    assert {type(part) for part in got} == {bytes}
