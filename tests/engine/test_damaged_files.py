"""What can happen to files in a real directory: links, pipes and directories in their place, refused reads, files that
shrink or disappear while they are open."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import flin.engine
from flin.cli.check import survey
from flin.cli.main import main
from flin.engine.disk.file_name import LOCK, MANIFEST
from flin.engine.disk.fs import OsFileSystem, OsReadableFile
from flin.errors import CorruptionError, FlinError, StorageError
from tests.engine.damage import assert_told

NAMES = [LOCK, MANIFEST, "*.wal", "*.sst"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "db"
    with flin.engine.open(str(path), runner="inline") as engine:
        engine.put_many({b"%04d" % number: b"value %d" % number * 9 for number in range(3000)})
    engine = flin.engine.open(str(path), runner="inline")
    engine.put(b"in the", b"WAL", sync=True)
    engine.put(b"and", b"more")
    engine.close(flush=False)
    return path


@pytest.fixture(autouse=True)
def _deadline() -> Iterator[None]:
    """Opening a pipe waits for its writer: a hang is a failure."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(180)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def one(directory: Path, pattern: str) -> Path:
    return sorted(directory.glob(pattern))[0]


def make(kind: str, path: Path, aside: Path) -> None:
    """Put something else in the place of the file, which is moved aside."""
    if path.exists():
        shutil.move(path, aside)
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(aside)
    elif kind == "dangling link":
        path.symlink_to(aside.with_name("nowhere"))
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "dangling link", "socket"])
@pytest.mark.parametrize("name", NAMES)
def test_something_else_in_its_place(
    name: str, kind: str, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one(database, name)
    aside = tmp_path / "aside"
    make(kind, path, aside)
    before = aside.read_bytes()
    with pytest.raises(CorruptionError, match="regular file") as caught:
        flin.engine.open(str(database), runner="inline")
    assert caught.value.path == str(path)
    assert main(["check", str(database)]) == 1
    output = capsys.readouterr()
    assert path.name in output.out + output.err
    assert_told(str(database), [caught.value])
    assert aside.read_bytes() == before
    assert not (tmp_path / "nowhere").exists()
    assert os.path.lexists(path)
    if name != LOCK:  # then it cannot be locked: it is unknown whether an engine has it open
        assert main(["repair", str(database), "--dry-run"]) == 1
        assert "not a regular file" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link"])
def test_in_the_place_of_a_manifest_on_its_way(kind: str, database: Path, tmp_path: Path) -> None:
    for epoch in range(9):
        make(kind, database / f"MANIFEST.{epoch}.tmp", tmp_path / "aside")
    with pytest.raises(CorruptionError, match=r"MANIFEST\.[0-9]+\.tmp.*regular file") as caught:
        flin.engine.open(str(database), runner="inline")
    assert_told(str(database), [caught.value])


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "dangling link"])
def test_strangers_are_left_alone(kind: str, database: Path, tmp_path: Path) -> None:
    """Under a name that Flin could have written, but that nothing refers to."""
    path = database / "00009999-0000.1.sst"
    (tmp_path / "aside").write_bytes(b"")
    make(kind, path, tmp_path / "aside")
    with flin.engine.open(str(database), runner="inline") as engine:
        assert len(engine) == 3002
    assert os.path.lexists(path)
    assert main(["check", str(database)]) == 0


