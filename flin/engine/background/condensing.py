"""Condensing: where keys were written again and again within a generation, its flush reads a log of the newest entries
in place of the segments.

A flush replays every write, and keeps the newest of each key: 1.3 to 1.9 µs a write. The memtables hold just these. So
the process that has them writes them down as a segment of large commits, which takes 0.4 µs a key here and as much in
the job. Counters, queues and caches are written often; a load of new keys is not, and is not condensed.

The file is no part of the database: no manifest names it, it is never synced, it goes when its flush has ended, and the
next open removes one that stayed. The segments stay until the edit, so nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from typing import Any, Final, TypeAlias

from flin.engine.background.job import FlushJob
from flin.engine.catalog.generation import SealedGeneration
from flin.engine.disk.file_name import condensed_name
from flin.engine.disk.fs import AppendFile, FileSystem, append_all, join
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.entry import Entry, value_size
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader, SegmentSlice, are_plain, encode_commit, encode_header
from flin.engine.wal.sealed import FrameSealer

LEAST_WRITES: Final = 3
"""Writes per key from which on it pays. In processor time of all processes it breaks even below two; but the writer's
process pays 0.4 µs a key, and so at most 0.14 a write."""

COMMIT_ENTRIES: Final = 512
"""Entries of one commit: 0.1 to 0.3 ms, then other threads may have the interpreter. With 2,048 one costs no less."""

COMMIT_BYTES: Final = 2 << 20
"""The most of the values of one commit, if it holds several: more than that of 512 below the default threshold
of large ones. 512 of 64 KiB took 56 to 83 ms, in which nobody else had the interpreter, and their size in memory."""

_Encode: TypeAlias = Callable[[int, int, int, dict[bytes, Entry]], bytes | bytearray]


def is_condensable(generation: SealedGeneration) -> bool:
    """Whether its keys were written so often that it pays. Not if there are range deletes: memtables of different
    shards would have to be brought into one order."""
    memtables = [memtable for of_shard in generation.memtables for memtable in of_shard]
    entries = sum(memtable.size for memtable in memtables)
    return 0 < LEAST_WRITES * entries <= generation.operations and not any(memtable.deleted for memtable in memtables)


class Condenser:
    """Writes the condensed logs of one database, and removes them."""

    def __init__(self, fs: FileSystem, database_id: bytes, random_bytes: Callable[[int], bytes]) -> None:
        self._fs = fs
        self._database_id = database_id
        self._random_bytes = random_bytes

    def write(self, job: FlushJob, generation: SealedGeneration, rest: Callable[[], None]) -> SegmentSlice | None:
        """Write that of a job's generation. `rest` is called after each commit.

        None if the disk refuses it, or has no room for as much as the segments take: the log and the tables are at most
        two thirds of that, and writers need some, too. Neither if there is a large value, which can stay in its
        segment. Then the flush reads the segments."""
        end = 0
        try:
            if self._fs.free_bytes(job.directory) < sum(segment.end - segment.start for segment in job.segments):
                return None
            with closing(self._fs.create(_path(job))) as file:
                end = self._write(file, job, generation, rest)
        except OSError:
            end = 0
        finally:
            if not end:
                self.remove(job)
        return SegmentSlice(_name(job), HEADER_BYTES, end) if end else None

    def remove(self, job: FlushJob) -> None:
        """Remove that of a job. What cannot be removed goes at the next open."""
        with suppress(OSError):
            self._fs.remove(_path(job))

    def _write(self, file: AppendFile, job: FlushJob, generation: SealedGeneration, rest: Callable[[], None]) -> int:
        """The file's length; 0 if there is a large value. OSError."""
        salt, encode = self._encoder(job)
        # The newest of its sequences, as many as there are entries: the last one is the generation's.
        sequence = generation.next_sequence - sum(map(len, _entries(generation)))
        header = SegmentHeader(self._database_id, job.number, salt, 0, sequence, 0, 0, 0)
        append_all(file, encode_header(header))
        end = HEADER_BYTES
        for points, largest in _commits(generation):
            if job.value_threshold and largest >= job.value_threshold:
                return 0
            frame = encode(end, sequence, 0, points)
            append_all(file, frame)
            end += len(frame)
            sequence += len(points)
            rest()
        return end

    def _encoder(self, job: FlushJob) -> tuple[bytes, _Encode]:
        """A new salt, and what makes the frames of a segment that has it."""
        if not isinstance(self._fs, SealedFileSystem):
            salt = self._random_bytes(8)
            return salt, partial(encode_commit, salt)
        salt = self._fs.segment_salt()
        return salt, FrameSealer(self._fs.segment_key(salt, job.number, _path(job)), salt, 0, 0).commit


def _entries(generation: SealedGeneration) -> Iterator[dict[bytes, Entry]]:
    """Those of all memtables, a shard's newer ones after its older ones."""
    for newest_first in generation.memtables:
        for memtable in reversed(newest_first):
            yield memtable.entries


def _commits(generation: SealedGeneration) -> Iterator[tuple[dict[bytes, Entry], int]]:
    """The entries of each commit, and the size of the largest value in it or in its neighbours."""
    for entries in _entries(generation):
        items = iter(entries.items())
        while points := dict(islice(items, COMMIT_ENTRIES)):
            # Without a call for each: a third of all that it takes to write them.
            size: Callable[[Any], int] = len if are_plain(points) else value_size
            sizes = list(map(size, points.values()))
            largest = max(sizes)
            yield from ((part, largest) for part in _cut(points, sizes))


def _cut(points: dict[bytes, Entry], sizes: list[int]) -> Iterator[dict[bytes, Entry]]:
    if sum(sizes) <= COMMIT_BYTES:
        yield points
        return
    part: dict[bytes, Entry] = {}
    filled = 0
    for (key, entry), size in zip(points.items(), sizes, strict=True):
        if part and filled + size > COMMIT_BYTES:
            yield part
            part, filled = {}, 0
        part[key] = entry
        filled += size
    yield part


def _name(job: FlushJob) -> str:
    return condensed_name(job.number, job.epoch)


def _path(job: FlushJob) -> str:
    return join(job.directory, _name(job))
