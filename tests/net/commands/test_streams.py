"""Commands over streams, beyond what test_differential.py compares: slices, what is read, limits, restarts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import GeneratorType
from typing import Any

import pytest

from flin.errors import LimitError
from flin.net.wire.replies import last_of
from flin.objects import limits, stream, stream_tail
from flin.objects.layout import PREFIX_BYTES
from tests.net.commands.handling import Handling


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 4)
    monkeypatch.setattr(limits, "PAGE", 8)
    monkeypatch.setattr(stream, "READ_AHEAD", 16)
    monkeypatch.setattr(stream_tail, "MAX_HELD", 4)


def add(server: Handling, first: int, last: int, *options: bytes) -> list[list[Any]]:
    """Entries with these ids; what XRANGE shows of them."""
    for ms in range(first, last + 1):
        assert server.call(b"XADD", b"s", *options, b"%d-1" % ms, b"f", b"%d" % ms) == b"%d-1" % ms
    return [[b"%d-1" % ms, [b"f", b"%d" % ms]] for ms in range(first, last + 1)]


@pytest.mark.usefixtures("small")
def test_long_replies_go_in_slices(server: Handling) -> None:
    added = add(server, 1, 50)
    encode = server.session.encode
    for words, expected in (
        ([b"XRANGE", b"s", b"-", b"+"], added),
        ([b"XRANGE", b"s", b"3", b"40"], added[2:40]),
        ([b"XRANGE", b"s", b"-", b"+", b"COUNT", b"20"], added[:20]),
        ([b"XREVRANGE", b"s", b"+", b"-"], added[::-1]),
        ([b"XREVRANGE", b"s", b"40", b"-", b"COUNT", b"20"], added[:40][::-1][:20]),
        ([b"XREAD", b"STREAMS", b"s", b"t", b"s", b"0", b"0", b"48"], [[b"s", added], [b"s", added[47:]]]),
    ):
        assert isinstance(server.handle(*words), GeneratorType)
        assert server.wire(*words) == encode(expected), words


@pytest.mark.usefixtures("small")
def test_a_long_range_is_of_one_moment(server: Handling) -> None:
    added = add(server, 1, 50)
    slices = server.handle(b"XRANGE", b"s", b"-", b"+")
    next(slices)
    server.call(b"XTRIM", b"s", b"MAXLEN", b"0")
    server.call(b"XADD", b"s", b"99-1", b"f", b"v")
    assert last_of(slices).data == server.session.encode(added)


@pytest.mark.usefixtures("small")
def test_a_reply_that_is_too_large(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    add(server, 1, 50)
    monkeypatch.setattr(server.services.config, "largest_reply_bytes", 400)
    with pytest.raises(LimitError):
        server.wire(b"XRANGE", b"s", b"-", b"+")
    with pytest.raises(LimitError):
        server.wire(b"XREAD", b"STREAMS", b"s", b"0")
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    monkeypatch.setattr(server.services.config, "largest_reply_bytes", 60)
    with pytest.raises(LimitError):
        server.wire(b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"s", b">")
    assert server.call(b"XPENDING", b"s", b"g")[0] == 0, "nothing has changed"


def restarted(server: Handling) -> Handling:
    """Another server over what the first has committed."""
    server.pending.commit()
    again = Handling()
    again.store.entries.update(server.store.entries)
    return again


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("trim", ["maxlen", "minid", "xdel"])
def test_a_queue_reads_some_entries_ahead_and_never_what_is_gone(server: Handling, trim: str) -> None:
    """One page for as many entries as are read ahead, from the first entry on: no seek walks over tombstones. Also
    after a restart."""
    add(server, 1, 100)
    last = 100
    for _ in range(2):
        server = restarted(server)
        starts = counted_pages(server)
        for _ in range(300):
            last += 1
            if trim == "maxlen":
                add(server, last, last, b"MAXLEN", b"100")
            else:
                add(server, last, last)
                words = [b"XTRIM", b"s", b"MINID", b"%d" % (last - 99)]
                server.call(*(words if trim == "minid" else [b"XDEL", b"s", b"%d-1" % (last - 100)]))
            server.pending.commit()
            assert server.call(b"XREAD", b"STREAMS", b"s", b"%d-0" % last) is not None
        assert server.call(b"XLEN", b"s") == 100
        assert len(starts) <= 2 * 300 // stream.READ_AHEAD + 3
        ids = [int.from_bytes(start[PREFIX_BYTES + 1 :][:8], "big") for start in starts]
        assert all(one <= other for one, other in pairwise(ids[1:])), "each begins behind the last"
        assert ids[0] >= last - 400


def counted_pages(server: Handling) -> list[bytes]:
    """Where the pages begin that the store is asked for from now on."""
    starts: list[bytes] = []
    page: Callable[..., Any] = server.store.page

    def noted(start: bytes, *rest: Any, **more: Any) -> Any:
        starts.append(start)
        return page(start, *rest, **more)

    server.store.page = noted  # type: ignore[method-assign]
    return starts


def test_a_reader_that_keeps_up_reads_nothing(server: Handling) -> None:
    add(server, 1, 2000)
    server.pending.commit()
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"1900")
    starts = counted_pages(server)
    for ms in range(2001, 2101):
        add(server, ms, ms)
        server.pending.commit()
        assert len(server.call(b"XREAD", b"STREAMS", b"s", b"%d-0" % ms)[0][1]) == 1
        read = server.call(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"2", b"STREAMS", b"s", b">")
        assert len(read[0][1]) == 2
        assert server.call(b"XACK", b"s", b"g", *(entry[0] for entry in read[0][1])) == 2
    assert len(starts) == 1, "the first id, for the number of entries that the group has read"


def test_a_stream_named_twice(server: Handling) -> None:
    added = add(server, 1, 3)
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    read = server.call(
        b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"2", b"STREAMS", *[b"s"] * 4, *b"> > > 0".split()
    )
    assert read == [[b"s", added[:2]], [b"s", added[2:]], [b"s", added[:2]]]
    assert not server.context.keyspace.is_blocking
    assert server.call(b"XPENDING", b"s", b"g", b"-", b"+", b"9") == [
        [b"1-1", b"c", 0, 2],
        [b"2-1", b"c", 0, 2],
        [b"3-1", b"c", 0, 1],
    ]


def test_a_group_outlives_a_restart(server: Handling) -> None:
    add(server, 1, 3)
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    server.call(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"2", b"STREAMS", b"s", b">")
    server.call(b"XACK", b"s", b"g", b"1-1")
    again = restarted(server)
    again.pass_time(5)
    assert again.call(b"XPENDING", b"s", b"g", b"-", b"+", b"9") == [[b"2-1", b"c", 5, 1]]
    assert again.call(b"XINFO", b"GROUPS", b"s") == [
        {
            b"name": b"g",
            b"consumers": 1,
            b"pending": 1,
            b"last-delivered-id": b"2-1",
            b"entries-read": 2,
            b"lag": 1,
        }
    ]
    assert again.call(b"XINFO", b"CONSUMERS", b"s", b"g") == [{b"name": b"c", b"pending": 1, b"idle": 5}]


def test_dump_and_restore(server: Handling) -> None:
    add(server, 1, 200)
    server.call(b"XDEL", b"s", b"7-1")
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    server.call(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"9", b"STREAMS", b"s", b">")
    dumped = server.wire(b"DUMP", b"s")
    payload = dumped[dumped.index(b"\r\n") + 2 : -2]
    assert server.wire(b"RESTORE", b"t", b"0", payload) == b"+OK\r\n"
    for words in ([b"XRANGE", b"KEY", b"-", b"+"], [b"XINFO", b"STREAM", b"KEY", b"FULL", b"COUNT", b"0"]):
        one, other = (server.wire(*(key if word == b"KEY" else word for word in words)) for key in (b"s", b"t"))
        assert one == other


def test_a_name_of_a_group_that_is_too_long(server: Handling) -> None:
    with pytest.raises(LimitError, match="the length of a group's name"):
        server.call(b"XGROUP", b"CREATE", b"s", b"g" * 65_536, b"0", b"MKSTREAM")
    assert server.call(b"EXISTS", b"s") == 0
    assert server.call(b"XGROUP", b"CREATE", b"s", b"g" * 65_535, b"0", b"MKSTREAM") == b"+OK\r\n"


def test_pending_entries_are_counted_as_memory(server: Handling) -> None:
    add(server, 1, 1000)
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    server.pending.commit()
    objects = server.context.keyspace.objects
    before = objects.memory_bytes()
    server.call(b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"s", b">")
    server.call(b"XINFO", b"GROUPS", b"s")
    assert objects.memory_bytes() > before + 1000 * 200
