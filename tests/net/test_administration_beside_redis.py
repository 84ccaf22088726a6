"""Commands about the server that say the same wherever nothing is replicated: each line beside redis-server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.net.raw_client import Raw, RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

ALIKE = """
latency
latency latest
latency latest x
latency reset
latency reset a b
latency history foo
latency history
latency graph foo
latency histogram nosuch
latency foo
memory purge
memory foo
memory stats x
save
save x
bgsave foo
bgsave schedule x
bgrewriteaof x
lastsave x
wait 0 0
wait 0 1
wait a 1
wait 1 a
wait 1 -1
wait 1
role
replicaof no one
replicaof NO One
replicaof a b
replicaof a 70000
replicaof a -1
replicaof a
slaveof no one
slaveof a b
failover
failover abort
failover ABORT x
failover to a 1
failover to a b
failover timeout 0
failover timeout x
failover force
failover foo
readonly
readwrite
asking
cluster
cluster info
cluster nodes
cluster slots
cluster keyslot a
cluster help
cluster foo
cluster info x
module list
module load a
module loadex a
module unload a
module foo
debug
debug sleep
debug foo
debug sleep 0 1
debug sleep 0
debug sleep abc
debug object nosuch
debug error hello
debug error ERR
debug set-active-expire 1
debug set-active-expire 0
debug set-active-expire 1
debug protocol string
debug protocol INTEGER
debug protocol double
debug protocol null
debug protocol array
debug protocol set
debug protocol map
debug protocol verbatim
debug protocol bignum
debug protocol true
debug protocol false
debug protocol foo
debug reload
config get enable-debug-command
config set enable-debug-command no
config get latency-monitor-threshold
config set latency-monitor-threshold -1
config set latency-monitor-threshold x
config set latency-monitor-threshold 1000
latency latest
config set latency-monitor-threshold 0
config get tls-port
config get tls-auth-clients
config get unixsocket
config get unixsocketperm
shutdown foo
shutdown abort
shutdown save nosave
shutdown now now abort
"""

SHAPES = """
latency doctor
latency help
latency histogram
memory doctor
memory malloc-stats
memory stats
memory help
lastsave
lolwut
lolwut version 5
lolwut version 6 1 2
module help
debug help
debug object key
info everything
info modules
info latencystats
"""
"""The kind of value is Redis's, the words are not."""


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    options: dict[str, Any] = {"enable-debug-command": "yes"}
    with (
        running_redis(tmp_path_factory.mktemp("redis"), **options) as theirs,
        ServerThread(enable_debug_command="yes") as server,
    ):
        yield server.port, theirs


def answers(port: int, lines: str, protocol: int) -> list[tuple[str, Raw]]:
    with RawClient(port) as client:
        client.call(b"HELLO", b"%d" % protocol)
        client.call(b"SET", b"key", b"value")
        return [(line, client.call(*line.encode().split())) for line in lines.split("\n")[1:-1]]


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_same_bytes(ports: tuple[int, int], protocol: int) -> None:
    pairs = zip(*(answers(port, ALIKE, protocol) for port in ports), strict=True)
    assert [(line, ours.data, theirs.data) for (line, ours), (_, theirs) in pairs if ours.data != theirs.data] == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_the_same_kind(ports: tuple[int, int], protocol: int) -> None:
    pairs = zip(*(answers(port, SHAPES, protocol) for port in ports), strict=True)
    assert [(line, ours.data, theirs.data) for (line, ours), (_, theirs) in pairs if ours.kind != theirs.kind] == []


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", [b"push", b"attrib"])
def test_what_comes_beside_a_reply(ports: tuple[int, int], protocol: int, kind: bytes) -> None:
    replies = []
    for port in ports:
        with RawClient(port) as client:
            client.call(b"HELLO", b"%d" % protocol)
            client.send([[b"DEBUG", b"PROTOCOL", kind], [b"ECHO", b"end"]])
            read = [client.read().data]
            while read[-1] != b"$3\r\nend\r\n":
                read.append(client.read().data)
            replies.append(read)
    assert replies[0] == replies[1]


def test_the_names_of_memory_stats(ports: tuple[int, int]) -> None:
    """Monitoring reads them by name."""
    ours, theirs = ({item.payload for item in answers(port, "\nmemory stats\n", 2)[0][1].items[::2]} for port in ports)
    assert theirs <= ours


def test_the_names_of_info(ports: tuple[int, int]) -> None:
    """Every field of Redis's that is not listed is there."""
    ours, theirs = (
        {
            line.partition(b":")[0]
            for line in answers(port, "\ninfo everything\n", 2)[0][1].payload.split(b"\r\n")
            if not line.startswith((b"cmdstat_", b"latency_percentiles", b"errorstat_"))
        }
        for port in ports
    )
    assert theirs - ours == NO_FIELDS


NO_FIELDS = {b"total_reads_processed", b"total_writes_processed"}
"""How often the sockets were read and written is not counted."""


def test_debug_is_off_by_default(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as theirs, ServerThread() as server:
        for lines in ("\ndebug sleep 0\n", "\ndebug help\n", "\ndebug foo\n", "\ndebug\n"):
            (ours, theirs_) = (answers(port, lines, 2)[0][1] for port in (server.port, theirs))
            assert ours.data == theirs_.data
    with ServerThread(enable_debug_command="local") as server:
        assert answers(server.port, "\ndebug sleep 0\n", 2)[0][1].data == b"+OK\r\n"
