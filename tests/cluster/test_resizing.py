"""Copies to another number of groups: all that a client can tell is the same, and what does not fit is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flin.engine
from flin.cli.overlay import open_unchanged
from flin.cluster.resize.places import places_in
from flin.cluster.resize.resizing import Resizing
from flin.cluster.resize.staging import Staging
from flin.cluster.workers.groups import create_groups, read_groups
from flin.engine.engine import Engine, store_of
from flin.engine.entry import Entry
from flin.engine.key import KEYS_END
from flin.engine.options import Options
from flin.engine.slot import slot_of
from flin.engine.tree.store import Store
from flin.errors import CorruptionError, FlinError, LockedError, StorageError
from flin.net.data.cursors import STORED_KEY as CURSORS
from flin.net.scripting.functions import PREFIX as LIBRARIES
from flin.objects.layout import HASH, LIST, LONG_STRING, NEXT_VERSION, SET, SORTED_SET, STREAM, elements_prefix
from flin.objects.meta import decode_meta
from tests.cluster.copies import contents, handling_over, write
from tests.cluster.copies import low_limits as low_limits  # the fixture

LIMIT = 16 << 20
NOW_MS = 1_800_000_000_000


def resize(source: Path, target: Path, workers: int, **options: Any) -> list[int]:
    writing = Options(**{"runner": "inline", **options})
    return Resizing(
        places_in(str(source)), Staging(str(target), workers, writing.fs), open_unchanged, LIMIT, writing
    ).run()


@contextmanager
def opened(path: Path) -> Iterator[Engine]:
    with flin.engine.open(path, runner="inline", clock_ms=lambda: NOW_MS) as db:
        yield db


def entries_of(directory: Path) -> dict[bytes, Entry]:
    with open_unchanged(str(directory)) as db:
        store = store_of(db)
        return {key: entry for page in store.pages(store.freeze()) for key, entry in zip(*page, strict=True)}


def fingerprint(directory: Path) -> dict[str, tuple[str, int]]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def check_unfinished(target: Path) -> None:
    """Everybody refuses it, and nobody changes it."""
    before = fingerprint(target)
    with pytest.raises(StorageError, match="has not finished it"):
        flin.engine.open(target)
    with pytest.raises(StorageError, match="has not finished it"):
        read_groups(target)
    with pytest.raises(FlinError):
        create_groups(target, 2)
    assert fingerprint(target) == before


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("low_limits")
def test_there_and_back(tmp_path: Path, seed: int) -> None:
    with flin.engine.open(tmp_path / "0", runner="inline") as db:
        write(db, Random(seed), 3000)
    before = contents(str(tmp_path / "0"))
    stored = entries_of(tmp_path / "0").values()
    spread = {entry[2] for entry in stored if type(entry) is tuple and entry[2] and entry[0][0] & 0x7F == 2}
    assert spread >= {HASH, LIST, SET, SORTED_SET, STREAM, LONG_STRING}
    for number, workers in enumerate((1, 3, 2, 1), 1):
        counts = resize(tmp_path / f"{number - 1}", tmp_path / f"{number}", workers)
        assert (len(counts), sum(counts)) == (workers, len(before))
        assert contents(str(tmp_path / f"{number}")) == before


KEYS = st.one_of(
    st.binary(max_size=3), st.sampled_from([b"{}", b"{a}b", b"{a}c", b"a", b"{{a}", b"\xff", b"\xff\0", b"x" * 500])
)
VALUES = st.tuples(
    st.sampled_from(["string", "hash", "list", "set", "zset", "stream"]), st.integers(1, 9), st.booleans()
)


@given(st.dictionaries(KEYS, VALUES, max_size=12), st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("low_limits")
def test_any_keys_to_any_numbers(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[bytes, tuple[str, int, bool]], numbers: list[int]
) -> None:
    path = tmp_path_factory.mktemp("resize")
    with flin.engine.open(path / "0", runner="inline") as db:
        handling = handling_over(db)
        for key, (kind, count, expires) in keys.items():
            elements = [b"%d" % number for number in range(count)]
            pairs = [word for element in elements for word in (element, element)]
            requests = {
                "string": [b"setrange", key, b"%d" % (3000 * count), b"end"],
                "hash": [b"hset", key, *pairs],
                "list": [b"rpush", key, *elements],
                "set": [b"sadd", key, *elements],
                "zset": [b"zadd", key, *pairs],
                "stream": [b"xadd", key, b"%d-1" % count, *pairs],
            }
            handling.call(*requests[kind])
            if kind == "stream":  # some of its entries are pending, for two consumers
                for number in range(2, 2 + count):
                    handling.call(b"xadd", key, b"%d-%d" % (count, number), b"field", b"value")
                handling.call(b"xgroup", b"create", key, b"group", b"0")
                for consumer in (b"a", b"b"):
                    handling.call(
                        b"xreadgroup",
                        b"group",
                        b"group",
                        consumer,
                        b"count",
                        b"%d" % (count // 2),
                        b"streams",
                        key,
                        b">",
                    )
                handling.call(b"xdel", key, b"%d-1" % count)
            if expires:
                handling.call(b"pexpireat", key, b"%d" % (4_000_000_000_000 + count))
        handling.pending.commit()
    before = contents(str(path / "0"))
    assert len(before) == len(keys)
    for number, workers in enumerate(numbers, 1):
        resize(path / f"{number - 1}", path / f"{number}", workers)
        assert contents(str(path / f"{number}")) == before


# What goes, and what does not.


def test_expiries(tmp_path: Path) -> None:
    """To the millisecond; what has expired is left out, however long the copy takes."""
    with opened(tmp_path / "db") as db:
        expiries = {b"past": NOW_MS - 1, b"now": NOW_MS, b"next": NOW_MS + 1, b"far": NOW_MS + 10**12, b"never": 0}
        store_of(db).commit({key: (b"v", at_ms, 0) if at_ms else b"v" for key, at_ms in expiries.items()})
        store_of(db).holds_sweep = True
        db.close(flush=False)
    assert sum(resize(tmp_path / "db", tmp_path / "new", 2, clock_ms=lambda: NOW_MS)) == 3
    found = entries_of(tmp_path / "new" / "group-00") | entries_of(tmp_path / "new" / "group-01")
    assert found == {b"next": (b"v", NOW_MS + 1, 0), b"far": (b"v", NOW_MS + 10**12, 0), b"never": b"v"}


def test_the_source_stays_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as db:
        db.put_many({b"%d" % number: b"v" for number in range(100)})
        db.close(flush=False)
    before = fingerprint(tmp_path / "db")
    resize(tmp_path / "db", tmp_path / "two", 2)
    assert fingerprint(tmp_path / "db") == before
    before = fingerprint(tmp_path / "two")
    resize(tmp_path / "two", tmp_path / "one", 1)
    assert fingerprint(tmp_path / "two") == before


@pytest.mark.usefixtures("low_limits")
def test_pieces_lie_under_their_keys_own_slot(tmp_path: Path) -> None:
    """RENAME leaves them under the old key's."""
    with opened(tmp_path / "db") as db:
        handling = handling_over(db)
        for number in range(20):
            handling.call(b"rpush", b"old%d" % number, *(b"%d" % element for element in range(10)))
            handling.call(b"rename", b"old%d" % number, b"new%d" % number)
        handling.pending.commit()
    resize(tmp_path / "db", tmp_path / "new", 2)
    seen = set()
    for place in places_in(str(tmp_path / "new")):
        found = entries_of(Path(place.directory))
        versions = []
        for key, entry in found.items():
            if key.startswith(b"new"):
                assert type(entry) is tuple
                meta = decode_meta(entry[2], entry[0])
                assert meta.slot == slot_of(key)
                assert sum(piece.startswith(elements_prefix(0, meta.slot, meta.version)) for piece in found) == 10
                versions.append(meta.version)
                seen.add(key)
        assert int.from_bytes(found[NEXT_VERSION], "little") > max(versions)  # type: ignore[arg-type]
    assert len(seen) == 20


