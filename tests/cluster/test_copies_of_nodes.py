"""Three real nodes, whose logs no longer go back to the beginning: one that has lost its copies takes those of another,
while the one that gives and the one that takes are killed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from flin.cli.main import main
from flin.cluster.joining import ask
from flin.cluster.keys import Keys, entry_number_of
from flin.testing.cluster.faults import Scene
from flin.testing.cluster.machine import Machine
from flin.testing.cluster.nodes import Nodes
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.cluster.test_nodes import client, http_of
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=40)]

ENOUGH = 1_000_000
"""Bytes of a copy, of some eight million."""

MORE = f"""
ENOUGH = {ENOUGH}
if "flin serve, worker" in " ".join(__import__("sys").orig_argv):
    import os, time
    import flin.cluster.replica.checkpoint_transfer as transfer, flin.cluster.log.log_bounds as bounds
    bounds.MAX_UNFLUSHED_BYTES = 1 << 20
    transfer.PIECE_BYTES = 64 << 10
    append = transfer._append
    def append_slowly(path, data):
        taken = os.path.dirname(path)
        if os.path.exists("slowly") and sum(each.stat().st_size for each in os.scandir(taken)) > ENOUGH:
            time.sleep(1)
        append(path, data)
    transfer._append = append_slowly
    take = transfer.CheckpointTransfer._take_file
    def take_file(taker, offer, name):
        with open("takes-from", "w") as file:
            file.write(offer.address)
        return take(taker, offer, name)
    transfer.CheckpointTransfer._take_file = take_file
else:
    import flin.cluster.log.log_keeper as keeper
    keeper.KEEP_SECONDS = 1.0
"""
"""Copies take minutes from that size on if they are to, and what nobody needs of the logs goes soon."""

VALUES = 400
VALUE_BYTES = 20_000


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    made = Nodes(tmp_path, 1, more=MORE)
    yield made
    made.kill()


def oldest(nodes: Nodes) -> int:
    """The number of the oldest entry that is kept."""
    from flin.cluster.etcd.etcd import EtcdKeyValueStore
    from flin.cluster.etcd.etcd_channels import Access

    record = json.loads((nodes.folder / "flin-data" / "node1" / "node.json").read_bytes())
    port = int(next(word for word in nodes.machines[0].words if word.startswith("-raft=")).rpartition(":")[2]) + 100
    store = EtcdKeyValueStore((f"http://127.0.0.1:{port}",), Access())
    try:
        found = store.get(*Keys(record["cluster"]).log(0), limit=1, timeout=PATIENCE_SECONDS)
        return entry_number_of(found.pairs[0].key) if found.pairs else 0
    finally:
        store.close()


def test_a_node_that_lost_its_copy_gets_it_from_another(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    nodes.start()
    chance = random.Random(5)
    with client(nodes) as it:
        for number in range(VALUES):
            it.set(f"key{number}", chance.randbytes(VALUE_BYTES // 2).hex())
    wait_until(lambda: oldest(nodes) > VALUES // 2, "the log is truncated")
    with client(nodes) as it:
        it.set("later", "than the copy")

    leading = nodes.machine_of(Scene(nodes, chance).leader(0))
    taker, giver = (each for each in nodes.machines if each is not leading)
    folder = nodes.folder / "flin-data" / taker.name
    taken = folder / "group-00.taken"

    def gives(name: str) -> bool:
        copies = nodes.folder / "flin-data" / name / "copies"
        return copies.exists() and bool([*copies.iterdir()])

    def size() -> int:
        with suppress(FileNotFoundError):  # it begins, or is whole
            return sum(each.stat().st_size for each in taken.iterdir())
        return 0

    def takes_from(machine: Machine) -> bool:
        """What it does not need of an earlier offer is removed by then."""
        told = nodes.folder / "takes-from"
        return size() > ENOUGH and told.read_text() == http_of(machine)

    taker.kill()
    shutil.rmtree(folder / "group-00")
    (nodes.folder / "slowly").touch()
    taker.start()
    wait_until(lambda: takes_from(giver), "some of the copy is there")
    assert gives(giver.name), "a follower"
    assert not gives(leading.name)
    giver.kill()
    wait_until(lambda: takes_from(leading), "the leader gives a copy, too")
    assert gives(leading.name)
    taker.kill()
    assert size() > ENOUGH, "what was taken stays"
    (nodes.folder / "slowly").unlink()
    taker.start()
    taker.wait_until_ready()
    assert f"has taken the copy of {leading.name}" in taker.printed()
    assert not taken.exists()
    giver.start()
    giver.wait_until_ready()
    assert not gives(giver.name), "what it gave before is removed"
    assert not gives(leading.name), "it was told that all is there"

    def is_equal() -> bool:
        capsys.readouterr()
        return main(["cluster", "check", "--http", http_of(leading)]) == 0

    wait_until(is_equal, "the copies are equal")
    port = next(each.port for each in nodes.replicas() if nodes.machine_of(each) is taker)
    with redis.Redis(port=port, decode_responses=True) as reader:
        reader.execute_command("READONLY")
        wait_until(lambda: reader.get("later") == "than the copy", "it follows")
        assert len(reader.get("key7") or "") == VALUE_BYTES
    nodes.stop()

    for machine in nodes.machines:
        shutil.rmtree(nodes.folder / "flin-data" / machine.name / "group-00")
        machine.start()

    def says() -> str:
        capsys.readouterr()
        main(["cluster", "status", "--http", http_of(leading)])
        return capsys.readouterr().out

    awaited = "waits for a copy of the group; one of these nodes must give it: "
    wait_until(lambda: f"group 0 of {leading.name} {awaited}" in says(), "it says what it waits for")
    page = ask(http_of(leading), "GET", "/status", b"", {}, None).decode()
    assert f"group 0: NOT READY: worker 0 is not there yet: it {awaited}" in page
    assert f"this replica {awaited}" in leading.printed()
