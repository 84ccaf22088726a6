"""Three real nodes under load, broken again and again: nothing that was acknowledged is lost, and writes go on. And
nodes that were broken on purpose are found out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from flin.testing.cluster.failover import World, run
from flin.testing.cluster.faults import (
    LINKED,
    OWN_ETCD,
    cut_node,
    cut_node_one_way,
    cut_two_nodes,
    end_all,
    fill_etcd,
    jump_clock_of_one,
    kill_amid_truncation,
    kill_leader_that_came_back,
)
from flin.testing.cluster.network import Network, NetworkError
from tests.cluster.broken_nodes import refused
from tests.tool import needs_tool

pytestmark = pytest.mark.slow

GROUPS = 2
"""Fewer than nodes have by default: each is a process of every node, and this is about faults, not about numbers."""

LONG = kill_leader_that_came_back, end_all, jump_clock_of_one
"""Left to longer runs: they start many processes, or wait."""


SEEDS = {"lease_ignored": 23}
"""Its first six stops are longer than a lease, by a second at least: shorter ones cannot show the bug."""


@pytest.fixture(autouse=True)
def _etcd() -> None:
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")


def can_make_networks() -> bool:
    try:
        with Network(1):
            return True
    except NetworkError:
        return False


def test_nodes_with_an_etcd_each(tmp_path: Path) -> None:
    """On networks of their own, which are cut, too, where this may make some."""
    out = io.StringIO()
    is_networked = can_make_networks()
    faults = [fault for fault in OWN_ETCD if fault not in LONG]
    faults += [cut_node, cut_two_nodes, cut_node_one_way] if is_networked else []
    world = World.NETWORKED if is_networked else World.OWN
    episodes = run(tmp_path, faults, len(faults), 0, out, world=world, groups=GROUPS)
    assert {each.fault for each in episodes} == {fault.__name__ for fault in faults}
    assert "objects are what they were, in all replicas" in out.getvalue()


def test_links_to_an_etcd_that_is_there(tmp_path: Path) -> None:
    episodes = run(tmp_path, LINKED, len(LINKED), 0, io.StringIO(), world=World.LINKED, groups=GROUPS)
    assert {each.fault for each in episodes} == {fault.__name__ for fault in LINKED}


def test_little_room(tmp_path: Path) -> None:
    faults = fill_etcd, kill_amid_truncation
    assert len(run(tmp_path, faults, len(faults), 0, io.StringIO(), world=World.SMALL, groups=1)) == len(faults)


@pytest.mark.parametrize("bug", ["reply_before_commit", "lease_ignored", "unknown_is_refused"])
def test_broken_nodes_are_refused(bug: str, tmp_path: Path) -> None:
    assert "no order explains" in refused(bug, tmp_path, SEEDS.get(bug, 0))
