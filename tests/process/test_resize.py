"""`flin resize` as a process: killed in the midst, on a disk that fills up, and what serves its result."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

import flin.engine
from flin.testing.process import PATIENCE_SECONDS, children, is_alive, wait_until
from tests.process.small_disk import mounted_tmpfs

KEYS = 6_000
VALUE_BYTES = 1000


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """6 MB, which take some 0.1 s to copy."""
    random = Random(1)
    with flin.engine.open(tmp_path / "plain", runner="inline", sync="never") as db:
        for start in range(0, KEYS, 1000):
            db.put_many({b"key:%d" % number: random.randbytes(VALUE_BYTES) for number in range(start, start + 1000)})
    return tmp_path / "plain"


def flin_process(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flin", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what it said on stderr."""
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors


def check_refused(source: Path, target: Path) -> None:
    """By a server, and by another resize into it."""
    for more in ([], ["--workers", 2]):
        code, errors = ended(flin_process("serve", "--dir", target, "--port", 0, *more))
        assert code == 1
        assert "`flin resize` or `flin import` has not finished it: remove it and begin again" in errors
    code, errors = ended(flin_process("resize", source, target, "--workers", 2))
    assert code == 2
    unfinished = (
        "what an interrupted `flin resize` or `flin import` has left: remove it, and begin again; an import of a "
        "running server goes on if it is given again"
    )
    assert errors == f"flin: {target} is {unfinished}\n"


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGINT), (2, signal.SIGKILL), (2, signal.SIGTERM)])
def test_a_resize_that_is_killed(plain: Path, tmp_path: Path, workers: int, number: signal.Signals) -> None:
    target = tmp_path / "new"
    process = flin_process("resize", plain, target, "--workers", workers, "--memory-limit", "8mb")
    inside = target / "resize-unfinished"
    wait_until(lambda: process.poll() is not None or [*inside.rglob("*.wal")], "it writes")
    helpers = children(process.pid)
    process.send_signal(number)
    code, errors = ended(process)
    assert code == (-9 if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: not any(map(is_alive, helpers)), "its helpers end")
    assert (f"{target} is unfinished: remove it and begin again" in errors) == (number != signal.SIGKILL)
    check_refused(plain, target)
    shutil.rmtree(target)
    code, errors = ended(flin_process("resize", plain, target, "--workers", workers))
    assert code == 0, errors


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """It has room for what the source takes, which is compressed, and none for the logs that its copies go through."""
    plain = tmp_path / "plain"
    with flin.engine.open(plain, runner="inline", sync="never") as db:
        db.put_many({b"key:%d" % number: b"x" * VALUE_BYTES for number in range(KEYS)})
        db.compact()
    with mounted_tmpfs(tmp_path / "small", 1 << 20) as is_mounted:
        if not is_mounted:
            pytest.skip("a tmpfs cannot be mounted here")
        target = tmp_path / "small" / "new"
        code, errors = ended(flin_process("resize", plain, target, "--workers", 2, "--memory-limit", "8mb"))
        assert code == 1
        assert "No space left on device" in errors
        assert f"{target} is unfinished: remove it and begin again" in errors
        check_refused(plain, target)
