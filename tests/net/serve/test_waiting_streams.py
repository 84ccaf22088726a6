"""Clients that wait for entries of a stream: XREAD BLOCK, XREADGROUP BLOCK."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.blocking import Clients, say
from tests.net.serving import ServerThread

NULL = b"*-1\r\n"
ENTRY = b"*2\r\n$3\r\n%b\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"


@pytest.fixture
def clients() -> Iterator[Clients]:
    with ServerThread() as server, Clients(server) as started:
        yield started


def entries(key: bytes, *ids: bytes) -> bytes:
    """The reply with these entries of one stream."""
    return b"*1\r\n*2\r\n$%d\r\n%b\r\n*%d\r\n" % (len(key), key, len(ids)) + b"".join(ENTRY % id_ for id_ in ids)


def test_all_readers_get_an_entry(clients: Clients) -> None:
    readers = [clients.waiting("XREAD BLOCK 0 STREAMS s t $ $") for _ in range(3)]
    say(clients.new(), "XADD t 1-1 a 1")
    assert [reader.read().data for reader in readers] == [entries(b"t", b"1-1")] * 3
    assert clients.blocked() == 0


def test_the_last_id_is_that_of_the_beginning(clients: Clients) -> None:
    writer = clients.new()
    say(writer, "XADD s 5-1 a 1")
    reader = clients.waiting("XREAD BLOCK 0 STREAMS s $")
    late = clients.waiting("XREAD BLOCK 0 STREAMS s 7-0")
    say(writer, "MULTI", "XADD s 6-1 a 1", "XADD s 6-2 a 1", "EXEC")
    assert reader.read().data == entries(b"s", b"6-1", b"6-2")
    assert clients.blocked() == 1, "no entry is behind its id"
    say(writer, "XADD s 7-1 a 1")
    assert late.read().data == entries(b"s", b"7-1")


def test_count(clients: Clients) -> None:
    reader = clients.waiting("XREAD COUNT 1 BLOCK 0 STREAMS s 0")
    say(clients.new(), "MULTI", "XADD s 6-1 a 1", "XADD s 6-2 a 1", "EXEC")
    assert reader.read().data == entries(b"s", b"6-1")


def test_a_group_shares_entries(clients: Clients) -> None:
    writer = clients.new()
    say(writer, "XGROUP CREATE s g $ MKSTREAM")
    first, second = (clients.waiting(f"XREADGROUP GROUP g {name} COUNT 1 BLOCK 0 STREAMS s >") for name in ("c", "d"))
    say(writer, "XADD s 1-1 a 1")
    assert first.read().data == entries(b"s", b"1-1")
    assert clients.blocked() == 1
    say(writer, "XADD s 1-2 a 1")
    assert second.read().data == entries(b"s", b"1-2")
    assert say(writer, "XPENDING s g") == [
        b"*4\r\n:2\r\n$3\r\n1-1\r\n$3\r\n1-2\r\n*2\r\n*2\r\n$1\r\nc\r\n$1\r\n1\r\n*2\r\n$1\r\nd\r\n$1\r\n1\r\n"
    ]


def test_a_history_does_not_wait(clients: Clients) -> None:
    client = clients.new()
    say(client, "XGROUP CREATE s g $ MKSTREAM")
    assert say(client, "XREADGROUP GROUP g c BLOCK 0 STREAMS s 0") == [b"*1\r\n*2\r\n$1\r\ns\r\n*0\r\n"]


def test_timeouts(clients: Clients) -> None:
    client = clients.new()
    say(client, "XGROUP CREATE s g $ MKSTREAM")
    assert say(
        client, "XREAD BLOCK 1 STREAMS s $", "XREADGROUP GROUP g c BLOCK 1 STREAMS s >", "XINFO CONSUMERS s g"
    ) == [NULL, NULL, b"*0\r\n"]
    assert say(client, "MULTI", "XREAD BLOCK 0 STREAMS s $", "EXEC")[-1] == b"*1\r\n*-1\r\n"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("DEL s", b"-UNBLOCKED the stream key no longer exists\r\n"),
        ("SET s v", b"-UNBLOCKED the stream key no longer exists\r\n"),
        ("FLUSHALL", b"-UNBLOCKED the stream key no longer exists\r\n"),
        ("XGROUP DESTROY s g", b"-NOGROUP the consumer group this client was blocked on no longer exists\r\n"),
    ],
)
def test_the_end_of_a_stream_or_group(clients: Clients, request_: str, expected: bytes) -> None:
    writer = clients.new()
    say(writer, "XGROUP CREATE s g $ MKSTREAM")
    member = clients.waiting("XREADGROUP GROUP g c BLOCK 0 STREAMS s >")
    reader = clients.waiting("XREAD BLOCK 0 STREAMS s $")
    say(writer, request_)
    assert member.read().data == expected
    assert clients.blocked() == 1, "a reader without a group waits on"
    say(writer, "DEL s", "XADD s 1-1 a 1")
    assert reader.read().data == entries(b"s", b"1-1")


def test_other_changes_wake_nobody(clients: Clients) -> None:
    writer = clients.new()
    say(writer, "XGROUP CREATE s g 0 MKSTREAM", "XADD s 1-1 a 1", "XREADGROUP GROUP g c STREAMS s >")
    member = clients.waiting("XREADGROUP GROUP g d BLOCK 0 STREAMS s >")
    say(writer, "XDEL s 1-1", "XACK s g 1-1", "XGROUP CREATE s h $", "XGROUP DESTROY s h", "XSETID s 5-1")
    assert clients.blocked() == 1
    say(writer, "XADD s 6-1 a 1")
    assert member.read().data == entries(b"s", b"6-1")
