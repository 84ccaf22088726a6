"""A node's own directory and addresses: what is read, what is refused."""

from __future__ import annotations

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import flin.engine
from flin.cluster.joining import JoinAnswer, JoinError, JoinRequest, ask, decode_answer, decode_request, encode
from flin.cluster.node.node_addresses import check_addresses, client_host
from flin.cluster.node.node_directory import (
    NODE,
    NodeRecord,
    make_secret,
    read_record,
    read_secret,
    secret_path,
    write_record,
)
from flin.cluster.workers.groups import create_groups, make_databases
from flin.engine.options import Options
from flin.errors import CorruptionError, FormatVersionError
from flin.net.settings.options import ConfigError, ServerOptions
from tests.cluster.members import HOST, peer_port
from tests.tool import needs_tool

RECORD = NodeRecord("n1", "c1", 6, 3, "token", (("n1", "http://a:1"), ("n2", "http://b:2")), True, ("http://a:101",))
URL = "http://a:1"


def test_a_record_comes_back(tmp_path: Path) -> None:
    assert read_record(str(tmp_path)) is None
    write_record(str(tmp_path), RECORD)
    assert read_record(str(tmp_path)) == RECORD
    write_record(str(tmp_path), replace(RECORD, members=(), endpoints=()))
    assert read_record(str(tmp_path)) == replace(RECORD, members=(), endpoints=())


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"flin_node": 1}', '{"flin_node": 1, "members": 1}', "\x00"])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / NODE).write_text(text)
    with pytest.raises(CorruptionError):
        read_record(str(tmp_path))
    (tmp_path / NODE).write_text(json.dumps({"flin_node": 2}))
    with pytest.raises(FormatVersionError):
        read_record(str(tmp_path))


def test_options_that_the_cluster_has_decided(caplog: pytest.LogCaptureFixture) -> None:
    """They are fixed when it begins. Who gives others later is told; who gives the same, or none, is not."""
    pytest.importorskip("google.protobuf")
    from flin.cluster.node.node import tell_what_is_fixed

    tell_what_is_fixed(ServerOptions(groups=3), RECORD)  # a default that has changed since: nobody gave it
    given = (("groups", "--groups"),)
    tell_what_is_fixed(ServerOptions(groups=6, overridden=given), RECORD)
    assert not caplog.records
    others = ServerOptions(groups=3, replicas=5, overridden=given, file_values=(("replicas", 5),))
    tell_what_is_fixed(others, RECORD)
    assert [record.getMessage() for record in caplog.records] == [
        "--groups 3 has no effect: the cluster began with 6",
        "--replicas 5 has no effect: the cluster began with 3",
    ]


def test_which_node_a_directory_is_of(tmp_path: Path) -> None:
    """Whether its etcd was ever started says what a lost one is: nothing yet, or what the others count on."""
    pytest.importorskip("google.protobuf")
    from flin.cluster.node.node import known_node
    from flin.cluster.node.node_keys import ClusterError

    options = ServerOptions(dir=str(tmp_path), node_id="n1", join="a:8080")
    assert known_node(options, URL) is None
    write_record(str(tmp_path), RECORD)
    assert known_node(options, URL) is None, "it asks again: the members may be others by now"
    assert known_node(replace(options, join=""), URL) == RECORD
    write_record(str(tmp_path), replace(RECORD, is_joining=False))
    assert known_node(options, URL) == replace(RECORD, is_joining=False), "it began the cluster"
    (tmp_path / "group-00").mkdir()
    with pytest.raises(ClusterError, match=r"etcd, is lost, .* `flin cluster leave n1`, remove .*: flin standalone"):
        known_node(options, URL)
    write_record(str(tmp_path), replace(RECORD, members=()))
    assert known_node(options, URL) == replace(RECORD, members=()), "it never had one"
    write_record(str(tmp_path), RECORD)
    (tmp_path / "etcd" / "member" / "wal").mkdir(parents=True)
    assert known_node(options, URL) == RECORD
    with pytest.raises(ConfigError, match="is of the node n1, not n2"):
        known_node(replace(options, node_id="n2"), URL)


@pytest.mark.parametrize("groups", [0, 2])
def test_a_database_is_no_nodes_directory(tmp_path: Path, groups: int) -> None:
    """Its keys would be out of sight, and the directory of no use to those who had it. Nothing is written there."""
    pytest.importorskip("google.protobuf")
    from flin.cluster.node.node import known_node

    if groups:
        make_databases(create_groups(tmp_path, groups), Options())
    else:
        flin.engine.open(tmp_path).close()
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="of a database or of groups, and a node begins with an empty directory"):
        known_node(ServerOptions(dir=str(tmp_path), node_id="n1"), URL)
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize(
    ("record", "peer_url", "told"),
    [
        (RECORD, "http://a:2", "at http://a:1, and now it is to be at http://a:2: give the same --raft"),
        (RECORD, "https://a:1", "at http://a:1, and now it is to be at https://a:1"),
        (RECORD, "", "at http://a:1, and now --etcd is given"),
        (replace(RECORD, members=(), endpoints=()), URL, "n1 uses an etcd that others run: give --etcd"),
        (replace(RECORD, members=(), token=""), URL, "n1 uses an etcd that others run: give --etcd"),
    ],
)  # fmt: skip
def test_its_etcd_is_where_the_others_know_it(tmp_path: Path, record: NodeRecord, peer_url: str, told: str) -> None:
    pytest.importorskip("google.protobuf")
    from flin.cluster.node.node import known_node

    (tmp_path / "etcd" / "member" / "wal").mkdir(parents=True)
    write_record(str(tmp_path), record)
    with pytest.raises(ConfigError, match=told):
        known_node(ServerOptions(dir=str(tmp_path), node_id="n1"), peer_url)


