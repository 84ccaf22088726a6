"""The parts of a run, for the options given and the tools installed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flin.bench import plan, served
from flin.bench.comparison import Comparison, Result
from flin.bench.plan import Choice, Memtable
from flin.bench.progress import Progress
from flin.cli import exit_code
from flin.cli.main import main

ALL = Choice(("flin", "rocksdict"), ("flin", "redis-server"))


def names(choice: Choice) -> list[str]:
    return [part.name for part in plan.parts(choice)]


def test_a_full_run_has_every_part() -> None:
    whole = names(ALL)
    assert whole[0] == "embedded"
    assert {"sustained", "open", "headline", "served", "headline-served", "compaction"} < set(whole)
    assert {"beyond-memory", "slow-sync"} < set(whole)
    assert len(set(whole)) == len(whole) == len(plan._PARTS)


def test_a_quick_run_takes_minutes_not_hours() -> None:
    quick, full = (sum(part.settings.seconds() for part in plan.parts(choice)) for choice in (_quick(), ALL))
    assert quick < 120
    assert quick * 5 < full < 1600
    assert "compaction" not in names(_quick())


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (("fillseq",), ["embedded"]),
        (("ycsb-a", "open"), ["embedded", "open"]),
        (("plain",), ["served"]),
        (("compaction", "slow-sync"), ["compaction", "slow-sync"]),
    ],
)
def test_rows_choose_parts(rows: tuple[str, ...], parts: list[str]) -> None:
    assert names(replace(ALL, rows=rows)) == parts
    assert names(replace(_quick(), rows=rows)) == parts


def test_only_one_of_the_two_sides() -> None:
    assert names(replace(ALL, only="embedded")) == ["embedded", "sustained", "rewriting", "open", "headline"]
    assert names(replace(ALL, only="served", rows=("fillseq",))) == []


def test_what_was_asked_for_counts() -> None:
    asked = replace(ALL, count=500, rounds=2, memory_bytes=8 << 20, value_sizes=(7,), latencies=False)
    by_name = {part.name: part.settings for part in plan.parts(asked)}
    embedded = by_name["embedded"]
    assert (embedded.count, embedded.rounds, embedded.memory_bytes) == (500, 2, 8 << 20)
    assert embedded.sizes() == [7, 1024]  # YCSB has its own
    assert [row.name for row in embedded.rows_of(1024)] == [f"ycsb-{letter}" for letter in "abcdef"]
    assert by_name["open"].counts == (500,)
    assert all(settings.rounds == 2 for name, settings in by_name.items() if name != "compaction")


def test_some_rows_have_one_value_size() -> None:
    embedded = next(part.settings for part in plan.parts(ALL) if part.name == "embedded")
    small, large = ({row.name for row in embedded.rows_of(size)} for size in (100, 1024))
    assert {"fillsync", "readmissing"} < small
    assert {"fillrandom", "readrandom", "scan", "ycsb-a"} < large
    assert "fillsync" not in large
    assert not any(embedded.is_timed(row, 1024) for row in embedded.rows_of(1024) if row.name == "readrandom")


def test_quick_scenes_are_the_same_scenes() -> None:
    scene = served.SCENES["plain"]
    assert replace(served.quick(scene), requests=scene.requests) == scene


def _quick() -> Choice:
    return replace(ALL, stores=("flin", "rocksdict", "plyvel"), quick=True)


@dataclass(frozen=True)
class Short:
    """Settings of a part that measures nothing."""

    def steps(self) -> int:
        return 1

    def seconds(self) -> float:
        return 1.0


def test_an_interrupted_run_leaves_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(settings: Short, scratch: str, progress: Progress) -> list[Result]:
        row = Comparison("fillseq", "µs")
        row.add("flin", 2.0)
        row.add("rocksdict", 1.0)
        return [row]

    def interrupted(settings: Short, scratch: str, progress: Progress) -> list[Result]:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        plan, "parts", lambda choice: [Memtable("one", Short(), measured), Memtable("two", Short(), interrupted)]
    )
    kinds = ("json", "svg", "markdown")
    files = [argument for kind in kinds for argument in (f"--{kind}", str(tmp_path / kind))]
    assert main(["bench", *files]) == exit_code.INTERRUPTED
    assert [row["row"] for row in json.loads((tmp_path / "json").read_text())["results"]] == ["fillseq"]
    assert "fillseq" in (tmp_path / "svg").read_text()
    assert "### one" in (tmp_path / "markdown").read_text()
    assert "two" not in (tmp_path / "markdown").read_text()
