"""`flin bench backup`: every copy is made and measured, and so are puts beside them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench import backup
from flin.bench.progress import Progress
from flin.cli.main import main


def test_every_copy_is_measured(tmp_path: Path) -> None:
    settings = replace(backup.QUICK, count=1000)
    progress = Progress(settings.steps(), io.StringIO())
    result = backup.run(settings, str(tmp_path), progress)
    assert tuple(result.copies) == backup.COPIES
    assert tuple(result.puts) == backup.WRITES
    assert all(cost.all_ms > 0 for costs in result.copies.values() for cost in costs)
    (first,), (following,) = result.copies[backup.FIRST], result.copies[backup.NEXT]
    assert 0 < following.copied_bytes < first.copied_bytes
    assert [len(times) for rounds in result.puts.values() for times in rounds] == [100, 100]
    assert progress.done == settings.steps()
    assert not list(tmp_path.iterdir())


def test_figures_are_medians() -> None:
    costs = [backup.Cost(1.0, 5.0, 0), backup.Cost(2.0, 7.0, 3_000_000), backup.Cost(9.0, 6.0, 3_000_000)]
    result = backup.Result({backup.CHECKPOINT: costs}, {backup.ALONE: [[1.0] * 100, [2.0] * 100, [3.0] * 100]})
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in backup.table(result).splitlines()]
    assert cells[2] == ["checkpoint", "2.0", "6.0", "3.0"]
    assert cells[-1] == ["alone", "2.00", "2.00"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "bench.json"
    assert main(["bench", "backup", "--quick", "--scratch", str(tmp_path), "--json", str(written)]) == 0
    assert "first backup" in capsys.readouterr().out
    results = json.loads(written.read_text())["results"]
    assert set(results) == {"processor_ms_all_ms_copied_bytes", "put_median_p99_microseconds"}
