"""The corpus of past failures: each is crashed at every crash point, or has every call fail, and nothing is wrong."""

from __future__ import annotations

import pytest

from flin.testing.crash_checker import CrashChecker
from flin.testing.faulty import KINDS, check_failed, every_failure
from flin.testing.run import WorkloadRun
from tests.engine.crash_corpus import CORPUS, Past
from tests.figures import FAILED_CALLS, Figures


@pytest.mark.parametrize(
    "past", [pytest.param(past, id=past.name, marks=[pytest.mark.slow] * past.is_slow) for past in CORPUS]
)
@pytest.mark.parametrize("second_every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_past_failure(past: Past, second_every: int, figures: Figures) -> None:
    checker = CrashChecker(past.setup, limit=8, second_every=second_every)
    if past.fault:
        for run in every_failure(past.setup, past.workload, KINDS[past.fault]):
            check_failed(run, checker, past.name)
            figures.add(FAILED_CALLS, 1)
    else:
        for crash_point in WorkloadRun(past.setup).run(past.workload).crash_points:
            if past.begins == 0 or crash_point.operation >= past.begins:
                checker.check(crash_point, past.name)
    figures.checked(checker)
    assert checker.states > 5
