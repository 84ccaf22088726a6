"""Kill real processes under load with kill -9, again and again: no answered write may be lost.

    python -m flin.testing.kill --cycles 1000 --seed 7 --json kill.json

An episode is one directory. It begins with kills in the first milliseconds of its creation. Then come cycles. In a
cycle the process may be killed in the first milliseconds of an opening; then it runs under load and is killed (the
process, its helpers, or both; half of the time while a helper has a job); then survivor.py checks a copy of the
directory. A cycle with less than 1,000 writes/s proves nothing: it is void, and is tried again with more clients.
The values of `--sync`, `--mode` and `--victim` take turns unless given. A violation ends the run and keeps the
directory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final, TextIO

from flin.engine.catalog import manifest
from flin.engine.disk.fs import OsFileSystem
from flin.testing.lane import Lanes, Violation
from flin.testing.load import EmbeddedLoad, Load, ServedLoad, is_supported
from flin.testing.process import HangError, is_alive, is_working, kill, wait_until
from flin.testing.survivor import check_copy

SYNCS: Final = ("always", "interval", "never")
MODES: Final = ("embedded", "served")
VICTIMS: Final = ("parent", "helper", "both")
MIN_WRITES_PER_SECOND: Final = 1000
VOID_RUNS: Final = 5
"""The most void cycles in a row, each with twice the clients: then the machine is too slow or too busy, and the episode
ends."""

SLOW_EPISODES: Final = 3
"""The most slow episodes in a row: then the run ends, since it proves nothing."""

EPISODE_CYCLES: Final = 5
CREATION_KILLS: Final = 3
OPENING_SECONDS: Final = 0.03
"""Openings are killed within this time; one takes 10 to 50 ms once the lock is taken."""

LOAD_COMMITS: Final = {"always": 1_000, "interval": 3_000, "never": 3_000}
"""The most commits before a kill, besides COMMITS_AFTER and those while it waits for a job. Counted, not timed: a slow
machine gets as far into flushes and merges as a fast one, which takes a quarter of a second for most of them."""

JOB_SECONDS: Final = 5.0
COMMITS_AFTER: Final = 200
"""Commits that must be answered after a helper was killed: the writers go on."""

PROGRESS_SECONDS: Final = 5.0


class TooSlowError(Exception):
    """The machine is too slow for the load."""


@dataclass(frozen=True, slots=True)
class Scene:
    sync: str
    mode: str
    victim: str

    def __str__(self) -> str:
        return f"{self.mode}, sync {self.sync}, victim {self.victim}"


_SUMS: Final = (
    *("cycles", "void", "answered", "creations", "openings", "jobs", "helpers"),
    *("value_files", "collected"),
)


@dataclass(slots=True)
class Tally:
    cycles: int = 0  # under load, checked
    void: int = 0
    rates: list[float] = field(default_factory=list)  # writes/s of the cycles that count
    answered: int = 0  # answered commits
    creations: int = 0  # interrupted creations
    openings: int = 0  # interrupted openings
    jobs: int = 0  # cycles with a kill while a helper had a job
    helpers: int = 0  # killed helpers
    value_files: int = 0  # that manifests of killed processes named
    collected: int = 0  # of these, those that merges had written
    scenes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.rates += other.rates
        self.scenes += other.scenes

    def line(self, seconds: float) -> str:
        rate = f"{min(self.rates):,.0f} to {max(self.rates):,.0f} writes/s" if self.rates else "none counted"
        return (
            f"{seconds:,.0f} s: {self.cycles:,} cycles ({rate}), {self.void} void, {self.answered:,} commits answered, "
            f"{self.creations} creations and {self.openings} openings interrupted, {self.jobs} kills during a job, "
            f"{self.helpers} helpers killed, {self.value_files:,} value files ({self.collected:,} collected)"
        )

    def report(self) -> dict[str, Any]:
        rates = self.rates or [0.0]
        per_second = {"least": round(min(rates)), "median": round(median(rates)), "most": round(max(rates))}
        return {
            "cycles": self.cycles, "void": self.void, "lost": 0, "commits_answered": self.answered,
            "writes_per_second": per_second,
            "creations_interrupted": self.creations, "openings_interrupted": self.openings,
            "kills_during_a_job": self.jobs, "helpers_killed": self.helpers,
            "value_files": self.value_files, "collected_value_files": self.collected,
            "cycles_by_scene": dict(self.scenes),
        }  # fmt: skip


class Episode:
    """One directory, killed again and again."""

    def __init__(self, scene: Scene, seed: int, base: Path, tally: Tally) -> None:
        self._scene = scene
        self._random = Random(f"{scene} {seed}")
        self._base = base
        self._tally = tally
        self._lanes = Lanes()
        self._is_clean = False
        self._shards = self._random.choice((1, 4, 16))
        self._load = self._new_load(8 if scene.sync == "always" else 12 if scene.mode == "served" else 3)

    def run(self, cycles: int, deadline: float) -> None:
        """Run `cycles` cycles that count, or fewer if the time is over. Violation if anything was lost, or
        TooSlowError."""
        try:
            for _ in range(CREATION_KILLS):
                self._tally.creations += self._kill_early()
            self._check()
            counted = void = 0
            while counted < cycles and time.monotonic() < deadline:
                if self._cycle():
                    counted += 1
                    void = 0
                else:
                    void += 1
                    self._tally.void += 1
                    if void == VOID_RUNS:
                        raise TooSlowError(f"no load of {MIN_WRITES_PER_SECOND} writes/s with {self._load.lanes} lanes")
                    self._load = self._new_load(2 * self._load.lanes)
        finally:
            with suppress(Violation):  # the first one counts
                self._load.stop()

    def _new_load(self, lanes: int) -> Load:
        kind = EmbeddedLoad if self._scene.mode == "embedded" else ServedLoad
        load = kind(self._base / "db", self._scene.sync, self._shards, lanes)
        load.recover(self._lanes.recovered(lanes))
        return load

    def _kill_early(self) -> bool:
        """Kill a process while it opens, or creates, the directory. Returns whether it had not opened yet."""
        load = self._load
        load.start()
        load.wait_until_locked()
        time.sleep(self._random.uniform(0, OPENING_SECONDS))
        was_opening = not load.is_open()
        load.victim.kill()
        load.reap()
        return was_opening

    def _cycle(self) -> bool:
        """Load, kill, check. Returns whether the cycle counts."""
        load, tally, random = self._load, self._tally, self._random
        for _ in range(random.choice((0, 0, 1, 2))):
            tally.openings += self._kill_early()
        load.start()
        load.wait_until_open()
        load.wait_for_commits(COMMITS_AFTER + random.randrange(LOAD_COMMITS[self._scene.sync]))
        is_working = random.random() < 0.5 and self._wait_for_job()
        rate = load.writes_per_second()
        self._kill()
        answered = sum(load.floor)
        self._check()
        if rate < MIN_WRITES_PER_SECOND:
            return False
        tally.cycles += 1
        tally.jobs += is_working
        tally.rates.append(rate)
        tally.answered += max(0, answered - self._answered_before)
        self._answered_before = answered
        tally.scenes[str(self._scene)] += 1
        return True

    _answered_before = 0

    def _wait_for_job(self) -> bool:
        with suppress(HangError):
            wait_until(lambda: any(map(is_working, self._load.helpers)), "a job begins", JOB_SECONDS)
            return True
        return False

    def _kill(self) -> None:
        load = self._load
        self._is_clean = False
        if self._scene.victim == "both":
            wait_until(lambda: load.helpers, "a helper starts")
        helpers = load.helpers
        if self._scene.victim == "parent":
            load.victim.kill()
        elif self._scene.victim == "both":
            pids = self._random.sample([load.victim.pid, *helpers], 1 + len(helpers))
            for pid in pids:
                kill(pid)
            self._tally.helpers += len(helpers)
        else:
            self._kill_helpers()
            helpers = load.helpers
            self._is_clean = self._random.random() < 0.5
            if not self._is_clean:
                load.victim.kill()
        if self._is_clean:
            load.end_cleanly()
        else:
            load.reap()
        wait_until(lambda: not any(map(is_alive, helpers)), f"the helpers {helpers} end after their parent")

    def _kill_helpers(self) -> None:
        """Kill the helpers: the writers go on, and new helpers start."""
        load = self._load
        for _ in range(self._random.choice((1, 1, 2))):
            wait_until(lambda: load.helpers, "a helper starts")
            if self._random.random() < 0.5:
                self._wait_for_job()
            killed = load.helpers
            for helper in killed:
                kill(helper)
            self._tally.helpers += len(killed)
            load.wait_for_commits(COMMITS_AFTER)
            self._wait_for_another(killed)

    def _wait_for_another(self, killed: list[int]) -> None:
        wait_until(lambda: set(self._load.helpers) - set(killed), "another helper starts")

    def _check(self) -> None:
        load = self._load
        fs, directory = OsFileSystem(), str(load.directory)
        found = manifest.read(fs, directory) if load.directory.exists() else None
        for each in () if found is None else found.version.value_files:
            self._tally.value_files += 1
            self._tally.collected += each.file.endswith(".val")
        least, most = load.bounds()
        check_copy(load.directory, self._lanes, least, least if self._is_clean else most)
        load.recover(self._lanes.recovered(load.lanes))


# The command.


def scenes_of(options: argparse.Namespace) -> list[Scene]:
    chosen = [
        all_of if given == "all" else (given,)
        for given, all_of in ((options.victim, VICTIMS), (options.sync, SYNCS), (options.mode, MODES))
    ]
    return [Scene(sync, mode, victim) for victim, sync, mode in itertools.product(*chosen)]


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not is_supported():
        parser.error("it needs /proc, so Linux")
    total = Tally()
    slow = 0
    started = told = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        for ended in _episodes(options, pool, started + options.seconds):
            total.add(ended.tally)
            if ended.violation:
                _tell_violation(options, ended, out)
                return 1
            slow = slow + 1 if ended.too_slow else 0
            if slow == SLOW_EPISODES:
                print(f"TOO SLOW ({ended.scene}): {ended.too_slow}", file=out)
                return 3
            now = time.monotonic()
            if now - told >= PROGRESS_SECONDS:
                told = now
                print(total.line(now - started), file=out, flush=True)
    seconds = time.monotonic() - started
    print(f"{total.line(seconds)}: nothing was lost", file=out)
    if options.json:
        report = {"seed": options.seed, "seconds": round(seconds, 1), **total.report()}
        Path(options.json).write_text(json.dumps(report, indent=2), encoding="utf-8")
    return 0


@dataclass(slots=True)
class Ended:
    """An episode that is over."""

    scene: Scene
    seed: int
    tally: Tally
    violation: str = ""
    kept: str = ""
    too_slow: str = ""


def _episodes(options: argparse.Namespace, pool: Executor, deadline: float) -> Iterator[Ended]:
    """Episode after episode, several at once, in the order of their seeds, until there were enough cycles."""
    scenes = scenes_of(options)
    waiting: deque[tuple[Future[Ended], int]] = deque()
    seeds = itertools.count(options.seed)
    left = options.cycles
    while waiting or (left > 0 and time.monotonic() < deadline):
        while left > 0 and len(waiting) < options.jobs and time.monotonic() < deadline:
            seed, cycles = next(seeds), min(left, options.episode)
            scene = scenes[seed % len(scenes)]
            waiting.append((pool.submit(_run_episode, scene, seed, cycles, deadline, options.directory), cycles))
            left -= cycles
        future, cycles = waiting.popleft()
        ended = future.result()
        left += cycles - ended.tally.cycles
        yield ended


def _run_episode(scene: Scene, seed: int, cycles: int, deadline: float, directory: str | None) -> Ended:
    base = Path(tempfile.mkdtemp(prefix="flin-kill-", dir=directory))
    ended = Ended(scene, seed, Tally())
    try:
        Episode(scene, seed, base, ended.tally).run(cycles, deadline)
    except TooSlowError as error:
        ended.too_slow = str(error)
        shutil.rmtree(base)
    except Exception as error:  # whatever it is: it must not get lost in a thread
        ended.violation = "".join(traceback.format_exception(error))
        ended.kept = str(base)
    else:
        shutil.rmtree(base)
    return ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flin.testing.kill",
        description="Kill processes under load with kill -9 and check that no answered write is lost.",
        epilog="Exit code: 0 nothing was lost, 1 a violation (its directory is kept), 2 wrong usage, "
        "3 the machine is too slow or too busy.",
    )
    add = parser.add_argument
    add("--cycles", type=int, default=100, help="number of kills under load (default 100)")
    add("--seconds", type=float, default=float("inf"), help="stop after this time, even with fewer cycles")
    add("--seed", type=int, default=0, help="seed of the first episode (default 0)")
    add("--episode", type=int, default=EPISODE_CYCLES, help=f"cycles in one directory (default {EPISODE_CYCLES})")
    add("--jobs", type=int, default=1, help="episodes that run at once (default 1)")
    add("--sync", choices=(*SYNCS, "all"), default="all", help="sync mode (default: all in turn)")
    add("--mode", choices=(*MODES, "all"), default="all", help="the engine in its own process, or `flin serve`")
    add("--victim", choices=(*VICTIMS, "all"), default="all", help="which process is killed (default: all in turn)")
    add("--directory", metavar="DIR", help="directory for the databases (default: the system's temporary directory)")
    add("--json", metavar="FILE", help="write the figures to this file")
    return parser


def _tell_violation(options: argparse.Namespace, ended: Ended, out: TextIO) -> None:
    print(f"VIOLATION ({ended.scene}, seed {ended.seed})\n{ended.violation}\nkept: {ended.kept}", file=out)
    given = f"--sync {options.sync} --mode {options.mode} --victim {options.victim} --episode {options.episode}"
    print(f"again: python -m flin.testing.kill {given} --cycles {options.episode} --seed {ended.seed}", file=out)
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
