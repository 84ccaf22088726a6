"""Copies move between real nodes, and at each step of that one of them is killed with -9: nothing that was acknowledged
is lost, the move is made or given up, all copies are equal, and no node holds a part of one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cluster.killed_moves import LEADER_STEPS, STEPS, TURN, VICTIMS, kills_of, moving
from tests.tool import needs_tool


@pytest.mark.slow
@pytest.mark.long(seconds=60)
def test_a_kill_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with moving(tmp_path, 1, out) as moves:
        for number in range(TURN):
            moves.make(number)
        moves.check_all()
    missed = {*STEPS} - {kill.step for kill in moves.counted}
    assert missed <= LEADER_STEPS, out.getvalue()  # a leader may lose its place before, on a busy machine
    assert moves.given_up, "the one to a node that was away"


def test_twelve_moves_have_each_kill_once() -> None:
    kills = [kill for number in range(TURN * len(VICTIMS)) for kill in kills_of(number)]
    assert {*kills} == {(step, victim) for step in STEPS for victim in VICTIMS}
    assert len(kills) == len({*kills})
    for number in range(TURN):
        assert {kill.step for turn in range(TURN) for kill in kills_of(number + turn)} == {*STEPS}