def test_nobody_is_asked_while_the_ports_of_etcd_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is admitted, and then does not start, keeps all others from joining."""
    pytest.importorskip("google.protobuf")
    needs_tool("etcd")
    from flin.cluster.etcd import etcd_member
    from flin.cluster.node.node import serve_node

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(etcd_member, "TAKEN_SECONDS", 0.0)
    port = peer_port()
    options = ServerOptions(
        dir=str(tmp_path / "n1"), node_id="n1", raft=f"{HOST}:{port}", http=f"{HOST}:1", join=f"{HOST}:1"
    )
    (tmp_path / "n1").mkdir()
    with (
        socket.create_server((HOST, port + 100)),
        pytest.raises(etcd_member.EtcdError, match=f"{port + 100}: .*--raft"),
    ):
        serve_node(options, cast("Any", None))


def test_the_secret(tmp_path: Path) -> None:
    path = secret_path("", str(tmp_path / "n1"))
    assert path == str(tmp_path / "cluster-secret")
    assert secret_path("other", "x") == "other"
    with pytest.raises(ConfigError, match="the first node makes it: copy it from there"):
        read_secret(path)
    made = make_secret(path)
    assert len(made) == 64
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert make_secret(path) == read_secret(path) == made, "one that is there stays"
    Path(path).chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others: chmod 600"):
        read_secret(path)
    Path(path).chmod(0o600)
    Path(path).write_text("too short")
    with pytest.raises(ConfigError, match="one word of at least 16 ASCII"):
        read_secret(path)


def options(**changes: Any) -> ServerOptions:
    return ServerOptions(node_id="n1", http="localhost:8080", raft="127.0.0.1:9080", **changes)


def test_nothing_but_the_port_leaves_this_machine_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    check_addresses(options())
    for name in ("http", "raft"):
        changed: dict[str, Any] = {name: "10.1.2.3:8080"}
        reached = replace(options(), **changed)
        with pytest.raises(ConfigError, match=f"--{name} 10.1.2.3:8080 is reached from other machines"):
            check_addresses(reached)
        check_addresses(replace(reached, insecure_cluster=True))
        check_addresses(replace(reached, cluster_tls="certificates"))
    with pytest.raises(ConfigError, match="is reached from other machines"):
        check_addresses(replace(options(), raft="0.0.0.0:8080"))


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({}, "127.0.0.1"),
        ({"bind": ("10.0.0.1",)}, "10.0.0.1"),
        ({"bind": ("0.0.0.0",), "raft": "db1:9080"}, "db1"),
        ({"bind": ("::",), "raft": "", "http": "db2:8080", "etcd": "http://x:1"}, "db2"),
        ({"cluster_announce_ip": "203.0.113.9"}, "203.0.113.9"),
    ],
)
def test_where_clients_are_sent(changes: dict[str, Any], host: str) -> None:
    assert client_host(replace(options(), **changes)) == host


def test_what_is_said_when_a_node_joins() -> None:
    request = JoinRequest("n2", "http://b:2", "1.0")
    assert decode_request(json.loads(encode(request))) == request
    answer = JoinAnswer("c1", 6, 3, "token", RECORD.members, RECORD.endpoints)
    assert decode_answer(encode(answer)) == answer
    wrongs: list[Any] = [None, [], {}, {"node": 1, "peer_url": "", "version": ""}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="says its node, peer_url, version"):
            decode_request(wrong)
    for data in (b"", b"{}", b"<html>", b'{"members": 1}'):
        with pytest.raises(JoinError, match="is no node of Flin"):
            decode_answer(data)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "without an answer: it may have --cluster-tls, or is no node's --http"),
        (b"-ERR unknown command\r\n", "does not speak HTTP, so it is no node's --http"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n", "it is no node's --http, and says b'404 page"),
        (b'HTTP/1.1 401 x\r\n\r\n{"error": "whatever"}', "has another secret than this one: copy its file"),
        (b'HTTP/1.1 409 x\r\n\r\n{"error": "choose another"}', "choose another"),
    ],
)
def test_who_is_asked_is_no_node_or_refuses(said: bytes, told: str) -> None:
    with socket.create_server((HOST, 0)) as server, ThreadPoolExecutor(1) as threads:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(said)

        answered = threads.submit(answer)
        with pytest.raises(JoinError, match=told):
            ask(f"{HOST}:{server.getsockname()[1]}", "GET", "/cluster/status", b"", {}, None)
        answered.result()
