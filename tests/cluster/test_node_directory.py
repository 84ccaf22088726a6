"""A node's own directory and addresses: what is read, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flin.cluster.joining import JoinAnswer, JoinError, JoinRequest, decode_answer, decode_request, encode
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
from flin.errors import CorruptionError, FormatVersionError
from flin.net.settings.options import ConfigError, ServerOptions

RECORD = NodeRecord("n1", "c1", 6, 3, "token", (("n1", "http://a:1"), ("n2", "http://b:2")), True, ("http://a:101",))


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
