"""A copy of another node's files over its page with TLS: who shows a certificate of the cluster's authority gives and
takes; nobody else does."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flin.admin.endpoints import Extension
from flin.admin.server import Page
from flin.cluster.etcd.certificates import make_certificates, read_certificates
from flin.cluster.keys import LeaderValue, NodeValue, ReplicasValue
from flin.cluster.replica.checkpoint_transfer import COPY_PATH
from flin.cluster.replica.replica_process import asking
from flin.cluster.slot_map import SlotMap
from flin.cluster.workers.assignment import ReplicaPlace
from flin.net.settings.options import ServerOptions
from tests.cluster.logs import GROUP
from tests.cluster.test_checkpoint_transfer import Scene

SECRET = "a-secret-of-sixteen-or-more"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    pytest.importorskip("cryptography")
    made = Scene(tmp_path)
    yield made
    made.close()


def told(scene: Scene, served: str, shown: str, secret: str = SECRET) -> list[str]:
    """What the taker says it does or waits for until it is done, or has asked in vain once. served, shown: where the
    giver's certificates are, and the taker's; empty: it speaks plainly."""
    said: list[str] = []

    async def whole() -> None:
        giver = scene.giver()
        page = Page(ServerOptions(http="127.0.0.1:0"))
        extension = Extension("/cluster/", SECRET.encode(), {}, {COPY_PATH: giver.answer}, lambda: "")
        page.extend(extension, read_certificates(served).server_context())
        async with page.served([scene]):
            nodes = {"giver": NodeValue("localhost", (), http=f"localhost:{page.port}")}
            holders = {GROUP: ReplicasValue(("giver",))}
            scene.map = SlotMap(nodes=nodes, replicas=holders, leaders={GROUP: LeaderValue(1, "giver", "")})
            ask = asking(ReplicaPlace("c", "new", GROUP, GROUP + 1, "start", (), shown, secret))
            assert ask is not None
            transfer = scene.transfer(ask)
            transfer._pause, transfer._tell = lambda seconds: seconds > 0, said.append
            if await asyncio.to_thread(transfer.take):
                said.append("taken")

    asyncio.run(whole())
    return said


def test_a_copy_is_taken_and_strangers_are_refused(scene: Scene, tmp_path: Path) -> None:
    own, other, mixed = (str(tmp_path / name) for name in ("own", "other", "mixed"))
    for directory in (own, other):
        make_certificates(directory, ["localhost"])
    shutil.copytree(other, mixed)
    shutil.copy(tmp_path / "own" / "ca.crt", tmp_path / "mixed" / "ca.crt")
    for shown, secret, reason in (
        (other, SECRET, "certificate verify failed"),  # another authority's giver
        (mixed, SECRET, ""),  # it trusts the giver, which does not trust it: an alert, or the end of the connection
        (own, "another-secret-of-this-length", "has another secret than this one"),
        ("", SECRET, ""),  # plainly
    ):
        (waits,) = told(scene, own, shown, secret)
        assert waits.startswith("waits for a copy of the group; one of these nodes must give it: giver (localhost:")
        assert reason in waits.lower()
        assert not scene.path.exists()
    began, taken = told(scene, own, own)
    assert (began.startswith("takes a copy of 0 MiB from localhost:"), taken) == (True, "taken")
    scene.check()
