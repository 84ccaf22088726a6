"""`flin bench pubsub`: messages arrive and are counted, figures are ratios of what was measured, failures are named."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench import pubsub
from flin.bench.progress import Progress
from flin.bench.server_process import ServerError, ServerProcess
from flin.cli.main import main

SMALL = replace(pubsub.QUICK, subscribers=(0, 2), servers=("flin",), share=0.001)


def test_messages_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_tool: Callable[[str], str]
) -> None:
    needs_tool("redis-benchmark")
    monkeypatch.setitem(pubsub.PUBLICATIONS, 2, 1000)
    progress = Progress(SMALL.steps(), io.StringIO())
    result = pubsub.run(SMALL, str(tmp_path), progress)
    assert result.failures == []
    assert set(result.costs) == {(number, pipeline, "flin") for number in (0, 2) for pipeline in (1, 16)}
    assert progress.done == SMALL.steps()
    assert not list(tmp_path.iterdir())


def test_messages_that_do_not_come_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "PATIENCE_SECONDS", 0.05)
    with (
        ServerProcess("flin", str(tmp_path / "data")) as server,
        pubsub.Subscribers(server.port, 1) as subscribers,
        pytest.raises(ServerError, match="messages have not come"),
    ):
        subscribers.wait_for(1)


def test_figures_are_ratios() -> None:
    result = pubsub.Result()
    result.costs[1, 1, "flin"] = [9.0, 6.0, 8.0]
    result.costs[1, 1, "redis-server"] = [8.0, 8.0, 8.0]
    assert result.ratio(1, 1) == pytest.approx(1.0)
    assert result.ratio(1, 16) is None
    lines = pubsub.table(replace(pubsub.Settings(), subscribers=(1,)), result).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["1 subscribers", "8.00", "8.00", "1.00", "-", "-", "-"]


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.bench.served.is_available", lambda: False)
    assert main(["bench", "pubsub", "--quick"]) == 2
    assert "redis-benchmark is not installed" in capsys.readouterr().err