@pytest.mark.parametrize("name", [MANIFEST, "*.wal", "*.sst"])
def test_a_file_that_may_not_be_read(name: str, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like a file of another owner; root, which CI often runs as, may read everything."""
    path = one(database, name)
    opened = OsReadableFile.__init__

    def refuse(self: OsReadableFile, wanted: str, *relative: Any) -> None:
        if wanted == str(path):
            raise PermissionError(13, "Permission denied", wanted)
        opened(self, wanted, *relative)

    monkeypatch.setattr(OsReadableFile, "__init__", refuse)
    with pytest.raises(StorageError, match="Permission denied") as caught, ExitStack() as stack:
        # A table is opened when it is first read.
        stack.enter_context(flin.engine.open(str(database), runner="inline")).get(b"0000")
    assert path.name in str(caught.value)
    assert any(path.name in str(problem) for problem in survey(OsFileSystem(), str(database)))
    assert main(["check", str(database)]) == 1
    monkeypatch.undo()
    with flin.engine.open(str(database), runner="inline") as engine:
        assert len(engine) == 3002


def test_a_table_that_goes_under_a_reader(database: Path) -> None:
    """It is unlinked, but still mapped: reads go on. The next open says which file is missing."""
    path = one(database, "*.sst")
    with flin.engine.open(str(database), runner="inline") as engine:
        assert engine[b"0000"]
        path.unlink()
        assert len(dict(engine.scan())) == 3002
        assert engine[b"2999"] == b"value 2999" * 9
        assert "No such file" in str(list(engine.verify())), "what the next open will say"
    with pytest.raises(CorruptionError, match="no such regular file") as caught:
        flin.engine.open(str(database), runner="inline")
    assert caught.value.path == str(path)
    assert_told(str(database), [caught.value])


def test_a_table_that_is_replaced_under_a_reader(database: Path) -> None:
    """By another file under its name, as careless copying does: the reader keeps its own."""
    path = one(database, "*.sst")
    with flin.engine.open(str(database), runner="inline") as engine:
        assert engine[b"0000"]
        shutil.move(path, path.with_suffix(".old"))
        path.write_bytes(b"short")
        assert len(dict(engine.scan())) == 3002
    with pytest.raises(CorruptionError, match="5 bytes long") as caught:
        flin.engine.open(str(database), runner="inline")
    assert_told(str(database), [caught.value])


SHRINK = """
import os, sys
import flin.engine
directory, path = sys.argv[1:3]
engine = flin.engine.open(directory, runner="inline", value_cache=False)
assert engine[b"0000"]
os.truncate(path, 4096)
(problem,) = engine.verify()
print(problem.path, problem.offset, flush=True)
engine.get(b"2999")
print("answered", flush=True)
"""


def test_a_table_that_shrinks_under_a_reader(database: Path) -> None:
    """Nothing in Flin truncates a file. If somebody does, the process ends (SIGBUS) at the next read in place, like
    every program that maps files: no wrong answer. `verify` reads without the mapping, and names the file."""
    path = one(database, "*.sst")
    done = subprocess.run(
        [sys.executable, "-c", SHRINK, str(database), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == f"{path} 0\n", done
    assert done.returncode == -signal.SIGBUS
    with pytest.raises(CorruptionError, match="4096 bytes long") as caught:
        flin.engine.open(str(database), runner="inline")
    assert caught.value.path == str(path)
    assert_told(str(database), [caught.value])


def test_two_segments_exchanged(database: Path) -> None:
    engine: Any = flin.engine.open(str(database), runner="inline")
    engine.put(b"third", b"1", sync=True)
    engine.close(flush=False)
    first, second = sorted(database.glob("*.wal"))
    aside = database / "aside"
    for old, new in ((first, aside), (second, first), (aside, second)):
        old.rename(new)
    with pytest.raises(CorruptionError, match="says it is number") as caught:
        flin.engine.open(str(database), runner="inline")
    assert_told(str(database), [caught.value])
    assert main(["repair", str(database)]) == 0
    with flin.engine.open(f"{database}.repaired", runner="inline") as repaired:
        assert (repaired[b"third"], len(repaired)) == (b"1", 3003)


def test_a_segment_of_another_database(database: Path, tmp_path: Path) -> None:
    other = flin.engine.open(str(tmp_path / "other"), runner="inline")
    other.put(b"x", b"y", sync=True)
    other.close(flush=False)
    path = one(database, "*.wal")
    shutil.copy(one(tmp_path / "other", "*.wal"), path)
    with pytest.raises(FlinError, match="another database") as caught:
        flin.engine.open(str(database), runner="inline")
    assert_told(str(database), [caught.value])


def test_an_old_manifest_is_refused_before_anything_is_removed(database: Path) -> None:
    """A careless restore: tables that the old manifest does not name would be taken for leftovers."""
    old = (database / MANIFEST).read_bytes()
    with flin.engine.open(str(database), runner="inline") as engine:
        engine.put(b"later", b"1")
    (database / MANIFEST).write_bytes(old)
    files = sorted(database.iterdir())
    with pytest.raises(CorruptionError, match="an old manifest, or another") as caught:
        flin.engine.open(str(database), runner="inline")
    assert sorted(database.iterdir()) == files
    assert_told(str(database), [caught.value])
    assert main(["repair", str(database), "--without-manifest"]) == 1
    with flin.engine.open(f"{database}.repaired", runner="inline") as repaired:
        assert (repaired[b"later"], len(repaired)) == (b"1", 3003)
