"""If a callee is written out in its caller for speed, both do the same: all pairs on the same random input.

The copy says `Written out: module.original` in a comment or docstring, the original that it is written out somewhere.
For a new copy these tests report that its pair is missing.
"""

from __future__ import annotations

import ast
import random
import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import pytest

import flin.engine
from flin.engine import view
from flin.engine.boundaries import covers
from flin.engine.buffers import BytesLike
from flin.engine.disk.cipher import SEAL_BYTES, SealKey
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.file_name import wal_name
from flin.engine.disk.sealed_files import SEGMENT_SALT, SealedFileSystem
from flin.engine.entry import TOMBSTONE, Entry, Live, Range
from flin.engine.key import KEYS_END, user_key
from flin.engine.memtable import Memtable
from flin.engine.read.read_path import (
    ABSENT,
    _from_runs,
    _from_runs_nowait,
    _is_absent,
    below_memtables,
    from_memtables,
    read_older,
)
from flin.engine.read.read_state import ReadState, TableRun, heads_of
from flin.engine.read.sorted_view import SortedView
from flin.engine.read.table_batch import add_from_tables
from flin.engine.read.value_cache import ValueCache
from flin.engine.sstable import Table, TableOptions
from flin.engine.table import bloom
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.bloom import hash_key
from flin.engine.table.sealed_values import SealedValueFile
from flin.engine.table.value_files import OpenValueFile, Row, ValueFiles, are_close, rows_of
from flin.engine.view import View
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.large_values import LargeValues
from flin.engine.wal.sealed import FrameOpener, FrameSealer
from flin.engine.wal.sealed_writer import SealedWalWriter
from flin.errors import CorruptionError
from flin.testing import SimulatedDisk
from tests.engine.layers import memtable_of, run_of, state_of
from tests.engine.wal.test_writer import EngineSetup as WalScene
from tests.source import ROOT, module_name

Points = dict[bytes, Entry]

MARK = re.compile(r"Written out: ([\w.]+(?:, [\w.]+)*)")


