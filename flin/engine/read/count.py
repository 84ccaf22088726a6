"""Resolving live counts: by how much a memtable changes the number of live keys, exactly.

A memtable knows its own keys, not whether older layers had them already. Newest first, each layer (an older memtable,
or a run of tables) decides the keys that it holds or whose deletion it records, until all are decided. The keys that a
range delete hides are found by walking the live keys beneath it. A key is live if its newest entry is a put, expired or
not: an expired key counts until its sweep commits a tombstone.

So the changes add up: the sum over all memtables and tables is the number of live keys, even after flushes and merges,
because neither changes what a reader sees.

The work can take seconds on a large database, so it is a generator that yields after each slice its cost, in lookups or
their equivalent: jobs pause between slices, and a count on demand stops when its budget is used up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, compress, islice
from typing import Any, Final, Protocol, TypeAlias

from flin.engine.boundaries import Boundaries, boundaries_of, covered_slices, cut_boundaries, ranges_of
from flin.engine.entry import KIND_DELETE, KIND_PUT, TOMBSTONE, Entry, Range
from flin.engine.key import KEYS_END, PIECES_START, PIECES_STOP, USER_END, count_by_namespace, without_pieces
from flin.engine.memtable import Memtable, add_counts
from flin.engine.read.merge import Source, merge_pages
from flin.engine.table import bloom
from flin.engine.table.key_part import KeyPage
from flin.engine.table.meta import TableMeta

SLICE: Final = 1024
"""Lookups between two yields: about 1-3 ms, by which a server may be late."""

PIECE_ENTRIES: Final = 1 << 16
"""Keys that are resolved at once: 10 MB, and the tables beneath are asked for neighbours."""

SORTED_AT_ONCE: Final = 4096
"""Keys of one part of a memtable that is sorted in parts, about: 4 ms."""
_SAMPLES: Final = 8  # of each part: few parts are more than twice as large as others
DEALT: Final = 4
"""Keys that cost a lookup to deal out or to sort (measured: 0.5 and 0.6 µs each)."""

# When to read all keys of a table instead of asking for each. The unit is the cost of one key when all are read
# (0.1-0.25 µs, measured). Values are not read, but their checksums are compared, so their bytes cost, too.
BYTES_READ: Final = 200
"""Bytes of a table that cost one unit."""
KEY_PART_COST: Final = 0.5
"""Units to read a key in a table's key part (measured: 0.07 µs)."""
FILTER_COST: Final = 1
"""Units to ask the filter for a key."""
LOOK_UP_COST: Final = 12
"""Units to look a key up that the filter lets pass, its block at hand."""
COLD_LOOK_UP_COST: Final = 24
"""The cost where the block must be read, checked and unpacked, as it must in a job (measured: 6-10 µs)."""


class CountedTable(Protocol):
    """The calls of a table (sstable.Table) that counting needs."""

    @property
    def meta(self) -> TableMeta: ...

    @property
    def deleted(self) -> Boundaries: ...

    def get(self, key: bytes, hashed: int | None = None) -> Entry | None: ...

    @property
    def filter_words(self) -> Sequence[int]: ...

    def key_pages(self, start: bytes, stop: bytes) -> Iterator[KeyPage]: ...

    @property
    def has_key_part(self) -> bool: ...

    def key_pages_near(self, wanted: Sequence[bytes]) -> Iterator[KeyPage]: ...


Layer: TypeAlias = Memtable | Sequence[CountedTable]
"""A frozen memtable, or a run: tables in key order. A table is not used after the next one was taken, so a run may make
its tables as they are taken."""


def resolve(
    memtable: Memtable, keys: Sequence[bytes], ranges: Sequence[Range], older: Sequence[Layer]
) -> dict[int, int]:
    """Do what `resolving` does, without slices."""
    work = resolving(memtable, keys, ranges, older)
    while True:
        try:
            next(work)
        except StopIteration as end:
            change: dict[int, int] = end.value
            return change


