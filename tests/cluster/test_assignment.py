"""What workers are told and tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flin.cluster.workers.assignment import (
    Assignment,
    ReplicaPlace,
    Report,
    decode_assignment,
    decode_report,
    divided,
    encode_assignment,
    encode_report,
    shared,
)
from flin.cluster.workers.groups import create_groups
from flin.net.cluster.topology import Node
from flin.net.settings.options import ConfigError, ServerOptions

OPTIONS = ServerOptions(
    workers=3,
    bind=("127.0.0.1", "::1"),
    requirepass='pass\n"word"\u00e9',
    memory_limit=3 << 30,
    maxclients=1000,
    hash_max_listpack_entries=7,
    cluster_announce_ip="10.0.0.7",
)


def test_everything_comes_through(tmp_path: Path) -> None:
    for options in divided(OPTIONS, create_groups(tmp_path, 3), [(1, 0), (2, 0), (3, 0)]):
        assignment = Assignment(options, (7, 8), (9,), 10, 11, 12)
        line = encode_assignment(assignment)
        assert decode_assignment(line) == assignment
        assert line.count(b"\n") == 1
        assert assignment.descriptors == [7, 8, 9, 10, 11, 12]
    of_one = Assignment(OPTIONS, (), (), 3, 4, 5)
    assert decode_assignment(encode_assignment(of_one)) == of_one
    place = ReplicaPlace("name", "node1", 3, 6, "f00d", ("http://localhost:9180", "http://localhost:9181"), "tls")
    of_replica = replace(of_one, page=6, replica=place)
    assert decode_assignment(encode_assignment(of_replica)) == of_replica


def test_what_is_limited_for_all_is_divided() -> None:
    found = shared(OPTIONS)
    assert found == replace(OPTIONS, memory_limit=1 << 30, maxclients=333, tls_maxclients=1365)
    assert shared(replace(OPTIONS, maxclients=1)).maxclients == 1, "not none"


def test_a_share_that_is_too_small() -> None:
    with pytest.raises(ConfigError, match="for each of 3 workers: memory_limit is 13981013, it must be from 16777216"):
        shared(replace(OPTIONS, memory_limit=40 << 20))


def test_each_has_its_place(tmp_path: Path) -> None:
    groups = create_groups(tmp_path, 3)
    all_options = divided(OPTIONS, groups, [(6380, 0), (6480, 0), (6580, 0)])
    for number, options in enumerate(all_options):
        topology = options.topology
        assert topology is not None
        assert topology.own == number
        assert topology.nodes == tuple(
            Node(group.id, "10.0.0.7", 6380 + 100 * group.number, group.first, group.last) for group in groups
        )
        port = 6380 + 100 * number
        assert options == replace(OPTIONS, dir=str(groups[number].directory), port=port, topology=topology)


def test_tls_alone(tmp_path: Path) -> None:
    options = replace(OPTIONS, port=0, tls_port=7000)
    one, two = divided(options, create_groups(tmp_path, 2), [(0, 7000), (0, 7100)])
    assert [(each.port, each.tls_port, each.listens_on_tcp) for each in (one, two)] == [
        (0, 7000, False),
        (0, 7100, False),
    ]
    assert one.topology is not None
    assert [(node.port, node.tls_port) for node in one.topology.nodes] == [(7000, 7000), (7100, 7100)]


@pytest.mark.parametrize("report", [Report(recovered=7), Report(failure="a\nb: \u00e9")])
def test_reports(report: Report) -> None:
    assert decode_report(encode_report(report)) == report
    assert encode_report(report).count(b"\n") == 1
