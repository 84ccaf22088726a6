"""The parts of a whole run, each tiny: the form of the results, and that the answers were right."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import pytest

from flin.bench import (
    beyond_memory,
    compaction,
    following,
    headline,
    memory,
    opening,
    processes,
    report,
    rewriting,
    slow_sync,
    sustained,
)
from flin.bench.comparison import Comparison, Finding
from flin.bench.progress import Progress
from flin.bench.row import WrongAnswerError
from flin.bench.slow_disk import delayed
from flin.bench.store import RocksStore
from flin.bench.target import Target
from flin.testing.process import PATIENCE_SECONDS, state_of, wait_until
from tests.bench.dict_store import DictStore

needs_proc = pytest.mark.skipif(not memory.is_supported(), reason="needs /proc")


def quiet_progress(steps: int) -> Progress:
    return Progress(steps, io.StringIO())


@pytest.mark.slow
def test_sustained(tmp_path: Path) -> None:
    settings = sustained.Settings(("flin",), memory_bytes=1 << 20, value_bytes=50, rounds=1)
    assert settings.count * 66 == pytest.approx(10 * (3 << 20) / 8, rel=0.01)
    progress = quiet_progress(settings.steps())
    rates, finding = sustained.compare(settings, str(tmp_path), progress)
    assert isinstance(rates, Comparison)
    assert isinstance(finding, Finding)
    assert rates.failures == []
    assert rates.rates["flin"][0] > 0
    assert finding.median("tables written per byte given") is not None
    if memory.is_supported():
        assert 5 < (finding.median("peak memory of all processes, MiB") or 0) < 500
        assert (finding.median("on disk per byte given") or 0) > 0.2
    assert 0 <= (finding.median(sustained.HELD_BACK) or 0) <= 1
    assert sustained.HELD_BACK in finding.goals
    assert progress.done == settings.steps()
    assert not list(tmp_path.iterdir())


@needs_proc
def test_quiet_is_when_nothing_runs() -> None:
    asked = []

    def idle() -> bool:
        asked.append(True)
        return len(asked) > 1

    waited = processes.wait_until_quiet(os.getpid(), 30, idle)
    assert 0 < waited < 30
    assert processes.cpu_seconds(os.getpid()) > 0
    assert processes.cpu_seconds(2**22 + 1) == 0
    assert processes.written_bytes() >= 0


@needs_proc
def test_collected_children_count() -> None:
    work = "import time\nwhile time.process_time() < 0.2: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # its child has ended
        used = processes.cpu_seconds(process.pid), processes.own_cpu_seconds(process.pid)
        process.stdin.write(b"\n")
        process.stdin.close()
    assert used[0] >= used[1] + 0.1


@needs_proc
def test_who_waits_for_a_processor_is_not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a merge may use no time between two looks."""
    monkeypatch.setattr(processes, "cpu_seconds", lambda pid: 0.0)
    program = "print(flush=True); input()\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: state_of(process.pid) == "S", "it waits for input")
        assert processes.wait_until_quiet(process.pid, PATIENCE_SECONDS) < PATIENCE_SECONDS
        process.stdin.write(b"\n")
        process.stdin.close()
        wait_until(lambda: state_of(process.pid) == "R", "it wants a processor")
        assert processes.wait_until_quiet(process.pid, 0.5) > 0.0, "never quiet"
        process.kill()


@needs_proc
def test_the_measurements_own_time_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    used = itertools.count(0.0, 0.1)  # processor time at each look: busy, but all of it the measurement's own
    spent: list[float] = []

    def cpu_seconds(pid: int) -> float:
        spent.append(next(used))
        return spent[-1]

    monkeypatch.setattr(processes, "cpu_seconds", cpu_seconds)
    asked: list[float] = []

    def idle() -> bool:
        asked.append(0.0)
        return True

    assert processes.wait_until_quiet(0, 0.5, idle) > 0.3, "never quiet"
    asked.clear()
    assert processes.wait_until_quiet(0, 30, idle, aside=lambda: spent[-1]) == 0.0, "quiet from the first look on"
    assert len(asked) == processes.QUIET_LOOKS


