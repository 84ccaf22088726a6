"""Small databases, what can happen to their files, and the verdict: detected or harmless, never a wrong answer.

Damage is harmless if nothing reads the bytes, or if recovery may take them for a torn tail: frames that were never
synced. If a damaged database answers, the answer is right; it raises nothing but documented errors. If it names a file,
`flin check` names the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle, permutations, product
from pathlib import Path
from random import Random
from typing import Any

from flin.cli.check import check
from flin.engine.disk.file_name import LOCK, MANIFEST
from flin.engine.disk.fs import join
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk, killed
from flin.testing.crash_model import Filling, overwrite
from flin.testing.model import Expectation, view
from flin.testing.operation import Delete, DeleteRange, Maintenance, Put, PutMany, Reopen
from flin.testing.run import PATH, EngineSetup, Workload, WorkloadRun

DETECTED = (CorruptionError, FormatVersionError)

BLOCK = tuple((b"m%03d" % number, b"value %d" % number * (number % 4)) for number in range(40))
FLUSH = Maintenance("flush")
SCENES: dict[str, tuple[EngineSetup, Workload]] = {
    "wal": (EngineSetup("never"), [Put(b"a", b"1", sync=True), PutMany(BLOCK[:3]), Put(b"b", b"2"), Delete(b"a")]),
    "tables": (
        EngineSetup("always"),
        [PutMany(BLOCK), FLUSH, Put(b"a", b"1", ttl=100.0), DeleteRange(b"m010", b"m020"), FLUSH],
    ),
    "shards": (EngineSetup("always", shards=4), [PutMany(BLOCK), Maintenance("compact"), Delete(b"m001"), FLUSH]),
    "compacted": (EngineSetup("always"), [PutMany(BLOCK), FLUSH, PutMany(BLOCK[::2]), Maintenance("compact")]),
    "reopened": (
        EngineSetup("never"),
        [
            PutMany(BLOCK[:9]),
            FLUSH,
            Put(b"a", b"1"),
            Reopen(flush=False),
            Put(b"b", b"2" * 99, sync=True),
            Delete(b"a"),
        ],
    ),
    "value files": (
        EngineSetup("always", value_threshold=8),
        [
            *(PutMany(tuple((key, value * 9) for key, value in BLOCK[:12])), FLUSH),
            *(PutMany(tuple((key, value * 8) for key, value in BLOCK[3:12])), Maintenance("compact")),
            *(Put(b"a", b"the first value", ttl=100.0), Delete(b"m001"), FLUSH, Put(b"b", b"in the WAL", sync=False)),
        ],
    ),
    "large values": (EngineSetup("always"), [PutMany(tuple((key, value * 40) for key, value in BLOCK[:9])), FLUSH]),
}


LONG_SCENES: dict[str, tuple[EngineSetup, Workload]] = {
    "synced puts": (
        EngineSetup("always", window_bytes=4096),
        [Put(b"k%03d" % number, b"%03d" % number * 12) for number in range(150)],
    ),
    "segments": (
        EngineSetup("always"),
        [*[Put(b"k%03d" % number, b"%03d" % number * 50) for number in range(30)], Reopen(flush=False)] * 3,
    ),
}
"""Longer than a sector, or a page: after the loss of a stretch, something that vouches is left."""


class Damage:
    """A database of SCENES: `image` is the disk of a killed process; each case damages a clone of it."""

    def __init__(self, name: str, check_every: int = 64, seed: int = 0) -> None:
        self.name = name
        self.setup, workload = (SCENES | LONG_SCENES)[name]
        run = WorkloadRun(self.setup, record=False, opened=seed)  # identity and salts follow from it
        run.open()
        manifests = {}
        for operation in workload:
            operation.do(run)
            manifests[run.engine._store.manifest.epoch] = run.disk.read(join(PATH, MANIFEST))
        self.older_manifests = list(manifests.values())[:-1]  # the last of each earlier open
        self.image = killed(run.disk)
        version = run.engine._store.manifest.version
        self.named = {  # and where it ends, at least
            table.file: table.offset + table.length for shard in version.shards for tables in shard for table in tables
        }
        self.named |= {each.file: each.length for each in version.value_files}
        run.abandon()
        self.expectation: Expectation = run.model.expectation()
        self.outcomes: Counter[str] = Counter()
        self._check_every = check_every
        self._detected = 0

    def paths(self) -> list[str]:
        return [path for path in self.image.files() if path.startswith(PATH) and not path.endswith("LOCK")]

    def is_segment(self, path: str) -> bool:
        """Whether the file is a live segment: unsynced, it may be gone, or end earlier. One that is a value file may
        not, though it is called a segment."""
        return path.endswith(".wal") and os.path.basename(path) not in self.named

    def case(self, what: str, change: Callable[[SimulatedDisk], None], *, any_prefix: bool = False) -> str:
        """Damage a clone. Returns the outcome. `any_prefix`: nothing is left that could tell what was promised."""
        disk = killed(self.image)
        change(disk)
        files = disk.files()
        try:
            outcome, errors = self._check_case(disk, any_prefix)
        except Exception as error:
            raise AssertionError(f"{self.name}: {what}: {error!r}") from error
        self.outcomes[outcome] += 1
        if errors:
            self._detected += 1
            if self._detected % self._check_every == 1:
                assert_check_agrees(files, errors, f"{self.name}: {what}")
        return outcome

    def _check_case(self, disk: SimulatedDisk, any_prefix: bool) -> tuple[str, list[FlinError]]:
        """Open and read the damaged disk. Returns the outcome; AssertionError for a wrong answer."""
        clock = ManualClock()
        try:
            engine = self.setup.open(disk, clock, "damaged")
        except DETECTED as error:
            return "open", [error]
        except ValueError as error:  # another database's manifest has another number of shards than the option
            assert "shards, which is fixed" in str(error)
            return "open", []
        try:
            states = [*self.expectation.states] if any_prefix else self.expectation.allowed(power_cut=True)
            return _read_all(engine, [view(state, clock.now_ms) for state in states])
        finally:
            with suppress(FlinError):
                engine.close()


def _read_all(engine: Any, allowed: list[dict[bytes, bytes]]) -> tuple[str, list[FlinError]]:
    assert any(_agrees(engine, state) for state in allowed), "a get gave what was never there"
    try:
        found = dict(engine.scan())
        counted = len(engine)
    except DETECTED as error:
        return "scan", [error]
    assert found in allowed
    assert counted == len(found)
    problems = list(engine.verify())
    return ("verify", problems) if problems else ("harmless", [])


def _agrees(engine: Any, state: dict[bytes, bytes]) -> bool:
    """Whether every get that answers at all agrees with this state."""
    for key in [*state, b"a", b"absent", b"m010"]:
        try:
            if engine.get(key) != state.get(key):
                return False
        except DETECTED:
            continue
    return True


def assert_check_agrees(files: dict[str, bytes], errors: list[FlinError], what: str) -> None:
    """Check that `flin check` finds problems, too, among them one in each file that the engine named, at the same
    place."""
    directory = tempfile.mkdtemp(prefix="flin-damage-")
    try:
        for path, content in files.items():
            if path.startswith(PATH):
                Path(directory, os.path.basename(path)).write_bytes(content)
        assert_told(directory, errors, what)
    finally:
        shutil.rmtree(directory)


def assert_told(directory: str, errors: list[FlinError], what: str = "") -> None:
    """Check that the errors name a file and, if possible, an offset in it, and that check of the directory agrees."""
    problems, summary = check(directory)
    assert problems, f"{what}: check says {summary!r}, the engine {errors}"
    text = "\n".join(problems)
    for error in errors:
        assert isinstance(error, (CorruptionError, FormatVersionError)), f"{what}: {error!r}"
        name = os.path.basename(error.path)
        assert name in text or os.path.basename(directory) == name or error.path == PATH, (
            f"{what}: {error}, not in {text}"
        )
        if isinstance(error, CorruptionError):
            assert error.offset >= 0, f"{what}: {error}"
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                assert error.offset <= os.path.getsize(path), f"{what}: {error}"


def flip(name: str, step: int = 1, say: Callable[[str], None] | None = None) -> Counter[str]:
    """Flip every step-th bit of every file, one at a time. Returns how often each outcome came."""
    damage = Damage(name)
    for path in damage.paths():
        for bit in range(Random(path).randrange(step), len(damage.image.read(path)) * 8, step):
            damage.case(f"bit {bit} of {path}", lambda disk, path=path, bit=bit: disk.flip(path, bit))  # type: ignore[misc]
        if say is not None:
            say(f"{name}: {path}: {dict(damage.outcomes)}")
    return damage.outcomes


LENGTHS = (1, 8, 45, 100, 512, 4096)
"""Lengths of damaged stretches: within a number, a frame's header, a segment's header and more, a sector, a page."""


def stretch(name: str, step: int, fillings: Sequence[Filling] = ()) -> Counter[str]:
    """Damage stretches of many lengths, from every step-th byte of every file on, and the whole file. `fillings`: all
    of these at each place; else they take turns."""
    damage = Damage(name)
    turns = cycle(Filling)
    for path in [*damage.paths(), join(PATH, LOCK)]:
        size = len(damage.image.read(path))
        places = {(start, start + length) for length in LENGTHS for start in range(0, size, step)}
        places |= {(max(0, size - length), size) for length in (*LENGTHS, size)}
        for start, stop in sorted(places):
            for filling in fillings or (next(turns),):
                _overwrite(damage, path, start, stop, filling)
    return damage.outcomes


def _overwrite(damage: Damage, path: str, start: int, stop: int, filling: Filling) -> None:
    random = Random(f"{path} {start} {stop} {filling}")
    is_lost = damage.is_segment(path) and not still_vouched(damage.image, path, start, stop)

    def change(disk: SimulatedDisk) -> None:
        overwrite(disk, path, start, stop, filling, random)

    what = f"{filling.value} from {start} to {stop} of {path}"
    outcome = damage.case(what, change, any_prefix=is_lost)
    if path.endswith(LOCK):
        assert outcome == "harmless", what


def still_vouched(disk: SimulatedDisk, path: str, start: int, stop: int) -> bool:
    """Whether anything in the segments outside the stretch vouches that the bytes of the stretch were synced: found in
    the undamaged files, frame by frame."""
    vouched = 0
    taken = []
    for name, data in disk.files().items():
        if not name.endswith(".wal"):
            continue
        header = wal_frames.decode_header(data, name)
        pieces = [(0, wal_frames.HEADER_BYTES, header.synced)]
        pieces += [
            (frame.offset, frame.end, frame.synced)
            for frame in wal_replay.read_frames(data, header, name, end=len(data))
        ]
        for first, last, synced in pieces:
            if name == path and first < stop and start < last:
                taken.append(header.base + first)
            else:
                vouched = max(vouched, synced)
    return not taken or vouched > min(taken)


def cut(name: str, step: int = 1, say: Callable[[str], None] | None = None) -> Counter[str]:
    """Cut every file to every step-th length, and make some too long."""
    damage = Damage(name)
    for path in damage.paths():
        content = damage.image.read(path)
        # A WAL that ends too early looks as if the crash came earlier: only later bytes could tell.
        any_prefix = damage.is_segment(path)
        lengths = {*range(Random(path).randrange(step), len(content), step), 0, len(content) - 1}
        for length in sorted(lengths):
            outcome = damage.case(f"{path} cut to {length}", writing(path, content[:length]), any_prefix=any_prefix)
            is_short = length < damage.named.get(os.path.basename(path), 0)
            assert outcome == "open" or not is_short, f"{path} was cut to {length}, and the open did not notice"
        for extra in (bytes(1), bytes(5000), b"x", Random(path).randbytes(5000), content):
            damage.case(f"{path} and {len(extra)} bytes", writing(path, content + extra))
        if say is not None:
            say(f"{name}: {path}: {dict(damage.outcomes)}")
    return damage.outcomes


def lose(name: str) -> None:
    """Remove any files: detected, as long as another one is left that knows of them.

    Segments that nothing names yet may be missing unnoticed: a directory can hold none of them after a crash."""
    damage = Damage(name, check_every=1)
    paths = damage.paths()
    for lost in subsets(paths):
        if len(lost) == len(paths):
            continue  # nothing is left to recognise it by: an empty directory

        def lose(disk: SimulatedDisk, lost: list[str] = lost) -> None:
            for path in lost:
                disk.lose(path)

        only_wal = all(map(damage.is_segment, lost))
        outcome = damage.case(f"{lost} are gone", lose, any_prefix=only_wal)
        assert outcome == "open" or only_wal, f"{lost} are gone and nobody noticed: {outcome}"


def exchange(name: str) -> None:
    """Put each file's bytes under each other's name, and the same bytes under both."""
    damage = Damage(name, check_every=1)
    for one, other in permutations(damage.paths(), 2):
        first, second = damage.image.read(one), damage.image.read(other)

        def exchange(disk: SimulatedDisk, one: str = one, other: str = other) -> None:
            disk.write(one, damage.image.read(other))
            disk.write(other, damage.image.read(one))

        any_prefix = damage.is_segment(one) or damage.is_segment(other)
        if first != second:
            damage.case(f"{one} and {other} exchanged", exchange, any_prefix=any_prefix)
            damage.case(f"{one} is {other}", writing(one, second), any_prefix=damage.is_segment(one))


def put_in_place(name: str) -> None:
    """Put files of databases with another identity under this one's names: they decode, but do not belong to it."""
    damage = Damage(name, check_every=1)
    has_segments = any(map(damage.is_segment, damage.paths()))
    for other in SCENES:
        foreign = Damage(other, seed=1000)
        has_tables = any(".sst" in each for each in foreign.paths())
        for path, strange in product(damage.paths(), foreign.paths()):
            content = foreign.image.read(strange)
            if path.rpartition(".")[2] != strange.rpartition(".")[2] or content == damage.image.read(path):
                continue
            if path.endswith("MANIFEST") and not has_segments and not has_tables:
                continue  # without tables and segments nothing distinguishes one database from another
            is_wal = damage.is_segment(path)
            outcome = damage.case(f"{path} is {strange} of {other}", writing(path, content), any_prefix=is_wal)
            assert outcome == "open" or not is_wal, f"{path} is another database's, and nobody noticed"


def go_back(name: str) -> None:
    """Put in the manifest of an earlier open: files that it does not name must not be removed."""
    damage = Damage(name, check_every=1)
    for content in damage.older_manifests:
        outcome = damage.case("an older manifest", writing(join(PATH, MANIFEST), content))
        assert outcome == "open", f"an older manifest, and nobody noticed: {outcome}"


def writing(path: str, content: bytes) -> Callable[[SimulatedDisk], None]:
    return lambda disk: disk.write(path, content)


def subsets(paths: list[str]) -> Iterator[list[str]]:
    for number in range(1, 1 << len(paths)):
        yield [path for index, path in enumerate(paths) if number >> index & 1]
