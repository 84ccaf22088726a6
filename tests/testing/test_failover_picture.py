"""Gaps as a picture and a table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flin.testing.cluster.episode import Episode, told
from flin.testing.cluster.history import Call, Outcome
from flin.testing.cluster.picture import BUSY, CALM, main, svg, table

EPISODES = [
    Episode("kill_leader", 7, gap_seconds=4.25, load=1.5),
    Episode("end_machine", 8, gap_seconds=1.0, load=1.0),
    Episode("kill_leader", 3, gap_seconds=30.0, load=40.0),
]


def test_an_episode_has_the_longest_gap_of_a_group() -> None:
    second = 10**9
    calls = {
        0: [Call("a", "x", (), 0, at * second) for at in (1, 2, 7)],
        1: [Call("a", "y", (), 0, at * second) for at in (1, 4)] + [Call("b", "y", (), 0, 0, Outcome.UNKNOWN)],
    }
    it = told("kill_leader", 5, calls, "own")
    assert (it.gap_seconds, it.gaps, it.calls, it.unknown) == (5.0, {0: 5.0, 1: 3.0}, 6, 1)


def test_the_table() -> None:
    assert table(EPISODES).splitlines()[2:] == [
        "| `end_machine` | 1 | 1.0 | 1.0 | 8 |",
        "| `kill_leader` | 2 | 17.1 | 30.0 | 3 7 |",
    ]


def test_the_picture() -> None:
    root = ElementTree.fromstring(svg(EPISODES))
    dots = [each for each in root if each.tag.endswith("circle")]
    assert [dot.get("fill") for dot in dots] == [CALM, BUSY, CALM]
    assert all(float(dot.get("cx", 0)) < float(root.get("width", 0)) for dot in dots), "the longest is drawn inside"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, episodes in {"a.json": EPISODES[:1], "b.json": EPISODES[1:]}.items():
        (tmp_path / name).write_text(json.dumps([asdict(each) for each in episodes]))
    main([str(tmp_path / "it.svg"), str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert (tmp_path / "it.svg").read_text() == svg(EPISODES)
    assert capsys.readouterr().out == table(EPISODES)