@pytest.mark.slow
def test_opening_after_a_close_and_a_kill(tmp_path: Path) -> None:
    settings = opening.Settings(
        ("flin",), counts=(20_000,), value_bytes=40, memory_bytes=16 << 20, rounds=2, wide_count=0
    )
    progress = quiet_progress(settings.steps())
    clean, killed = opening.compare(settings, str(tmp_path), progress)
    assert isinstance(clean, Finding)
    assert isinstance(killed, Finding)
    assert killed.failures == []
    assert len(clean.figures[opening.SECONDS]["flin"]) == len(killed.figures[opening.SECONDS]["flin"]) == 2
    assert (killed.median("live WAL, MiB") or 0) > 0.05
    assert set(clean.goals) == {opening.SECONDS}
    assert set(killed.goals) == {opening.ALLOWED}
    assert progress.done == settings.steps() == 5
    assert not list(tmp_path.iterdir())


def test_the_peers_are_not_loaded_with_many_keys() -> None:
    settings = opening.Settings(("flin", "plyvel"), counts=(1000, 10 * opening.PEERS_KEYS), rounds=1)
    assert [settings.stores_of(count) for count in settings.counts] == [("flin", "plyvel"), ("flin",)]
    assert settings.steps() == 15, "also of the size with a larger limit, which both have"
    assert replace(settings, wide_count=0).steps() == 9


@pytest.mark.slow
def test_much_wal_is_left_by_a_kill_under_a_large_limit(tmp_path: Path) -> None:
    settings = opening.Settings(
        ("flin",), counts=(), value_bytes=40, rounds=1, wide_count=30_000, wide_memory_bytes=64 << 20
    )
    _, killed = opening.compare(settings, str(tmp_path), quiet_progress(settings.steps()))
    assert isinstance(killed, Finding)
    assert killed.name == "open 30,000 keys, limit 64 MiB, killed"
    assert killed.failures == []
    assert (killed.median("live WAL, MiB") or 0) > 0.9 * 30_000 * 56 / (1 << 20)


@pytest.mark.slow
@needs_proc
def test_the_bytes_written_are_those_that_the_engine_counts(tmp_path: Path) -> None:
    before = processes.written_bytes()
    (tmp_path / "probe").write_bytes(bytes(4096))
    (tmp_path / "probe").unlink()
    if processes.written_bytes() == before:
        pytest.skip("the kernel counts no bytes on this disk")
    settings = rewriting.Settings(("flin",), count=6_000, memory_bytes=2 << 20)
    progress = quiet_progress(settings.steps())
    (finding,) = rewriting.compare(settings, str(tmp_path), progress)
    assert isinstance(finding, Finding)
    assert finding.failures == []
    written, counted = finding.median(rewriting.WRITTEN) or 0, finding.median("counted by the engine") or 0
    assert 1 < counted < written * 1.02
    assert written < counted * 1.25, "besides: the manifest, rests of pages, the WAL's prepared space"
    assert finding.median("of that WAL") == pytest.approx(1.04, abs=0.03)
    assert set(finding.goals) == {rewriting.WRITTEN, rewriting.ON_DISK}
    assert progress.done == settings.steps() == 1


def test_each_writing_meets_every_key_once_in_its_own_order() -> None:
    writings = [[rewriting.key_at(position, writing, 500) for position in range(500)] for writing in range(3)]
    assert {len(set(keys)) for keys in writings} == {500}
    assert len({tuple(keys) for keys in writings}) == 3


def test_how_long_rocksdb_held_its_writers_back() -> None:
    text = "Cumulative stall: 01:02:3.456 H:M:S, 5.6 percent"
    rocks = object.__new__(RocksStore)
    rocks._database = SimpleNamespace(property_value=lambda name: text)
    assert sustained.held_back_seconds(rocks) == pytest.approx(3723.456)
    assert sustained.held_back_seconds(DictStore()) is None


@pytest.mark.slow
def test_headline_workloads_with_threads(tmp_path: Path) -> None:
    settings = headline.Settings(("flin",), seconds_each=0.05, loaded=200, value_bytes=20, rounds=1)
    rows = headline.compare(settings, str(tmp_path), quiet_progress(settings.steps()))
    for row, scene in zip(rows, headline.SCENES, strict=True):
        assert isinstance(row, Comparison)
        assert row.failures == []
        assert row.published == scene.published
        assert row.rates["flin"][0] > 0
    assert "published" in report.tables(rows)


@pytest.mark.parametrize("action", ["get", "mix"])
def test_a_thread_that_finds_nothing_says_so(action: str) -> None:
    task = headline.Task("flin", "", action, 1, 1, 1.0, 10, 10, 1 << 20)
    with pytest.raises(WrongAnswerError):
        headline.ACTIONS[action](DictStore(), task, 0, b"value", perf_counter() + 0.01)