class Input:
    """Layers, keys and a script of writes, all made from one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.keys = [bytes(chance.choices(b"ab\xfe", k=chance.randrange(1, 4))) for _ in range(40)]
        self.keys += [b"", b"a", b"zz"]
        codec, size = chance.choice(["none", "zstd"]), chance.choice([1, 60, 4096])
        options = TableOptions(block_size_bytes=size, codec=codec)
        cache = BlockCache(chance.choice([0, 3000, 1 << 20]))
        layers = [self.layer() for _ in range(chance.randrange(1, 4))]
        self.runs = [run_of(points, chance.sample(self.keys, 1), options, cache, ranges) for points, ranges in layers]
        self.memtables = [memtable_of(self.layer()) for _ in range(chance.randrange(3))]
        self.active = memtable_of(self.layer())
        self.retired = [memtable_of(layers[0])] if chance.random() < 0.5 else []  # what the newest run says

    def layer(self) -> tuple[Points, list[Range]]:
        chance = self.chance
        shapes: list[Callable[[], Entry]] = [lambda: chance.randbytes(3), lambda: (b"t", 9, 0), lambda: TOMBSTONE]
        points = {key: chance.choice(shapes)() for key in chance.sample(self.keys, chance.randrange(1, 12))}
        first, second = sorted(chance.sample(self.keys, 2))
        return points, [(first, second)] if first < second and chance.random() < 0.4 else []

    @cached_property
    def state(self) -> ReadState:
        return state_of(self.active, self.memtables, self.runs, self.retired)

    @property
    def tables(self) -> list[Table]:
        return [table for run in self.runs for table in run.tables]

    def puts_and_deletes(self) -> list[tuple[bytes, bytes | None]]:
        chance = self.chance
        return [(key, None if chance.random() < 0.3 else chance.randbytes(chance.randrange(9))) for key in self.keys]


def first_run_that_says(runs: list[TableRun], key: bytes) -> Entry | None:
    says = (run.find(key, hash_key(key), nowait=False) for run in runs)
    return next((entry for entry in says if entry is not None), None)


def look_ups_of_tables(given: Input) -> None:
    for table in given.tables:
        for key in given.keys:
            hashed = hash_key(key)
            state = table.loaded()
            expected = state.find(key) if bloom.contains(state.words, hashed) else None
            assert table.get(key, hashed) == expected


def look_ups_in_cached_blocks(given: Input) -> None:
    for table in given.tables:
        state = table.loaded()
        for key in given.keys * 3:  # not cached yet, a payload, entries
            number = bisect_right(state.separators, key) - 1
            found = state.blocks[number] if number >= 0 else None
            if found is not None:
                assert found.find(key) == state.find(key) == found.find(key)
            state.find(key)


def values_of_files(given: Input) -> None:
    """Some pointers name what is not there; the second time nothing that was right is compared any more."""
    chance = given.chance
    disk = SimulatedDisk()
    disk.make_directory("/v")
    file = disk.create("/v/1")
    data = chance.randbytes(20_000)
    file.append(data)
    file.close()
    large = LargeValues(1, 1)
    pointers = []
    for _ in range(12):
        offset, size = chance.randrange(19_000), chance.choice([5, 1024, 3000])
        seen = data[offset : offset + size] if chance.random() < 0.8 else bytes(size)
        pointers.append(large.pointer(offset, seen))
    rows = rows_of(pointers)
    length = chance.choice([20_000, 19_500])
    one, other, alone, spanned = [OpenValueFile(disk, "/v/1", length=length) for _ in range(4)]
    files = ValueFiles({1: alone})
    for row in rows * 2:

        def checked(row: Row = row) -> bytes:
            other.check_place(row)
            value = other.pread(row[2], row[1])
            other.check(row, value)
            return value

        expected = outcome(checked)
        assert outcome(partial(one.value, row)) == expected
        assert outcome(partial(first_of, files, row)) == expected
        assert outcome(partial(span_of, spanned, row)) == expected


def sealed_values_of_files(given: Input) -> None:
    """Some texts were changed, some files are shorter than their pointers say."""
    chance = given.chance
    fs = SealedFileSystem(SimulatedDisk(), DataKeys({1: bytes(32)}), chance.randbytes)
    fs.make_directory("/v")
    salt, path = fs.segment_salt(), f"/v/{wal_name(1, 1)}"
    key = fs.segment_key(salt, 1, path)
    data = bytearray(SEGMENT_SALT.start) + salt
    large = LargeValues(1, 1)
    rows = []
    for _ in range(12):
        sealed = key.seal(chance.randbytes(chance.choice([0, 5, 1024, 3000])), struct.pack("<Q", len(data)))
        rows += rows_of([large.pointer(len(data), sealed, SEAL_BYTES)])
        data += sealed
        if chance.random() < 0.3:
            data[-chance.randrange(1, len(sealed))] ^= 1
    file = fs.create_segment(path)
    file.write(data[: len(data) - chance.choice([0, 100])], 0)
    file.close()
    length = len(data) - chance.choice([0, 50])
    one, other = [SealedValueFile(fs, path, length=length) for _ in range(2)]
    for row in rows * 2:
        number, offset, size, checksum = row
        stored = number, offset, size + SEAL_BYTES, checksum

        def checked(stored: Row = stored) -> bytes:
            other.check_place(stored)
            sealed = other.pread(stored[2], stored[1])
            text = key.maybe_open(sealed, struct.pack("<Q", stored[1])) if len(sealed) == stored[2] else None
            if text is None:
                other.check(stored, sealed)
            assert text is not None
            return text

        assert outcome(partial(one.plain_value, row)) == outcome(checked)


def span_of(file: OpenValueFile, row: Row) -> bytes:
    return file.span([row])[0]


def spans_of_values(given: Input) -> None:
    """Each read is of values that are close, and no two reads are."""
    chance = given.chance
    rows: list[Row] = []
    offset = 0
    for _ in range(20):
        offset += chance.choice([-5, 0, 100, 127, 128, 129, 378, 379, 5000])
        size = chance.choice([10, 1000])
        rows.append((chance.choice([1, 1, 1, 2]), max(offset, 0), size, 0))
        offset = rows[-1][1] + size
    spans: list[list[Row]] = []

    class Spans:
        def span(self, some: list[Row]) -> list[bytes]:
            spans.append(some)
            return [b""] * len(some)

    files: Any = ValueFiles({1: Spans(), 2: Spans()})  # type: ignore[dict-item]
    files._read_spans(rows)
    expected = [rows[:1]]
    for row, following in pairwise(rows):
        if are_close(row, following):
            expected[-1].append(following)
        else:
            expected.append([following])
    assert spans == expected


def first_of(files: ValueFiles, row: Row) -> bytes:
    return files._read_one_by_one([row])[0]


def outcome(read: Callable[[], bytes]) -> bytes | str:
    try:
        return read()
    except CorruptionError as error:
        return str(error)


def filters_of_many(given: Input) -> None:
    hashes = [hash_key(key) for key in given.keys]
    for table in given.tables:
        words = table.loaded().words
        let = bloom.let_through(words, hashes, bloom.masks_of(hashes))
        assert let == [bloom.contains(words, hashed) for hashed in hashes]


def runs_without_pages(given: Input) -> None:
    for runs in (given.runs, given.runs[:1]):  # one alone is asked in another way
        state = state_of(given.active, given.memtables, runs, given.retired)
        for key in given.keys * 3:  # not cached yet, a payload, entries
            assert _from_runs(state, 0, key, hash_key(key)) == first_run_that_says(runs, key)


def runs_without_waiting(given: Input) -> None:
    for table in given.tables:
        table.loaded()
    for key in given.keys * 3:  # not cached yet, a payload, entries
        says = (run.find(key, hash_key(key), nowait=True) for run in given.runs)
        expected = next((entry for entry in says if entry is not None), None)
        assert _from_runs_nowait(given.state, 0, key, hash_key(key)) == expected


def runs_of_many_keys(given: Input) -> None:
    for table in given.tables:
        table.loaded()
    keys = given.keys * 3  # not cached yet, a payload, entries
    expected = [_from_runs_nowait(given.state, 0, key, hash_key(key)) for key in keys]
    found: list[Live | None] = []
    add_from_tables(found, given.state, keys)
    assert found == [None if entry is TOMBSTONE else entry for entry in expected]


def runs_with_pages(given: Input) -> None:
    cache = given.tables[0].cache
    assert cache is not None
    joined = SortedView(given.runs, cache)
    for key in given.keys * 9:  # not counted yet, counted, with a page
        expected = first_run_that_says(given.runs, key)
        for says in (joined.find_cold(0, key, hash_key(key)), joined.find(key, hash_key(key))):
            assert says == expected or {says, expected} <= {None, TOMBSTONE}, "a page leaves out what is deleted"


def memtables(given: Input) -> None:
    for key in given.keys:
        says = (part.get(key) for part in (given.active, *given.memtables))
        expected = next((entry for entry in says if entry is not None), None)
        assert from_memtables(given.state, 0, key) == expected
        assert covers(given.active.deleted, key) == any(start <= key < stop for start, stop in given.active.ranges)


def older_than_the_active_dict(given: Input) -> None:
    """With a twin: reads from tables by one of them count towards pages and hot values."""
    twin = Input(given.seed)
    quick, plain = ValueCache(1 << 16), ValueCache(1 << 16)
    for number, key in enumerate(given.keys * 9):
        if key in given.active.entries:
            continue
        if number % 3 == 0:
            quick.absent = ABSENT  # the filters are asked first
        expected = from_memtables(twin.state, 0, key)
        if expected is None:
            expected = below_memtables(twin.state, 0, key, plain)
        assert read_older(given.state, 0, key, quick) == (None if expected is TOMBSTONE else expected)
    assert quick.young.items() <= plain.young.items(), "the plain way keeps what pages say, too"
    if given.state.sorted_views == (None,):
        assert quick.statistics() == plain.statistics()


def filters_of_runs(given: Input) -> None:
    values = ValueCache(1 << 16)
    for key in given.keys:
        for state in (given.state, replace(given.state, runs=(given.state.runs[0][:1],), sorted_views=())):
            runs = state.runs[0]
            may_hold = any(
                run.has_range_tombstones
                or bloom.contains(run.tables[bisect_left(run.bounds, key)].filter_words, hash_key(key))
                for run in runs
            )
            assert _is_absent(state, 0, key, values) != may_hold


def frames_of_puts(given: Input) -> None:
    for window in (0, 64, 4096):
        quick, plain = WalScene(window), WalScene(window)
        for number, (key, value) in enumerate(given.puts_and_deletes()):
            quick.writer.put(key, value or b"")
            writer = plain.writer
            file = writer._file or writer._begin()
            frame = wal_frames.encode_put(
                writer._salt, writer.position, writer.sequence, writer.synced, key, value or b""
            )
            writer._append(file, frame, 1)
            assert (quick.writer.position, quick.writer.sequence) == (writer.position, writer.sequence)
            if number == 20:
                assert quick.writer.synced == writer.synced
        quick.writer.close()
        plain.writer.close()
        assert quick.disk.files() == plain.disk.files()


def sealed_frames(given: Input) -> None:
    """Two sealers with one key take the same numbers: so equal frames are equal bytes."""
    salt, key_of_segment = b"\1\0 bytes", bytes(range(32))
    quick, plain = (FrameSealer(SealKey(key_of_segment), salt, 500, 4) for _ in range(2))
    opener = FrameOpener(SealKey(key_of_segment), "w")
    for number, (key, value) in enumerate(given.puts_and_deletes()):
        place = (1000 + number, number, 900)
        value = value or b""
        frame = quick.put(*place, key, value)
        if len(value) < 4:
            text = len(key).to_bytes(4, "little") + key + value
            kind = wal_frames.SEALED | wal_frames.FRAME_PUT
            assert frame == plain._frame((len(text) + SEAL_BYTES, salt, *place, 1, kind), text)
        else:
            assert frame == plain.commit(*place, {key: value}, (), True)
        data = bytes(500 + number) + frame
        _, _, _, _, _, _, count, kind = wal_frames.read_frame_header(data, 500 + number)
        assert opener.points(data, 500 + number, len(data), kind, count, None) == ([], [(key, value)])


def sealed_writers(given: Input) -> None:
    for window in (0, 64, 4096):
        writers, disks = [], []
        threshold = given.chance.choice([4, 64, 4096])
        for _ in range(2):
            disk = SimulatedDisk(window_bytes=window)
            disk.make_directory("/db")
            fs = SealedFileSystem(disk, DataKeys({1: bytes(32)}), random.Random(given.seed).randbytes)
            begin = {"next_number": 1, "position": 0, "sequence": 1, "predecessor": 0, "predecessor_end": 0}
            writers.append(SealedWalWriter(fs, "/db", bytes(16), 1, threshold, **begin))
            disks.append(disk)
        quick, plain = writers
        for key, value in given.puts_and_deletes():
            quick.put(key, value or b"")
            file = plain._file or plain._begin()
            place = plain.position, plain.sequence, plain.synced
            plain._append(file, plain._current_sealer().put(*place, key, value or b""), 1)
            assert (quick.position, quick.sequence) == (plain.position, plain.sequence)
        quick.close()
        plain.close()
        assert disks[0].files() == disks[1].files()


def frames_of_deletes(given: Input) -> None:
    for number, key in enumerate(given.keys):
        place = (b"8 bytes!", 1000 + number, number, 900)
        assert wal_frames.encode_delete(*place, key) == wal_frames.encode_commit(*place, {key: TOMBSTONE})


def replays_of_deletes(given: Input) -> None:
    for key in given.keys:
        header = wal_frames.SegmentHeader(bytes(16), 1, b"8 bytes!", 0, 0, 0, 0, 0)
        frame = wal_frames.encode_delete(header.salt, wal_frames.HEADER_BYTES, 0, 0, key)
        part = Memtable()
        data = wal_frames.encode_header(header) + frame
        assert wal_replay.replay(data, header, "w", part, end=len(data)).operations == 1
        _, points = wal_frames.decode_payload(wal_frames.FRAME_OPERATIONS, frame[wal_frames.FRAME_BYTES :], 1, "w", 0)
        assert list(part.entries.items()) == points == [(key, TOMBSTONE)]


def gets_of_an_engine(given: Input) -> None:
    for shards in (1, 4):
        with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline", shards=shards) as db:
            for key, value in given.puts_and_deletes():
                db.delete(key) if value is None else db.put(key, value)
                if given.chance.random() < 0.1:
                    db.flush()
            asked: list[BytesLike] = [*given.keys, bytearray(b"a"), b"\xff\xff"]
            for absent in (0, ABSENT):
                for each in asked:
                    db._store.value_cache.absent = absent
                    assert db.get(each) == View.get(db, each)
                    db._store.value_cache.absent = absent
                    assert db.get(each, 7) == View.get(db, each, 7)
                assert db.get_many(asked) == View.get_many(db, asked)
                plain = [key for key in given.keys if db.get(key) is not None]
                assert db.get_many(iter(plain)) == [db.get(key) for key in plain]
                assert db.get_many([]) == []
                db.compact()
                assert (db._store.state.lone_table is not None) == (shards == 1 and len(db) > 0)
                db.put(b"new", b"1")


def writes_of_a_store(given: Input) -> None:
    """Each store is killed: its memory and the replay of its WAL are the same."""
    found = []
    for one_by_one in (True, False):
        disk = SimulatedDisk()
        db = flin.engine.open("/db", fs=disk, runner="inline", shards=2)
        store = db._store
        script = random.Random(1)
        for key, value in sorted(given.state.active[0].entries.items(), key=lambda item: script.random()):
            if type(value) is bytes:
                store.put(key, value) if one_by_one else store.commit({key: value})
            elif value is TOMBSTONE:
                store.delete(key) if one_by_one else store.commit({key: TOMBSTONE})
        memory = [dict(part.entries) for part in store.state.active]
        sequence = store._wal.sequence
        db.close(flush=False)
        with flin.engine.open("/db", fs=disk, runner="inline") as again:
            assert [dict(part.entries) for part in again._store.state.active] == memory
        found.append((memory, sequence))
    assert found[0] == found[1]


def bounds_of_scans(given: Input) -> None:
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline") as db:
        db.put_many(dict.fromkeys(given.keys, b"v"))
        for key in given.keys:
            low, high = view.scan_bounds(None, key, None, True, False)
            expected = [user_key(found) for page in db._pages(low, high, False, None) for found in page[0]]
            assert [found for found, _ in db.scan(start=key)] == expected
            assert [found for found, _ in db.scan(start=key, limit=3)] == expected[:3]


def heads_under_the_lock(given: Input) -> None:
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="inline") as db:
        db.put_many(dict.fromkeys(given.keys, b"v"))
        store = db._store
        active: tuple[Memtable, ...] = store.state.active
        for key in given.keys:
            asked = (active, active[0].deleted, (), key, KEYS_END, 5)
            assert store._active_heads(*asked) == store._exclusively(partial(heads_of, *asked))


PAIRS: dict[str, tuple[set[str], Callable[[Input], None]]] = {
    "sstable.Table.get": ({"table.bloom.contains"}, look_ups_of_tables),
    "table.state.TableState.find": ({"table.cached_block.CachedBlock.find"}, look_ups_in_cached_blocks),
    "table.bloom.let_through": ({"table.bloom.contains"}, filters_of_many),
    "read.read_path._from_runs": (
        {"read.read_state.TableRun.find", "sstable.Table.get", "table.bloom.contains"},
        runs_without_pages,
    ),
    "read.read_path._from_lone_run": ({"table.state.TableState.find"}, runs_without_pages),
    "read.read_path._from_runs_nowait": (
        {
            "read.read_state.TableRun.find",
            "sstable.Table.get_nowait",
            "table.bloom.contains",
            "table.cached_block.CachedBlock.find",
        },
        runs_without_waiting,
    ),
    "read.table_batch.add_from_tables": ({"read.read_path._from_runs_nowait"}, runs_of_many_keys),
    "read.sorted_view.SortedView.find_cold": (
        {"read.read_state.TableRun.find", "table.bloom.contains"},
        runs_with_pages,
    ),
    "read.read_path._is_absent": ({"table.bloom.contains"}, filters_of_runs),
    "read.read_path.from_memtables": ({"memtable.Memtable.get"}, memtables),
    "read.read_path.read_older": (
        {
            "boundaries.covers",
            "read.value_cache.ValueCache.get",
            "read.read_path.from_retired",
            "read.sorted_view.SortedView.find",
        },
        older_than_the_active_dict,
    ),
    "table.value_files.OpenValueFile.value": (
        {
            "disk.open_files.TableFile.pread",
            "table.value_files.OpenValueFile.check",
            "table.value_files.OpenValueFile.check_place",
        },
        values_of_files,
    ),
    "table.value_files.OpenValueFile.span": ({"table.value_files.OpenValueFile.check"}, values_of_files),
    "table.sealed_values.SealedValueFile.plain_value": (
        {
            "table.value_files.OpenValueFile.check_place",
            "disk.open_files.TableFile.pread",
            "disk.cipher.SealKey.maybe_open",
        },
        sealed_values_of_files,
    ),
    "table.value_files.ValueFiles._read_spans": ({"table.value_files.are_close"}, spans_of_values),
    "table.value_files.ValueFiles._read_one_by_one": (
        {"table.value_files.OpenValueFile.check", "table.value_files.OpenValueFile.check_place"},
        values_of_files,
    ),
    "wal.writer.WalWriter.put": ({"wal.writer.WalWriter._append"}, frames_of_puts),
    "wal.frames.encode_delete": ({"wal.frames.encode_commit"}, frames_of_deletes),
    "wal.sealed.FrameSealer.large_put": (
        {"wal.sealed.FrameSealer.commit_placed", "wal.sealed.FrameSealer._frame"},
        sealed_frames,
    ),
    "wal.sealed.FrameOpener.points": ({"wal.frames.decode_payload"}, sealed_frames),
    "wal.sealed_writer.SealedWalWriter.put": (
        {"wal.writer.WalWriter._append", "wal.sealed.FrameSealer.put", "wal.sealed.FrameSealer._frame"},
        sealed_writers,
    ),
    "wal.replay.replay": ({"wal.frames.decode_payload"}, replays_of_deletes),
    "engine.Engine.get": ({"view.View.get", "read.read_path._is_absent"}, gets_of_an_engine),
    "tree.commits.Commits.put": ({"tree.commits.Commits.commit"}, writes_of_a_store),
    "tree.commits.Commits.delete": ({"tree.commits.Commits.commit"}, writes_of_a_store),
    "view.View.scan": ({"view.scan_bounds"}, bounds_of_scans),
    "tree.ordered_reads.OrderedReads._active_heads": ({"tree.turns.Turns._exclusively"}, heads_under_the_lock),
}
"""By copy: the originals that are written out in it, and the function that compares them."""


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_says_what_its_original_says(seed: int) -> None:
    for compare in {compare for _, compare in PAIRS.values()}:
        compare(Input(seed))


def test_every_copy_has_its_pair_and_every_original_knows() -> None:
    marked = marks()
    assert {copy: originals for copy, (originals, _) in PAIRS.items()} == marked
    for original in set().union(*marked.values()):
        found: Any = flin.engine
        for part in original.split("."):
            found = getattr(found, part)
        assert "ritten out in" in (found.__doc__ or ""), f"{original} does not say that it is written out elsewhere"


def marks() -> dict[str, set[str]]:
    """The marks, by the function that holds them."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "flin" / "engine").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        functions: list[tuple[int, int, str]] = []
        collect(ast.parse(text), module_name(path).removeprefix("flin.engine."), functions)
        for number, line in enumerate(lines, 1):
            match = MARK.search(line)
            if match is not None:
                holders = [(start, name) for start, stop, name in functions if start <= number <= stop]
                found.setdefault(max(holders)[1], set()).update(match[1].split(", "))
    return found


def collect(node: ast.AST, name: str, into: list[tuple[int, int, str]]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            own = f"{name}.{child.name}"
            if isinstance(child, ast.FunctionDef):
                into.append((child.lineno, child.end_lineno or child.lineno, own))
            collect(child, own, into)
