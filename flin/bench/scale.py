"""Very many keys or bytes under a memory limit: `flin bench scale`.

Steps, each a process of its own: `load` writes N keys; `reopen` opens what a clean close left; `kill` begins to change
the data, is killed with -9, and opens what is left; `change` goes on until half of the keys are overwritten and a
quarter deleted; `again` opens that. Writers wait for the background before they close. What is done is noted beside the
data, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeAlias

from flin.bench import scale_writer
from flin.bench.footprint import Footprint, FootprintSampler, disk_use
from flin.bench.load import LoadError, check_ended, lines_of
from flin.bench.progress import Progress
from flin.bench.report import aligned

KEY_BYTES: Final = 16

KILL_SHARE: Final = 0.25
"""The share of the overwrites after which the process is killed."""

PROGRESS_SECONDS: Final = 15.0

NOTE: Final = "scale.json"

STEPS: Final = ("load", "reopen", "kill", "change", "again")

Figures: TypeAlias = dict[str, float]


class OtherRunError(Exception):
    """The directory has the beginning of a run with other settings."""


@dataclass(frozen=True, slots=True)
class Settings:
    store: str = "flin"
    count: int = 1_000_000
    value_bytes: int = 100
    memory_bytes: int = 256 << 20
    load_seconds: float = 0.0
    """The load ends after so long, with the keys that are there by then; 0: not before all are."""

    @property
    def pair_bytes(self) -> int:
        return KEY_BYTES + self.value_bytes


@dataclass(slots=True)
class Note:
    """How far a run has come; the file beside the data."""

    settings: dict[str, Any]
    loaded: int = 0
    changed: int = 0  # positions: first the overwritten ones, then the deleted
    figures: dict[str, Figures] = field(default_factory=dict)  # by step
    peaks: dict[str, dict[str, int]] = field(default_factory=dict)  # of `load` and `change`, also unfinished ones

    def done(self, step: str) -> bool:
        return step in self.figures


def run(settings: Settings, directory: str, progress: Progress) -> Note:
    """Do the steps that are not done yet. Raises OtherRunError, LoadError."""
    return _Scale(settings, directory, progress).run()


class _Scale:
    def __init__(self, settings: Settings, directory: str, progress: Progress) -> None:
        self._settings = settings
        self._data = str(Path(directory) / "data")
        self._path = Path(directory) / NOTE
        self._progress = progress
        self._note = self._read()

    def _read(self) -> Note:
        wanted = asdict(self._settings)
        if not self._path.exists():
            return Note(wanted)
        note = Note(**json.loads(self._path.read_text()))
        if note.settings | {"load_seconds": 0} != wanted | {"load_seconds": 0}:
            raise OtherRunError(f"{self._path} is of a run with other settings: {note.settings}")
        return note

    def _keep(self) -> None:
        """Replaced as one, so that it is whole whenever this process is killed."""
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self._note), indent=2) + "\n")
        beside.replace(self._path)

    def run(self) -> Note:
        for name in STEPS:
            if self._note.done(name):
                self._progress.step(f"{name}: done before")
                continue
            began = monotonic()
            self._note.figures[name] = getattr(self, f"_{name}")()
            self._keep()
            self._progress.step(f"{name}: {monotonic() - began:.1f} s")
        return self._note

    def _load(self) -> Figures:
        settings, note = self._settings, self._note
        task = self._task("load", start=note.loaded, stop=settings.count, seconds=settings.load_seconds)
        figures = self._write(task)
        note.loaded = int(figures["ended"])
        return figures | self._disk()

    def _reopen(self) -> Figures:
        return self._open()

    def _again(self) -> Figures:
        return self._open()

    def _kill(self) -> Figures:
        """Change until a share of the overwrites is done, and kill."""
        note = self._note
        wanted = max(note.changed, int(note.loaded // 2 * KILL_SHARE))
        task = self._task("change", start=note.changed, stop=note.loaded * 3 // 4)
        with self._process(task) as process:
            for line in lines_of(process):
                note.changed = int(line["written"])
                if note.changed >= wanted:
                    break
            else:
                check_ended(self._settings.store, process)
                raise LoadError(f"{self._settings.store}: it ended before it could be killed")
            process.kill()
            process.communicate()
        return self._open() | self._disk()

    def _change(self) -> Figures:
        note = self._note
        figures = self._write(self._task("change", start=note.changed, stop=note.loaded * 3 // 4))
        note.changed = int(figures["ended"])
        return figures | self._disk()

    # Processes.

    def _task(self, action: str, **more: Any) -> scale_writer.Task:
        settings, note = self._settings, self._note
        return scale_writer.Task(
            action,
            settings.store,
            self._data,
            settings.count,
            settings.value_bytes,
            settings.memory_bytes,
            loaded=note.loaded,
            **more,
        )

    @contextmanager
    def _process(self, task: scale_writer.Task) -> Iterator[subprocess.Popen[str]]:
        """A process that is killed at the end, if it has not ended by then."""
        command = scale_writer.command_of(task)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def _open(self) -> Figures:
        with self._process(self._task("reopen", changed=self._note.changed)) as process:
            lines = list(lines_of(process))
            check_ended(self._settings.store, process)
        return lines[-1]

    def _write(self, task: scale_writer.Task) -> Figures:
        """Follow a writing process, noting how far it has come. Figures of a step that was interrupted are added."""
        note, step, is_load = self._note, task.action, task.action == "load"
        before = note.figures.pop(f"{step}, interrupted", {})
        peak = Footprint(**note.peaks.get(step, {}))
        began = told = monotonic()
        figures: Figures = {}
        with self._process(task) as process, FootprintSampler(process.pid, self._data) as sampler:
            for figures in lines_of(process):
                written, now = int(figures.get("written", task.start)), monotonic()
                if now - told < PROGRESS_SECONDS or "ended" in figures:
                    continue
                told = now
                if is_load:
                    note.loaded = written
                else:
                    note.changed = written
                peak.join(sampler.peak)
                note.peaks[step] = asdict(peak)
                done = {"seconds": before.get("seconds", 0.0) + now - began}
                note.figures[f"{step}, interrupted"] = done
                self._keep()
                self._progress.say(f"{step}: {written:,} of {task.stop:,}, {done['seconds']:.0f} s")
            check_ended(self._settings.store, process)
        note.figures.pop(f"{step}, interrupted", None)
        peak.join(sampler.peak)
        note.peaks[step] = asdict(peak)
        # Bytes are known of this process alone.
        given = (figures["ended"] - task.start if is_load else _given(note.loaded, task.start)) * self._pair_bytes
        return figures | {
            "seconds": figures["seconds"] + before.get("seconds", 0.0),
            "write_amplification": figures["written_bytes"] / max(1, given),
        }

    @property
    def _pair_bytes(self) -> int:
        return self._settings.pair_bytes

    def _disk(self) -> Figures:
        files, total = disk_use(self._data)
        return {"files": files, "disk_bytes": total}


def _given(loaded: int, start: int) -> int:
    """How many keys are overwritten from a position on: deletes give next to no bytes."""
    return max(0, loaded // 2 - start)


def rows(note: Note) -> list[tuple[str, str]]:
    """The figures of a whole run, for people."""
    settings, figures = Settings(**note.settings), note.figures
    load, change, kill = figures["load"], figures["change"], figures["kill"]
    raw = note.loaded * settings.pair_bytes
    live = (note.loaded - (note.loaded * 3 // 4 - note.loaded // 2)) * settings.pair_bytes
    lines = [
        (
            "keys, value bytes, memory limit",
            f"{note.loaded:,}, {settings.value_bytes:,}, {_size(settings.memory_bytes)}",
        ),
        ("keys and values", _size(raw)),
        ("load", f"{load['seconds']:.1f} s, {note.loaded / load['seconds']:,.0f} keys/s"),
        ("background then, close", f"{load['quiet_seconds']:.1f} s, {load['close_seconds']:.2f} s"),
        ("on disk, of keys and values", f"{_size(load['disk_bytes'])}, {load['disk_bytes'] / raw:.2f}"),
        ("reopen after close", f"{figures['reopen']['seconds']:.3f} s"),
        (
            "reopen after kill -9",
            f"{kill['seconds']:.3f} s, {kill['replayed']:,.0f} operations replayed",
        ),
        ("half overwritten, a quarter deleted", f"{change['seconds']:.1f} s"),
        ("background then, close ", f"{change['quiet_seconds']:.1f} s, {change['close_seconds']:.2f} s"),
        ("on disk then, of what lives", f"{_size(change['disk_bytes'])}, {change['disk_bytes'] / live:.2f}"),
        ("reopen then", f"{figures['again']['seconds']:.3f} s"),
    ]
    for step, bytes_live in (("load", raw), ("change", raw)):
        lines += _peaks(step, figures[step], Footprint(**note.peaks[step]), bytes_live)
    return lines


def _peaks(step: str, figures: Figures, peak: Footprint, live: int) -> list[tuple[str, str]]:
    lines = [
        (
            f"{step}: private memory, resident, all processes",
            f"{_size(peak.private_bytes)}, {_size(peak.resident_bytes)}",
        ),
        (f"{step}: processes, descriptors, files", f"{peak.processes}, {peak.descriptors:,}, {peak.files:,}"),
        (f"{step}: most on disk, of keys and values", f"{_size(peak.disk_bytes)}, {peak.disk_bytes / live:.2f}"),
        (f"{step}: written per byte given", f"{figures['write_amplification']:.2f}"),
    ]
    if "largest_job_bytes" in figures:
        job = f"{_size(figures['largest_job_bytes'])}, {figures['longest_job_seconds']:.1f} s"
        held = figures["held_back_seconds"]
        lines += [
            (f"{step}: largest job, longest job", job),
            (f"{step}: writers held back, runs at the end", f"{held:.1f} s, {figures['runs']:.0f}"),
        ]
    return lines


def table(note: Note) -> str:
    return aligned([["", note.settings["store"]], *map(list, rows(note))])


def _size(count: float) -> str:
    return f"{count / (1 << 20):,.1f} MiB"


def make_directory(path: str) -> str:
    os.makedirs(path, exist_ok=True)
    return path
