"""The old names of flin.testing's classes: they work until the next release."""

from __future__ import annotations

import flin.testing
from flin.testing import judge, personality, run
from flin.testing.crash_checker import CrashChecker
from flin.testing.crash_model import CrashModel
from flin.testing.operation import Put


def test_the_same_classes() -> None:
    assert flin.testing.Personality is personality.Personality is CrashModel
    assert judge.Judge is CrashChecker
    assert (run.Run, run.Scene, run.Moment) == (run.WorkloadRun, run.EngineSetup, run.CrashPoint)


def test_a_program_of_the_old_names() -> None:
    scene = run.Scene(sync="always")
    done = run.Run(scene).run([Put(b"a", b"1")])
    found = judge.Judge(scene, limit=2)
    for moment in done.moments:
        found.judge(moment, "old names", [personality.Personality.KILLED])
    assert found.states > 3
