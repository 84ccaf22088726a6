"""The bound on open tables: which it closes, that reads still find everything, and the limit of a real process."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from threading import Thread, get_ident
from typing import Any

import pytest

import flin.engine
from flin.engine import Engine
from flin.engine.background.helper_process import HelperProcess
from flin.engine.background.job_handle import RunnerStatistics
from flin.engine.disk import open_files
from flin.engine.disk.directory_lock import HeldDirectory
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.open_files import OPEN_FILES, OpenFiles, TableFile
from flin.engine.table.cold_read import ColdRead
from flin.errors import ClosedError, StorageError
from flin.testing import SimulatedDisk
from flin.testing.crash_checker import CrashChecker
from flin.testing.operation import Fill, Maintenance, Put, Read, Reopen
from flin.testing.run import EngineSetup, WorkloadRun
from tests.engine.intruder import intruding
from tests.engine.small_database import opened
from tests.figures import Figures
from tests.source import ROOT


class Held:
    """Something that is open."""

    def __init__(self) -> None:
        self.used = False
        self.is_open = True

    def was_used(self) -> bool:
        used, self.used = self.used, False
        return used

    def let_go(self) -> None:
        self.is_open = False


def still_open(all_held: list[Held]) -> list[int]:
    return [number for number, held in enumerate(all_held) if held.is_open]


def test_the_oldest_goes_first() -> None:
    files = OpenFiles(lambda: 3)
    held = [Held() for _ in range(5)]
    for each in held:
        files.add(each)
    assert still_open(held) == [2, 3, 4]
    assert len(files) == 3


def test_a_table_that_was_read_has_a_second_chance() -> None:
    files = OpenFiles(lambda: 3)
    held = [Held() for _ in range(4)]
    for each in held[:3]:
        files.add(each)
    held[0].used = True
    files.add(held[3])
    assert still_open(held) == [0, 2, 3]
    held.append(Held())
    files.add(held[4])
    assert still_open(held) == [0, 3, 4], "once for each read"


def test_the_youngest_stays_even_if_all_were_read() -> None:
    files = OpenFiles(lambda: 2)
    held = [Held() for _ in range(40)]
    for each in held:
        each.used = True
        files.add(each)
        assert each.is_open
        assert len(files) <= 2


def test_what_is_gone_or_closed_takes_no_place() -> None:
    files = OpenFiles(lambda: 2)
    kept = Held()
    files.add(kept)
    for _ in range(10):
        files.add(Held())
        gc.collect()
    closed = Held()
    files.add(closed)
    files.discard(closed)
    files.discard(closed)
    files.add(Held())
    assert kept.is_open
    assert len(files) == 1
    assert files.shed()
    files.forget()
    assert not files.shed()


HANDLERS: dict[str, Callable[[OpenFiles, list[Held]], None]] = {
    "opens another": lambda files, held: files.add(held[-1]),
    "has none left": lambda files, held: [files.shed() for _ in held].clear(),
    "closes them": lambda files, held: [files.discard(each) for each in held].clear(),
}


@pytest.mark.parametrize("limit", [1, 4])
@pytest.mark.parametrize("name", HANDLERS)
def test_calls_at_every_line_of_a_call(name: str, limit: int) -> None:
    """A handler opens or closes tables in the middle of a call that does so."""
    at = lines = 0
    while at <= lines:
        at += 1
        files = OpenFiles(lambda: limit)
        held = [Held() for _ in range(6)]
        last = Held()
        calls: list[Callable[[], object]] = [
            *(partial(files.add, each) for each in held[:-1]),
            partial(files.discard, held[0]),
            files.__len__,
            files.shed,
        ]

        def handle(number: int, place: str, files: OpenFiles = files, held: list[Held] = held, at: int = at) -> None:
            if number == at:
                HANDLERS[name](files, held)

        with intruding(handle) as count:
            for call in calls:
                held[1].used = True
                call()
        lines = count[0]
        files.add(last)
        assert last.is_open
        assert len(files) <= limit, "and what a handler has opened in between is over the bound for that long"
    assert lines > 40


def test_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for allowed, limit in ((1024, 256), (64, 16), (2, 1), (1 << 20, 4096), (sys.maxsize, 4096)):
        monkeypatch.setattr(open_files, "descriptor_limit", lambda allowed=allowed: allowed)
        assert open_files.max_open_files() == limit


# Tables.


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tables may be open."""
    monkeypatch.setattr(OPEN_FILES, "limit", lambda: 2)


