"""Databases as records and back: all types, databases and expiries; and writes that are refused."""

from __future__ import annotations

import errno

import pytest
import redis

import flin.engine
from flin.engine.engine import Engine, store_of
from flin.errors import FormatVersionError, ImportDataError, StorageError
from flin.testing import Fault, ManualClock, SimulatedDisk
from flin.transfer.exporting import records
from flin.transfer.importing import Import
from flin.transfer.record import Record
from tests.net.serving import ServerThread


def _opened(disk: SimulatedDisk, path: str, **options: object) -> Engine:
    return flin.engine.open(path, fs=disk, runner="inline", clock_ms=ManualClock(), **options)  # type: ignore[arg-type]


def _records(db: Engine) -> list[Record]:
    with db.snapshot() as snapshot:
        return list(records(snapshot))


def _fill(db: Engine) -> None:
    with ServerThread(store_of(db)) as server, redis.Redis(port=server.port) as client:
        client.set("string", "value", px=3_600_000)
        client.set(b"\xff\x00", b"\x00\xff")
        client.set("empty", "")
        client.set("long", "y" * 200_000)
        client.append("long", "z" * 100_000)
        client.hset("small hash", mapping={"f": "v"})
        client.hset("hash", mapping={str(number): "x" * 50 for number in range(400)})
        client.rpush("list", *range(3000))
        client.sadd("set", *range(700))
        client.zadd("sorted set", {str(number): number / 3 for number in range(700)})
        client.xadd("stream", {"f": "v"}, id="1-1")
        client.xgroup_create("stream", "group", "0")
        client.xreadgroup("group", "consumer", {"stream": ">"})
        client.expire("list", 1000)
        for database in (3, 15):
            client.select(database)
            client.set("here", database)
            client.lpush("list", "a", "b")
        client.swapdb(3, 4)


def _dumped(db: Engine) -> dict[tuple[int, bytes], tuple[bytes, int]]:
    """What clients see: every key's DUMP and expiry."""
    found = {}
    with ServerThread(store_of(db)) as server, redis.Redis(port=server.port) as client:
        for database in range(16):
            client.select(database)
            for key in client.keys("*"):
                found[database, key] = client.dump(key), client.execute_command("PEXPIRETIME", key)
            assert client.dbsize() == len(client.keys("*"))
    return found


def test_all_that_a_server_wrote() -> None:
    disk = SimulatedDisk()
    with _opened(disk, "/first") as first, _opened(disk, "/second") as second:
        _fill(first)
        first.flush()
        exported = _records(first)
        adding = Import(second, "file")
        adding.add_all(exported)
        assert (adding.added, adding.expired) == (len(exported), 0)
        assert _records(second) == exported
        assert _dumped(second) == _dumped(first)
        assert first.verify() == second.verify() == []
        again = Import(second, "file")
        again.add_all(exported)
        assert _records(second) == exported, "twice is once"
        assert second.verify() == []


def test_keys_are_replaced_whatever_they_held_and_expired_ones_are_left_out() -> None:
    disk = SimulatedDisk()
    with _opened(disk, "/first") as db:
        _fill(db)
        now_ms = store_of(db).now_ms()
        adding = Import(db, "file")
        dump = next(record.payload for record in _records(db) if record.key == b"small hash")
        adding.add_all(
            [
                Record(b"hash", b"now a string"),
                Record(b"string", dump, "hash"),
                Record(b"new", b"1", expires_at_ms=now_ms + 1000),
                Record(b"gone", b"1", expires_at_ms=now_ms),
            ]
        )
        assert (adding.added, adding.expired) == (3, 1)
        assert db[b"hash"] == b"now a string"
        assert dict(db.hash(b"string")) == {b"f": b"v"}
        assert db.ttl(b"new") == 1.0
        assert b"gone" not in db
        assert db.verify() == []


@pytest.mark.parametrize(
    ("payload", "kind", "reason"),
    [(b"", "hash", "footer"), (b"\1" * 20, "hash", "version|checksum"), (None, "list", "is no list")],
)
def test_a_collection_that_is_none(payload: bytes | None, kind: str, reason: str) -> None:
    disk = SimulatedDisk()
    with _opened(disk, "/first") as db:
        _fill(db)
        hashed = next(record.payload for record in _records(db) if record.key == b"small hash")
        record = Record(b"k", hashed if payload is None else payload, kind, place="line 7")
        with pytest.raises(ImportDataError, match=reason) as raised:
            Import(db, "file").add(record)
        assert raised.value.place == "line 7"


def test_a_disk_that_is_full_is_said() -> None:
    disk = SimulatedDisk()
    db = _opened(disk, "/first")
    adding = Import(db, "file")
    disk.faults.append(Fault(0, errno.ENOSPC, frozenset({"append", "extend", "create"}), sticky=True))
    with pytest.raises(StorageError):
        adding.add_all(Record(b"%d" % number, b"x" * 2000) for number in range(2000))
    disk.faults.clear()
    Import(db, "file").add_all([Record(b"a", b"1")])
    assert db[b"a"] == b"1"
    db.close()


def test_a_type_of_later_days() -> None:
    disk = SimulatedDisk()
    with _opened(disk, "/first") as db:
        store_of(db).commit({b"k": (b"value", 0, 99)})
        with pytest.raises(FormatVersionError, match="newer Flin"):
            _records(db)
