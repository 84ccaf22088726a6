"""Turns of an event loop and their causes; the measurement around them, run small."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest

from flin.bench import generator, pauses, server_process, trace
from flin.bench.generator import is_write
from flin.bench.progress import Progress
from flin.bench.server_process import ServerProcess
from flin.bench.turns import COMPUTING, CORE, DISK, LOCK, Trace, maybe_event, pauses_of

LOOP, HELPER, THREAD = 10, 20, 11


def line(seconds: float, event: str, details: str, tid: int = LOOP, core: int = 0) -> str:
    pid = LOOP if tid == THREAD else tid
    return f"       some name  {pid}/{tid}    [00{core}] {seconds:.9f}: {event}: {details}"


def switch(seconds: float, before: int, state: str, after: int, core: int = 0) -> str:
    details = (
        f"prev_comm=a b prev_pid={before} prev_prio=120 prev_state={state} ==> "
        f"next_comm=c d next_pid={after} next_prio=120"
    )
    return line(seconds, "sched:sched_switch", details, before, core)


def wake(seconds: float, woken: int, by: int) -> str:
    return line(seconds, "sched:sched_waking", f"comm=flin pid={woken} prio=120 target_cpu=000", by)


def polled(seconds: float) -> str:
    return line(seconds, "syscalls:sys_exit_epoll_pwait", "0x1")


def polls(seconds: float) -> str:
    return line(seconds, "syscalls:sys_enter_epoll_pwait", "epfd: 0x00000003, timeout: 0x0000005a")


def role(pid: int) -> str:
    return {0: "nobody", LOOP: "own", HELPER: "helper"}.get(pid, "others")


def read(*lines: str) -> Trace:
    return Trace(LOOP).read(event for event in map(maybe_event, lines) if event is not None)


def test_a_turn_by_what_it_did() -> None:
    """Woken at 1 ms beside a helper, on a core at 3, without the lock from 4 to 6, off it from 7 to 10, waits for the
    disk from 11 to 15, polls at 16."""
    found = read(
        switch(0.000, LOOP, "S", HELPER),
        wake(0.001, LOOP, THREAD),
        switch(0.003, HELPER, "R", LOOP),
        polled(0.003),
        switch(0.004, LOOP, "S", THREAD),
        wake(0.006, LOOP, THREAD),
        switch(0.006, THREAD, "S", LOOP),
        switch(0.007, LOOP, "R+", HELPER),
        switch(0.010, HELPER, "R", LOOP),
        switch(0.011, LOOP, "D", 0),
        wake(0.015, LOOP, 0),
        switch(0.015, 0, "R", LOOP),
        polls(0.016),
    )
    (turn,) = found.turns
    assert round(turn.milliseconds, 3) == 15
    result = pauses_of(found, 2, role)
    assert (result.turns, result.pauses, round(result.longest_ms, 3)) == (1, 1, 15)
    assert {cause: round(milliseconds, 3) for cause, milliseconds in result.milliseconds.items()} == {
        f"{CORE}: helper": 5,
        COMPUTING: 4,
        LOCK: 2,
        DISK: 4,
    }
    assert result.main_cause == {f"{CORE}: helper": 1}


def test_sleep_between_turns_is_no_pause() -> None:
    found = read(
        polled(0.000),
        polls(0.001),
        switch(0.001, LOOP, "S", 0),
        wake(0.101, LOOP, 99),
        switch(0.1015, 0, "R", LOOP),
        polled(0.1015),
        polls(0.102),
    )
    assert [round(turn.milliseconds, 3) for turn in found.turns] == [1, 1]
    result = pauses_of(found, 2, role)
    assert (result.pauses, result.milliseconds, result.main_cause) == (0, {}, {})


def test_who_had_the_core_meanwhile() -> None:
    found = read(
        polled(0.000),
        switch(0.001, LOOP, "R", HELPER),
        switch(0.003, HELPER, "S", 99),
        switch(0.004, 99, "R", LOOP),
        switch(0.004, 98, "S", 97, core=1),
        polls(0.005),
    )
    runners = [(thread, round(milliseconds, 3)) for thread, milliseconds in found.runners(0, 0.5, 3.5)]
    assert runners == [(HELPER, 2), (99, 0.5)]
    assert found.runners(2, 0, 9) == []
    result = pauses_of(found, 1, role)
    assert result.milliseconds == {
        COMPUTING: pytest.approx(2),
        f"{CORE}: helper": pytest.approx(2),
        f"{CORE}: others": pytest.approx(1),
    }


@pytest.mark.parametrize("text", ["", "# a comment", "no event at all: 1.0: x"])
def test_other_lines_are_no_events(text: str) -> None:
    assert maybe_event(text) is None


@pytest.mark.parametrize(("share", "writes"), [(0.0, 0), (0.01, 10), (0.3, 300), (1.0, 1000)])
def test_the_share_of_writes_is_exact_and_even(share: float, writes: int) -> None:
    chosen = [number for number in range(1000) if is_write(number, share)]
    assert len(chosen) == writes
    if 0 < share < 1:
        assert max(after - before for before, after in pairwise(chosen)) <= 1 / share + 1


def test_an_open_loop_of_reads_and_writes(tmp_path: Path) -> None:
    with ServerProcess("flin", str(tmp_path / "data")) as server:
        generator.fill(server.port, 100, 64)
        outcome = generator.run(generator.Task("open", server.port, 0.3, 100, 64, 3, rate=400, write_share=0.25))
    assert (outcome.requests, outcome.unanswered) == (120, 0)
    assert set(outcome.writes) == {"p50", "p99", "p99.9", "max"}
    assert outcome.writes["max"] <= outcome.latencies["max"]


@pytest.mark.slow
def test_pauses_of_both_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole procedure, too short to see a flush; with causes where this user may trace."""
    monkeypatch.setattr(pauses, "PEAK_SECONDS", 0.1)
    monkeypatch.setattr(pauses, "REWRITE_SECONDS", 0.1)
    monkeypatch.setattr("flin.bench.compaction.IDLE_SECONDS", 0.05)
    servers = tuple(name for name in pauses.Settings().servers if server_process.is_installed(name))
    settings = pauses.Settings(servers, 300, 64, 16 << 20, 4, seconds=0.5, rounds=1)
    progress = Progress(settings.steps(), io.StringIO())
    result = pauses.run(settings, str(tmp_path), progress)
    assert progress.done == settings.steps()
    assert [(phase.server, phase.name) for phase in result.phases] == list(settings.phases())
    assert result.unanswered == 0
    assert all(phase.outcomes[0].requests == int(result.rate * 0.5) for phase in result.phases)
    text = pauses.table(result)
    assert "flin, busy" in text
    if trace.is_available(str(tmp_path)):
        assert all(phase.pauses[0].turns for phase in result.phases)
        assert "computing, ms" in text
    assert pauses.to_json(result)["rate"] == result.rate
    assert not list(tmp_path.iterdir())


def test_what_a_phase_took_from_cores() -> None:
    """The table sums the rounds and names each cause once."""
    outcome = generator.Outcome(1, 1.0, 0, {"p50": 1.0, "p99": 2.0, "p99.9": 3.0, "max": 4.0}, {})
    found = pauses_of(read(polled(0.0), switch(0.001, LOOP, "D", 0), wake(0.004, LOOP, 0), polls(0.005)), 2, role)
    phase = pauses.Phase("flin", pauses.QUIET, [outcome, outcome], [found, found])
    text = pauses.table(pauses.Result(10.0, [phase]))
    assert [row.split("|")[2].strip() for row in text.splitlines() if row.startswith(("| number", f"| {DISK}"))] == [
        "2",
        "6.0",
    ]
