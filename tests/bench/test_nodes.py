"""`flin bench nodes`: three nodes and a server are asked, figures are medians of what was measured."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench import nodes
from flin.bench.nodes import LOCAL, Measured, Result, Settings, Used, name_of
from flin.bench.progress import Progress
from flin.cli.main import main
from tests.tool import needs_tool


def test_the_table() -> None:
    result = Result()
    three = name_of(1)
    result.measured["get", 64, LOCAL] = [Measured(100, 1, 2, 8, 0)]
    result.measured["set", 64, LOCAL] = [Measured(1000, 1, 2, 8, 0), Measured(4000, 1, 2, 8, 0)]
    result.measured["set", 64, three] = [Measured(600, 3, 4, 16, 9.5), Measured(2000, 5, 6, 18, 10.5)]
    result.idle = {LOCAL: [Used(0.01, 0)], three: [Used(0.1, 0.02), Used(0.3, 0.04)]}
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in nodes.table(result).splitlines()
        if "---" not in line
    ]
    assert rows[1:4] == [
        ["SET, 64 connections", "one server", "2,500", "1.00", "1.0", "2.0", "8.0", "0.0"],
        ["SET, 64 connections", "3 nodes, 1 group", "1,300", "0.55", "4.0", "5.0", "17.0", "10.0"],
        ["GET, 64 connections", "one server", "100", "1.00", "1.0", "2.0", "8.0", "0.0"],
    ]
    assert rows[-2:] == [["one server", "1.0%", "0.0%"], ["3 nodes, 1 group", "20.0%", "3.0%"]]
    assert Settings().steps() == 36


def test_what_is_missing_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["bench", "nodes", "--quick"]) == 2
    assert "etcd is not installed" in capsys.readouterr().err


@pytest.mark.slow
def test_nodes_are_measured(tmp_path: Path) -> None:
    for tool in ("etcd", "redis-benchmark"):
        needs_tool(tool)
    pytest.importorskip("flin.cluster.etcd.etcd")
    settings = replace(
        nodes.QUICK, groups=(2,), connections=(8,), sets=400, gets=400, rest_seconds=0.0, idle_seconds=0.1
    )
    progress = Progress(settings.steps(), io.StringIO())
    result = nodes.run(settings, str(tmp_path), progress)
    assert result.failures == []
    assert {*result.measured} == {(test, 8, name) for test in nodes.TESTS for name in (LOCAL, name_of(2))}
    assert progress.done == settings.steps()
    assert not list(tmp_path.iterdir())