def filled(disk: SimulatedDisk, tables: int, **options: Any) -> dict[bytes, bytes]:
    """A database with at least this many tables: each shard has one, some have more."""
    expected: dict[bytes, bytes] = {}
    with opened(disk, shards=tables, **options) as db:
        for number in range(3):
            pairs = {b"%02d-%03d" % (number, index): b"%d" % number * 30 for index in range(80)}
            db.put_many(pairs)
            db.flush()
            expected |= pairs
    return expected


@pytest.mark.usefixtures("few")
def test_all_is_read_with_few_open_files() -> None:
    disk = SimulatedDisk()
    expected = filled(disk, 8)
    with opened(disk) as db:
        tables = db._store.tables.tables()
        assert len(tables) >= 8
        assert not any(table.state for table in tables), "none is opened before it is read"
        random = Random(1)
        for key in random.sample(sorted(expected), 200):
            assert db.get(key) == expected[key]
            assert sum(table.state is not None for table in tables) <= 2
        with db.snapshot() as view:
            assert dict(view.scan()) == dict(db.scan()) == expected
            assert dict(db.scan(reverse=True)) == expected
            db.compact()
            assert dict(view.scan()) == expected, "what is obsolete is still read, though it was let go"
        assert not db.verify()
        assert len(db) == len(expected)
        assert len(disk.open_files) <= 3  # and the WAL


@pytest.mark.usefixtures("few")
def test_reads_that_do_not_wait() -> None:
    disk = SimulatedDisk()
    expected = filled(disk, 4)
    with opened(disk) as db:
        for key, value in expected.items():
            for _ in range(5):
                try:
                    entry = db._store.read_nowait(key)
                    break
                except ColdRead as cold:
                    cold.load()
            assert entry == value
        assert len(disk.open_files) <= 3


@pytest.mark.parametrize("call", ["open", "mmap"])
def test_a_missing_descriptor_is_taken_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The program itself may have used up all descriptors."""
    module: Any = os if call == "open" else mmap
    really = getattr(module, call)
    left = 0

    def limited(*arguments: Any, **options: Any) -> Any:
        if sum(table.state is not None for table in tables) > left:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really(*arguments, **options)

    expected = {b"%d" % number: b"v" for number in range(100)}
    with flin.engine.open(tmp_path / "db", runner="inline", shards=4) as db:
        db.put_many(expected)
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        tables = db._store.tables.tables()
        assert len(tables) == 4
        monkeypatch.setattr(module, call, limited)
        assert {key: db.get(key) for key in expected} == expected
        assert sum(table.state is not None for table in tables) == 1, "each took the place of the one before"
        monkeypatch.undo()
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        tables, left = db._store.tables.tables(), -1
        monkeypatch.setattr(module, call, limited)
        for read in (lambda: db.get(b"7"), lambda: list(db.scan())):
            with pytest.raises(StorageError, match="Too many open files"):
                read()
        monkeypatch.undo()
        assert dict(db.items()) == expected, "and it is well again"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system has no /proc to ask for descriptors")
def test_a_helper_that_finds_no_descriptors_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """For its second pipe, or at its start."""
    gc.collect()  # else what other tests have left might be closed meanwhile
    really, before = os.pipe, pipes_open()
    for limit in (0, 1, 2):
        pipes: list[tuple[int, int]] = []

        def limited(pipes: list[tuple[int, int]] = pipes, limit: int = limit) -> tuple[int, int]:
            if len(pipes) >= limit:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pipes.append(really())
            return pipes[-1]

        monkeypatch.setattr(os, "pipe", limited)
        with pytest.raises(OSError, match="Too many open files"):
            HelperProcess(OsFileSystem(), [sys.executable, "-c", ""], RunnerStatistics())
        monkeypatch.undo()
        assert len(pipes) == limit
        assert pipes_open() == before


def pipes_open() -> int:
    """No other descriptors: threads that other tests have left, such as gRPC's, may close theirs at any time."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
    return found


