"""The corpus of past failures: each is crashed at every moment, or has every call fail, and nothing is wrong."""

from __future__ import annotations

import pytest

from flin.testing.faulty import KINDS, every_failure, judge_failed
from flin.testing.judge import Judge
from flin.testing.run import Run
from tests.engine.crash_corpus import CORPUS, Past
from tests.figures import FAILED_CALLS, Figures


@pytest.mark.parametrize(
    "past", [pytest.param(past, id=past.name, marks=[pytest.mark.slow] * past.is_slow) for past in CORPUS]
)
def test_past_failure(past: Past, figures: Figures) -> None:
    judge = Judge(past.scene, limit=8)
    if past.fault:
        for run in every_failure(past.scene, past.workload, KINDS[past.fault]):
            judge_failed(run, judge, past.name)
            figures.add(FAILED_CALLS, 1)
    else:
        for moment in Run(past.scene).run(past.workload).moments:
            judge.judge(moment, past.name)
    figures.judged(judge)
    assert judge.states > 5
