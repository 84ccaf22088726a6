"""Commands over streams, beyond what test_differential.py compares: slices, what is read, limits, restarts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import GeneratorType
from typing import Any

import pytest

from flin.errors import CommandError, LimitError
from flin.net.command.registry import find
from flin.net.wire.replies import NULL_ARRAY, last_of
from flin.objects import limits, stream, stream_group, stream_tail
from flin.objects.layout import PREFIX_BYTES
from flin.objects.stream import Stream
from tests.net.commands.handling import Handling
from tests.net.fake_peer import Clients


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
def test_a_reply_that_grows_counts_as_its_clients(server: Handling) -> None:
    add(server, 1, 200)
    slices = server.handle(b"XRANGE", b"s", b"-", b"+")
    sizes = [server.session.kept_bytes() for _ in slices]
    assert sizes[0] > 8 * 20
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2 * sizes[0]
    del slices
    assert server.session.kept_bytes() == 0


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


def test_consumers_are_counted_as_memory_and_pending_entries_take_none(server: Handling) -> None:
    deliver(server, 1000)
    objects = server.context.keyspace.objects
    before = objects.memory_bytes()
    server.call(b"XPENDING", b"s", b"g")
    assert objects.memory_bytes() == before
    for number in range(100):
        server.call(b"XGROUP", b"CREATECONSUMER", b"s", b"g", b"%d" % number)
    server.call(b"XINFO", b"GROUPS", b"s")
    assert objects.memory_bytes() >= before + 100 * 250


def deliver(server: Handling, number: int, consumer: bytes = b"c") -> None:
    """So many entries, and all of them to a group."""
    add(server, 1, number)
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    assert len(server.call(b"XREADGROUP", b"GROUP", b"g", consumer, b"STREAMS", b"s", b">")[0][1]) == number
    server.pending.commit()


@pytest.mark.parametrize(
    "words", [b"XPENDING s g", b"XINFO GROUPS s", b"XINFO CONSUMERS s g", b"XINFO STREAM s FULL COUNT 3"]
)
def test_pending_entries_are_counted_in_slices(server: Handling, monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    """Others acknowledge, claim and deliver entries meanwhile, below and above what is counted."""
    monkeypatch.setattr(stream_group, "COUNTED_AT_ONCE", 8)
    deliver(server, 40)
    server.context.keyspace.objects.forget_all()
    slices = server.handle(*words.split())
    next(slices)
    next(slices)
    server.call(b"XACK", b"s", b"g", b"2-1", b"3-1", b"39-1")
    server.call(b"XCLAIM", b"s", b"g", b"d", b"0", b"4-1", b"30-1")
    add(server, 41, 42)
    server.call(b"XREADGROUP", b"GROUP", b"g", b"d", b"STREAMS", b"s", b">")
    last_of(slices)
    assert server.call(b"XPENDING", b"s", b"g") == [39, b"1-1", b"42-1", [[b"c", b"35"], [b"d", b"4"]]]
    group = server.context.keyspace.objects.find(b"s", Stream).groups()[b"g"]  # type: ignore[union-attr]
    group._check()
    shown = server.handle(b"XINFO", b"STREAM", b"s", b"FULL", b"COUNT", b"3")
    (of_group,) = shown[b"groups"]
    assert of_group[b"pending"].data.startswith(b"*3\r\n*4\r\n$3\r\n1-1")
    assert [(consumer[b"name"], consumer[b"pel-count"]) for consumer in of_group[b"consumers"]] == [
        (b"c", 35),
        (b"d", 4),
    ]
    assert of_group[b"consumers"][1][b"pending"].data.startswith(b"*3\r\n*3\r\n$3\r\n4-1")


def test_the_group_goes_while_its_entries_are_counted(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_group, "COUNTED_AT_ONCE", 8)
    deliver(server, 40)
    server.context.keyspace.objects.forget_all()
    slices = server.handle(b"XPENDING", b"s", b"g")
    next(slices)
    server.call(b"XGROUP", b"DESTROY", b"s", b"g")
    with pytest.raises(CommandError, match="NOGROUP No such key 's' or consumer group 'g'"):
        last_of(slices)


def test_a_group_of_many_pieces_is_destroyed_by_ranges(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_group, "MAX_TOMBSTONES", 8)
    deliver(server, 40)
    for number in range(10):
        server.call(b"XGROUP", b"CREATECONSUMER", b"s", b"g", b"%d" % number)
    server.call(b"XGROUP", b"DESTROY", b"s", b"g")
    server.pending.settle()
    assert len(server.pending.points) < 8
    assert server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0") == b"+OK\r\n"
    for _ in range(2):
        assert server.call(b"XPENDING", b"s", b"g") == [0, None, None, NULL_ARRAY]
        assert server.call(b"XINFO", b"CONSUMERS", b"s", b"g") == []
        server.pending.commit()
        server.context.keyspace.objects.forget_all()


def test_reads_begin_behind_what_was_acknowledged(server: Handling) -> None:
    deliver(server, 50)
    server.call(b"XACK", b"s", b"g", *[b"%d-1" % ms for ms in range(1, 50)])
    objects = server.context.keyspace.objects
    group = objects.find(b"s", Stream).groups()[b"g"]  # type: ignore[union-attr]
    assert server.call(b"XPENDING", b"s", b"g") == [1, b"50-1", b"50-1", [[b"c", b"1"]]]
    assert group._floor == b"\0" * 7 + b"\x32" + b"\0" * 7 + b"\1" == group._ceiling
    server.call(b"XACK", b"s", b"g", b"50-1")
    assert server.call(b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"s", b"0") == [[b"s", []]]
    assert server.call(b"XAUTOCLAIM", b"s", b"g", b"c", b"0", b"0") == [b"0-0", [], []]
    assert group._floor > b"\xff" * 16
    server.call(b"XCLAIM", b"s", b"g", b"d", b"0", b"7-1", b"FORCE")
    assert server.call(b"XPENDING", b"s", b"g", b"-", b"+", b"9") == [[b"7-1", b"d", 0, 2]]
    group._check()


def test_a_long_list_of_pending_entries(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(server, 50)
    whole = server.wire(b"XPENDING", b"s", b"g", b"-", b"+", b"45")
    monkeypatch.setattr(limits, "PAGE", 8)
    assert server.wire(b"XPENDING", b"s", b"g", b"-", b"+", b"45") == whole
    assert whole.count(b"-1\r\n") == 45
    server.services.config.largest_reply_bytes = 1000
    with pytest.raises(LimitError, match="the size of the reply in bytes"):
        server.call(b"XPENDING", b"s", b"g", b"-", b"+", b"45")
    with pytest.raises(LimitError, match="the size of the reply in bytes"):
        server.call(b"XINFO", b"STREAM", b"s", b"FULL", b"COUNT", b"0")


def test_what_was_delivered_before_there_is_no_room_is_shown(server: Handling) -> None:
    """Of a stream that is named twice the second read comes after the first one's changes."""
    added = add(server, 1, 10)
    server.call(b"XGROUP", b"CREATE", b"s", b"g", b"0")
    object.__setattr__(server.services.config.options, "memory_limit", 4 * 6 * 1110)
    twice = [b"STREAMS", b"s", b"s", b">", b">"]
    head = [b"XREADGROUP", b"GROUP", b"g", b"c"]
    assert server.call(*head, b"COUNT", b"4", *twice) == [[b"s", added[:4]]]
    assert server.call(*head, *twice) == [[b"s", added[4:]]]


