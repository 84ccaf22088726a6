"""The backlog counts what it holds."""

from __future__ import annotations

from flin.net.serve.backlog import CHUNK_OVERHEAD_BYTES, Backlog


def test_chunks_leave_in_their_order_and_are_counted() -> None:
    backlog = Backlog()
    backlog.requests = [[b"GET", b"key"], [b"PING"]]
    assert backlog.size_bytes() == 10
    for chunk in (b"abc", b"", b"defgh"):
        backlog.keep(chunk)
    assert backlog.chunk_bytes == 8 + 3 * CHUNK_OVERHEAD_BYTES
    assert backlog.size_bytes() == 18 + 3 * CHUNK_OVERHEAD_BYTES
    assert [backlog.next_chunk() for _ in range(3)] == [b"abc", b"", b"defgh"]
    assert backlog.take_requests() == [[b"GET", b"key"], [b"PING"]]
    assert (backlog.size_bytes(), backlog.chunk_bytes, backlog.requests) == (0, 0, [])


def test_what_is_dropped_is_not_counted() -> None:
    backlog = Backlog()
    backlog.requests = [[b"PING"]]
    backlog.keep(b"abc")
    backlog.clear()
    assert (backlog.size_bytes(), len(backlog.chunks)) == (0, 0)
