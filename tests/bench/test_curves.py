"""The curves: their points, their pictures, their bounds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flin.bench import costs, curve, curves
from flin.bench.curve import Curve
from flin.bench.progress import Progress
from flin.cli.main import main

SMALL = replace(
    curves.QUICK, counts=(500, 1500), shards=(1, 4), shards_count=500, values=(10, 1000), values_bytes=100_000
)
OPERATIONS = {"put in a batch", "put", "get", "scan, a pair", "seek and ten"}


def test_the_curves_of_one_process(tmp_path: Path) -> None:
    settings = replace(SMALL, curves=("keys", "shards", "values"), values_count=500)
    progress = Progress(settings.steps(), io.StringIO())
    drawn = list(curves.run(settings, str(tmp_path), progress))
    assert [one.failures for one in drawn] == [[], [], []]
    for one, places in zip(drawn, ((500, 1500), (1, 4), (10, 1000)), strict=True):
        assert set(one.lines) == OPERATIONS
        for points in one.lines.values():
            assert tuple(at for at, _ in points) == places
            assert all(cost > 0 for _, cost in points)
        ElementTree.fromstring(curve.svg(one))
    assert progress.done == settings.steps() == 6
    assert not list(tmp_path.iterdir())


def test_history(tmp_path: Path) -> None:
    settings = replace(SMALL, curves=("history",), lengths=(20, 60))
    (drawn,) = curves.run(settings, str(tmp_path), Progress(settings.steps(), io.StringIO()))
    assert drawn.failures == []
    places = {name: [at for at, _ in points] for name, points in drawn.lines.items()}
    names = ["delete_range", "get beside them", "seek and ten", "open, a range delete", "flush, a range delete"]
    names += ["put and popitem", "last and delete"]
    assert places == {name: [20, 60] for name in names}
    assert not list(tmp_path.iterdir())


def test_no_size_is_begun_when_the_time_is_over(tmp_path: Path) -> None:
    task = costs.Task(str(tmp_path / "data"), (100, 200, 300), 10, 16 << 20, seconds=0)
    assert [line["count"] for line in costs.measure(task)] == [100]


def test_keys_of_a_small_database_lie_among_those_of_a_large_one() -> None:
    small, large = ({costs.key_at(position) for position in range(count)} for count in (100, 10_000))
    assert len(large) == 10_000
    assert small < large
    rank = {key: index for index, key in enumerate(sorted(large))}
    ranks = sorted(rank[key] for key in small)
    assert max(after - before for before, after in pairwise(ranks)) < 2000


def test_connections(tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-benchmark")
    settings = replace(SMALL, curves=("connections",), connections=(1, 4), requests=2000, servers=("flin",))
    (drawn,) = curves.run(settings, str(tmp_path), Progress(settings.steps(), io.StringIO()))
    assert drawn.failures == []
    assert {name: [at for at, _ in points] for name, points in drawn.lines.items()} == {
        "flin SET": [1.0, 4.0],
        "flin GET": [1.0, 4.0],
    }


def test_a_point_that_fails_is_named(tmp_path: Path) -> None:
    settings = replace(SMALL, curves=("shards",), shards=(3, 1))
    (drawn,) = curves.run(settings, str(tmp_path), Progress(2, io.StringIO()))
    assert len(drawn.failures) == 1
    assert "power of two" in drawn.failures[0]
    assert [at for at, _ in drawn.lines["get"]] == [1]


def test_the_picture_and_the_table() -> None:
    one = Curve("keys", "A <title>", "keys")
    for at, cost in ((100.0, 2.0), (1e6, 30.0)):
        one.add("get", at, cost)
    one.add("put", 100.0, 0.5)
    texts = [element.text for element in ElementTree.fromstring(curve.svg(one)).iter() if element.text]
    assert {"A <title>", "keys", "100", "1M", "0.1", "get", "put"} <= set(texts)
    assert curve.table(one) == [["keys, µs each", "get", "put"], ["100", "2.00", "0.50"], ["1,000,000", "30.00", "-"]]
    with pytest.raises(ValueError, match="no point"):
        curve.svg(Curve("keys", "", "keys"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    arguments = ["--quick", "--curves", "keys", "--most-keys", "1000", "--pictures", str(pictures)]
    assert main(["bench", "curves", *arguments, "--json", str(tmp_path / "out.json")]) == 0
    assert "| 1,000 " in capsys.readouterr().out
    assert (pictures / "keys.svg").read_text().startswith("<svg")
    (result,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert result["curve"] == "keys"
    assert main(["bench", "curves", "--curves", "nothing"]) == 2
    assert main(["bench", "curves", "--curves", "keys", "--pictures", str(tmp_path / "nowhere")]) == 2
