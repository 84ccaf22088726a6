"""Three real nodes under load, broken again and again: nothing that was acknowledged is lost, and writes go on. And
nodes that answer before they commit are found out."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from flin.testing.cluster.failover import run
from flin.testing.cluster.faults import LINKED, OWN_ETCD, kill_leader
from flin.testing.cluster.linearizable import NotLinearizable
from tests.tool import needs_tool

pytestmark = pytest.mark.slow

GROUPS = 2
"""Fewer than nodes have by default: each is a process of every node, and this is about faults, not about numbers."""

TRIES = 6
"""Kills within which the bug is found; the first one shows it nearly always."""

REPLY_BEFORE_COMMIT = f"""
import sys, threading, time
sys.path[:0] = {sys.path!r}
from flin.cluster.leader import GroupLog
GroupLog.synced = property(lambda self: self._frames.position)
def _append_later(self):
    time.sleep(0.5)
    try:
        self._rounds.join(self._append_all)
    except Exception:
        pass
GroupLog.sync = lambda self, position: threading.Thread(target=_append_later, args=(self,), daemon=True).start()
"""
"""What each process of the nodes runs first."""


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


def test_nodes_that_answer_before_they_commit(tmp_path: Path) -> None:
    with pytest.raises(NotLinearizable, match="no order explains"):
        run(tmp_path, (kill_leader,), TRIES, 0, io.StringIO(), groups=1, more=REPLY_BEFORE_COMMIT)