def test_a_file_that_is_let_go_is_not_closed_under_its_reader(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    file = TableFile(OsFileSystem(), str(tmp_path / "f"), OpenFiles(lambda: 1))
    reader = file._opened()
    file.let_go()
    assert reader.pread(4, 0) == file.pread(4, 0) == b"data"
    assert file.map()[:] == b"data"
    assert file._file is None, "the mapping is enough"
    file.close()


READS: dict[str, tuple[str, Callable[[TableFile], object]]] = {
    "pread": ("pread", lambda file: file.pread(4, 0)),
    "pread_nowait": ("preadv", lambda file: file.pread_nowait(4, 0)),
    "map": ("fstat", lambda file: file.map()[:]),
}


@pytest.mark.parametrize("name", READS)
def test_an_eviction_in_the_middle_of_a_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By another thread, between the reading of the number and the kernel's call: the number is not reused."""
    (tmp_path / "f").write_bytes(b"data")
    (tmp_path / "other").write_bytes(b"others")
    files = OpenFiles(lambda: 1)
    file, other = (TableFile(OsFileSystem(), str(tmp_path / name), files) for name in ("f", "other"))
    call, read = READS[name]
    really = getattr(os, call)

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(os, call, really)
        in_thread(lambda: other.pread(6, 0))
        assert file._file is None, "it was evicted"
        return really(*arguments)

    assert file.pread(4, 0) == b"data"
    monkeypatch.setattr(os, call, late)
    assert read(file) in (b"data", None if name == "pread_nowait" else b"data")  # None: it would have to wait
    assert getattr(os, call) is really
    assert other.pread(6, 0) == b"others"


def in_thread(work: Callable[[], object]) -> None:
    thread = Thread(target=work)
    thread.start()
    thread.join()


CLOSED_BESIDE: dict[str, Callable[[Engine], object]] = {
    "get": lambda db: db.get(b"a"),
    "scan": lambda db: dict(db.scan())[b"a"],
    "load": lambda db: db._store.tables.tables()[0].loaded().data and b"1",
    "pread": lambda db: (db._store.tables.tables()[0]._file.pread(1, 0), b"1")[1],
    "pread_nowait": lambda db: (db._store.tables.tables()[0]._file.pread_nowait(1, 0), b"1")[1],
}


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("name", CLOSED_BESIDE)
def test_a_table_is_opened_while_its_engine_is_closed(
    open_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, name: str, moment: int
) -> None:
    """At each check of the directory by the reader: the read ends as if it had been faster, or finds it closed."""
    with open_engine() as db:
        db.put(b"a", b"1")
    db = open_engine()
    looks, look, reader = 0, HeldDirectory.check, get_ident()

    def check(held: HeldDirectory, directory: str) -> None:
        nonlocal looks
        look(held, directory)
        if get_ident() == reader:
            looks += 1
            if looks > moment:
                in_thread(db.close)

    monkeypatch.setattr(HeldDirectory, "check", check)
    try:
        assert CLOSED_BESIDE[name](db) == b"1"
        assert not db.closed
    except ClosedError:
        assert db.closed
    assert looks, "it took at least one"
    assert db.closed == (looks > moment)
    monkeypatch.undo()


def fill(path: Path, value: bytes) -> None:
    with flin.engine.open(path, runner="inline") as db:
        db.put_many({b"%03d" % number: value for number in range(100)})


def remake(path: Path) -> None:
    shutil.rmtree(path)
    fill(path, b"others")


def empty_and_remake(path: Path) -> None:
    for inner in path.iterdir():
        inner.unlink()
    fill(path, b"others")


def merge(path: Path) -> None:
    with flin.engine.open(path, runner="inline") as db:
        db.put(b"x", b"")
        db.compact()


REPLACED: dict[str, Callable[[Path], None]] = {
    "as it was": lambda path: None,
    "removed": shutil.rmtree,
    "another": remake,
    "emptied": empty_and_remake,
    "merged": merge,
}


@pytest.mark.parametrize("replaced", REPLACED)
def test_what_outlives_a_close(tmp_path: Path, replaced: str) -> None:
    """A table that was opened can still be read; one that was not is ClosedError, never another database's."""
    path = tmp_path / "db"
    fill(path, b"origin")
    db = flin.engine.open(path, runner="inline")
    view = db.snapshot()
    db.close()
    REPLACED[replaced](path)
    for read in (lambda: view[b"007"], lambda: next(view.scan()), lambda: list(view.scan_keys(reverse=True))):
        with pytest.raises(ClosedError):
            read()
    if not path.exists():
        return
    with flin.engine.open(path, runner="inline") as db:
        expected = dict(db.items())
        view = db.snapshot()
        assert dict(view.items()) == expected
    REPLACED[replaced](path)
    assert dict(view.items()) == expected


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_check_during_a_close_finds_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "db", b"v")
    db = flin.engine.open(tmp_path / "db", runner="inline")
    table = db._store.tables.tables()[0]
    verify = table.verify

    def late() -> Any:
        in_thread(db.close)
        shutil.rmtree(tmp_path / "db")
        return verify()

    monkeypatch.setattr(table, "verify", late)
    with pytest.raises(ClosedError):
        db.verify()


