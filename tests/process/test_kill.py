"""kill -9 under load, embedded and served, in every sync mode (flin/testing/kill.py); and it notices a fault."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.testing import kill, survivor
from flin.testing.lane import Lanes, Violation, commit_of, counter_key, counter_value, writes_between
from tests.figures import KILLS, Figures

ROTATED = [
    ("never", "embedded", "parent"), ("always", "served", "both"), ("interval", "embedded", "helper"),
]  # fmt: skip
"""Each sync mode, mode and victim is among them; the slow test has every combination."""


def _run(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    out, report = io.StringIO(), tmp_path / "report.json"
    code = kill.main(["--directory", str(tmp_path), "--json", str(report), *arguments], out)
    assert code == 0, out.getvalue()
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@pytest.mark.parametrize(("sync", "mode", "victim"), ROTATED)
def test_nothing_answered_is_lost(tmp_path: Path, sync: str, mode: str, victim: str, figures: Figures) -> None:
    report = _run(tmp_path, "--cycles", "1", "--sync", sync, "--mode", mode, "--victim", victim)
    assert report["cycles"] == 1
    figures.add(KILLS, report["cycles"])
    assert report["writes_per_second"]["least"] >= kill.MIN_WRITES_PER_SECOND
    assert report["cycles_by_scene"] == {f"{mode}, sync {sync}, victim {victim}": 1}
    assert (report["helpers_killed"] > 0) == (victim != "parent")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"], "nothing is left behind"


@pytest.mark.slow
@pytest.mark.parametrize("mode", kill.MODES)
def test_nothing_answered_is_lost_for_long(tmp_path: Path, mode: str, figures: Figures) -> None:
    report = _run(tmp_path, "--cycles", "18", "--episode", "2", "--mode", mode, "--seed", "1000")
    assert report["cycles"] == 18
    figures.add(KILLS, report["cycles"])
    assert len(report["cycles_by_scene"]) == 9
    assert report["openings_interrupted"] > 0
    assert report["kills_during_a_job"] > 0
    assert report["value_files"] > report["collected_value_files"] > 0


# The checker is checked.


def _written(path: Path, numbers: list[int], *, without: int | None = None) -> None:
    """Make a database with these numbers of commits of the lanes, perhaps without one of the first lane's."""
    with flin.engine.open(path, runner="inline") as db:
        for lane, number in enumerate(numbers):
            for each in range(1, number + 1):
                todo = commit_of(lane, each)
                with db.write_batch() as batch:
                    if not (lane == 0 and each == without):
                        batch.put_many(todo.puts)
                        batch.delete_many(todo.deletes)
                    batch.put(counter_key(lane), counter_value(each, [0, 0]))


def test_the_checker_lets_pass_what_is_right(tmp_path: Path) -> None:
    _written(tmp_path / "db", [700, 41])
    lanes = Lanes()
    survivor.check_copy(tmp_path / "db", lanes, [690, 40], [706, 56])
    assert lanes.recovered(2) == [700, 41]
    assert not (tmp_path / "db.checked").exists()


def test_the_checker_sees_a_lost_commit(tmp_path: Path) -> None:
    _written(tmp_path / "db", [60, 10])
    with pytest.raises(Violation, match="lane 0: 60 commits are there, 61 were answered"):
        survivor.check(tmp_path / "db", Lanes(), [61, 10], [62, 11])


def test_the_checker_sees_a_hole(tmp_path: Path) -> None:
    _written(tmp_path / "db", [60, 10], without=60)
    with pytest.raises(Violation, match="keys differ"):
        survivor.check(tmp_path / "db", Lanes(), [60, 10], [60, 10])


def test_the_checker_sees_what_comes_back(tmp_path: Path) -> None:
    _written(tmp_path / "db", [14, 1], without=14)
    assert commit_of(0, 14).deletes
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        db.put(commit_of(0, 14).deletes[0], b"deleted")
    with pytest.raises(Violation, match="1 keys differ"):
        survivor.check(tmp_path / "db", Lanes(), [14, 1], [14, 1])


def test_the_checker_sees_a_commit_without_what_it_knew_of(tmp_path: Path) -> None:
    _written(tmp_path / "db", [4, 4])
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        db.put(counter_key(1), counter_value(4, [5, 3]))
    with pytest.raises(Violation, match="commit 4 of lane 1 knew of 5 of lane 0; 4 left"):
        survivor.check(tmp_path / "db", Lanes(), [0, 0], [9, 9])


def test_the_checker_sees_a_database_that_does_not_open(tmp_path: Path) -> None:
    _written(tmp_path / "db", [4, 4])
    manifest = next(path for path in (tmp_path / "db").iterdir() if path.name == "MANIFEST")
    manifest.write_bytes(manifest.read_bytes()[:-1])
    with pytest.raises(Violation, match="it does not open: CorruptionError"):
        survivor.check_copy(tmp_path / "db", Lanes(), [4, 4], [4, 4])
    assert (tmp_path / "db.checked").exists(), "for whoever looks into it"


def test_a_violation_is_told_with_the_command_and_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(directory: Path, lanes: Lanes, least: list[int], most: list[int]) -> None:
        raise Violation("lost")

    monkeypatch.setattr(kill, "check_copy", lose)
    out = io.StringIO()
    arguments = ["--directory", str(tmp_path), "--sync", "never", "--mode", "embedded", "--seed", "5"]
    assert kill.main(arguments, out) == 1
    told = out.getvalue()
    assert "VIOLATION (embedded, sync never, victim both, seed 5)\n" in told
    assert "Violation: lost\n" in told
    assert "--sync never --mode embedded --victim all --episode 5 --cycles 5 --seed 5" in told
    (kept,) = tmp_path.iterdir()
    assert f"kept: {kept}" in told
    shutil.rmtree(kept)


def test_a_slow_load_is_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill, "MIN_WRITES_PER_SECOND", 10**9)
    monkeypatch.setattr(kill, "VOID_RUNS", 2)
    monkeypatch.setattr(kill, "SLOW_EPISODES", 1)
    monkeypatch.setattr(kill, "CREATION_KILLS", 0)
    out = io.StringIO()
    arguments = ["--directory", str(tmp_path), "--sync", "never", "--mode", "embedded", "--victim", "parent"]
    assert kill.main(arguments, out) == 3
    assert "no load of 1000000000 writes/s with 6 lanes" in out.getvalue()
    assert list(tmp_path.iterdir()) == []


def test_writes_are_keys() -> None:
    assert writes_between(0, 0, 0) == 0
    assert [commit_of(0, number).writes for number in (1, 2, 14, 20)] == [1, 2, 3, 6]
    assert writes_between(0, 1, 2) == 2