@pytest.mark.usefixtures("low_limits")
def test_a_server_goes_on_with_new_versions(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as db:
        write(db, Random(5), 300)
    before = contents(str(tmp_path / "db"))
    resize(tmp_path / "db", tmp_path / "new", 1)
    with opened(tmp_path / "new") as db:
        handling = handling_over(db)
        for number in range(20):
            handling.call(b"rpush", b"later%d" % number, *(b"%d" % element for element in range(10)))
        handling.pending.commit()
    after = contents(str(tmp_path / "new"))
    assert {at: after[at] for at in before} == before
    assert len(after) == len(before) + 20


@pytest.mark.usefixtures("low_limits")
def test_what_is_dead_is_left_out(tmp_path: Path) -> None:
    """Pieces of a deleted key, which wait for the reaper, and cursors."""
    with opened(tmp_path / "db") as db:
        handling = handling_over(db)
        handling.call(b"rpush", b"list", *(b"%d" % element for element in range(10)))
        handling.pending.commit()
        store_of(db).commit({CURSORS: b"\x01"})
        handling.call(b"set", b"list", b"a string")
        handling.pending.commit()
    assert len(entries_of(tmp_path / "db")) > 10
    resize(tmp_path / "db", tmp_path / "new", 1)
    assert entries_of(tmp_path / "new") == {b"list": b"a string"}


def test_libraries_go_into_every_group(tmp_path: Path) -> None:
    libraries: dict[bytes, Entry] = {LIBRARIES + b"one": b"\x01source", LIBRARIES + b"two": b"\x01other"}
    with opened(tmp_path / "db") as db:
        store_of(db).commit(libraries)
    for source, target, workers in (("db", "two", 2), ("two", "three", 3), ("three", "one", 1), ("one", "again", 1)):
        assert sum(resize(tmp_path / source, tmp_path / target, workers)) == 0
        for place in places_in(str(tmp_path / target)):
            assert entries_of(Path(place.directory)) == libraries


@pytest.mark.usefixtures("low_limits")
def test_a_plain_copy_keeps_all_databases(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as db:
        for database in (0, 3, 15):
            write(db, Random(database), 200, database)
        handling = handling_over(db)
        assert handling.call(b"swapdb", b"3", b"7") == b"+OK\r\n"
        handling.pending.commit()
    before = contents(str(tmp_path / "db"))
    assert {database for database, _ in before} == {0, 7, 15}
    resize(tmp_path / "db", tmp_path / "new", 1)
    assert contents(str(tmp_path / "new")) == before


def test_the_number_of_shards_stays(tmp_path: Path) -> None:
    """Servers are started with it, and it is fixed."""
    flin.engine.open(tmp_path / "db", runner="inline", shards=4).close()
    resize(tmp_path / "db", tmp_path / "two", 2)
    resize(tmp_path / "two", tmp_path / "one", 1)
    for place in (*places_in(str(tmp_path / "two")), *places_in(str(tmp_path / "one"))):
        flin.engine.open(place.directory, runner="inline", shards=4).close()


# What is refused. Nothing is written then.


def test_other_databases_do_not_fit_into_groups(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as db:
        handling = handling_over(db)
        for database in (b"2", b"5"):
            handling.call(b"select", database)
            handling.call(b"set", b"k", b"v")
        handling.call(b"swapdb", b"5", b"9")
        handling.pending.commit()
    with pytest.raises(StorageError, match="database 0 alone, and there are keys in database 2, 9, too"):
        resize(tmp_path / "db", tmp_path / "new", 2)
    assert not (tmp_path / "new").exists()


def test_a_library_that_differs_between_groups(tmp_path: Path) -> None:
    for group, source in zip(create_groups(tmp_path / "db", 3), (b"\x01a", b"\x01a", b"\x01b"), strict=True):
        with opened(group.directory) as db:
            store_of(db).commit({LIBRARIES + b"mine": source})
    for workers in (1, 2):
        with pytest.raises(StorageError, match="group-02: its library mine is not that of the groups before it"):
            resize(tmp_path / "db", tmp_path / "new", workers)
    assert not (tmp_path / "new").exists()


def library(name: str, *functions: str) -> bytes:
    """As it is stored."""
    lines = [f"redis.register_function('{each}', function() return 1 end)" for each in functions]
    return "\n".join([f"\x01#!lua name={name}", *lines]).encode()


def test_libraries_with_the_same_function(tmp_path: Path) -> None:
    """Each group may have one of them, no server can have both."""
    of_groups = {
        "one": library("one", "first", "mine"),
        "other": library("other", "Mine"),
        "bad": b"\x01#!lua name=bad\n(",
    }
    for group, (name, source) in zip(create_groups(tmp_path / "db", 3), of_groups.items(), strict=True):
        with opened(group.directory) as db:
            store_of(db).commit({LIBRARIES + name.encode(): source})
    for workers in (1, 2):
        with pytest.raises(
            StorageError, match="libraries one and other, of different groups, both have a function mine"
        ):
            resize(tmp_path / "db", tmp_path / "new", workers)
    assert not (tmp_path / "new").exists()
    with opened(read_groups(tmp_path / "db")[1].directory) as db:
        store_of(db).commit({LIBRARIES + b"other": library("other", "yours")})
    resize(tmp_path / "db", tmp_path / "new", 2)
    for group in read_groups(tmp_path / "new"):
        with opened(group.directory) as db:
            assert all(store_of(db).read(LIBRARIES + name.encode()) for name in of_groups)


def test_a_source_that_is_in_use(tmp_path: Path) -> None:
    groups = create_groups(tmp_path / "db", 2)
    with opened(groups[0].directory), opened(groups[1].directory), pytest.raises(LockedError):
        resize(tmp_path / "db", tmp_path / "new", 3)
    with opened(groups[1].directory), pytest.raises(LockedError, match="group-01"):
        resize(tmp_path / "db", tmp_path / "new", 3)
    assert not (tmp_path / "new").exists()


# What is found out late. The target is unfinished then.


def test_a_key_in_the_wrong_group(tmp_path: Path) -> None:
    groups = create_groups(tmp_path / "db", 2)
    for group in groups:
        with opened(group.directory) as db:
            db.put(b"key", b"of slot 12539")
    with pytest.raises(StorageError, match="group-00: the key b'key' in it is of slot 12539, which is another group's"):
        resize(tmp_path / "db", tmp_path / "new", 3)
    check_unfinished(tmp_path / "new")
    assert resize(groups[0].directory, tmp_path / "other", 3) == [0, 0, 1], "a group named alone is plain"


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("kind", [b"rpush", b"sadd", b"hset", b"zadd"])
def test_a_collection_without_a_piece(tmp_path: Path, kind: bytes) -> None:
    with opened(tmp_path / "db") as db:
        handling = handling_over(db)
        handling.call(kind, b"k", *(b"%d" % element for element in range(20)))
        handling.pending.commit()
        store = store_of(db)
        piece = next(key for page in store.pages(store.freeze(), elements_prefix(0, 0, 0), KEYS_END) for key in page[0])
        store.commit({piece: flin.engine.entry.TOMBSTONE})
    with pytest.raises(CorruptionError, match=r"pieces of the .* b'k' are missing"):
        resize(tmp_path / "db", tmp_path / "new", 2)
    check_unfinished(tmp_path / "new")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("fault", ["lost", "other", "doubled"])
def test_what_was_not_written_as_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, fault: str
) -> None:
    with opened(tmp_path / "db") as db:
        db.put_many({b"%d" % number: b"v" for number in range(100)})
    commit = Store.commit

    def bad(store: Store, points: Mapping[bytes, Entry], *more: Any, **options: Any) -> int:
        written = dict(points)
        if b"42" in written:
            entry = written.pop(b"42")
            instead: dict[str, dict[bytes, Entry]] = {
                "lost": {},
                "other": {b"42": b"w"},
                "doubled": {b"42": entry, b"42x": entry},
            }
            written |= instead[fault]
        return commit(store, written, *more, **options)

    monkeypatch.setattr(Store, "commit", bad)
    with pytest.raises(CorruptionError, match="than were written"):
        resize(tmp_path / "db", tmp_path / "new", workers)
    check_unfinished(tmp_path / "new")
