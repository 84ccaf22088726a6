"""A directory that is removed, or removed and made anew, under an open database: the old handle touches nothing of the
new one and says so, and reads go on. Real disks; the simulated one: test_fs.py, and crashes: `Replace`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.errors import FlinError, ReadOnlyError, StorageError

VALUE = b"v" * 100
OTHERS = {b"%d" % number: b"new" * 20 for number in range(500)}
RUNNERS = ["helper", "thread", "inline"]

OPEN_AND_WRITE = """
import sys, flin.engine
with flin.engine.open(sys.argv[1], memory_limit="1mb") as db:
    db.put_many({b"%d" % number: b"new" * 20 for number in range(500)}, sync=True)
    print("open", flush=True)
    sys.stdin.read()
    db.flush()
    assert not db.verify()
"""


def opened(path: Path, **options: Any) -> flin.engine.Engine:
    return flin.engine.open(path, memory_limit="1mb", **options)


def fill(db: Any, prefix: bytes, keys: int = 100) -> None:
    """By default less than a generation: then there is something to flush."""
    db.put_many({prefix + b"%04d" % number: VALUE for number in range(keys)})


def fill_much(db: Any) -> None:
    for number in range(10):
        fill(db, b"w%d" % number, 1000)


def refusals(db: Any) -> list[str]:
    """The errors of all calls that would change something."""
    calls: list[Callable[[], object]] = [
        db.flush,
        lambda: fill_much(db),
        lambda: db.put(b"k", b"v", sync=True),
        db.compact,
        db.sync,
        db.close,
    ]
    said = []
    for call in calls:
        with pytest.raises((StorageError, ReadOnlyError)) as raised:
            call()
        said.append(str(raised.value))
    return said


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("how", ["remade", "removed", "emptied"])
def test_in_one_process(tmp_path: Path, runner: str, how: str) -> None:
    path = tmp_path / "db"
    old = opened(path, runner=runner)
    fill(old, b"a")
    old.flush()
    fill(old, b"b")
    assert (old.get(b"a0001"), len(old)) == (VALUE, 200)  # a table is opened when it is first read
    if how == "emptied":
        for inner in sorted(path.iterdir(), key=lambda inner: inner.name != "LOCK"):
            inner.unlink(missing_ok=True)  # the flush frees its segment in a thread
    else:
        subprocess.run(["rm", "-rf", str(path)], check=True)  # likewise: rmtree stumbles over files that go meanwhile
    if how == "removed":
        assert all("removed or replaced" in text for text in refusals(old))
        assert not path.exists()
        return
    new = opened(path, runner=runner)
    new.put_many(OTHERS, sync=True)
    assert (old.get(b"a0001"), old.get(b"b0001"), len(old)) == (VALUE, VALUE, 200), "reads go on"
    assert all("removed or replaced" in text for text in refusals(old))
    assert dict(new) == OTHERS
    new.flush()
    assert not new.verify()
    new.close()
    with opened(path, runner="inline") as again:
        assert dict(again) == OTHERS


@pytest.mark.parametrize("runner", RUNNERS)
def test_in_two_processes(tmp_path: Path, runner: str) -> None:
    path = tmp_path / "db"
    old = opened(path, runner=runner)
    fill(old, b"a")
    shutil.rmtree(path)
    command = [sys.executable, "-c", OPEN_AND_WRITE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert all("removed or replaced" in text for text in refusals(old))
        other.communicate("")
    assert other.returncode == 0
    with opened(path, runner="inline") as again:
        assert dict(again) == OTHERS
        assert not again.verify()


def test_it_is_found_without_a_write(tmp_path: Path) -> None:
    """The background looks four times a second, in every sync mode."""
    db = opened(tmp_path / "db", sync="never")
    shutil.rmtree(tmp_path / "db")
    deadline = time.monotonic() + 30
    while db._store.read_only_reason is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(ReadOnlyError, match="removed or replaced"):
        db.put(b"k", b"v")
    with pytest.raises(StorageError, match="removed or replaced"):
        db.close()


def test_a_renamed_directory_goes_on(tmp_path: Path) -> None:
    """The handle follows its directory; the path is free for another database."""
    old = opened(tmp_path / "db")
    fill(old, b"a")
    os.rename(tmp_path / "db", tmp_path / "elsewhere")
    new = opened(tmp_path / "db")
    new.put_many(OTHERS)
    old.flush()
    fill(old, b"b")
    old.compact()
    assert not old.verify()
    old.close()
    new.close()
    with opened(tmp_path / "elsewhere") as again:
        assert len(again) == 200
    with opened(tmp_path / "db") as again:
        assert dict(again) == OTHERS


def test_verify_says_it_too(tmp_path: Path) -> None:
    db = opened(tmp_path / "db", runner="inline")
    fill(db, b"a")
    shutil.rmtree(tmp_path / "db")
    problems: list[FlinError] = db.verify()
    assert "removed or replaced" in str(problems[0])
    with pytest.raises(StorageError, match="removed or replaced"):
        db.close()
