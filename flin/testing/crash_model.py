"""What is left of a simulated disk after a crash.

A crash makes a clone: everything that is durable, plus some of what is pending. The crash models, from mild to cruel:

- KILLED: only the process died. The kernel keeps everything; what was pending stays pending (a power cut may follow).
- IN_ORDER: the disk did everything in order and stopped at some moment, perhaps in the middle of a write.
- PREFIXES: each file and each directory kept a prefix of its own pending changes.
- JOURNALLED: like ext4 with delayed allocation. One journal holds all names. A sync of any file commits all names
  before it; later names are kept up to some moment. Each file's data ends at a page or at its whole length, often where
  it was synced.
- TORN: any subset of 512-byte sectors, each as it was after any write to it. Holes show zeros or older content of the
  disk. Any subset of names: after a rename the old name may be gone and the new one not yet there.

Every choice calls `choose(n)`, which returns a number below n. Use `random.Random(seed).randrange` for one crash, and
`every_crash` for all of them if there are few. Equal choices give equal clones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import Final, TypeAlias

from flin.testing.disk import NameChange, SimulatedDirectory, SimulatedDisk
from flin.testing.file import SimulatedFile

Choose: TypeAlias = Callable[[int], int]
Names: TypeAlias = dict[str, dict[str, SimulatedFile]]
"""Directory path → name → file of the disk that crashed."""

SECTOR_BYTES: Final = 512  # a disk writes each whole or not at all
PAGE_BYTES: Final = 4096  # a kernel writes each back at once
MAX_SECTORS: Final = 32
"""With more sectors pending, a few stretches are chosen instead of each sector: big files, few calls of choose."""


class CrashModel(Enum):
    """How the disk treats unsynced changes. See the module's docstring."""

    KILLED = "killed"
    IN_ORDER = "in order"
    PREFIXES = "prefixes"
    JOURNALLED = "journalled"
    TORN = "torn"


class Filling(Enum):
    """What a damaged stretch of a file holds: all of these were seen on bad sectors and lying disks."""

    ZEROS = "zeros"
    ONES = "ones"
    RANDOM = "random"
    STALE = "stale"


POWER_CUTS: Final = (CrashModel.IN_ORDER, CrashModel.PREFIXES, CrashModel.JOURNALLED, CrashModel.TORN)


def after_crash(disk: SimulatedDisk, crash_model: CrashModel, choose: Choose) -> SimulatedDisk:
    """A new disk, as this one would be after a crash. This one does not change. The new one holds no locks.

    Other threads may call the disk meanwhile: the clone is of one moment."""
    with disk.standing_still():
        return _crash(disk, crash_model, choose)


def killed(disk: SimulatedDisk) -> SimulatedDisk:
    """The disk after kill -9 of its process: a copy, including everything pending."""
    with disk.standing_still():
        return _copy(disk)


def overwrite(disk: SimulatedDisk, path: str, start: int, stop: int, filling: Filling, random: Random) -> bool:
    """Damage a stretch of a file in place: all that may be expected then is that the damage is noticed. False if the
    stretch is unchanged. STALE: the bytes of a removed file, or of another present one, at that place."""
    content = disk._file(path).content
    stop = min(stop, len(content))
    size = stop - start
    filled = {Filling.ZEROS: bytes(size), Filling.ONES: b"\xff" * size, Filling.RANDOM: random.randbytes(size)}
    if filling is Filling.STALE:
        others = [*disk.stale, *(other for name, other in disk.files().items() if name != path)]
        filled[filling] = random.choice(others)[start:stop].ljust(size, b"\0") if others else bytes(size)
    before = bytes(content[start:stop])
    content[start:stop] = filled[filling]
    return before != filled[filling]


