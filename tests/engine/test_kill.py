"""kill -9 of a real process on a real disk, under load, with the helper at work: every answered write is there.

One directory is killed again and again, so that each recovery meets what the one before has left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

import flin.engine
from tests.engine.killed_writer import LAST, PROGRESS, state
from tests.source import ROOT

MODES = ["always", "interval", "never"]
PATIENCE_S = 60.0  # for what takes milliseconds on an idle machine


@contextmanager
def _writer(directory: Path, sync: str, shards: int, progress: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.engine.killed_writer", str(directory), sync, str(shards), str(progress)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _progress(path: Path) -> tuple[int, list[int]]:
    answered, *helpers = PROGRESS.unpack(path.read_bytes())
    return answered, [helper for helper in helpers if helper]


def _wait_for(path: Path, commits: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while _progress(path)[0] < commits:
        if process.poll() is not None:
            _, stderr = process.communicate()
            raise AssertionError(stderr.decode())
        assert time.monotonic() < deadline, "the writer makes no progress"
        time.sleep(0.01)


def _wait_for_end(pid: int) -> None:
    """The helper of a killed process ends by itself."""
    deadline = time.monotonic() + PATIENCE_S
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"the helper {pid} outlives its parent"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        # An orphan that nobody has collected yet is a zombie (state Z): it has ended.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill_cycles(directory: Path, sync: str, shards: int, cycles: int, commits: int) -> None:
    random = Random(f"{sync} {shards}")
    progress = directory.with_suffix(".progress")
    progress.write_bytes(PROGRESS.pack(0, 0, 0))
    recovered = 0
    for _ in range(cycles):
        progress.write_bytes(PROGRESS.pack(recovered, 0, 0))
        with _writer(directory, sync, shards, progress) as process:
            _wait_for(progress, recovered + random.randrange(commits // 4, commits), process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        answered, helpers = _progress(progress)
        for helper in helpers:
            _wait_for_end(helper)
        recovered = _check(directory, answered)


def _check(directory: Path, answered: int) -> int:
    """Open what the killed process has left; how many commits are there."""
    with flin.engine.open(str(directory), runner="inline", memory_limit=1 << 20) as engine:
        recovered = int(engine.get(LAST, b"0"))
        assert answered <= recovered <= answered + 1, "the last commit may have been under way"
        expected = state(recovered)
        assert dict(engine.scan()) == expected
        assert len(engine) == len(expected)
        assert list(engine.verify()) == []
    return recovered


@pytest.mark.parametrize("sync", MODES)
def test_kill_under_load(tmp_path: Path, sync: str) -> None:
    _kill_cycles(tmp_path / "db", sync, shards=4, cycles=2, commits=1500 if sync == "always" else 6000)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 16])
@pytest.mark.parametrize("sync", MODES)
def test_kill_under_load_for_long(tmp_path: Path, sync: str, shards: int) -> None:
    _kill_cycles(tmp_path / "db", sync, shards, cycles=7, commits=4000 if sync == "always" else 20000)
