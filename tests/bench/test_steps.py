"""Where the time goes: every operation has a figure, and a step that has moved is named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from flin.bench import lab, memory, steps
from flin.bench.lab import Lab
from flin.bench.progress import Progress
from flin.bench.steps import Step
from flin.cli.main import main


def small(directory: Path) -> Lab:
    return Lab(str(directory), keys=1500, repeat_seconds=0.0002, served_seconds=0.2)


@pytest.mark.slow
@pytest.mark.skipif(not memory.is_supported(), reason="needs /proc")
def test_every_operation_has_its_figures(tmp_path: Path) -> None:
    """Parts, whose functions may move, are measured or named."""
    with small(tmp_path) as made:
        measured = steps.run(made, Progress(len(steps.STEPS), io.StringIO()))
    assert len(measured) == len(steps.STEPS)
    for one in measured:
        assert (one.nanoseconds is None) == bool(one.problem)
        if one.step.startswith("the whole"):
            assert one.problem == ""
            assert one.nanoseconds is not None
            assert one.nanoseconds > 0 or "served" in one.operation
    text = steps.table(measured)
    assert all(operation in text for operation in steps.OPERATIONS)


def test_a_step_that_has_moved_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(made: Lab) -> float:
        return made.call(lambda: None, "an argument too many")

    monkeypatch.setattr(steps, "STEPS", (Step("put", "gone", "-", moved), Step("put", "there", "-", lambda made: 5.0)))
    with small(tmp_path) as made:
        gone, there = steps.run(made, Progress(2, io.StringIO()))
    assert gone.nanoseconds is None
    assert gone.problem.startswith("put, gone: TypeError")
    assert (there.nanoseconds, there.problem) == (5.0, "")


def test_the_stopwatch(tmp_path: Path) -> None:
    with small(tmp_path) as made:
        seen: list[int] = []
        assert made.call(seen.append, 7) < 1e6
        assert set(seen) == {7}
        seen.clear()
        made.each(seen.append, [1, 2, 3])
        assert seen[:6] == [1, 2, 3, 1, 2, 3]


def test_steps_of_an_operation_stand_together() -> None:
    operations = [step.operation for step in steps.STEPS]
    assert operations == sorted(operations, key=steps.OPERATIONS.index)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lab.Lab, "_best", lambda self, text, names: 0.0)
    assert main(["bench", "steps", "--operations", "Python", "--json", str(tmp_path / "out.json")]) == 0
    assert "a lock taken and released" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out.json").read_text())["results"]) == 4
    assert main(["bench", "steps", "--operations", "nothing"]) == 2
