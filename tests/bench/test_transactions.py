"""`flin bench transactions`: every row is measured, conflicts are counted, figures are ratios of what was measured."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench import transactions
from flin.bench.progress import Progress
from flin.cli.main import main


def test_every_row_is_measured(tmp_path: Path) -> None:
    settings = replace(transactions.QUICK, operations=200)
    progress = Progress(settings.steps(), io.StringIO())
    result = transactions.run(settings, str(tmp_path), progress)
    assert list(result.costs) == [row.name for row in transactions.ROWS]
    assert all(len(costs) == 1 and costs[0] > 0 for costs in result.costs.values())
    assert all(attempts >= [1] for attempts in result.attempts.values())
    assert progress.done == settings.steps()
    assert not list(tmp_path.iterdir())


def test_figures_are_ratios() -> None:
    result = transactions.Result({"put": [2.0, 1.0, 9.0], "other": [5.0]}, {"put": [1.0], "other": [1.25]})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in transactions.table(result).splitlines()]
    assert lines[2:] == [["put", "2.00", "1.00", "1.000"], ["other", "5.00", "2.50", "1.250"]]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "bench.json"
    words = ["bench", "transactions", "--quick", "--scratch", str(tmp_path), "--json", str(written)]
    assert main(words) == 0
    assert "transaction of one get and one put" in capsys.readouterr().out
    assert set(json.loads(written.read_text())["results"]) == {"costs_microseconds", "attempts"}
