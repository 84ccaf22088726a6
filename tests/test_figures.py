"""The figures of a run are added up correctly, and too low ones are reported."""

from __future__ import annotations

from flin.testing.crash_checker import CrashChecker
from flin.testing.operation import Put
from flin.testing.run import EngineSetup, WorkloadRun
from tests.figures import CAUGHT, KILLS, LEAST, RECOVERIES, STATES, Figures


def test_a_state_that_two_checkers_saw_counts_once() -> None:
    figures = Figures()
    moment = WorkloadRun(EngineSetup("never")).run([Put(b"a", b"1")]).crash_points[-1]
    judges = [CrashChecker(EngineSetup("never"), limit=3) for _ in range(2)]
    for checker in judges:
        checker.check(moment, "twice")
        figures.checked(checker)
    assert figures.of(STATES) == judges[0].states == judges[1].states > 0
    assert figures.of(RECOVERIES) == judges[0].during_recovery + judges[1].during_recovery > 0


def test_what_falls_short_is_named() -> None:
    figures = Figures()
    assert figures.short("slow") == list(LEAST["slow"])
    for what, least in LEAST["slow"].items():
        figures.add(what, least)
    assert figures.short("slow") == []
    figures.add(CAUGHT, -1)
    assert figures.short("slow") == [CAUGHT]
    assert len(list(figures.lines("ordinary"))) == len(LEAST["ordinary"])


def test_what_workers_tried_is_added_up() -> None:
    moment = WorkloadRun(EngineSetup("never")).run([Put(b"a", b"1")]).crash_points[-1]
    whole = Figures()
    for number in (1, 2):
        worker, checker = Figures(), CrashChecker(EngineSetup("never"), limit=3)
        checker.check(moment, "twice")
        worker.checked(checker)
        worker.add(KILLS, number)
        whole.add_packed(worker.packed())
    assert whole.of(KILLS) == 3
    assert whole.of(STATES) == checker.states, "both saw the same states"
    assert whole.of(RECOVERIES) == 2 * checker.during_recovery
