"""Three real nodes: their command lines form a cluster, some leave it, others join; over TLS, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from flin.cli.main import main
from flin.cluster.joining import JoinError, ask
from flin.testing.cluster.machine import Machine
from flin.testing.cluster.nodes import Nodes
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=60)]

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Not started. Two groups: each costs three processes."""
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    made = Nodes(tmp_path, 2, getattr(request, "param", ()))
    yield made
    made.kill()


def http_of(machine: Machine) -> str:
    return next(word for word in machine.words if word.startswith("-http=")).partition("=")[2]


def asked(capsys: Capture, machine: Machine, *words: str) -> tuple[int, str, str]:
    """What `flin cluster` says when this node is asked."""
    capsys.readouterr()
    code = main(["cluster", *words, "--http", http_of(machine)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def status(capsys: Capture, machine: Machine) -> dict[str, Any]:
    """As soon as it can tell."""
    told: list[str] = []

    def can_tell() -> bool:
        told.append(asked(capsys, machine, "status", "--json")[1])
        return told[-1].startswith("{")

    wait_until(can_tell, "its status is told")
    return dict(json.loads(told[-1]))


def health(machine: Machine) -> str:
    """Why not, if it is not ready."""
    try:
        return ask(http_of(machine), "GET", "/health", b"", {}, None).decode()
    except (JoinError, OSError) as error:
        return str(error)


class Client:
    """redis-py's client of the nodes, which asks again until it is answered: a leader's lease may lapse on a machine
    that does not get on. So what is asked must be such that it may be done twice."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def set(self, key: str, value: str) -> None:
        self._answered(lambda it: it.set(key, value))

    def get(self, key: str) -> str | None:
        found: str | None = self._answered(lambda it: it.get(key))
        return found

    def _answered(self, ask: Callable[[RedisCluster], Any]) -> Any:
        answers: list[Any] = []

        def is_answered() -> bool:
            with suppress(redis.RedisError):
                answers.append(ask(self._client))
            return bool(answers)

        wait_until(is_answered, "it is answered")
        return answers[0]

    @cached_property
    def _client(self) -> RedisCluster:
        addresses = [ClusterNode(*address) for address in self._nodes.addresses]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=addresses, decode_responses=True)

    def close(self) -> None:
        self._client.close()


def client(nodes: Nodes) -> closing[Client]:
    return closing(Client(nodes))


def leave(capsys: Capture, machine: Machine, name: str) -> str:
    """What is said when the node has left. It is asked again when the answer says so: etcd had no turn."""
    while True:
        code, out, err = asked(capsys, machine, "leave", name)
        if code == 0:
            return out
        assert "ask again" in err, (out, err)


def wait_until_equal(capsys: Capture, machine: Machine) -> None:
    """A replica that is just starting cannot be compared."""
    wait_until(lambda: asked(capsys, machine, "check")[0] == 0, "the copies are equal")


def test_three_command_lines_one_that_leaves_and_one_that_joins(nodes: Nodes, capsys: Capture) -> None:
    first, second, third = nodes.machines
    first.words.append("-workers=256")
    second.start()  # it waits for the one that it is to join
    wait_until(lambda: "waiting for" in second.printed(), "it waits")
    first.start()
    third.start()
    for machine in nodes.machines:
        machine.wait_until_ready()
    assert "--workers 256 changes nothing for a node" in first.printed()
    wait_until(lambda: nodes.voting() == 3, "three vote")
    wait_until(lambda: health(second) == "ok\n", "all is well")
    nodes.wait_until_led()
    with client(nodes) as it:
        for number in range(60):
            it.set(f"key{number}", f"value{number}")
    wait_until_equal(capsys, second)
    wait_until(lambda: asked(capsys, third, "status")[1].endswith("\nall is well\n"), "all is well")

    second.end()
    second.start()
    second.wait_until_ready()
    assert "belongs to a cluster already: --join has no effect" in second.printed()
    nodes.wait_until_led()

    assert leave(capsys, first, "node3") == "node3 has left; there are node1 node2\n"
    wait_until(lambda: not third.is_running, "it ends")
    assert "node3 has left the cluster, and ends" in third.printed()
    third.start()
    wait_until(lambda: not third.is_running, "it refuses to start")
    assert "this node has left the cluster: remove its directory" in third.printed()
    wait_until(lambda: status(capsys, first)["voting"] == ["node1", "node2"], "two vote")
    with client(nodes) as it:
        assert [it.get(f"key{number}") for number in range(60)] == [f"value{number}" for number in range(60)]

    shutil.rmtree(nodes.folder / "flin-data" / "node3")
    third.start()
    third.wait_until_ready()
    wait_until(lambda: nodes.voting() == 3, "three vote again")
    wait_until_equal(capsys, third)
    with client(nodes) as it:
        assert it.get("key7") == "value7"
    nodes.stop()


def test_one_node_says_that_it_is_forming_and_strangers_are_refused(nodes: Nodes, capsys: Capture) -> None:
    first, second, _ = nodes.machines
    first.start()
    first.wait_until_ready()
    assert "forming: 1 of 3, not replicated" in first.printed()
    nodes.wait_until_led()
    wait_until(lambda: health(first) == "ok\nforming: 1 of 3, not replicated\n", "all is well, but for that")
    last = "\nforming: 1 of 3, not replicated: the loss of one node is the loss of all\n"
    wait_until(lambda: asked(capsys, first, "status")[1].endswith(last), "it is told as a problem, the last one")
    assert asked(capsys, first, "status")[0] == 1
    secret = nodes.folder / "flin-data" / "cluster-secret"
    assert secret.stat().st_mode & 0o777 == 0o600

    other = nodes.folder / "other-secret"
    other.write_text("0123456789abcdef-not-it\n")
    other.chmod(0o600)
    second.words.append(f"-cluster-secret-file={other}")
    second.start()
    wait_until(lambda: not second.is_running, "it is refused")
    assert "has another secret than this one" in second.printed()
    assert status(capsys, first)["learning"] == []

    second.words.pop()
    second.start()
    second.wait_until_ready()
    wait_until(lambda: status(capsys, second)["learning"] == ["node2"], "two that vote stop when either stops")
    nodes.kill()
    plain = Machine(nodes.folder, "plain", ["--dir", "flin-data/node1", "--port", "0"])
    plain.start()
    wait_until(lambda: not plain.is_running, "it is refused")
    assert "flin-data/node1 is of a node of a cluster: give its --node-id" in plain.printed()
    plain.kill()


@pytest.mark.parametrize("nodes", [("-cluster-tls=tls",)], indirect=True)
def test_over_tls(nodes: Nodes, capsys: Capture) -> None:
    assert main(["cluster", "certificates", "tls"]) == 0
    nodes.start()
    with client(nodes) as it:
        it.set("key", "value")
    assert main(["cluster", "status", "--http", http_of(nodes.machines[0])]) == 2, "it does not speak plainly"
    wait_until(lambda: asked(capsys, nodes.machines[0], "status", "--cluster-tls", "tls")[0] == 0, "all is well")
    wait_until(lambda: asked(capsys, nodes.machines[1], "check", "--cluster-tls", "tls")[0] == 0, "equal copies")
    for machine in nodes.machines:
        raft = next(word for word in machine.words if word.startswith("-raft=")).rpartition(":")[2]
        with pytest.raises(redis.ConnectionError):
            redis.Redis(port=int(raft) + 100, socket_timeout=PATIENCE_SECONDS).ping()
    nodes.stop()