def _crash(disk: SimulatedDisk, crash_model: CrashModel, choose: Choose) -> SimulatedDisk:
    if crash_model is CrashModel.KILLED:
        return _copy(disk)
    contents: dict[int, bytes] = {}  # id of the old file → what is left of it
    if crash_model is CrashModel.IN_ORDER:
        names, contents = _in_order(disk, choose)
    else:
        names = _NAMES[crash_model](disk, choose)
    keep = _DATA.get(crash_model)
    clone = _empty_copy(disk)
    copies: dict[int, SimulatedFile] = {}
    for path, entries in names.items():
        directory = clone.directories[path]
        for name, file in sorted(entries.items()):
            if id(file) not in copies:
                image = keep(disk, file, choose) if keep else contents.get(id(file), file.durable())
                copies[id(file)] = SimulatedFile(image)
                clone._used += len(image)
            directory.names[name] = directory.durable[name] = copies[id(file)]
    # A file that lost its name may have been written all the same: a file in the same place shows it in its holes.
    there = (file for directory in disk.directories.values() for _, file in sorted(directory.names.items()))
    clone.stale.extend(bytes(file.content) for file in there if id(file) not in copies)
    return clone


def every_crash(disk: SimulatedDisk, crash_model: CrashModel, limit: int, seed: int = 0) -> Iterator[SimulatedDisk]:
    """Every different clone if there are at most `limit` choices; else half of `limit` in order, half by chance."""
    seen = set()
    odometer = _Odometer()
    random = Random(seed)
    for number in range(limit):
        in_order = number < limit // 2 or odometer.is_few(limit)
        if in_order and not odometer.turn():
            return
        clone = after_crash(disk, crash_model, odometer.choose if in_order else random.randrange)
        image = hash(tuple(clone.files().items()))
        if image not in seen:
            seen.add(image)
            yield clone


class _Odometer:
    """Answers `choose` with every sequence of choices, one after the other, lowest first."""

    def __init__(self) -> None:
        self._digits: list[tuple[int, int]] = []  # (value, base)
        self._position = 0
        self._turns = 0
        self._most = 1

    def choose(self, n: int) -> int:
        if self._position == len(self._digits):
            self._digits.append((0, n))
        value = self._digits[self._position][0]
        self._position += 1
        return value

    def turn(self) -> bool:
        """Go to the next sequence; False after the last one."""
        if self._turns:
            combinations = 1
            for _, base in self._digits:
                combinations *= base
            self._most = max(self._most, combinations)
            while self._digits and self._digits[-1][0] + 1 == self._digits[-1][1]:
                self._digits.pop()
            if not self._digits:
                return False
            value, base = self._digits[-1]
            self._digits[-1] = (value + 1, base)
        self._turns += 1
        self._position = 0
        return True

    def is_few(self, limit: int) -> bool:
        """Whether all sequences, as far as they are known, are within the limit."""
        return self._most <= limit


# Names: which file has which name.


def _prefix_names(disk: SimulatedDisk, choose: Choose) -> Names:
    names = {}
    for path, directory in disk.directories.items():
        orders = sorted({change.order for change in directory.pending})
        kept = choose(len(orders) + 1)
        last = orders[kept - 1] if kept else 0
        names[path] = _applied(directory, last)
    return names


def _journalled_names(disk: SimulatedDisk, choose: Choose) -> Names:
    pending = {change.order for directory in disk.directories.values() for change in directory.pending}
    open_orders = sorted(order for order in pending if order > disk.committed)
    kept = choose(len(open_orders) + 1)
    last = open_orders[kept - 1] if kept else disk.committed
    return {path: _applied(directory, last) for path, directory in disk.directories.items()}


def _torn_names(disk: SimulatedDisk, choose: Choose) -> Names:
    names: Names = {}
    for path, directory in disk.directories.items():
        states: dict[str, list[SimulatedFile | None]] = {}
        for change in directory.pending:
            states.setdefault(change.name, [directory.durable.get(change.name)]).append(change.file)
        names[path] = dict(directory.durable)
        for name, files in sorted(states.items()):
            _set_name(names[path], name, files[choose(len(files))])
    return names


