"""`flin standalone`, and the other commands on the directories of replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

import flin.engine
from flin.engine.disk.file_name import REPLICA, group_name
from flin.engine.replica import open_replica
from flin.testing.memory_log import MemoryReplication, begin, lead
from tests.test_cli import Capture, fingerprint, run


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's directory with two replicas, each with a key in a table and one in its write-ahead log."""
    for group in range(2):
        engine = open_replica(tmp_path / "node1" / group_name(group), MemoryReplication([]), runner="inline")
        begin(engine)
        lead(engine)
        engine.put(b"table", b"%d" % group)
        engine.flush()
        engine.put(b"log", b"%d" % group)
        engine.close(flush=False)
    (tmp_path / "node1" / "etcd").mkdir()
    return tmp_path / "node1"


def test_each_replica_becomes_a_database(node: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "standalone", node)
    assert (code, output.count("is a database now")) == (0, 2)
    for group in range(2):
        with flin.engine.open(node / group_name(group), create=False, runner="inline") as db:
            assert dict(db.items()) == {b"log": b"%d" % group, b"table": b"%d" % group}
            assert not db.verify()
    code, _, errors = run(capsys, "standalone", node)
    assert (code, "holds no replica" in errors) == (2, True)
    code, _, errors = run(capsys, "standalone", node / "none")
    assert (code, "there is no directory" in errors) == (2, True)


def test_one_that_is_open_is_left_alone(node: Path, capsys: Capture) -> None:
    replica = node / group_name(1)
    with open_replica(replica, MemoryReplication([]), runner="inline"):
        code, _, errors = run(capsys, "standalone", replica)
    assert (code, "already open" in errors, (replica / REPLICA).exists()) == (3, True, True)


@pytest.mark.parametrize("command", [["check"], ["stats"], ["du"], ["get"], ["scan"]])
def test_commands_that_read(command: list[str], node: Path, capsys: Capture) -> None:
    replica = node / group_name(0)
    before = fingerprint(replica)
    code, output, errors = run(capsys, *command, replica, *(["log"] if command == ["get"] else []))
    assert (code, "is a replica" in errors) == (0, True), output + errors
    assert fingerprint(replica) == before


@pytest.mark.parametrize("command", ["compact", "put", "checkpoint"])
def test_commands_that_write(command: str, node: Path, capsys: Capture, tmp_path: Path) -> None:
    replica = node / group_name(0)
    before = fingerprint(replica)
    more: dict[str, list[object]] = {"put": ["key", "value"], "checkpoint": [tmp_path / "copy"], "compact": []}
    code, output, errors = run(capsys, command, replica, *more[command])
    assert (code != 0, "flin standalone" in errors) == (True, True), output + errors
    assert fingerprint(replica) == before


def test_a_damaged_one_is_repaired_into_a_plain_one(node: Path, capsys: Capture, tmp_path: Path) -> None:
    code, output, errors = run(capsys, "repair", node / group_name(0), "--into", tmp_path / "saved")
    assert code == 0, output + errors
    with flin.engine.open(tmp_path / "saved", create=False, runner="inline") as db:
        assert dict(db.items()) == {b"log": b"0", b"table": b"0"}
