"""Wrong numbers under correct checksums: memory does not run out, nothing hangs, and nothing but documented errors is
raised. Answers may be wrong then: against that there are the checksums."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any
from zlib import crc32

import pytest

import flin.engine
from flin.engine.catalog import manifest as manifest_format
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import join
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.sstable import Table
from flin.engine.wal import frames as wal_frames
from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk, killed
from flin.testing.run import PATH
from tests.engine.damage import SCENES, Damage

SECONDS = 5.0
"""The most processor time of a case, which normally takes some milliseconds: code that believes a large number takes
minutes."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A stretch of a file under one checksum."""

    path: str
    start: int
    stop: int
    crc_at: int
    crc_start: int = 0  # where the checksum starts from


def sealed(disk: SimulatedDisk) -> Iterator[Sealed]:
    """Every stretch of a database that has a checksum."""
    path = join(PATH, MANIFEST)
    yield Sealed(path, 24, len(disk.read(path)), 12)
    for path, data in disk.files().items():
        if path.endswith(".wal"):
            yield Sealed(path, 0, 84, 84)
            header = wal_frames.decode_header(data, path)
            for frame in wal_frames.find_frames(data, header, wal_frames.HEADER_BYTES, len(data)):
                yield Sealed(path, frame.offset + 4, frame.end, frame.offset)
    manifest = manifest_format.read(disk, PATH)
    assert manifest is not None
    for meta in (table for runs in manifest.version.shards for run in runs for table in run):
        path, base = join(PATH, meta.file), meta.offset
        state = Table(disk.open(path), meta, None).loaded()
        for start, stop in pairwise(state.starts):
            yield Sealed(path, start, stop - 4, stop - 4, start - base)
        footer = state.footer
        if state.keys is not None:
            index, stop = state.keys[1], footer.expiry
            yield Sealed(path, base + index, base + stop - 4, base + stop - 4)
        bounds = [footer.filter, footer.index, footer.ranges, footer.properties, footer.size - 68]
        if footer.expiry < footer.filter:
            bounds.insert(0, footer.expiry)
        for start, stop in pairwise(bounds):
            yield Sealed(path, base + start, base + stop - 4, base + stop - 4)
        yield Sealed(path, base + footer.size - 68, base + footer.size - 12, base + footer.size - 12)


LIES = [
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\0" * 8,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\0" * 4,
    b"\x80",
    b"\xff\x00",
]
"""For all sizes of numbers: the largest, the largest positive, zero, and a little more or less."""


@pytest.mark.parametrize("step", [47, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SCENES)
def test_lies(name: str, step: int) -> None:
    damage = Damage(name)
    outcomes = {"detected": 0, "answered": 0}
    for stretch in sealed(damage.image):
        whole = damage.image.read(stretch.path)
        for offset in range(stretch.start + Random(repr(stretch)).randrange(step), stretch.stop, step):
            for lie in Random(offset).sample(LIES, 3):
                data = bytearray(whole)
                end = min(offset + len(lie), stretch.stop)
                data[offset:end] = lie[: end - offset]
                crc = crc32(data[stretch.start : stretch.stop], stretch.crc_start)
                data[stretch.crc_at : stretch.crc_at + 4] = crc.to_bytes(4, "little")
                disk = killed(damage.image)
                disk.write(stretch.path, bytes(data))
                outcomes[_use(damage, disk, f"{lie!r} at {offset} of {stretch}")] += 1
    assert outcomes["detected"] > 550 // step, "of some places in a file"


def _use(damage: Damage, disk: SimulatedDisk, what: str) -> str:
    """Try everything that reads, and repair."""
    began = time.process_time()
    other = killed(disk)
    try:
        outcome = _open_and_read(damage, disk)
        with suppress(FormatVersionError, CorruptionError):
            Repair(other, PATH, RepairOptions()).run()
        Repair(other, PATH, RepairOptions(force=True)).run()
    except Exception as error:
        raise AssertionError(f"{damage.name}: {what}: {error!r}") from error
    assert time.process_time() - began < SECONDS, what
    return outcome


def _open_and_read(damage: Damage, disk: SimulatedDisk) -> str:
    documented = (CorruptionError, FormatVersionError)
    try:
        engine: Any = damage.setup.open(disk, ManualClock(), "lies")
    except documented:
        return "detected"
    outcome = "answered"
    try:
        for read in (
            lambda: [engine.get(key) for key in (b"a", b"m001", b"m017", b"m039", b"absent")],
            lambda: list(engine.scan()),
            lambda: list(engine.scan(reverse=True, limit=3)),
            lambda: len(engine),
        ):
            try:
                read()
            except documented:
                outcome = "detected"
        if list(engine.verify()):
            outcome = "detected"
        with suppress(FlinError):
            engine.put(b"m002", b"new", sync=True)
            engine.compact()
    finally:
        with suppress(FlinError):
            engine.close()
    return outcome


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": (1 << 64) - 1},
        {"epoch": 1 << 42},
        {"next_job": (1 << 64) - 1},
        {"wal_floor": 1 << 63},
        {"wal_position": (1 << 64) - 1},
        {"next_sequence": (1 << 64) - 1},
        {"clock_ms": 1 << 63},
    ],
    ids=str,
)
def test_a_manifest_with_numbers_that_none_becomes(change: dict[str, int]) -> None:
    disk = SimulatedDisk()
    with flin.engine.open(PATH, fs=disk, runner="inline") as engine:
        engine[b"k"] = b"v"
    found = manifest_format.read(disk, PATH)
    assert found is not None
    disk.write(join(PATH, MANIFEST), manifest_format.encode(replace(found, **change)))  # type: ignore[arg-type]
    with pytest.raises(CorruptionError, match="impossible numbers") as caught:
        flin.engine.open(PATH, fs=disk, runner="inline")
    assert (caught.value.path, caught.value.offset) == (join(PATH, MANIFEST), 24)


def test_a_segment_that_says_more_was_synced_than_there_is() -> None:
    """No correct frame knows of a sync beyond itself: later frames are lost."""
    disk = SimulatedDisk()
    engine: Any = flin.engine.open(PATH, fs=disk, runner="inline")
    engine.put(b"k", b"v", sync=True)
    image = killed(disk)
    engine.close()
    (path,) = [path for path in image.files() if path.endswith(".wal")]
    data = image.read(path)
    header = replace(wal_frames.decode_header(data, path), synced=1 << 40)
    image.write(path, wal_frames.encode_header(header) + data[wal_frames.HEADER_BYTES :])
    with pytest.raises(CorruptionError, match="the WAL ends, before a position that was synced") as caught:
        flin.engine.open(PATH, fs=image, runner="inline")
    assert caught.value.path == path
    assert caught.value.offset <= len(data)
