"""Encrypted databases: nothing on the disk can be read, no other key opens them, and nothing can be changed unseen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flin.engine
import flin.engine.aio
from flin.engine.background.compaction import CompactionOptions
from flin.engine.checksum import crc32
from flin.engine.disk.file_name import KEYS, MANIFEST, NEW_KEYS
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.engine import Engine, store_of
from flin.engine.wal import frames as wal_frames
from flin.errors import CorruptionError, EncryptionError, ReadOnlyError, StorageError, WrongKeyError
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.crash_checker import CrashChecker, assert_no_orphans, crash_every_workload, every_workload
from flin.testing.crash_model import CrashModel, every_crash, killed
from flin.testing.operation import Delete, DeleteRange, Maintenance, Put, Reopen
from flin.testing.run import KEY, PATH, EngineSetup, WorkloadRun
from tests.engine.nonces import Nonces
from tests.engine.test_crash import ALPHABET, VALUE_FILES, WITH_VALUES
from tests.engine.test_process import run_script
from tests.figures import Figures

OTHER_KEY = bytes(32)
SMALL, LARGE = b"a secret value", b"a secret value " * 40
ENCRYPTED = EngineSetup(sync="interval", value_threshold=500, encrypted=True)


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk(window_bytes=4096)


def opened(disk: SimulatedDisk, key: Any = KEY, **named: Any) -> Engine:
    return flin.engine.open(
        PATH, fs=disk, runner="inline", memory_limit=1 << 20, value_threshold=500, encryption_key=key, **named
    )


def secret_key(number: int) -> bytes:
    return b"a secret key %04d" % number


def fill(db: Engine, start: int = 0, stop: int = 200) -> None:
    for number in range(start, stop):
        db.put(secret_key(number), LARGE if number % 3 == 0 else SMALL)
    with db.write_batch() as batch:
        for number in range(start, stop, 7):
            batch.put(secret_key(number), LARGE[::-1], ttl=1000)
    db.delete(secret_key(start + 1))
    db.delete_range(secret_key(start + 10), secret_key(start + 13))


def assert_sealed(disk: SimulatedDisk) -> None:
    for path, data in disk.files().items():
        for text in (b"secret", LARGE[::-1][:20], KEY):
            assert text not in data, f"{text!r} can be read in {path}"


def test_nothing_can_be_read(disk: SimulatedDisk) -> None:
    with opened(disk) as db:
        fill(db)
        assert_sealed(disk)
        db.flush()
        assert_sealed(disk)
        fill(db, 100, 300)
        expected = dict(db.items())
        db.compact()
        assert dict(db.items()) == expected
        assert db.verify() == []
        assert_sealed(disk)
        fill(db, 50, 60)
        expected = dict(db.items())
        crashed = killed(disk)
    with opened(crashed) as db:
        assert dict(db.items()) == expected
        assert len(db) == len(expected)
    assert_sealed(crashed)
    assert {KEYS, MANIFEST} <= set(disk.names(PATH))


def test_large_values_stay_in_segments_and_are_collected(disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(disk) as db:
        values = {secret_key(number): b"%04d" % number + LARGE for number in range(60)}
        db.put_many(values.items())
        db.flush()
        files = store_of(db).manifest.version.value_files
        assert [each.file[-4:] for each in files] == [".wal"]
        assert sum(each.live_bytes for each in files) == sum(map(len, values.values()))
        assert {key: db[key] for key in values} == dict(db.items()) == values
        fresh = {key: value[::-1] for key, value in list(values.items())[:50]}
        db.put_many(fresh.items())
        db.compact()
        assert any(each.file.endswith(".val") for each in store_of(db).manifest.version.value_files)
        assert dict(db.items()) == values | fresh
        assert db.verify() == []
        assert_sealed(disk)
    with opened(disk) as db:
        assert dict(db.items()) == values | fresh


def test_values_that_a_segment_gives_back(disk: SimulatedDisk) -> None:
    """Too few large values: they are copied into the table, opened and sealed again."""
    with opened(disk) as db:
        db.put(b"large", LARGE)
        db.put_many((secret_key(number), SMALL) for number in range(100))
        db.flush()
        assert not store_of(db).manifest.version.value_files
        assert db[b"large"] == LARGE


def test_the_wrong_key_and_none(disk: SimulatedDisk) -> None:
    with opened(disk) as db:
        fill(db)
    before = disk.files()
    with pytest.raises(WrongKeyError, match="another key"):
        opened(disk, OTHER_KEY)
    with pytest.raises(EncryptionError, match=r"is encrypted: give its key \(encryption_key"):
        opened(disk, None)
    lock = f"{PATH}/LOCK"
    assert {**disk.files(), lock: b""} == {**before, lock: b""}
    with opened(disk, lambda: KEY) as db:
        assert db[secret_key(0)] == LARGE[::-1]


def test_a_key_for_a_plain_database(disk: SimulatedDisk) -> None:
    with opened(disk, None) as db:
        fill(db)
    before = disk.files()
    with pytest.raises(EncryptionError, match="not encrypted"):
        opened(disk)
    assert KEYS not in disk.names(PATH)
    assert disk.files().keys() == before.keys()


def test_the_keys_are_lost(disk: SimulatedDisk) -> None:
    with opened(disk) as db:
        fill(db)
    disk.remove(f"{PATH}/{KEYS}")
    for key in (KEY, None):
        with pytest.raises(EncryptionError, match=r"KEYS is missing: put it back"):
            opened(disk, key)


def test_a_key_must_be_one() -> None:
    with pytest.raises(ValueError, match="must have 32 bytes"):
        flin.engine.Options(encryption_key=b"short")
    with pytest.raises(TypeError, match="must be bytes"):
        flin.engine.Options(encryption_key="text")  # type: ignore[arg-type]


def test_without_the_package(disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(EncryptionError, match=r"pip install 'flin\[encryption\]'"):
        opened(disk)


def test_a_plain_database_imports_no_cipher(tmp_path: Path) -> None:
    code = f"""