# Pipelines of `XADD key * field value`.


def xadd_batch(server: Handling, *requests: bytes) -> list[bytes]:
    command = find(b"xadd")
    assert command is not None
    assert command.batch is not None
    return list(command.batch(server.context, *zip(*(request.split() for request in requests), strict=True)))


LINES = [b"s * f %d" % number for number in range(40)]


def spread(server: Handling, *last: bytes) -> None:
    """A hundred entries, and those with these ids."""
    for id_ in (*(b"1-%d" % number for number in range(1, 101)), *last):
        server.call(b"XADD", b"s", id_, b"f", b"v")


@pytest.mark.parametrize("last", [b"2-1", b"1800000000000-7", b"1900000000000-7"])
def test_a_pipeline_of_xadd_is_that_one_by_one(last: bytes) -> None:
    """Ids of this moment, of the millisecond of the last one, and behind one of the future."""
    one, many = Handling(), Handling()
    for server in (one, many):
        spread(server, last)
        server.pending.commit()
    for lines in (LINES, [b"s * f \xff", b"s * \xff\xff v"]):
        said = [one.wire(b"XADD", *line.split()) for line in lines]
        assert xadd_batch(many, *lines) == said
        assert many.wire(b"XREVRANGE", b"s", b"+", b"-") == one.wire(b"XREVRANGE", b"s", b"+", b"-")
    for server in (one, many):
        server.pending.commit()
        server.services.databases.forget_objects()
    assert many.wire(b"XRANGE", b"s", b"-", b"+") == one.wire(b"XRANGE", b"s", b"-", b"+")
    assert many.wire(b"XINFO", b"STREAM", b"s") == one.wire(b"XINFO", b"STREAM", b"s")


def test_other_pipelines_of_xadd_are_left(server: Handling) -> None:
    server.call(b"SET", b"string", b"v")
    assert xadd_batch(server, *LINES) == [], "none"
    server.call(b"XADD", b"s", b"*", b"f", b"v")
    assert xadd_batch(server, *LINES) == [], "packed"
    server.call(b"DEL", b"s")
    spread(server)
    assert xadd_batch(server, b"s * f v", b"t * f v") == [], "several"
    assert xadd_batch(server, b"s * f v", b"s 1-1 f v") == [], "an id"
    assert xadd_batch(server, b"string * f v") == [], "a string"
    server.call(b"WATCH", b"s")
    assert xadd_batch(server, *LINES) == [], "somebody looks"
    server.call(b"UNWATCH")
    server.call(b"EXPIRE", b"s", b"100")
    assert len(xadd_batch(server, *LINES[:10])) == 10
    assert server.call(b"TTL", b"s") == 100
    server.call(b"XSETID", b"s", b"1800000000009-18446744073709551600")
    assert xadd_batch(server, *LINES) == [], "the millisecond is nearly full"
    assert len(xadd_batch(server, *LINES[:10])) == 10


def test_a_pipeline_over_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[bytes] = []
    command = find(b"xadd")
    assert command is not None
    batch = command.batch
    assert batch is not None

    def noted(*columns: Any) -> Sequence[bytes]:
        replies = batch(*columns)
        done.append(b"".join(replies))
        return replies

    monkeypatch.setattr(command, "batch", noted)
    peer = Clients().connect()
    for number in range(1, 101):
        peer.ask(b"XADD s 1-%d f v" % number)
    for first in (0, 50):  # a pipeline is looked at as columns once one before was alike
        said = peer.ask(*[b"XADD s * f %02d" % number for number in range(50)])
        texts = [b"1800000000000-%d" % number for number in range(first, first + 50)]
        assert said == b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)
    assert done == [said]
    assert peer.ask(b"XLEN s") == b":200\r\n"
