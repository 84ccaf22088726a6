"""What `flin cluster` prints of a node's answer, and what it says if there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flin.cli import cluster, exit_code
from flin.cli import main as main_module
from flin.cli.cluster import problems_of, status_lines
from flin.cli.main import main

Capture = pytest.CaptureFixture[str]

NODES = {
    name: {"host": "h", "ports": [port, port + 100], "http": f"h:{port}", "version": "1", "is_away": False}
    for name, port in (("n1", 6380), ("n2", 6381), ("n3", 6382))
}
ANSWER: dict[str, Any] = {
    "cluster": "c-1",
    "asked": "n1",
    "is_controller": True,
    "voting": ["n1", "n2", "n3"],
    "learning": [],
    "nodes": NODES,
    "groups": [
        {
            "group": 0,
            "leader": "n1",
            "epoch": 2,
            "preferred": "n1",
            "replicas": {"n1": 7, "n2": 5},
            "missing": [],
            "index": 9,
            "move": None,
        },
        {
            "group": 1,
            "leader": "n3",
            "epoch": 1,
            "preferred": "n3",
            "replicas": {"n3": 1, "n1": 1},
            "missing": [],
            "index": 1,
            "move": None,
        },
    ],
    "waiting": {},
    "etcd": [
        {"node": name, "version": "3.4.23", "leads": name == "n2", "size_bytes": 5 << 20, "used_bytes": 1, "errors": []}
        for name in NODES
    ],
}


def test_a_cluster_that_is_well() -> None:
    assert problems_of(ANSWER) == []
    assert status_lines(ANSWER) == [
        "cluster c-1, as n1 sees it",
        "",
        "node  clients  votes  leads groups  etcd",
        "n1    h:6380   yes    0             3.4.23, 5 MiB",
        "n2    h:6381   yes    none          3.4.23, 5 MiB, leads",
        "n3    h:6382   yes    1             3.4.23, 5 MiB",
        "",
        "group  leader  epoch  next entry  in tables",
        "0      n1      2      9           n1:7 n2:5",
        "1      n3      1      1           n1:1 n3:1",
        "",
        "all is well",
    ]


def test_what_somebody_should_look_at() -> None:
    found = {
        **ANSWER,
        "voting": ["n1"],
        "learning": ["n2"],
        "nodes": {**NODES, "n3": {**NODES["n3"], "is_away": True}},
        "groups": [{**ANSWER["groups"][0], "leader": None, "missing": ["n1", "n2", "n3", "gone"]}],
        "waiting": {"0": "waits for a copy"},
        "refused": {"n2": {"group": 1, "why": "its disk is full"}},
        "etcd": [{"node": "n1", "error": "no answer"}, {**ANSWER["etcd"][1], "errors": ["NOSPACE"]}],
    }
    assert problems_of(found) == [
        "n3 does not show itself",
        "group 0 has no leader",
        "group 0 of n1 waits for a copy",
        "group 0: n2's replica is not there; --http h:6381 says why",
        "n2 is given no copies for now: it could not take group 1, since its disk is full",
        "forming: 1 of 3, not replicated: the loss of one node is the loss of all",
        "etcd of n1: no answer",
        "etcd of n2: NOSPACE",
    ]
    assert status_lines(found)[2:6] == [
        "node  clients  votes   leads groups  etcd",
        "n1    h:6380   yes     none          away",
        "n2    h:6381   learns  none          3.4.23, 5 MiB, leads",
        "n3    h:6382   no      none          none",
    ]


def test_moves() -> None:
    first, second = ANSWER["groups"]
    moves = {"from": "n1", "to": "n4"}, {"from": "n1", "to": ""}
    found = {**ANSWER, "groups": [{**first, "move": moves[0]}, {**second, "move": moves[1]}]}
    assert status_lines(found)[-3:] == [
        "group 0: n4 makes a copy, in place of that on n1",
        "group 1: the copy on n1 goes, when the others are abreast and it does not lead",
        "all is well",
    ]


def test_output_that_nobody_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As `flin cluster status | head`: no node is to blame."""

    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cluster, "ask", lambda *_: json.dumps(ANSWER))
    monkeypatch.setattr(cluster, "print", broken, raising=False)
    monkeypatch.setattr(main_module, "_abandon_output", lambda: exit_code.BROKEN_PIPE)
    assert main(["cluster", "status"]) == exit_code.BROKEN_PIPE
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("status", "--http", "127.0.0.1:1"), "no node answers at 127.0.0.1:1: "),
        (("status", "--http", "8080"), "--http is '8080', it must be a host and a port"),
        (("status", "node1"), "status takes no words"),
        (("leave",), "name the node that is to leave"),
        (("move", "1", "n1"), "name a group and two nodes"),
        (("move", "n3", "n1", "n2"), "name a group and two nodes"),
        (("cancel", "n1"), "name the group whose move is to be given up"),
        (("leave", "n1"), "the cluster's secret flin-data/cluster-secret: No such file or directory; the first node"),
        (("certificates",), "name a directory, and hosts"),
    ],
)
def test_what_cannot_be_done(
    words: tuple[str, ...],
    error: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cluster", *words]) == 2
    assert f"flin: {error}" in capsys.readouterr().err


def test_certificates_are_made(tmp_path: Path, capsys: Capture) -> None:
    assert main(["cluster", "certificates", str(tmp_path / "tls"), "10.0.0.1"]) == 0
    assert f"--cluster-tls {tmp_path / 'tls'}" in capsys.readouterr().out
    assert main(["cluster", "certificates", str(tmp_path / "tls")]) == 1
