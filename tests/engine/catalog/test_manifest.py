"""The manifest: its layout, round trips, every bit, every length; and a writer that leaves the old or the new one."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest, ManifestWriter
from flin.engine.catalog.version import ValueFile, Version
from flin.engine.disk.file_name import maybe_value_number, table_name, value_name, wal_name
from flin.engine.disk.fs import OsFileSystem
from flin.engine.slot import MAX_SHARDS
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError
from flin.testing import CrashModel, Fault, SimulatedDisk, after_crash, killed

ID = bytes(range(16))


def table(number: int = 1, memtable: int = 0, **changes: Any) -> TableMeta:
    meta = TableMeta(table_name(number, memtable, 2), 0, 4096, 10, 1, 0, 2, b"a", b"m", 1, 10, 999)
    return replace(meta, **changes)


def manifest(**changes: Any) -> Manifest:
    return replace(Manifest(ID, 3, 1, 9, 5, 1234, 77, 1_700_000_000_000, Version(((),))), **changes)


SAMPLE = manifest(
    shards=2,
    version=Version(
        (
            ((table(3), table(3, 1, smallest=b"n", largest=b"z")), (table(1, offset=8),)),
            ((table(2, range_deletes=1, smallest=b"", largest=b"\xff\x01"),),),
        ),
        {0: 12, 7: 3},
        (1, 0),
        ((b"g", b"n"), ()),
        (ValueFile(4, wal_name(4, 2), 5000, 3000), ValueFile(1 << 63 | 6 << 20 | 1, value_name(6, 1, 3), 900, 9)),
    ),
)


def test_layout() -> None:
    fixed = bytes.fromhex(
        "000102030405060708090a0b0c0d0e0f 0300000000000000 01000000 0900000000000000 0500000000000000"
        "d204000000000000 4d00000000000000 0068e5cf8b010000 01000000 01000000 01000000"
    )
    counts = bytes.fromhex("02000000 feffffffffffffff")
    runs = bytes.fromhex("00000000 01000000")
    record = bytes.fromhex(
        "0000000000000000 0010000000000000 0a00000000000000 0100000000000000 0000000000000000 0200000000000000"
        "0100000000000000 0a00000000000000 e703000000000000 1300 01000000 01000000"
    )
    body = fixed + counts + runs + record + b"00000001-0000.2.sst" + b"a" + b"m"
    points = bytes.fromhex("01000000 07000000 0900000000000000")
    shard = bytes.fromhex("01000000 01000000 02000000") + b"ca"
    value_files = bytes.fromhex("01000000 0500000000000000 0010000000000000 0004000000000000 0e00") + b"00000005.2.wal"
    expected = manifest(
        version=Version(
            (((table(points=((7, 9),)),),),), {2: -2}, (1,), ((b"ca",),), (ValueFile(5, "00000005.2.wal", 4096, 1024),)
        )
    )
    data = _file(2, body + points + shard + value_files)
    assert manifest_format.encode(expected) == data
    assert manifest_format.decode(data, "m") == expected
    assert manifest_format.decode(_file(1, body), "m") == manifest(version=Version((((table(),),),), {2: -2}))


def _file(version: int, body: bytes) -> bytes:
    return b"FlinMAN\0" + struct.pack("<IIQ", version, crc32(body), len(body)) + body


numbers = st.integers(0, 2**63 - 1)
tables = st.builds(
    TableMeta,
    file=st.builds(table_name, st.integers(1, 10**12), st.integers(0, 10**6), st.integers(0, 10**9)),
    offset=numbers,
    length=numbers,
    entry_count=numbers,
    tombstones=numbers,
    range_deletes=numbers,
    expiring=numbers,
    smallest=st.binary(max_size=20),
    largest=st.binary(max_size=20),
    smallest_sequence=numbers,
    largest_sequence=numbers,
    raw_bytes=numbers,
    points=st.none()
    | st.dictionaries(st.integers(0, 65535), st.integers(1, 2**63), max_size=3).map(
        lambda of: tuple(sorted(of.items()))
    ),
)
value_names = st.one_of(
    st.builds(wal_name, st.integers(1, 10**12), st.integers(0, 10**9)),
    st.builds(value_name, st.integers(1, 10**12), st.integers(0, 10**6), st.integers(0, 10**9)),
)
value_files = st.lists(
    st.tuples(value_names, st.integers(1, 2**60), st.integers(0, 2**60)),
    max_size=3,
    unique_by=lambda of: _number(of[0]),
).map(
    lambda of: tuple(
        ValueFile(_number(name), name, live + more, live)
        for name, live, more in sorted(of, key=lambda of: _number(of[0]))
    )
)
runs = st.lists(st.lists(tables, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple)


def _number(name: str) -> int:
    number = maybe_value_number(name)
    assert number is not None
    return number


def _each(power: int, of_shard: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of_shard, min_size=2**power, max_size=2**power).map(tuple)


versions = st.integers(0, 3).flatmap(
    lambda power: st.builds(
        lambda shards, counts, shares, fences, files: Version(
            shards,
            counts,
            tuple(int(share * len(runs)) for share, runs in zip(shares, shards, strict=True)),
            fences,
            files if any(shards) else (),
        ),
        _each(power, runs),
        st.dictionaries(st.integers(0, 65535), st.integers(-(2**40), 2**40), max_size=4),
        _each(power, st.floats(0, 1)),
        _each(power, st.sets(st.binary(max_size=9), max_size=3).map(lambda keys: tuple(sorted(keys)))),
        value_files,
    )
)
manifests = st.builds(
    lambda identity, fields, version: Manifest(
        identity,
        fields[0],
        len(version.shards),
        *fields[1:],
        version,  # type: ignore[call-arg]
    ),
    st.binary(min_size=16, max_size=16),
    st.tuples(*[numbers] * 6),
    versions,
)


@given(manifests)
def test_round_trip(expected: Manifest) -> None:
    assert manifest_format.decode(manifest_format.encode(expected), "m") == expected


@settings(max_examples=25)
@given(st.lists(manifests, min_size=1, max_size=3))
def test_the_writer_joins_what_the_encoder_writes(written: list[Manifest]) -> None:
    """Encoded tables are kept from one manifest to the next; the file is the same as without."""
    disk = SimulatedDisk()
    disk.make_directory("/db")
    writer = ManifestWriter(disk, "/db")
    for one in written:
        # Within one database the metadata of a section of a file never changes.
        seen: dict[tuple[str, int], TableMeta] = {}
        for runs_of_shard in one.version.shards:
            for run in runs_of_shard:
                for meta in run:
                    seen.setdefault((meta.file, meta.offset), meta)
        shards = tuple(
            tuple(tuple(seen[meta.file, meta.offset] for meta in run) for run in shard) for shard in one.version.shards
        )
        unique = replace(one, version=Version(shards, one.version.counts))
        ManifestWriter(disk, "/db").write(unique)
        writer._encoded.clear()
        writer.write(unique)
        writer.write(unique)
        assert disk.read("/db/MANIFEST") == manifest_format.encode(unique)
        assert disk.names("/db") == ["MANIFEST"]


def test_every_flipped_bit_is_found() -> None:
    data = manifest_format.encode(SAMPLE)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, FormatVersionError)):
            manifest_format.decode(bytes(damaged), "m")


def test_every_truncation_is_found() -> None:
    data = manifest_format.encode(SAMPLE)
    for size in range(len(data)):
        with pytest.raises(CorruptionError):
            manifest_format.decode(data[:size], "m")
    with pytest.raises(CorruptionError):
        manifest_format.decode(data + b"\0", "m")


@given(st.binary(max_size=300))
def test_any_body_gives_a_manifest_or_corruption(body: bytes) -> None:
    """With a correct checksum before it, so that the body itself is read."""
    with suppress(CorruptionError):
        manifest_format.decode(_with_prefix(body), "m")


@given(st.data())
def test_a_changed_body_gives_a_manifest_or_corruption(data: st.DataObject) -> None:
    body = bytearray(manifest_format.encode(SAMPLE)[24:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(len(body) - 40, len(body))) :]
    with suppress(CorruptionError):
        manifest_format.decode(_with_prefix(bytes(body)), "m")


def _with_prefix(body: bytes) -> bytes:
    return _file(manifest_format.FORMAT_VERSION, body)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "LOCK", "MANIFEST", "00000001.1.wal", "00000001-0000.1.sst/",
                                  "00000001-0000.1.sst\n", "", "00000001-0000.01.sst", "x" * 300])  # fmt: skip
def test_a_file_name_is_data(name: str) -> None:
    """No name in a manifest leads outside the directory, or to a file of another role."""
    data = manifest_format.encode(manifest(version=Version((((table(file=name),),),))))
    with pytest.raises(CorruptionError, match="is not the name of a table"):
        manifest_format.decode(data, "m")


@pytest.mark.parametrize("shards", [0, 3, 100, MAX_SHARDS * 2, 2**32 - 1])
def test_shards_are_a_power_of_two(shards: int) -> None:
    with pytest.raises(CorruptionError, match="not a power of two"):
        manifest_format.decode(manifest_format.encode(manifest(shards=shards)), "m")


def test_a_run_of_a_shard_that_is_not_there() -> None:
    two = manifest_format.encode(manifest(version=Version(((), ((table(),),)))))
    with pytest.raises(CorruptionError):
        manifest_format.decode(two, "m")  # the manifest says one shard


def test_what_is_not_in_order() -> None:
    """One state of a database has one manifest: anything that an encoder would not write is refused."""
    counts = bytearray(manifest_format.encode(manifest(version=Version(((),), {1: 5, 2: 6}))))
    empty_run = manifest_format.encode(manifest(version=Version((((),),))))
    order = manifest_format.encode(manifest(shards=2, version=Version((((table(1),),), ((table(2),),)))))
    body = bytearray(order[24:])
    at = 24 + 4 + 8 * 5 + 4 * 3  # where the runs begin: after the fixed part, as there are no counts
    body[at : at + 16] = body[at + 8 : at + 16] + body[at : at + 8]
    for wrong in (_with_prefix(bytes(body)), _with_prefix(_swapped_counts(counts)), empty_run):
        with pytest.raises(CorruptionError, match=r"not in order|without tables"):
            manifest_format.decode(wrong, "m")


def _swapped_counts(data: bytearray) -> bytes:
    end = -12  # after them: one shard without fences, no value file
    return bytes(data[24 : end - 24] + data[end - 12 : end] + data[end - 24 : end - 12] + data[end:])


@pytest.mark.parametrize("version", [3, 2**32 - 1])
def test_a_newer_manifest_is_refused(version: int) -> None:
    data = bytearray(manifest_format.encode(SAMPLE))
    data[8:12] = struct.pack("<I", version)
    with pytest.raises(FormatVersionError, match="up to 2"):
        manifest_format.decode(bytes(data), "m")


def test_read() -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db/sub")
    assert manifest_format.read(disk, "/db") is None
    ManifestWriter(disk, "/db").write(SAMPLE)
    assert manifest_format.read(disk, "/db") == SAMPLE


def test_read_refuses_what_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(manifest_format.encode(SAMPLE))
    (tmp_path / "MANIFEST").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptionError, match="not a regular file"):
        manifest_format.read(OsFileSystem(), str(tmp_path))


# Writing.

OLD, NEW = manifest(epoch=3), manifest(epoch=3, next_job=99)


def _disk_with_old() -> tuple[SimulatedDisk, ManifestWriter]:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    writer = ManifestWriter(disk, "/db")
    writer.write(OLD)
    return disk, writer


def test_after_any_failure_there_is_the_old_manifest_or_the_new_one() -> None:
    """Every call fails once. If the old manifest may be gone after a power cut, the writer says it is uncertain."""
    for kind in (Fault(0), Fault(0, errno.ENOSPC, taken=7), Fault(0, late=True)):
        for n in range(20):
            disk, writer = _disk_with_old()
            fault = Fault(n, kind.code, frozenset({"append"}) if kind.taken else frozenset(), late=kind.late,
                          taken=kind.taken)  # fmt: skip
            disk.faults.append(fault)
            with suppress(OSError):
                writer.write(NEW)
                writer.confirm()
            disk.faults.clear()
            assert manifest_format.read(disk, "/db") in (OLD, NEW)
            if not fault.fired:
                assert manifest_format.read(disk, "/db") == NEW
                break
            if not writer.uncertain:
                cut = after_crash(disk, CrashModel.IN_ORDER, lambda n: 0)
                assert manifest_format.read(cut, "/db") == manifest_format.read(disk, "/db")
                writer.write(NEW)
                assert manifest_format.read(disk, "/db") == NEW
                assert disk.names("/db") == ["MANIFEST"]
        else:
            pytest.fail("the fault never stopped striking")


def test_a_power_cut_at_any_call_leaves_one_of_the_two() -> None:
    disk, writer = _disk_with_old()
    moments: list[SimulatedDisk] = []
    disk.on_change = lambda _: moments.append(killed(disk))
    writer.write(NEW)
    assert [len(moments), disk.on_change is None] == [5, False]  # create, append, sync, rename, sync_directory
    for moment in moments:
        for crash_model in CrashModel:
            for choice in (0, -1):
                cut = after_crash(moment, crash_model, lambda n, choice=choice: choice % n)  # type: ignore[misc]
                found = manifest_format.read(cut, "/db")
                assert found in (OLD, NEW)
                assert found == NEW or moment is not moments[-1]
