"""The options of a node, in the words of other programs, too."""

from __future__ import annotations

import pytest

from flin.cli.dashes import with_two_dashes
from flin.cli.main import parser
from flin.cli.parsing import UsageError
from flin.cli.serve import options_of
from flin.net.settings.options import ServerOptions

NODE = ("-node-id=node1", "-http=localhost:8080", "-raft=localhost:9080")


def given(*words: str) -> ServerOptions:
    return options_of(parser().parse_args(with_two_dashes(["serve", "--config", "", *words])), {})


def test_one_dash_or_two() -> None:
    words = [*NODE, "-port=:6381", "-workers=256", "-join", "localhost:8080", "-insecure-cluster", "yes"]
    found = given(*words)
    assert found == given(*(f"-{word}" if word.startswith("-") else word for word in words))
    assert (found.node_id, found.http, found.raft) == ("node1", "localhost:8080", "localhost:9080")
    assert (found.port, found.workers, found.join, found.insecure_cluster) == (6381, 256, "localhost:8080", True)
    assert (found.groups, found.replicas, found.read_concern, found.max_lag) == (6, 3, "lease", 10)


def test_only_the_names_of_options_of_the_server_get_a_dash() -> None:
    assert with_two_dashes(["serve", "-h", "-porter=1", "-5", "--", "port"]) == [
        *("serve", "-h", "-porter=1", "-5", "--", "port"),
    ]
    assert with_two_dashes(["get", "-port"]) == ["get", "-port"]
    assert with_two_dashes([]) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (NODE[1:], "raft is given, but no node_id"),
        (("--join", "localhost:8080"), "join is given, but no node_id"),
        ((NODE[0], NODE[2]), "node_id needs http"),
        (NODE[:2], "node_id needs raft, an address for an etcd of its own, or etcd"),
        ((*NODE, "--etcd", "http://10.0.0.1:2379"), "node_id needs raft, an address for an etcd of its own, or etcd"),
        (("--etcd-quota", "4gb"), "etcd_quota is given, but no node_id"),
        ((*NODE, "--etcd-quota", "4gb"), "etcd_quota is given, but no etcd"),
        ((*NODE, "--port", "0"), "a node's port must be a fixed one"),
        ((*NODE, "--encryption-key-file", "key"), "encryption_key_file cannot be had with node_id: the log"),
        ((*NODE, "--unixsocket", "x.sock"), "unixsocket cannot be had with node_id"),
        ((*NODE, "--backup-dir", "x"), "backup_dir cannot be had with node_id"),
        ((*NODE[1:], "--node-id", "a/b"), "--node-id is 'a/b', it must be letters, digits"),
        ((*NODE[:2], "--raft", "9080"), "--raft is '9080', it must be a host and a port"),
        ((*NODE[:2], "--etcd", "10.0.0.1:2379"), "it must be URLs with ports and commas between them"),
        ((*NODE, "--port", "a:6380"), "--port is 'a:6380', it must be a whole number"),
        ((*NODE, "--groups", "65"), "--groups is '65', it must be from 1 to 64"),
    ],
)
def test_what_does_not_go_together(words: tuple[str, ...], error: str) -> None:
    with pytest.raises(UsageError) as refused:
        given(*words)
    assert error in str(refused.value)
