"""Three real nodes under load, broken again and again: nothing that was acknowledged is lost, and writes go on. And
nodes that were broken on purpose are found out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from flin.testing.cluster.failover import run
from flin.testing.cluster.faults import LINKED, OWN_ETCD
from tests.cluster.broken_nodes import refused
from tests.tool import needs_tool

pytestmark = pytest.mark.slow

GROUPS = 2
"""Fewer than nodes have by default: each is a process of every node, and this is about faults, not about numbers."""


@pytest.fixture(autouse=True)
def _etcd() -> None:
    needs_tool("etcd")
    pytest.importorskip("grpc")


def test_nodes_with_an_etcd_each(tmp_path: Path) -> None:
    out = io.StringIO()
    episodes = run(tmp_path, OWN_ETCD, len(OWN_ETCD), 0, out, groups=GROUPS)
    assert {each.fault for each in episodes} == {fault.__name__ for fault in OWN_ETCD}
    assert "objects are what they were, in all replicas" in out.getvalue()


def test_links_to_an_etcd_that_is_there(tmp_path: Path) -> None:
    episodes = run(tmp_path, LINKED, len(LINKED), 0, io.StringIO(), is_linked=True, groups=GROUPS)
    assert {each.fault for each in episodes} == {fault.__name__ for fault in LINKED}


@pytest.mark.parametrize("bug", ["reply_before_commit", "lease_ignored", "unknown_is_refused"])
def test_broken_nodes_are_refused(bug: str, tmp_path: Path) -> None:
    assert "no order explains" in refused(bug, tmp_path, 0)
