"""A server whose values lie in value files, beside Redis: the same requests, the same replies, whatever is cold."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

import flin.engine
from flin.engine.background import value_garbage, value_segments
from flin.engine.disk.fs import OsReadableFile
from flin.objects import limits as sizes
from flin.testing.run import drop_retired
from tests.net.differential import Pair, focused, schedule
from tests.net.generator import Request
from tests.net.hash_generator import PLAIN_HASHES
from tests.net.list_generator import PLAIN_LISTS
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread
from tests.net.set_generator import PLAIN_SETS
from tests.net.sorted_set_generator import PLAIN_SORTED_SETS
from tests.net.stream_generator import PLAIN_STREAMS

SEED = 20_261_129
FLUSH_EVERY = 60  # requests: so that most reads meet tables
BESIDE = ["del", "expire", "persist", "rename", "copy", "set", "get", "getdel", "mset", "append", "scan", "keys"]

Compare = Callable[[Iterable[Request], int], list[str]]


@pytest.fixture(autouse=True)
def small_segments_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real file system each of them has a window of the WAL, most of it empty."""
    monkeypatch.setattr(value_segments, "MAX_EMPTY_BYTES", 1 << 20)


@pytest.fixture
def compare(tmp_path: Path, redis_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compare]:
    """Compares the replies to requests. Every value of 8 bytes and more that was flushed is read through a pointer, and
    one read in ten is cold."""
    source = random.Random(SEED)
    read = OsReadableFile.pread_nowait

    def sometimes_cold(file: OsReadableFile, size: int, offset: int) -> bytes | None:
        return None if source.random() < 0.1 else read(file, size, offset)

    monkeypatch.setattr(OsReadableFile, "pread_nowait", sometimes_cold)
    for module, name in (
        (value_segments, "LEAST_SHARE"),
        (value_garbage, "LEAST_SHARE"),
        (value_garbage, "MOST_SHARE"),
    ):
        monkeypatch.setattr(module, name, 0.0)  # every segment becomes a value file, and none is ever worn
    with (
        flin.engine.open(tmp_path / "db", memory_limit="4mb", runner="inline", value_threshold=8) as db,
        ServerThread(db._store) as server,
    ):
        named: set[str] = set()

        def differences(requests: Iterable[Request], protocol: int) -> list[str]:
            found: list[str] = []
            source = iter(requests)
            with Pair(server.port, redis_port, protocol) as pair:
                while some := list(islice(source, FLUSH_EVERY)):
                    found += pair.differences(some)
                    db.flush()
                    named.update(each.file for each in db._store.manifest.version.value_files)
            return found

        yield differences
        assert named, "nothing was read through a pointer"
        assert list(db.verify()) == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_commands_of_all_kinds(compare: Compare, protocol: int) -> None:
    assert compare(schedule(SEED, 2, protocol), protocol) == []


@pytest.mark.parametrize("names", [PLAIN_HASHES, PLAIN_LISTS, PLAIN_SETS, PLAIN_SORTED_SETS, PLAIN_STREAMS])
def test_collections_in_pieces(compare: Compare, names: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_PACKED_ELEMENTS", 4), ("MAX_WHOLE", 7)):
        monkeypatch.setattr(sizes, name, value)
    assert compare(focused([*names, *BESIDE], SEED, 400), 3) == []


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 3])
def test_more_commands_of_all_kinds(compare: Compare, protocol: int) -> None:
    assert compare(schedule(SEED + 1, 10, protocol), protocol) == []


def test_damage_in_a_value_file_is_told_to_the_client(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=1000, value_cache=False) as db:
        for number in range(10):
            db.put(b"k%d" % number, bytes([65 + number]) * 2000)
        db.flush()
        (value_file,) = db._store.manifest.version.value_files
        path = tmp_path / "db" / value_file.file
        data = bytearray(path.read_bytes())
        offset = data.index(b"DDDD")
        data[offset + 5] ^= 1
        path.write_bytes(data)
        drop_retired(db)
        with ServerThread(db._store) as server, RawClient(server.port) as client:
            reply = client.call(b"GET", b"k3").data
            assert reply.startswith(b"-")
            assert value_file.file.encode() in reply
            assert b"%d" % offset in reply
            assert client.call(b"SET", b"like", bytes(2000 - 2)).data == b"+OK\r\n"  # its key is two bytes longer
            assert client.call(b"GET", b"k4").data == b"$2000\r\n" + b"E" * 2000 + b"\r\n"
            for key in (b"k3", b"k4"):  # no value is read to tell these
                assert client.call(b"EXISTS", key).data == client.call(b"TOUCH", key).data == b":1\r\n"
                assert client.call(b"TYPE", key).data == b"+string\r\n"
                assert client.call(b"TTL", key).data == client.call(b"PEXPIRETIME", key).data == b":-1\r\n"
                assert client.call(b"STRLEN", key).data == b":2000\r\n"
                assert client.call(b"OBJECT", b"ENCODING", key).data == b"$3\r\nraw\r\n"
                assert client.call(b"OBJECT", b"REFCOUNT", key).data == b":1\r\n"
                assert client.call(b"MEMORY", b"USAGE", key).data == client.call(b"MEMORY", b"USAGE", b"like").data
                assert client.call(b"OBJECT", b"IDLETIME", key).data == b":0\r\n"
                assert client.call(b"SETNX", key, b"v").data == client.call(b"PERSIST", key).data == b":0\r\n"
                assert client.call(b"SCAN", b"0", b"MATCH", key, b"TYPE", b"string").data.count(key) == 1
                assert client.call(b"MULTI").data == b"+OK\r\n"
                client.call(b"EXISTS", key)
                client.call(b"COPY", key, key + b"copy", b"DB", b"1")
                assert client.call(b"EXEC").data.startswith(b"*2\r\n:1\r\n-" if key == b"k3" else b"*2\r\n:1\r\n:1")
            assert client.call(b"DBSIZE").data == b":11\r\n"
            assert client.call(b"SET", b"k3", b"new").data == b"+OK\r\n"
            assert client.call(b"GET", b"k3").data == b"$3\r\nnew\r\n"


def test_a_damaged_value_can_be_deleted(tmp_path: Path) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline", value_threshold=1000, value_cache=False) as db:
        keys = [b"k%03d" % number for number in range(200)]
        for key in keys:
            db.put(key, key * 300)
        db.flush()
        (value_file,) = db._store.manifest.version.value_files
        path = tmp_path / "db" / value_file.file
        path.write_bytes(path.read_bytes().replace(b"k1", b"K1"))
        drop_retired(db)
        with ServerThread(db._store) as server, RawClient(server.port) as client:
            assert client.call(b"GET", keys[100]).data.startswith(b"-")
            assert client.call(b"DEL", keys[100]).data == b":1\r\n"
            assert client.call(b"EXISTS", *keys).data == b":199\r\n"
            assert client.call(b"UNLINK", *keys).data == b":199\r\n", "in slices"
            assert client.call(b"DBSIZE").data == b":0\r\n"
