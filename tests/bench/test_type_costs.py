"""`flin bench types`: its rows run, its figures are ratios of what was measured, failures are named."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench import queues, type_costs
from flin.bench.cli_client import ask, encode, pour
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess
from flin.cli.main import main

SMALL = replace(type_costs.QUICK, elements=50, requests=(200, 4000), servers=("flin",))
"""redis-benchmark counts whole milliseconds: 400 requests in pipelines may take none; then their rate is infinite."""


def test_every_row_runs(tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-benchmark")
    progress = Progress(SMALL.steps(), io.StringIO())
    result = type_costs.run(SMALL, str(tmp_path), progress)
    assert result.failures == []
    assert set(result.measured) == {
        (row.title, pipeline) for row in type_costs.ROWS for pipeline in type_costs.PIPELINES
    }
    assert progress.done == SMALL.steps()
    assert not list(tmp_path.iterdir())


def test_a_command_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_tool: Callable[[str], str]
) -> None:
    needs_tool("redis-benchmark")
    monkeypatch.setattr(type_costs, "ROWS", (type_costs.Row("SET key:1 VALUE"), type_costs.Row("RPOP key:1")))
    settings = replace(SMALL, rows=("RPOP",))
    result = type_costs.run(settings, str(tmp_path), Progress(settings.steps(), io.StringIO()))
    (failure,) = result.failures
    assert failure.startswith("flin: redis-benchmark RPOP key:1: ")
    assert "WRONGTYPE" in failure


def test_who_takes_comes_after_who_puts() -> None:
    settings = type_costs.Settings(rows=("SPOP",))
    assert [row.title for row in settings.chosen()] == ["SET", "GET", "SADD new", "SPOP"]
    titles = [row.title for row in type_costs.ROWS]
    assert all(titles.index(row.after) < titles.index(row.title) for row in type_costs.ROWS if row.after)


def test_figures_are_ratios() -> None:
    result = type_costs.Result()
    for title, pipeline, ours, theirs in [
        ("SET", 16, 2.0, 1.0),
        ("GET", 1, 10.0, 8.0),
        ("LPUSH", 1, 20.0, 10.0),
        ("LPUSH", 16, 3.0, 1.0),
    ]:
        result.at(title, pipeline).add("flin", ours, 1e6 / ours)
        result.at(title, pipeline).add("redis-server", theirs, 1e6 / theirs)
    row = next(row for row in type_costs.ROWS if row.title == "LPUSH")
    assert result.times_base(row) == pytest.approx(1.5)
    assert result.share_of_get(row) == pytest.approx(0.5 / 0.8)
    lines = type_costs.table(replace(type_costs.Settings(), rows=("LPUSH",)), result).splitlines()
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells == ["LPUSH", "20.00", "10.00", "0.50", "0.62", "0.90", "3.00", "1.00", "0.33", "1.50", "1.20"]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")][:4] == ["SET", "-", "-", "-"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name != "LPUSH and RPOP" else ()) for name in queues.QUEUES],
)
def test_a_queue_keeps_its_length(tmp_path: Path, name: str, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-cli")
    points = list(queues.measure(queues.QUEUES[name], str(tmp_path / "data"), 8000, 2))
    assert [done for done, _ in points] == [4000, 8000]
    assert sum(cost for _, cost in points) > 0, "each may be less than a tick of the kernel's clock"


def test_a_queue_of_another_length_is_found_out(tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-cli")
    queue = replace(queues.QUEUES["LPUSH and RPOP"], pop=encode(b"LLEN", queues.KEY))
    with pytest.raises(ServerError, match="the queue holds 1400 jobs, not 1000"):
        list(queues.measure(queue, str(tmp_path / "data"), 800, 2))


def test_errors_of_the_client_are_raised(tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-cli")
    with ServerProcess("flin", str(tmp_path / "data")) as server:
        assert pour(server.port, [encode(b"SET", b"a", b"1")]) == 1
        assert ask(server.port, "GET", "a") == "1"
        with pytest.raises(ServerError, match="--pipe"):
            pour(server.port, [encode(b"INCR", b"a"), encode(b"LPUSH", b"a", b"1")])
        with pytest.raises(ServerError, match="redis-cli NOTHING: ERR unknown command"):
            ask(server.port, "NOTHING")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "types", "--rows", "NOTHING"]) == 2
    assert "there is no row 'NOTHING'; there are SET, GET, INCR, LPUSH" in capsys.readouterr().err
