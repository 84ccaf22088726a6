"""`flin bench encryption`: every row is measured on both databases, figures are medians of pairs."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench import encryption
from flin.bench.progress import Progress
from flin.cli.main import main


def test_every_row_is_measured_on_both_databases(tmp_path: Path) -> None:
    settings = replace(encryption.QUICK, scale=0.001)
    progress = Progress(settings.steps(), io.StringIO())
    result = encryption.run(settings, str(tmp_path), progress)
    assert list(result.costs) == [row.name for row in encryption.ROWS]
    for costs in result.costs.values():
        assert set(costs) == {encryption.PLAIN, encryption.SEALED}
        assert all(len(each) == 1 and each[0] > 0 for each in costs.values())
    assert progress.done == settings.steps()
    assert not list(tmp_path.iterdir())


def test_the_ratio_is_the_median_of_pairs() -> None:
    result = encryption.Result({"put": {encryption.PLAIN: [1.0, 2.0, 4.0], encryption.SEALED: [2.0, 3.0, 5.0]}})
    line = encryption.table(result).splitlines()[2]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["put", "2.00", "3.00", "1.50"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(encryption, "ROWS", encryption.ROWS[:1])
    written = tmp_path / "bench.json"
    assert main(["bench", "encryption", "--quick", "--scratch", str(tmp_path), "--json", str(written)]) == 0
    assert "put, 100 B" in capsys.readouterr().out
    assert set(json.loads(written.read_text())["results"]) == {"costs_microseconds"}
