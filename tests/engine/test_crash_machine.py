"""The whole API as a state machine of hypothesis: any operation after any other, real crashes among them.

After every step the engine shows what the model shows; after some, all crash points of the step are crashed and
checked.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flin.testing.crash_checker import CrashChecker
from flin.testing.operation import RULES, Draw, Rule
from flin.testing.run import EngineSetup, WorkloadRun
from tests.figures import Figures

setups = st.builds(
    EngineSetup,
    sync=st.sampled_from(["always", "interval", "never"]),
    shards=st.sampled_from([1, 4]),
    window_bytes=st.sampled_from([0, 512, 4096]),
    value_threshold=st.sampled_from([0, 8, 600]),
    tiny=st.booleans(),
)


class CrashMachine(RuleBasedStateMachine):
    figures = Figures()
    sync = ""
    """If given, it replaces that of the drawn setup."""

    @initialize(setup=setups)
    def begin(self, setup: EngineSetup) -> None:
        setup = replace(setup, sync=self.sync or setup.sync)
        self.run = WorkloadRun(setup, every=7)
        self.checker = CrashChecker(setup, limit=2)
        self.run.watch()
        self.run.open()

    def follow(self, operation: Rule) -> None:
        self.run.operation += 1
        self.run.crash_points.clear()
        operation.do(self.run)

    @precondition(lambda self: len(self.run.crash_points) < 50)
    @rule()
    def crash_the_last_operation(self) -> None:
        for crash_point in self.run.crash_points:
            self.checker.check(crash_point, str(self.run.setup))
        self.run.crash_points.clear()

    @invariant()
    def it_shows_what_the_model_shows(self) -> None:
        if hasattr(self, "run"):
            assert dict(self.run.engine.scan()) == self.run.view()

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.figures.checked(self.checker)
            self.run.release_snapshots()
            self.run.abandon()


def _rule_of(kind: type[Rule]) -> Any:
    def follow(self: CrashMachine, random: Random) -> None:
        self.follow(kind.drawn(Draw(random)))

    follow.__name__ = kind.__name__.lower()
    return rule(random=st.randoms(use_true_random=False))(follow)


for _kind in RULES:
    setattr(CrashMachine, _kind.__name__.lower(), _rule_of(_kind))


def _run(examples: int, steps: int, figures: Figures, sync: str = "") -> None:
    CrashMachine.figures, CrashMachine.sync = figures, sync  # hypothesis makes the machines
    found = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(CrashMachine, settings=found)


def test_few_steps(figures: Figures) -> None:
    _run(20, 20, figures)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_many_steps(sync: str, figures: Figures) -> None:
    _run(30, 50, figures, sync)


def test_every_rule_is_in_the_machine() -> None:
    assert {kind.__name__.lower() for kind in RULES} <= {each.function.__name__ for each in CrashMachine().rules}
