"""Background work that meets damage: reported once, not tried forever, and blocking no other work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flin.engine
from flin.engine import Engine
from flin.engine.background import compactor
from flin.engine.background.job import CompactionJob, JobResult
from flin.errors import CorruptionError
from flin.testing.process import PATIENCE_SECONDS

NOW_MS = 1_800_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with flin.engine.open(str(tmp_path / "db"), runner="inline", clock_ms=lambda: NOW_MS + 5) as engine:
        yield engine


def damaged_run(engine: Engine, tmp_path: Path, *, ttl_ms: int = 0) -> None:
    """A run with one bit of its data block flipped."""
    before = set(tmp_path.glob("db/*.sst"))
    entry = (b"v" * 50, NOW_MS + ttl_ms, 0) if ttl_ms else b"v" * 50
    engine._store.commit({b"k%04d" % number: entry for number in range(200)})
    engine.flush()
    [table] = set(tmp_path.glob("db/*.sst")) - before
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_compaction_is_set_aside(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged_run(engine, tmp_path)
    engine.put(b"other", b"v")
    engine.flush()
    jobs: list[object] = []
    run = engine._compactor._run

    def counted(job: CompactionJob, ends_at_a_write: bool) -> JobResult:
        jobs.append(job)
        return run(job, ends_at_a_write)

    monkeypatch.setattr(engine._compactor, "_run", counted)
    for _ in range(3):
        with pytest.raises(CorruptionError):
            engine.compact()
    assert len(jobs) == 1
    for _ in range(3):
        assert not engine._compactor.compact_once()
    assert engine.get(b"other") == b"v"
    engine.put(b"more", b"v")
    engine.flush()
    assert engine.get(b"more") == b"v"


def test_it_is_told_once_and_stays_a_background_error(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = CorruptionError(str(tmp_path / "db" / "1.sst"), 5, "the checksum of a data block is wrong")
    background = engine._compactor
    for _ in range(3):
        background.note_failure(error)
        background._note_background_error(error)
    background._note_background_error(None)
    assert str(engine._store.background_error) == str(error)
    [line] = told(caplog)
    assert "1.sst: corrupt at offset 5: the checksum of a data block is wrong; run: flin check" in line
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info is None


def test_a_sweep_pauses(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged_run(engine, tmp_path, ttl_ms=1)
    now = [0.0]
    monkeypatch.setattr("flin.engine.background.damaged_work.monotonic", lambda: now[0])
    with pytest.raises(CorruptionError):
        engine._compactor.sweep()
    assert engine._compactor.sweep() == 0
    now[0] += 61
    with pytest.raises(CorruptionError):
        engine._compactor.sweep()


def test_a_flush_is_not_tried_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    monkeypatch.setattr(compactor, "RETRY_SECONDS", 0.0)

    def flush_once(self: compactor.Compactor, *, urgent: bool = True) -> bool:
        tries.append(1)
        raise CorruptionError("1.wal", 5, "a frame")

    with flin.engine.open(str(tmp_path / "db"), runner="thread") as engine:
        background = engine._compactor
        with monkeypatch.context() as patch:
            patch.setattr(compactor.Compactor, "flush_once", flush_once)
            for _ in range(3):
                before = len(tries)
                background.wake()
                soon(lambda: len(tries) > before)  # noqa: B023 - it is called at once
                soon(lambda: isinstance(engine._store.background_error, CorruptionError))
            time.sleep(0.05)  # longer than RETRY_SECONDS: a thread that tries again would have, many times
            assert len(tries) <= 4  # opening woke it once, too


def soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