def resolving(
    memtable: Memtable, keys: Sequence[bytes], ranges: Sequence[Range], older: Sequence[Layer]
) -> Generator[int, None, dict[int, int]]:
    """Resolve the memtable's keys (all of them, or one shard's; ascending) and ranges against that shard's older
    layers, newest first: by how much the number of live keys changes, by namespace, without zeros.

    Yields the cost of the last slice."""
    entries = memtable.entries
    keys = without_pieces(keys)
    question = _Question(entries)
    yield from question.ask(list(keys), older)
    change = count_by_namespace(keys)
    if has_tombstones(entries, keys):
        change = subtract_counts(change, count_by_namespace([key for key in keys if entries[key] is TOMBSTONE]))
    all_are_users = bool(keys) and keys[-1] < USER_END
    live = question.live
    change = subtract_counts(change, {0: len(live)} if all_are_users else count_by_namespace(sorted(live)))
    deleted = boundaries_of(ranges)
    boundaries = [*cut_boundaries(deleted, b"", PIECES_START), *cut_boundaries(deleted, PIECES_STOP, KEYS_END)]
    for hidden in hidden_keys(boundaries, older):
        for begin, end in covered_slices(hidden, boundaries):
            gone = hidden[begin:end]
            if not entries.keys().isdisjoint(gone):
                gone = [key for key in gone if key not in entries]
            change = subtract_counts(change, count_by_namespace(gone))
        yield max(1, len(hidden) // LOOK_UP_COST)
    return change


def sorting(memtable: Memtable) -> Generator[int, None, Sequence[bytes]]:
    """All keys of a frozen memtable, ascending. Yields as `resolving`: to sort a large memtable at once would keep the
    interpreter's lock for as long as a second. So its keys are dealt out by a sample of them, and sorted in parts."""
    entries = memtable.entries
    if memtable.is_sorted or len(entries) <= 2 * SORTED_AT_ONCE:
        return memtable.sorted_keys()
    splitters = sorted(islice(entries, 0, None, SORTED_AT_ONCE // _SAMPLES))[_SAMPLES::_SAMPLES]
    parts: list[list[bytes]] = [[] for _ in range(len(splitters) + 1)]
    for number, key in enumerate(entries, 1):
        parts[bisect_right(splitters, key)].append(key)
        if not number % (SLICE * DEALT):
            yield SLICE
    keys: list[bytes] = []
    for part in parts:
        part.sort()
        keys += part
        yield len(part) // DEALT
    return keys


def settling(newer: Sequence[Layer], older: Sequence[Layer]) -> Generator[int, None, dict[int, int]]:
    """By how much newer layers change the number of live keys of older ones; both newest first. Yields as `resolving`.

    The newer layers are merged, and resolved in pieces as if each were a memtable: in a merge, too, every range delete
    is older than the points that are left. Example: newer layers say `b` deleted, `c` put; an older one holds `b`. The
    change is 0: one more, one less."""
    deleted = boundaries_of(chain.from_iterable(ranges_of(_layer_deleted(layer, b"", KEYS_END)) for layer in newer))
    change: dict[int, int] = {}
    start, entries = b"", dict[bytes, Entry]()
    for keys, kinds in merge_pages([_kind_source(layer, b"", KEYS_END) for layer in newer]):
        entries.update((key, TOMBSTONE if kind == KIND_DELETE else b"") for key, kind in zip(keys, kinds, strict=True))  # type: ignore[comparison-overlap]
        yield max(1, len(keys) // LOOK_UP_COST)
        if len(entries) >= PIECE_ENTRIES:
            stop = keys[-1] + b"\0"  # the next possible key
            piece = Memtable(entries, cut_boundaries(deleted, start, stop))
            change = add_counts(change, (yield from resolving(piece, list(entries), piece.ranges, older)))
            start, entries = stop, {}
    last = Memtable(entries, cut_boundaries(deleted, start, KEYS_END))
    return add_counts(change, (yield from resolving(last, list(entries), last.ranges, older)))


def hidden_keys(boundaries: Boundaries, layers: Sequence[Layer]) -> Iterator[list[bytes]]:
    """Pages of live keys of the layers (newest first) that include every key that the boundaries cover.

    A page without covered keys tells up to where there are none: the next one begins after that, at a boundary. So
    range deletes that hide nothing cost no more than the keys between them."""
    at = 0
    while at < len(boundaries):
        for live in live_keys(layers, boundaries[at], KEYS_END):
            yield live
            if not live:
                continue
            at = bisect_right(boundaries, live[-1])
            if at == len(boundaries):
                return
            if not at & 1 and next(covered_slices(live, boundaries), None) is None:
                break
        else:
            return


def live_keys(layers: Sequence[Layer], start: bytes, stop: bytes) -> Iterator[list[bytes]]:
    """The live keys of [start, stop) as of the layers, newest first, in ascending pages (a page may be empty)."""
    for keys, kinds in merge_pages([_kind_source(layer, start, stop) for layer in layers]):
        if KIND_DELETE in kinds:  # type: ignore[comparison-overlap]  # the merge does not look into entries
            yield [key for key, kind in zip(keys, kinds, strict=True) if kind != KIND_DELETE]  # type: ignore[comparison-overlap]
        else:
            yield keys


def has_tombstones(entries: Mapping[bytes, Entry], keys: Sequence[bytes]) -> bool:
    """Whether one of the keys, all of which are in the dict, is deleted there."""
    # In the dict's own order if these are all its keys: 20 times as fast as key by key.
    values = entries.values() if len(keys) == len(entries) else map(entries.__getitem__, keys)
    return type(TOMBSTONE) in set(map(type, values))


def subtract_counts(left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
    """The differences by namespace; zeros are left out."""
    return add_counts(left, {namespace: -count for namespace, count in right.items()}) if right else left


class _Question:
    """Which keys of a dict are live as of older layers? Each layer decides some, until all are decided."""

    __slots__ = ("decided", "entries", "live")

    def __init__(self, entries: Mapping[bytes, Entry]) -> None:
        self.entries = entries
        self.live: set[bytes] = set()
        self.decided: set[bytes] = set()

    def ask(self, keys: list[bytes], layers: Sequence[Layer]) -> Generator[int, None, None]:
        """Decide the ascending keys. All keys of the layers that are in the dict must be among them."""
        hashes: list[int] = []  # of the keys; these and their masks are made once, however many filters are asked
        masks: list[int] = []
        for layer in layers:
            if not keys:
                return
            before = len(self.decided)
            if isinstance(layer, Memtable):
                yield from self._ask_memtable(layer, keys)
            else:
                if not hashes:
                    yield from self._hash(keys, hashes, masks)
                for table in layer:
                    low = bisect_left(keys, table.meta.smallest)
                    high = bisect_right(keys, table.meta.largest, low)
                    if low < high:
                        yield from self._ask_table(table, keys[low:high], hashes[low:high], masks[low:high])
            if len(self.decided) > before:
                decided = self.decided
                kept = [key not in decided for key in keys]
                keys = list(compress(keys, kept))
                hashes, masks = list(compress(hashes, kept)), list(compress(masks, kept))

    def _hash(self, keys: list[bytes], hashes: list[int], masks: list[int]) -> Generator[int, None, None]:
        for at in range(0, len(keys), SLICE * LOOK_UP_COST):
            more = list(map(bloom.hash_key, keys[at : at + SLICE * LOOK_UP_COST]))
            hashes += more
            masks += bloom.masks_of(more)
            yield SLICE

    def _ask_memtable(self, memtable: Memtable, keys: list[bytes]) -> Generator[int, None, None]:
        entries = memtable.entries
        for at in range(0, len(keys), SLICE * LOOK_UP_COST):
            found = [key for key in keys[at : at + SLICE * LOOK_UP_COST] if key in entries]
            self.decided.update(found)
            self.live.update(key for key in found if entries[key] is not TOMBSTONE)
            yield SLICE
        self._decide_covered(memtable.deleted, keys)

    def _ask_table(
        self, table: CountedTable, keys: list[bytes], hashes: list[int], masks: list[int]
    ) -> Generator[int, None, None]:
        """Decide the keys that the table holds, then those that its range deletes cover: these are older than its
        points."""
        has_key_part = table.has_key_part
        reading = (
            table.meta.entry_count * KEY_PART_COST
            if has_key_part
            else table.meta.entry_count + table.meta.length / BYTES_READ
        )
        if reading <= FILTER_COST * len(keys):
            yield from self._read(table.key_pages(keys[0], keys[-1] + b"\0"), keys)
        elif table.meta.entry_count:
            words = table.filter_words
            candidates: list[bytes] = []
            their_hashes: list[int] = []
            for at in range(0, len(keys), SLICE * LOOK_UP_COST):
                stop = at + SLICE * LOOK_UP_COST
                passed = bloom.let_through(words, hashes[at:stop], masks[at:stop])
                candidates += compress(keys[at:stop], passed)
                their_hashes += compress(hashes[at:stop], passed)
                yield max(1, int(len(passed) * FILTER_COST / LOOK_UP_COST))
            if candidates and has_key_part:
                yield from self._read(table.key_pages_near(candidates), candidates)
            elif candidates and reading <= COLD_LOOK_UP_COST * len(candidates):
                yield from self._read(table.key_pages(candidates[0], candidates[-1] + b"\0"), candidates)
            else:
                yield from self._look_up(table, candidates, their_hashes)
        if table.meta.range_deletes:
            self._decide_covered(table.deleted, keys)

    def _look_up(self, table: CountedTable, keys: list[bytes], hashes: list[int]) -> Generator[int, None, None]:
        for at in range(0, len(keys), SLICE):
            piece = keys[at : at + SLICE]
            for key, hashed in zip(piece, hashes[at : at + SLICE], strict=True):
                entry = table.get(key, hashed)
                if entry is not None:
                    self.decided.add(key)
                    if entry is not TOMBSTONE:
                        self.live.add(key)
            yield len(piece)

    def _read(self, pages: Iterator[KeyPage], wanted: list[bytes]) -> Generator[int, None, None]:
        """Decide which of the ascending wanted keys are on the pages of a table.

        Each page is compared with the keys that it may hold, which are in the processor's cache, not with all keys."""
        read = high = 0
        for keys, kinds in pages:
            low = bisect_left(wanted, keys[0], high)
            high = bisect_right(wanted, keys[-1], low)
            found = set(wanted[low:high]).intersection(keys) if low < high else None
            if found:
                self.decided |= found
                if KIND_DELETE in kinds:
                    found -= {key for key, kind in zip(keys, kinds, strict=True) if kind == KIND_DELETE}
                self.live |= found
            read += len(keys)
            if read >= SLICE * LOOK_UP_COST:
                yield SLICE
                read = 0
        yield max(1, read // LOOK_UP_COST)

    def _decide_covered(self, deleted: Boundaries, keys: list[bytes]) -> None:
        for begin, end in covered_slices(keys, deleted):
            self.decided.update(keys[begin:end])


# Layers as sources of a merge whose entries are kinds: the merge does not look into entries.


def _kind_source(layer: Layer, start: bytes, stop: bytes) -> Source:
    deleted = _layer_deleted(layer, start, stop)
    return Source(_kind_pages(layer, stop, start), deleted, partial(_kind_pages, layer, stop))


def _kind_pages(layer: Layer, stop: bytes, start: bytes) -> Iterator[tuple[list[bytes], Any]]:
    if isinstance(layer, Memtable):
        for keys, entries in layer.pages(start, stop):
            yield keys, [KIND_DELETE if entry is TOMBSTONE else KIND_PUT for entry in entries]
        return
    for index in _indices_in(layer, start, stop):
        for keys, kinds in layer[index].key_pages(start, stop):
            yield keys, list(kinds)


def _layer_deleted(layer: Layer, start: bytes, stop: bytes) -> Boundaries:
    if isinstance(layer, Memtable):
        return layer.deleted
    tables = (layer[index] for index in _indices_in(layer, start, stop))
    pieces = [table.deleted for table in tables if table.meta.range_deletes]
    return pieces[0] if len(pieces) == 1 else boundaries_of(chain.from_iterable(map(ranges_of, pieces)))


def _indices_in(run: Sequence[CountedTable], start: bytes, stop: bytes) -> range:
    """Which of the run's tables overlap [start, stop)."""
    low = bisect_left(run, start, key=lambda table: table.meta.largest)
    return range(low, bisect_left(run, stop, low, key=lambda table: table.meta.smallest))