def test_a_forked_child_opens_no_table(tmp_path: Path) -> None:
    """Its parent's directory may belong to another database by the time that it reads."""
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        db.put(b"k", b"v")
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        view = db.snapshot()
        child = os.fork()
        if not child:
            try:
                view[b"k"]
            except ClosedError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert view[b"k"] == b"v"


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("sync", ["always", "never"])
def test_crashes_with_few_open_files(sync: str, figures: Figures) -> None:
    setup = EngineSetup(sync, shards=4)
    fill = [piece for number in range(3) for piece in (Fill(number * 40, 60), Maintenance("flush"), Read())]
    run = WorkloadRun(setup, every=29).run([*fill, Put(b"a", b"1"), Maintenance("compact"), Reopen(), Read()])
    checker = CrashChecker(setup, limit=1, second_every=4)
    for crash_point in run.crash_points[::6]:
        checker.check(crash_point, f"{setup}")
    figures.checked(checker)
    assert checker.states > 10


# Real processes.

TABLE_COUNT = """
import os, random, resource, sys, flin.engine
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
chance = random.Random(1)
pairs, most, rounds = {}, 0, 0
db = flin.engine.open(sys.argv[1], memory_limit="1mb", compression="none", runner=sys.argv[3])
while rounds < 50 or most <= limit:  # how many tables there are depends on how fast they are merged
    rounds += 1
    new = {chance.randbytes(12): chance.randbytes(800) for _ in range(500)}
    db.put_many(new)
    pairs |= new
    most = max(most, len(db._store.manifest.version.files()))
for key in chance.sample(sorted(pairs), 300):
    assert db.get(key) == pairs[key]
assert sum(1 for _ in db.scan_keys()) == len(pairs)
descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
assert descriptors < most // 2 + 16, descriptors
assert db._compactor.statistics.failures == 0, db._compactor.statistics.last_failure
db.close()
with flin.engine.open(sys.argv[1], memory_limit="1mb") as db:
    assert len(db) == len(pairs)
print(most)
"""


@pytest.mark.parametrize("runner", ["helper", "thread"])
def test_more_tables_than_descriptors(tmp_path: Path, runner: str) -> None:
    """With a limit of 64 files: writes, merges, reads, a close and an open of more tables than that. Not fewer: where
    merges get no processor there are up to 24 runs, and a scan has one table of each mapped, which takes a descriptor
    before Python 3.13; files, pipes and standard streams of the engine and its helpers are some 16."""
    command = [sys.executable, "-c", TABLE_COUNT, str(tmp_path / "db"), "64", runner]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 64
    assert os.listdir(tmp_path / "db")


VALUE_FILES = """
import os, random, resource, sys, threading, flin.engine
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
options = {"memory_limit": "1mb", "value_threshold": 64, "runner": sys.argv[2]}
pairs = {b"%04d" % number: b"%04d" % number * 250 for number in range(int(sys.argv[3]))}
chance = random.Random(1)

def check(db):
    keys = chance.sample(sorted(pairs), 200)
    assert [db.get(key) for key in keys] == [pairs[key] for key in keys]
    assert list(db.get_many(keys)) == [pairs[key] for key in keys]
    assert dict(db.scan()) == pairs

def read(db):
    check(db)
    checked.append(db)

checked = []
with flin.engine.open(sys.argv[1], **options) as db:
    files = len(db._store.manifest.version.value_files)
    readers = [threading.Thread(target=read, args=(db,)) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(checked) == 8
    with db.snapshot() as snapshot:
        for number in range(0, len(pairs), 3):
            pairs[b"%04d" % number] = b"new " * 250
        db.put_many(list(pairs.items())[::3])
        db.flush()
        db.compact()
        assert sum(1 for _ in snapshot.scan()) == len(pairs)
    check(db)
    assert db.verify() == []
    assert db._compactor.statistics.failures == 0, db._compactor.statistics.last_failure
with flin.engine.open(sys.argv[1], **options) as db:
    check(db)
    assert len(db) == len(pairs)
print(files)
"""


@pytest.mark.parametrize("runner", ["helper", "thread"])
def test_more_value_files_than_descriptors(tmp_path: Path, runner: str) -> None:
    """With a limit of 64 files: gets, pages, scans, several threads, merges and a reopening over hundreds of them."""
    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, runner="inline", sync="never", value_threshold=64) as db:
        for number in range(300):
            db.put(b"%04d" % number, b"%04d" % number * 250)
            db._store._wal.end_segment()  # each becomes a value file
        db.flush()
    (tmp_path / "db").mkdir()
    for path, content in disk.files().items():
        (tmp_path / path[1:]).write_bytes(content)
    command = [sys.executable, "-c", VALUE_FILES, str(tmp_path / "db"), runner, "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == 300
