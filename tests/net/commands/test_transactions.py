"""The transaction commands themselves. Queueing and running are tested with dispatch."""

from __future__ import annotations

from tests.net.commands.handling import Handling

OK = b"+OK\r\n"


def test_order(server: Handling) -> None:
    server.talk(
        [
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", OK),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH a", "-ERR WATCH inside MULTI is not allowed"),
            ("DISCARD", OK),
            ("DISCARD", "-ERR DISCARD without MULTI"),
        ]
    )


def test_watch_and_unwatch(server: Handling) -> None:
    server.talk([("WATCH a b a", OK)])
    assert [key for _, key, *_ in server.session.watched] == [b"a", b"b"]
    server.talk([("UNWATCH", OK), ("UNWATCH", OK)])
    assert server.session.watched == []


def test_discard_forgets_watched_keys(server: Handling) -> None:
    server.talk([("WATCH a", OK), ("MULTI", OK), ("DISCARD", OK)])
    assert server.session.watched == []
    assert server.session.queue is None