import sys, flin.engine
with flin.engine.open({str(tmp_path)!r}) as db:
    db.put(b"key", b"value")
assert not any(name.startswith("cryptography") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("runner", ["helper", "thread"])
def test_helpers(tmp_path: Path, runner: Any) -> None:
    """On the real disk, with jobs in another process, which gets the keys through its pipe."""
    expected = {}
    with flin.engine.open(tmp_path, runner=runner, memory_limit="2mb", encryption_key=KEY, value_threshold=500) as db:
        for number in range(6000):
            expected[secret_key(number)] = SMALL * 20 if number % 50 else LARGE
            db.put(secret_key(number), expected[secret_key(number)])
        db.compact()
        for pid in db._runner.pids:
            for name in ("cmdline", "environ"):
                text = Path(f"/proc/{pid}/{name}").read_bytes()
                assert KEY.hex().encode() not in text
                assert KEY not in text
        assert dict(db.items()) == expected
        assert db.verify() == []
    with flin.engine.open(tmp_path, encryption_key=KEY) as db:
        assert dict(db.items()) == expected
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()


# Tampering.


def _problems(disk: SimulatedDisk) -> list[str]:
    """What an open or verify says; nothing if all is well."""
    try:
        with opened(disk) as db:
            return [str(problem) for problem in db.verify()]
    except (CorruptionError, EncryptionError) as error:
        return [str(error)]


def _with_right_checksums(data: bytearray, name: str) -> bytes:
    """An attacker can compute CRC-32, too."""
    if name.endswith((".wal", ".val")):
        header = wal_frames.decode_header(bytes(data), name)
        for frame in _frames(bytes(data)):
            rest = bytes(data[frame[0] + 4 : frame[1]])
            data[frame[0] : frame[0] + 4] = crc32(rest).to_bytes(4, "little")
        assert header.salt
    return bytes(data)


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    offset = wal_frames.HEADER_BYTES
    while offset + wal_frames.FRAME_BYTES <= len(data) and any(data[offset : offset + 8]):
        end = offset + wal_frames.FRAME_BYTES + wal_frames.read_frame_header(data, offset).length
        yield offset, end
        offset = end


def test_tampering(disk: SimulatedDisk) -> None:
    """In each file, at some places, behind right checksums: never another answer."""
    with opened(disk) as db:
        fill(db, 0, 60)
        db.flush()
        fill(db, 60, 90)
        expected = dict(db.items())
        db.close(flush=False)
    image = disk.files()
    assert {path.rpartition(".")[2] for path in image} >= {"sst", "wal"}
    assert not _problems(disk)
    for path, data in disk.files().items():
        if path.endswith("LOCK"):
            continue
        name = path.rpartition("/")[2]
        for at in range(150, len(data), max(1, len(data) // 12)):
            for other_path, other in image.items():
                disk.write(other_path, other)
            for other_path in disk.files().keys() - image.keys():
                disk.remove(other_path)
            changed = bytearray(data)
            changed[at] ^= 0x10
            disk.write(path, _with_right_checksums(changed, name))
            try:
                with opened(disk) as db:
                    found = dict(db.items())
            except (CorruptionError, EncryptionError) as error:
                assert name in str(error)
            else:
                assert found == expected, (name, at)


# Nonces, and crashes.


def test_no_nonce_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = Nonces()
    nonces.watch(monkeypatch)
    workload = [
        *VALUE_FILES,
        Maintenance("compact"),
        Reopen(),
        Put(b"d", b"x" * 600),
        Delete(b"a"),
        Reopen(flush=False),
    ]
    setup = EngineSetup("interval", value_threshold=8, tiny=True, encrypted=True)
    run = WorkloadRun(setup, every=3).run([*workload, DeleteRange(b"a", b"c"), *workload])
    assert len(nonces.seen) > 40
    assert not nonces.repeated
    for number, crash_point in enumerate(run.crash_points[::25]):
        for clone in every_crash(crash_point.disk, CrashModel.TORN, 2, number):
            db = setup.open(clone, ManualClock(crash_point.now_ms), ("nonces", number, len(nonces.seen)))
            db.put(b"after", b"the crash")
            db.flush()
            db.close()
            assert not nonces.repeated


def test_no_nonce_is_used_twice_where_a_put_was_interrupted(
    disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next put writes over the frame that the interrupted one left, at the same place, with the same sequence."""
    nonces = Nonces()
    nonces.watch(monkeypatch)
    with opened(disk) as db:
        db.put(b"first", b"1")
        wal = store_of(db)._wal
        window: Any = wal._window

        class Interrupted:
            def __setitem__(self, where: slice, data: bytes | bytearray) -> None:
                window[where] = data
                raise KeyboardInterrupt

            def close(self) -> None:
                window.close()

        position = wal.position
        wal._window = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            db.put(b"second", b"2")
        assert wal.position == position
        wal._window = window
        db.put(b"second", b"3")
        assert not nonces.repeated
        expected = dict(db.items())
    with opened(disk) as db:
        assert dict(db.items()) == expected == {b"first": b"1", b"second": b"3"}


def test_a_collecting_merge_that_is_done_again(disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose helper died writes files of the same names, perhaps with other values."""
    nonces = Nonces()
    nonces.watch(monkeypatch)
    salts: set[bytes] = set()

    def segment_salt(self: SealedFileSystem) -> bytes:
        salt = original(self)
        salts.add(salt)
        return salt

    original = SealedFileSystem.segment_salt
    monkeypatch.setattr(SealedFileSystem, "segment_salt", segment_salt)
    for number in range(2):
        with opened(disk) as db:
            db.put_many((secret_key(each), b"%d" % number + LARGE) for each in range(40))
            db.flush()
            db.put_many((secret_key(each), b"%d" % number + LARGE) for each in range(30))
            db.compact()
    assert len(salts) >= 2
    assert not nonces.repeated


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_crashes(sync: str, figures: Figures) -> None:
    checker = CrashChecker(EngineSetup(sync, encrypted=True), limit=4, second_every=12)
    crash_every_workload(checker, every_workload(ALPHABET, 1))
    figures.checked(checker)
    assert checker.states > 60


@pytest.mark.slow
@pytest.mark.parametrize(("sync", "shards", "window_bytes"), [("always", 1, 512), ("interval", 4, 0)])
def test_every_short_workload_encrypted(sync: str, shards: int, window_bytes: int, figures: Figures) -> None:
    setup = EngineSetup(sync, shards, window_bytes=window_bytes, encrypted=True)
    checker = CrashChecker(setup, limit=8, second_every=12)
    crash_every_workload(checker, every_workload(ALPHABET, 2))
    figures.checked(checker)
    assert checker.states > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("sync", "threshold", "shards"), [("always", 8, 1), ("interval", 8, 4), ("always", 24, 4)])
def test_every_workload_of_encrypted_value_files(sync: str, threshold: int, shards: int, figures: Figures) -> None:
    setup = EngineSetup(sync, shards, value_threshold=threshold, tiny=True, encrypted=True)
    checker = CrashChecker(setup, 8, second_every=12)
    crash_every_workload(checker, ((*VALUE_FILES, *each) for each in every_workload(WITH_VALUES, 1)))
    figures.checked(checker)
    assert checker.states > 60


# Another key.


def test_rotate(disk: SimulatedDisk) -> None:
    with opened(disk) as db:
        fill(db, 0, 50)
        db.flush()
        fill(db, 50, 60)
        db.rotate(OTHER_KEY)
        fill(db, 60, 80)
        expected = dict(db.items())
        db.flush()
        assert dict(db.items()) == expected
    with pytest.raises(WrongKeyError):
        opened(disk)
    with opened(disk, OTHER_KEY) as db:
        assert dict(db.items()) == expected
        assert _numbers(db) == [1, 2]
        db.put(b"more", b"data")
        db.compact()
    with opened(disk, OTHER_KEY) as db:  # no file needs the first key any more
        assert dict(db.items()) == expected | {b"more": b"data"}
        assert _numbers(db) == [2]
        assert db.verify() == []
    assert_sealed(disk)
    assert_no_orphans_with(disk, OTHER_KEY)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("target_bytes", [1 << 20, 2000])
def test_compact_renews_what_is_merged_already(disk: SimulatedDisk, target_bytes: int, shards: int) -> None:
    """Also tables of full size, which merges would move as they are."""
    with opened(disk, shards=shards) as db:
        db._compactor.set_sizes(CompactionOptions(target_table_bytes=target_bytes), 1 << 20)
        db.put_many((secret_key(number), b"%d" % number + SMALL) for number in range(800))
        expected = dict(db.items())
        db.compact()
        db.rotate(OTHER_KEY)
        db.compact()
        assert dict(db.items()) == expected
        before = disk.names(PATH)
        db.compact()
        assert disk.names(PATH) == before, "once is enough"
    with opened(disk, OTHER_KEY) as db:
        assert _numbers(db) == [2]
        assert (dict(db.items()), len(db)) == (expected, 800)
        assert db.verify() == []


@pytest.mark.parametrize("shards", [1, 4])
def test_compact_renews_large_values(disk: SimulatedDisk, shards: int) -> None:
    """Those of value files that are hardly worn: no merge would collect them."""
    with opened(disk, shards=shards) as db:
        for start in (0, 100):
            db.put_many((secret_key(number), b"%d" % number + LARGE) for number in range(start, start + 100))
            db.flush()
        db.compact()
        db.rotate(OTHER_KEY)
        fill(db, 200, 250)
        old = {name for name in disk.names(PATH) if name.endswith(".wal")}
        assert db.stats()["value_files"]["files"] == 2
        expected = dict(db.items())
        db.compact()
        assert dict(db.items()) == expected
        assert db.stats()["value_files"]["files"]
        before = disk.names(PATH)
        assert not old.intersection(before)
        db.compact()
        assert disk.names(PATH) == before, "once is enough"
    with opened(disk, OTHER_KEY) as db:
        assert _numbers(db) == [2]
        assert dict(db.items()) == expected
        assert db.verify() == []
    assert_no_orphans_with(disk, OTHER_KEY)


def _numbers(db: Engine) -> list[int]:
    fs: Any = store_of(db).options.fs
    return list(fs.keys.by_number)


def assert_no_orphans_with(disk: SimulatedDisk, key: bytes) -> None:
    with opened(disk, key) as db:
        db.rotate(KEY)
    with opened(disk) as db:
        assert db.verify() == []
    assert_no_orphans(disk)


def test_rotate_needs_a_key(disk: SimulatedDisk) -> None:
    with opened(disk, None) as db, pytest.raises(EncryptionError, match="not encrypted"):
        db.rotate(KEY)
    with opened(SimulatedDisk()) as db, pytest.raises(ValueError, match="32 bytes"):
        db.rotate(b"short")


def test_a_crash_at_every_step_of_a_rotation(disk: SimulatedDisk) -> None:
    """One of the two keys opens the database, and all is there."""
    with opened(disk, sync="always") as db:
        db.put(b"a", b"1")
        db.flush()
        db.put(b"b", b"2")
        clones: list[SimulatedDisk] = []
        disk.on_change = lambda _: clones.extend(
            clone
            for model in (CrashModel.KILLED, CrashModel.TORN, CrashModel.PREFIXES)
            for clone in every_crash(disk, model, 4)
        )
        db.rotate(OTHER_KEY)
        db.put(b"c", b"3")
        disk.on_change = None
    assert len(clones) > 20
    fitting = set()
    for clone in clones:
        for key in (KEY, OTHER_KEY):
            try:
                with opened(clone, key) as db:
                    found = dict(db.items())
            except WrongKeyError:
                continue
            fitting.add(key)
            assert found in ({b"a": b"1", b"b": b"2"}, {b"a": b"1", b"b": b"2", b"c": b"3"})
            assert NEW_KEYS not in clone.names(PATH)
            break
        else:
            raise AssertionError("no key opens it")
    assert fitting == {KEY, OTHER_KEY}


KILLED_IN_ROTATE = """
import os, signal, sys, flin.engine

def rotate(path, step):
    db = flin.engine.open(path, encryption_key=bytes(32), runner="inline")
    db.put(b"flushed", b"1")
    db.flush()
    db.put(b"logged", b"2")
    calls = 0
    def killing(call):
        def counted(*given, **named):
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **named)
        return counted
    for name in ("open", "write", "fsync", "fdatasync", "rename", "replace", "unlink", "close"):
        setattr(os, name, killing(getattr(os, name)))
    db.rotate(b"k" * 32)
    os._exit(0)

step = 0
while True:
    step += 1
    child = os.fork()
    if child == 0:
        rotate(os.path.join(sys.argv[1], str(step)), step)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    print(step, "rotated" if status == 0 else "killed")
    if status == 0:
        break
"""


def test_kill_9_within_a_rotation(tmp_path: Path) -> None:
    """Before each of its system calls: one of the two keys opens the database, with all that was written."""
    done = run_script(KILLED_IN_ROTATE, str(tmp_path))
    assert done.returncode == 0, done.stderr
    ends = dict(line.split() for line in done.stdout.splitlines())
    assert len(ends) > 5
    fitting = []
    for step, end in ends.items():
        keys = [bytes(32), b"k" * 32]
        try:
            db = flin.engine.open(tmp_path / step, encryption_key=keys[0], runner="inline")
        except WrongKeyError:
            db = flin.engine.open(tmp_path / step, encryption_key=keys[1], runner="inline")
            del keys[0]
        with db:
            assert dict(db.items()) == {b"flushed": b"1", b"logged": b"2"}
            assert db.verify() == []
        fitting.append(keys[0])
        assert end == "killed" or keys[0] == b"k" * 32
    assert fitting == sorted(fitting), "from some step on it is the new key's"
    assert len(set(fitting)) == 2


def test_a_rotation_that_the_disk_refuses(disk: SimulatedDisk) -> None:
    with opened(disk) as db:
        db.put(b"a", b"1")
        disk.capacity_bytes = 0
        with pytest.raises(StorageError, match="cannot write"):
            db.rotate(OTHER_KEY)
        disk.capacity_bytes = 1 << 30
        db.put(b"b", b"2")
    with opened(disk) as db:
        assert dict(db.items()) == {b"a": b"1", b"b": b"2"}
        store_of(db).make_read_only("a test")
        with pytest.raises(ReadOnlyError):
            db.rotate(OTHER_KEY)


# With other parts of the engine.


def test_with_asyncio_transactions_and_views(tmp_path: Path) -> None:
    async def run() -> None:
        async with await flin.engine.aio.open(tmp_path, encryption_key=KEY) as db:
            await db.put(b"secret:1", LARGE)
            assert await db.get(b"secret:1") == LARGE

    asyncio.run(run())
    with flin.engine.open(tmp_path, encryption_key=KEY) as db:
        with db.transaction() as transaction:
            transaction[b"secret:2"] = transaction[b"secret:1"][::-1]
        with db.snapshot() as view:
            db.prefixed(b"secret:").delete(b"1")
            assert view[b"secret:1"] == LARGE
        assert dict(db.prefixed(b"secret:")) == {b"2": LARGE[::-1]}
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()


def test_a_checkpoint_after_a_rotation(tmp_path: Path) -> None:
    """It has the keys of its moment, those of older files among them."""
    with flin.engine.open(tmp_path / "db", encryption_key=KEY) as db:
        db.put_many((secret_key(number), LARGE) for number in range(50))
        db.flush()
        db.rotate(OTHER_KEY)
        db.put(b"after", SMALL)
        expected = dict(db.items())
        db.checkpoint(tmp_path / "copy")
        db.rotate(KEY)
    with flin.engine.open(tmp_path / "copy", encryption_key=OTHER_KEY) as db:
        assert dict(db.items()) == expected
        assert db.verify() == []


def test_readers_and_watchers_across_a_rotation(tmp_path: Path) -> None:
    """A reader whose key is a function follows; one with the old key is told so, and shows what it has shown."""
    key = KEY
    with flin.engine.open(tmp_path, encryption_key=KEY, wal_retention="1mb", value_threshold=500) as db:
        db[b"a"] = SMALL
        db.flush()
        with (
            flin.engine.open(tmp_path, read_only=True, encryption_key=lambda: key) as follower,
            flin.engine.open(tmp_path, read_only=True, encryption_key=KEY) as other,
        ):
            db[b"b"] = LARGE
            db.rotate(OTHER_KEY)
            key = OTHER_KEY
            db[b"c"] = SMALL
            follower.refresh()
            assert dict(follower.items()) == {b"a": SMALL, b"b": LARGE, b"c": SMALL}
            with pytest.raises(WrongKeyError):
                other.refresh()
            assert dict(other.items()) == {b"a": SMALL}
        events = db.watch(b"", since=0)
        assert [next(events).value for _ in range(3)] == [SMALL, LARGE, SMALL]
        events.close()


def test_in_memory() -> None:
    """A program may pass its key there, too: its tests need no other options."""
    with flin.engine.open(":memory:", encryption_key=KEY) as db:
        db[b"a"] = SMALL
        db.flush()
        db.rotate(OTHER_KEY)
        assert dict(db.items()) == {b"a": SMALL}
