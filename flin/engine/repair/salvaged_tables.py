"""The tables of a damaged directory, their shards, and their order of ages: by the manifest, or by what they say.

Without a manifest. A table's properties give the first and the last of its commits, and jobs merge only neighbouring
runs. So of two tables of one shard that share keys, one is newer as a whole, or one was made from the other, which was
not removed yet. Then the later job's table, if it is undamaged, replaces the other one between its own bounds. A table
whose properties are lost is taken to be as new as its job's number allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from flin.engine.boundaries import Boundaries, boundaries_of, cut_page
from flin.engine.catalog.manifest import Manifest
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.open_files import TableFile
from flin.engine.entry import Page, Range
from flin.engine.repair.report import FileReport, Loss, RepairReport, key_text
from flin.engine.repair.salvaged_table import SalvagedTable, read_through, same_table
from flin.engine.slot import MAX_SHARDS, shard_of_stored
from flin.engine.table.footer import FOOTER_SIZE, MAGIC, decode_footer, read_meta, read_metas, read_values
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FlinError, FormatVersionError

TELLING_KEYS: Final = 16
"""Keys that suffice to tell the number of shards, without the first of each table. If a table's keys are of one shard
of n, each further key is in the same shard of 2n by chance in half of the cases: all 16 are once in 65,536. With too
few shards tables would be taken for the inputs of others, with too many only range deletes might hide too little."""


@dataclass(slots=True)
class Aged:
    """Tables of one age, in key order: a source of a merge."""

    tables: list[SalvagedTable]
    largest_sequence: int = 0
    number: int = 0  # the job's number
    hidden: list[Range] = field(default_factory=list)  # covered by tables that were made from this one
    missing: list[Range] = field(default_factory=list)  # of a run: where tables of it are missing
    is_run: bool = False  # all tables of it are here, or in `missing`

    def pages(self) -> Iterator[Page]:
        hidden = boundaries_of(self.hidden)
        for table in self.tables:
            for page in table.pages():
                cut = cut_page(page, hidden)
                if cut[0]:
                    yield cut

    def deleted(self) -> Boundaries:
        """The boundaries of all range deletes of these tables."""
        return boundaries_of(piece for table in self.tables for piece in table.ranges)

    def lost(self) -> list[Range]:
        """Where entries are lost, as far as a complete reading has shown."""
        return [*self.missing, *(piece for table in self.tables for piece in table.lost)]

    def tells(self, key: bytes, first: int, last: int) -> bool:
        """Whether everything that commits between these sequences did to the key is known from here: its entry, or that
        it has none. Of a run, a key between two tables is known from both."""
        if any(start <= key < stop for start, stop in self.lost()):
            return False
        metas = [table.meta for table in self.tables]
        if any(meta is None for meta in metas):
            return False
        near = [meta for meta in metas if meta is not None and meta.smallest <= key <= meta.largest]
        if not near and self.is_run:
            below = [meta for meta in metas if meta is not None and meta.largest < key]
            above = [meta for meta in metas if meta is not None and meta.smallest > key]
            near = below[-1:] + above[:1]
        return bool(near) and all(meta.smallest_sequence <= first and last <= meta.largest_sequence for meta in near)


class SalvagedTables:
    """All tables of a directory. `shards` maps each shard to its sources, newest first."""

    def __init__(self, fs: FileSystem, directory: str, report: RepairReport, force: bool) -> None:
        self._fs = fs
        self._directory = directory
        self._report = report
        self._force = force
        self._reports: dict[str, FileReport] = {}
        self._all: list[tuple[FileReport, SalvagedTable]] = []
        self._elsewhere: list[TableMeta] | None = None
        self.names = [name for name in fs.names(directory) if (at := maybe_parse(name)) and at.role == "table"]

    def count_kept(self) -> None:
        """Add the kept entries to the files' reports, once everything was read."""
        for report, table in self._all:
            blocks, entries, size = table.kept
            report.kept_blocks += blocks
            report.kept_entries += entries
            report.kept_bytes += size

    # By the manifest.

    def by_manifest(self, manifest: Manifest) -> list[list[Aged]]:
        shards: list[list[Aged]] = []
        for runs in manifest.version.shards:
            aged = []
            for run in runs:
                tables = [table for meta in run if (table := self._named(meta)) is not None]
                bounds = [(meta.smallest, meta.largest) for meta in run]
                is_disjoint = all(left[1] < right[0] for left, right in pairwise(bounds))
                newest = max(meta.largest_sequence for meta in run)
                groups = [tables] if is_disjoint else [[table] for table in tables]
                aged += [Aged(group, newest, is_run=is_disjoint) for group in groups]
                found = {table.meta for table in tables}
                missing = [(meta.smallest, meta.largest + b"\0") for meta in run if meta not in found]
                if missing and aged and groups:
                    aged[-1].missing += missing
                elif missing:
                    aged.append(Aged([], newest, missing=missing))
            shards.append(aged)
        for name in self.names:
            if name not in self._reports:
                self._file(name).add_note("not used: the manifest does not name it")
        return shards

    def _named(self, meta: TableMeta) -> SalvagedTable | None:
        """The table that the manifest names; if its file holds another, the file that holds it under another name."""
        is_file = self._fs.is_file(join(self._directory, meta.file))
        report = self._file(meta.file)
        table: SalvagedTable | None = None
        if is_file and self._is_proven(meta):
            table = self._table(meta.file, meta.offset, meta.length, meta)
        else:
            said = next((said for said in self._said() if same_table(said, meta)), None)
            if said is not None:
                report = self._file(said.file)
                report.add_note(f"the manifest calls it {meta.file}")
                table = self._table(said.file, said.offset, said.length, meta)
            elif is_file and not any(said.file == meta.file for said in self._said()):
                table = self._table(meta.file, meta.offset, meta.length, meta)  # damaged: it holds no whole table
        if table is not None:
            self._all.append((report, table))
            return table
        there = meta.file in self.names
        reason = "another table is in its place" if is_file else "not a regular file" if there else "missing"
        bounds = key_text(meta.smallest), key_text(meta.largest)
        self._file(meta.file).lose(Loss(meta.offset, meta.length, reason, *bounds))
        self._report.warn(
            "tables are not those that the manifest names: if it is old or another database's, use --without-manifest"
        )
        return None

    def value_numbers(self) -> set[int]:
        """The numbers of the value files that tables name, as far as they can be read."""
        numbers: set[int] = set()
        for meta in self._said():
            with suppress(FlinError, OSError):
                file = TableFile(self._fs, join(self._directory, meta.file))
                numbers.update(number for number, _ in read_values(file, meta.offset, meta.length))
        return numbers

    def _is_proven(self, meta: TableMeta) -> bool:
        """Whether the section itself says that it is the one that the manifest names."""
        try:
            said = read_meta(TableFile(self._fs, join(self._directory, meta.file)), meta.offset, meta.length)
        except (FlinError, OSError):
            return False
        return same_table(said, meta)

    def _said(self) -> list[TableMeta]:
        """The metadata of all tables, as their files give it."""
        if self._elsewhere is None:
            self._elsewhere = []
            for name in self.names:
                path = join(self._directory, name)
                if self._fs.is_file(path):
                    try:
                        self._elsewhere += read_metas(TableFile(self._fs, path))
                    except (FlinError, OSError):
                        continue
        return self._elsewhere

    # Without a manifest.

    def by_themselves(self, shards: int | None) -> list[list[Aged]]:
        """The tables' order by their own metadata. `shards`: the number of shards, if the caller knows it."""
        aged: list[Aged] = []
        together: list[list[SalvagedTable]] = []
        for name in self.names:
            tables = list(self._sections(name))
            parsed = maybe_parse(name)
            assert parsed is not None
            together.append(tables)
            for table in tables:
                self._all.append((self._file(name), table))
                aged.append(Aged([table], -1 if table.meta is None else table.meta.largest_sequence, parsed.number))
        self._guess_ages(aged)
        count = shards or _shards_of(together)
        shardless: list[Aged] = []  # range deletes alone: no key tells the shard
        by_shard: list[list[Aged]] = [[] for _ in range(count)]
        for each in aged:
            key = each.tables[0].first_key()
            if count == 1:
                by_shard[0].append(each)
            elif key is None:
                shardless.append(each)
            else:
                by_shard[shard_of_stored(key, count)].append(each)
        for own in by_shard:  # only tables of one shard are made from each other
            own.sort(key=_age, reverse=True)
            self._hide_inputs(own)
            # In its own shard all older tables end before its first commit. The other shards have the same range
            # deletes in tables of their own: there it must hide nothing that may be newer.
            own += [replace(each, largest_sequence=_first_sequence(each)) for each in shardless]
            own.sort(key=_age_and_keys, reverse=True)
        return by_shard

    def _sections(self, name: str) -> Iterator[SalvagedTable]:
        """The tables of a file, found from its end; those without a footer lie between the others."""
        path, report = join(self._directory, name), self._file(name)
        if not self._fs.is_file(path):
            report.lose(Loss(0, 0, "not a regular file"))
            return
        file = TableFile(self._fs, path)
        try:
            bounds = [(meta.offset, meta.length) for meta in read_metas(file)]
        except FormatVersionError:
            if not self._force:
                raise
            bounds = _search_sections(file)
        except (FlinError, OSError):
            bounds = _search_sections(file)
        file.close()
        for offset, length in bounds:
            yield self._table(name, offset, length, None)

    def _guess_ages(self, aged: list[Aged]) -> None:
        for each in aged:
            if each.largest_sequence < 0:
                known = [other.largest_sequence for other in aged if other.number <= each.number]
                each.largest_sequence = max(known, default=0)
                self._report.warn("the age of some tables is unknown: older values may have replaced newer ones")

    def _hide_inputs(self, aged: list[Aged]) -> None:
        """In tables of one shard, newest first, hide the inputs of each: they come after it."""
        for index, made in enumerate(aged):
            meta = made.tables[0].meta
            if meta is None:
                continue
            for old in aged[index + 1 :]:
                input_meta = old.tables[0].meta
                if input_meta is None or old.number >= made.number:
                    continue
                is_input = meta.smallest_sequence <= input_meta.smallest_sequence
                overlaps = input_meta.smallest <= meta.largest and meta.smallest <= input_meta.largest
                if is_input and overlaps:
                    self._report.warn(
                        f"{input_meta.file} was merged into {meta.file}, or was about to be: keys that were deleted"
                        " in between may reappear"
                    )
                    if made.tables[0].is_whole:
                        old.hidden.append((meta.smallest, meta.largest + b"\0"))

    def _table(self, name: str, offset: int, length: int, meta: TableMeta | None) -> SalvagedTable:
        file = TableFile(self._fs, join(self._directory, name))  # closed after each block
        return SalvagedTable(file, offset, length, meta, self._file(name), self._force)

    def _file(self, name: str) -> FileReport:
        if name not in self._reports:
            self._reports[name] = self._report.file(name, "table")
        return self._reports[name]