def _applied(directory: SimulatedDirectory, last: int) -> dict[str, SimulatedFile]:
    """The durable names with every change up to the order number."""
    names = dict(directory.durable)
    for change in directory.pending:
        if change.order <= last:
            _set_name(names, change.name, change.file)
    return names


def _set_name(names: dict[str, SimulatedFile], name: str, file: SimulatedFile | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


# Data: how much of a file there is.


def _prefix_data(_: SimulatedDisk, file: SimulatedFile, choose: Choose) -> bytes:
    return _cut(file, choose(sum(write.size for write in file.writes) + 1))


def _page_data(_: SimulatedDisk, file: SimulatedFile, choose: Choose) -> bytes:
    start, size = len(file.image(0)), len(file.content)
    stops = [start, *range(start // PAGE_BYTES * PAGE_BYTES + PAGE_BYTES, size, PAGE_BYTES), size]
    end = stops[choose(len(stops))] if start < size else size
    if end == start and not _written_over(file, 0, end):
        return file.durable()
    image = bytearray(file.content[:end])
    for page in _written_over(file, 0, end, PAGE_BYTES):
        versions = _versions(file, page, min(end, page + PAGE_BYTES))
        image[page : page + PAGE_BYTES] = versions[choose(len(versions))].ljust(min(end - page, PAGE_BYTES), b"\0")
    file.without_lost(image)
    return bytes(image)


def _torn_data(disk: SimulatedDisk, file: SimulatedFile, choose: Choose) -> bytes:
    start, size = len(file.image(0)), len(file.content)
    if not file.writes:
        return file.durable()
    # Interesting sizes are the two ends, and anything between.
    end = (start, size, start + 1 + choose(size - start))[choose(3)] if start < size else size
    if end == start and not _written_over(file, 0, end):
        return file.durable()
    image = bytearray(file.content[:end])
    dirty = {*_written_over(file, 0, start), *range(start - start % SECTOR_BYTES, end, SECTOR_BYTES)}
    for first, last in _torn_stretches(sorted(dirty), end, choose):
        versions = _versions(file, first, last)
        # The new bytes, or those before; and, where none were before, zeros or a removed file's old bytes.
        held = choose(len(versions) + (1 + len(disk.stale) if last > start else 0))
        if held < len(versions):
            image[first:last] = versions[held].ljust(last - first, b"\0")
        else:
            first = max(first, start)
            old = disk.stale[held - len(versions) - 1][first:last] if held > len(versions) else b""
            image[first:last] = old.ljust(last - first, b"\0")
    file.without_lost(image)
    return bytes(image)


def _written_over(file: SimulatedFile, start: int, stop: int, unit: int = SECTOR_BYTES) -> list[int]:
    """Offsets of the units from start to stop in which a pending write replaced something."""
    found: set[int] = set()
    for write in file.writes:
        first, last = max(start, write.start), min(stop, write.start + len(write.before))
        if first < last:
            found.update(range(first - first % unit, last, unit))
    return sorted(found)


def _versions(file: SimulatedFile, first: int, last: int) -> list[bytes]:
    """The contents of a stretch of the file after each pending write, newest first, and finally those on the disk."""
    piece = bytearray(file.content[first:last])
    versions = [bytes(piece)]
    for write in reversed(file.writes):
        start, stop = max(first, write.start), min(last, write.stop)
        if start < stop:
            piece[start - first : stop - first] = write.before[start - write.start : stop - write.start]
            if piece:  # else nothing was there
                versions.append(bytes(piece))
    return list(dict.fromkeys(versions))


def _torn_stretches(dirty: list[int], stop: int, choose: Choose) -> Iterator[tuple[int, int]]:
    """Each of the sectors, or a few longer stretches if there are many."""
    if len(dirty) <= MAX_SECTORS:
        stretches = [(sector, sector + SECTOR_BYTES) for sector in dirty]
    else:
        begins = [choose(len(dirty)) for _ in range(4)]
        stretches = [(dirty[begin], dirty[begin + choose(len(dirty) - begin)] + SECTOR_BYTES) for begin in begins]
    for begin, end in stretches:
        yield begin, min(stop, end)


def _cut(file: SimulatedFile, amount: int) -> bytes:
    """The file with its pending writes in order, up to `amount` bytes of them; the last one may be cut."""
    if not amount:
        return file.durable()
    kept = 0
    while kept < len(file.writes) and amount >= file.writes[kept].size:
        amount -= file.writes[kept].size
        kept += 1
    image = file.image(kept)
    if amount:
        start = file.writes[kept].start
        image[start : start + amount] = file.image(kept + 1)[start : start + amount]
    return bytes(image)


_NAMES: Final = {
    CrashModel.PREFIXES: _prefix_names,
    CrashModel.JOURNALLED: _journalled_names,
    CrashModel.TORN: _torn_names,
}
_DATA: Final = {
    CrashModel.PREFIXES: _prefix_data,
    CrashModel.JOURNALLED: _page_data,
    CrashModel.TORN: _torn_data,
}


def _in_order(disk: SimulatedDisk, choose: Choose) -> tuple[Names, dict[int, bytes]]:
    """Everything pending of the whole disk up to one point, which may lie within a write."""
    torn: dict[int, tuple[int, int]] = {}  # order of a write → (id of its file, its size)
    for file in _files(disk):
        torn |= {write.order: (id(file), write.size) for write in file.writes}
    changes = {change.order for directory in disk.directories.values() for change in directory.pending}
    orders = sorted(changes | set(torn))
    kept = choose(len(orders) + 1)
    last = orders[kept - 1] if kept else 0
    owner, size = torn.get(orders[kept], (0, 0)) if kept < len(orders) else (0, 0)
    part = choose(size) if size else 0
    names = {path: _applied(directory, last) for path, directory in disk.directories.items()}
    amounts = {
        id(file): sum(write.size for write in file.writes if write.order <= last) + part * (id(file) == owner)
        for file in _files(disk)
    }
    return names, {id(file): _cut(file, amounts[id(file)]) for file in _files(disk)}


def _files(disk: SimulatedDisk) -> Iterator[SimulatedFile]:
    """Every file that has a name, or may have one after a crash."""
    for directory in disk.directories.values():
        yield from directory.names.values()
        yield from directory.durable.values()
        for change in directory.pending:
            if change.file is not None:
                yield change.file


def _empty_copy(disk: SimulatedDisk) -> SimulatedDisk:
    """A disk with the directories alone."""
    clone = SimulatedDisk(disk.capacity_bytes, disk.window_bytes)
    clone.stale.extend(disk.stale)
    clone.elsewhere.extend(disk.elsewhere)
    for path, directory in disk.directories.items():
        clone.directories[path] = SimulatedDirectory(directories=set(directory.directories))
    return clone


def _copy(disk: SimulatedDisk) -> SimulatedDisk:
    """A copy of the whole disk, pending changes included."""
    clone = _empty_copy(disk)
    copies: dict[int, SimulatedFile] = {}
    for file in _files(disk):
        if id(file) not in copies:
            copy = copies[id(file)] = SimulatedFile(bytes(file.content))
            copy.synced, copy.lost, copy.writes = file.synced, list(file.lost), list(file.writes)
    for path, directory in disk.directories.items():
        own = clone.directories[path]
        own.names = {name: copies[id(file)] for name, file in directory.names.items()}
        own.durable = {name: copies[id(file)] for name, file in directory.durable.items()}
        own.pending = [
            NameChange(change.order, change.name, None if change.file is None else copies[id(change.file)])
            for change in directory.pending
        ]
    clone._order, clone._used, clone.committed = disk._order, disk._used, disk.committed
    return clone
