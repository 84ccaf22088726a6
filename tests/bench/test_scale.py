"""`flin bench scale`: its steps, what they find, and going on after an interruption."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flin.bench import memory, scale, scale_writer
from flin.bench.footprint import Footprint, FootprintSampler, disk_use, footprint_of
from flin.bench.loader import WrongValueError, key_at
from flin.bench.progress import Progress
from flin.bench.store import FlinStore
from flin.cli.main import main

needs_proc = pytest.mark.skipif(not memory.is_supported(), reason="needs /proc/PID/smaps_rollup")

SETTINGS = scale.Settings(count=4_000, value_bytes=40, memory_bytes=16 << 20)


@pytest.mark.slow
def test_the_whole_life_of_many_keys_which_an_interruption_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress(len(scale.STEPS), io.StringIO())

    def interrupted(self: object) -> scale.Figures:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scale._Scale, "_kill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scale.run(SETTINGS, str(tmp_path), progress)
    first = json.loads((tmp_path / scale.NOTE).read_text())
    assert list(first["figures"]) == ["load", "reopen"]
    note = scale.run(SETTINGS, str(tmp_path), progress)
    assert note.figures["load"] == first["figures"]["load"], "not done again"
    assert set(note.figures) == set(scale.STEPS)
    assert (note.loaded, note.changed) == (4_000, 3_000)
    assert all(note.peaks[step]["files"] for step in ("load", "change"))
    assert "reopen after kill -9" in scale.table(note)
    with pytest.raises(scale.OtherRunError):
        scale.run(replace(SETTINGS, count=5_000), str(tmp_path), progress)
    assert main(["bench", "scale", "--keys", "7", "--directory", str(tmp_path)]) == 2
    store = FlinStore(str(tmp_path / "data"), 16 << 20, tuned=True)
    assert store.statistics()["wal"]["torn"] == ""
    store.close()


def task(directory: Path, action: str, **more: int) -> scale_writer.Task:
    return scale_writer.Task(action, "flin", str(directory / "data"), 400, 40, 16 << 20, **more)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_writer, "wait_until_quiet", lambda pid, seconds: 0.0)


@pytest.mark.usefixtures("no_wait")
def test_the_steps_leave_what_they_should(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale_writer.load(task(tmp_path, "load", stop=200))
    scale_writer.load(task(tmp_path, "load", start=200, stop=400))
    scale_writer.reopen(task(tmp_path, "reopen", loaded=400))
    scale_writer.change(task(tmp_path, "change", loaded=400, stop=300))
    scale_writer.reopen(task(tmp_path, "reopen", loaded=400, changed=300))
    *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert last["seconds"] > 0
    store = FlinStore(str(tmp_path / "data"), 16 << 20, tuned=True)
    values = scale_writer.values_of(40)
    expected = {
        key_at(position, 400): values[position + (position < 200)] for position in (*range(200), *range(300, 400))
    }
    assert dict(store.scan(reverse=False)) == expected
    store.put(key_at(250, 400), b"deleted, and back")
    store.close()
    with pytest.raises(WrongValueError):
        scale_writer.reopen(task(tmp_path, "reopen", loaded=400, changed=300))


@pytest.mark.usefixtures("no_wait")
def test_a_load_ends_when_its_time_is_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale_writer.load(replace(task(tmp_path, "load", stop=400), value_bytes=1 << 18, seconds=1e-9))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ended"] == 1
    assert last["largest_job_bytes"] >= 0


def test_large_values_take_little_memory() -> None:
    assert sum(map(len, scale_writer.values_of(1 << 16))) == scale_writer.POOL_BYTES
    assert len(scale_writer.values_of(100)) == 1024
    assert len(scale_writer.values_of(1 << 20)) == 16


@needs_proc
def test_a_footprint(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(bytes(1000))
    (tmp_path / "b").write_bytes(bytes(24))
    assert disk_use(str(tmp_path)) == (2, 1024)
    found = footprint_of(os.getpid(), str(tmp_path))
    assert found.resident_bytes >= found.private_bytes > 1 << 20
    assert found.descriptors > 2
    assert found.processes == 1
    assert footprint_of(2**22 + 1, str(tmp_path)) == Footprint(files=2, disk_bytes=1024)
    with FootprintSampler(os.getpid(), str(tmp_path)) as sampler:
        pass
    assert sampler.peak.files == 2


def test_peaks_are_kept_one_by_one() -> None:
    peak = Footprint(private_bytes=5, files=1)
    peak.join(Footprint(private_bytes=3, files=7))
    assert asdict(peak) == asdict(Footprint(private_bytes=5, files=7))