def _age(each: Aged) -> tuple[int, int]:
    return each.largest_sequence, each.number


def _age_and_keys(each: Aged) -> tuple[int, int, bool]:
    """The key that sorts by age; of one job's tables, one without keys is older, as range deletes are older than
    points."""
    return *_age(each), each.tables[0].first_key() is not None


def _first_sequence(each: Aged) -> int:
    meta = each.tables[0].meta
    return each.largest_sequence if meta is None else meta.smallest_sequence


def _search_sections(file: TableFile) -> list[tuple[int, int]]:
    """The starts and lengths of the sections: each that has a footer, and what lies between them."""
    data = read_through(file, 0, file.size())
    bounds: list[tuple[int, int]] = []
    stop, found = len(data), len(data)
    while found >= 0:
        found = data.rfind(MAGIC, 0, found)
        end = found + len(MAGIC)
        if found < 0 or end > stop:
            continue
        try:
            footer = decode_footer(data[max(0, end - FOOTER_SIZE) : end], file.path, end - FOOTER_SIZE)
        except (CorruptionError, FormatVersionError):
            continue
        if footer.size <= end:
            if end < stop:
                bounds.append((end, stop - end))
            stop = end - footer.size
            bounds.append((stop, footer.size))
    if stop:
        bounds.append((0, stop))
    return bounds[::-1]


def _shards_of(files: list[list[SalvagedTable]]) -> int:
    """The number of shards. A file's sections are of different shards, and a table's keys are of one shard: the
    smallest number that explains the former, or the largest that explains both, if there are enough keys to tell."""
    several = [[keys for table in tables if (keys := table.first_keys(TELLING_KEYS))] for tables in files]
    shards = 1
    while shards < MAX_SHARDS and any(len({_shard(keys[0], shards) for keys in file}) < len(file) for file in several):
        shards *= 2
    tables = [{_shard(key, MAX_SHARDS) for key in keys} for file in several for keys in file]
    if sum(len(table) - 1 for table in tables) < TELLING_KEYS:
        return shards
    most = MAX_SHARDS
    while most > shards and any(len({one * most // MAX_SHARDS for one in table}) > 1 for table in tables):
        most //= 2
    return most


def _shard(stored: bytes, shards: int) -> int:
    return shard_of_stored(stored, shards) if shards > 1 else 0