def test_deleting_ends_with_the_keys() -> None:
    task = headline.Task("flin", "", "delete", 1, 1, 1.0, 150, 10, 1 << 20)
    assert headline.ACTIONS["delete"](DictStore(), task, 0, b"", float("inf")) == 150


def test_a_delayed_sync_waits_then_syncs() -> None:
    synced: list[int] = []
    delayed(synced.append, 0.0)(7)
    assert synced == [7]


def test_a_redis_is_followed(tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-server")
    needs_tool("redis-benchmark")
    progress = quiet_progress(2)
    (finding,) = following.compare(following.Settings(requests=2000, rounds=1), str(tmp_path), progress)
    assert isinstance(finding, Finding)
    assert finding.failures == []
    assert {name.partition(",")[0] for name in finding.figures} == {"into a directory", "into a server"}
    assert all((finding.median(name) or 0) > 0 for name in finding.figures)
    assert progress.done == 2
    assert not list(tmp_path.iterdir())


def test_always_on_a_slow_disk(tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-benchmark")
    settings = slow_sync.Settings(seconds_each=0.3, rounds=1)
    progress = quiet_progress(settings.steps())
    (finding,) = slow_sync.compare(settings, str(tmp_path), progress)
    assert isinstance(finding, Finding)
    assert finding.failures == []
    assert (finding.median("SET p50, ms") or 0) >= slow_sync.SYNC_MS
    assert (finding.median("SETs that share a sync") or 0) > 1
    assert set(finding.goals) == {slow_sync.WRITES, "GET p99 beside them, ms"}
    assert progress.done == settings.steps()


@pytest.mark.slow
def test_beyond_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.bench.compaction.IDLE_SECONDS", 0.1)
    settings = beyond_memory.Settings(memory_bytes=16 << 20, value_bytes=8192, seconds_each=0.2, rounds=1)
    assert settings.count * 8192 == 3 * (16 << 20)
    progress = quiet_progress(settings.steps())
    (finding,) = beyond_memory.compare(settings, str(tmp_path), progress)
    assert isinstance(finding, Finding)
    assert finding.failures == []
    assert (finding.median("GET rate over that in memory") or 0) > 0
    assert len(finding.goals) == 2
    assert progress.done == settings.steps()
    document = json.loads(json.dumps(finding.to_json()))
    assert document["goals"]["GET rate over that in memory"]["goal"] == "at least 0.25"


def test_the_latency_during_compactions_as_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shortened = {"PEAK_SECONDS": 0.1, "PEAK_REQUESTS": 300, "IDLE_SECONDS": 0.05, "WRITER_SLACK_SECONDS": 0.3}
    for name, value in shortened.items():
        monkeypatch.setattr(compaction, name, value)
    settings = compaction.Settings(300, 64, 16 << 20, 4, write_rate=400, quiet_seconds=0.2, busy_seconds=0.2, rate=200)
    (finding,) = compaction.compare(settings, str(tmp_path), quiet_progress(settings.steps()))
    assert isinstance(finding, Finding)
    assert finding.failures == []
    assert finding.goals["compactions beside it"] == ("at least 3", False)
    assert finding.goals["requests without an answer"] == ("at most 0", True)
    assert "p99 over the quiet one" in finding.goals


def test_rows_that_wait_for_the_load_generator_do_not_count() -> None:
    row = Comparison("GET", "ms", target=Target(0.5))
    for rate, cost, share in ((60_000, 10.0, 0.7), (50_000, 12.0, 0.9)):
        row.add("flin", rate)
        row.add("redis-server", 100_000)
        row.add_cost("flin", cost, share)
        row.add_cost("redis-server", 8.0, 0.5)
    assert not row.waits_for_generator, "half of the rounds"
    assert row.is_reached
    assert row.cost_ratio == pytest.approx((0.8 + 8 / 12) / 2)
    row.add("flin", 60_000)
    row.add("redis-server", 100_000)
    row.add_cost("flin", 10.0, 0.95)
    row.add_cost("redis-server", 8.0, 0.5)
    assert row.is_reached is None
    lines = report.cost_table([row]).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[1:-1]] == [
        "GET",
        "10.00",
        "8.00",
        "0.80",
        "90%",
        "50%",
        "no",
    ]
    assert report.tables([row]).count("processor time") == 1


def test_a_cost_below_the_clocks_tick_has_no_ratio() -> None:
    row = Comparison("GET", "ms")
    row.add_cost("flin", 0.0, 0.1)
    row.add_cost("redis-server", 0.0, 0.1)
    assert row.cost_ratio is None
