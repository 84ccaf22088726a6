"""PFADD and its kin by tables. Strings and estimates beside Redis: the differential tests."""

from __future__ import annotations

from types import GeneratorType
from typing import Any

import pytest

from flin.errors import CommandError
from flin.net.commands import hyperloglogs
from flin.net.wire.replies import OK, ONE, ZERO, last_of
from flin.objects.hyperloglog import REGISTERS, HyperLogLog
from tests.net.commands.handling import LIST_TAG, START_MS, Handling
from tests.net.fake_store import FakeStall
from tests.net.serving import HandlerClient

MADE, SAME, EMPTY = ONE.data, ZERO.data, ZERO.data
WRONG_TYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"
NO_HYPERLOGLOG = "-WRONGTYPE Key is not a valid HyperLogLog string value."
CORRUPT = "-INVALIDOBJ Corrupted HLL object detected"

HEAD = b"HYLL\x01\0\0\0" + bytes(7)
NEW = HEAD + b"\x80\x7f\xff"
CUT_OFF = HEAD + b"\x80\x7f"


def test_a_dialogue(server: Handling) -> None:
    server.talk(
        [
            ("PFCOUNT h", EMPTY),
            ("PFCOUNT h i", 0),
            ("PFADD h", MADE),
            ("PFADD h", SAME),
            ("PFCOUNT h", 0),
            ("PFADD h a b c", MADE),
            ("PFADD h a", SAME),
            ("PFADD h ''", MADE),
            ("PFCOUNT h", 4),
            ("PFCOUNT h", 4),
            ("PFADD i c d", MADE),
            ("PFCOUNT h i", 5),
            ("PFCOUNT i i", 2),
            ("PFMERGE j", OK.data),
            ("PFCOUNT j", 0),
            ("PFMERGE j h nosuch i", OK.data),
            ("PFCOUNT j", 5),
            ("PFMERGE i j", OK.data),
            ("PFCOUNT i", 5),
        ]
    )


def test_what_is_made(server: Handling) -> None:
    """The count of a new one is not known, not even without elements."""
    server.call(b"PFADD", b"h")
    server.call(b"PFMERGE", b"i", b"nosuch")
    assert server.call(b"GET", b"h") == server.call(b"GET", b"i") == NEW
    assert server.call(b"PFCOUNT", b"h") == 0
    assert server.call(b"GET", b"h") == HEAD + b"\0\x7f\xff"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ((b"", 0, LIST_TAG), WRONG_TYPE),
        (b"", NO_HYPERLOGLOG),
        (b"12", NO_HYPERLOGLOG),
        (NEW[:15], NO_HYPERLOGLOG),
        (b"HYLL\0" + NEW[5:], NO_HYPERLOGLOG),
        (b"HYLL\2" + NEW[5:], NO_HYPERLOGLOG),
        (CUT_OFF, CORRUPT),
        (NEW + b"\0", CORRUPT),
    ],
)
def test_other_values(server: Handling, value: Any, error: str) -> None:
    """They stay as they are, and so does the destination of a merge."""
    server.put(b"k", value)
    server.put(b"h", NEW)
    requests = ["PFADD k a", "PFCOUNT k", "PFCOUNT h k", "PFCOUNT k h", "PFMERGE k", "PFMERGE k h", "PFMERGE h k"]
    requests += [f"PFDEBUG {what} k" for what in ("GETREG", "ENCODING", "DECODE", "TODENSE", "FOO")]
    server.talk((line, error) for line in requests)
    assert not server.pending.points


def test_the_first_key_of_a_wrong_kind_says_what_is_wrong(server: Handling) -> None:
    server.put(b"l", (b"", 0, LIST_TAG))
    server.put(b"s", b"12")
    server.put(b"c", CUT_OFF)
    server.talk(
        [
            ("PFCOUNT l s c", WRONG_TYPE),
            ("PFCOUNT nosuch s c l", NO_HYPERLOGLOG),
            ("PFMERGE c l s", CORRUPT),
            ("PFMERGE nosuch s l", NO_HYPERLOGLOG),
        ]
    )


def test_a_cached_count_is_not_checked(server: Handling) -> None:
    server.put(b"k", b"HYLL\x01\0\0\0\x07" + bytes(7))
    assert server.call(b"PFCOUNT", b"k") == 7
    assert server.call(b"PFCOUNT", b"k", b"k") == CORRUPT


@pytest.mark.parametrize("line", ["PFADD h c", "PFCOUNT h", "PFMERGE h i", "PFDEBUG TODENSE h", "PFDEBUG GETREG h"])
def test_the_expiry_stays(server: Handling, line: str) -> None:
    server.talk([("PFADD h a b", MADE), ("PFADD i c", MADE), ("PEXPIRE h 5000", ONE.data)])
    before = server.call(b"GET", b"h")
    server.call(*line.encode().split())
    assert server.call(b"GET", b"h") != before
    assert server.call(b"PEXPIRETIME", b"h") == START_MS + 5000


def test_debug(server: Handling) -> None:
    server.talk(
        [
            ("PFDEBUG FOO h", "-ERR The specified key does not exist"),
            ("PFADD h a", MADE),
            ("PFDEBUG FoO h", "-ERR Unknown PFDEBUG subcommand 'FoO'"),
            ("PFDEBUG encoding h", "sparse"),
            ("PFDEBUG DECODE h", b"Z:12711 v:2,1 Z:3672"),
            ("PFDEBUG ToDense h", 1),
            ("PFDEBUG TODENSE h", 0),
            ("PFDEBUG ENCODING h", "dense"),
            ("PFDEBUG DECODE h", "-ERR HLL encoding is not sparse"),
            ("PFADD i a", MADE),
            ("PFMERGE i h", OK.data),
            ("PFDEBUG ENCODING i", "dense"),
            ("PFADD j a", MADE),
        ]
    )
    registers = server.call(b"PFDEBUG", b"GETREG", b"j")
    assert registers == [0] * 12_711 + [2] + [0] * (REGISTERS - 12_712)
    assert server.call(b"PFDEBUG", b"ENCODING", b"j") == "dense"


def test_the_limit_of_sparse_ones_is_a_parameter() -> None:
    client = HandlerClient()
    assert client.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"20") == b"+OK\r\n"
    assert client.call(b"CONFIG", b"GET", b"hll-sparse-max-bytes").endswith(b"\r\n20\r\n")
    client.call(b"PFADD", b"h", b"a")
    assert client.call(b"PFDEBUG", b"ENCODING", b"h") == b"+dense\r\n"
    client.call(b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"1kb")
    client.call(b"PFADD", b"i", b"a")
    client.call(b"PFMERGE", b"j", b"i")
    assert client.call(b"PFDEBUG", b"ENCODING", b"j") == b"+sparse\r\n"


@pytest.mark.parametrize(
    "closed", [{"read_only_reason": "the disk is full"}, {"stall": FakeStall(stopped=True)}, {"stall": FakeStall(0.01)}]
)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_count_is_kept_only_where_writes_are_taken(closed: dict[str, Any], in_transaction: bool) -> None:
    """It is answered all the same."""
    client = HandlerClient()
    client.call(b"PFADD", b"h", b"a")
    before = dict(client.store.entries)
    client.store.read_only_reason = closed.get("read_only_reason")
    client.store.stall_state = closed.get("stall", FakeStall())
    client.services.clients.refresh()
    if in_transaction:
        client.call(b"MULTI")
        client.call(b"PFCOUNT", b"h")
        assert client.call(b"EXEC") == b"*1\r\n:1\r\n"
    else:
        assert client.call(b"PFCOUNT", b"h") == b":1\r\n"
    assert client.store.entries == before
    client.store.read_only_reason, client.store.stall_state = None, FakeStall()
    client.services.clients.refresh()
    assert client.call(b"PFCOUNT", b"h") == b":1\r\n"
    assert client.store.entries != before


def test_a_count_is_kept_while_every_command_is_timed() -> None:
    """That closes the gates, but the engine takes writes."""
    client = HandlerClient(slowlog_log_slower_than=0)
    client.call(b"PFADD", b"h", b"a")
    assert not client.services.clients.gates_open
    assert client.call(b"PFCOUNT", b"h") == b":1\r\n"
    assert client.call(b"GET", b"h")[4 + 8 + 1 : 4 + 8 + 9] == b"\1" + bytes(7)


def test_many_keys_in_slices(server: Handling) -> None:
    number = 5 * hyperloglogs.SLICE_KEYS + 1
    keys = [b"h%d" % index for index in range(number)]
    for key in keys:
        server.call(b"PFADD", key, b"both", key)
    slices = server.handle(b"PFCOUNT", *keys)
    assert isinstance(slices, GeneratorType)
    assert len(list(slices)) == 6
    expected = HyperLogLog()
    expected.make_stale()
    expected.add([b"both", *keys])
    assert server.call(b"PFCOUNT", *keys) == expected.count()
    assert server.call(b"PFMERGE", b"all", *keys) == OK.data
    assert server.call(b"PFCOUNT", b"all") == expected.count()


def test_look_ups_are_counted(server: Handling) -> None:
    keyspace = server.context.keyspace
    found = []
    for line in ("PFADD h a", "PFCOUNT h", "PFCOUNT i", "PFCOUNT h h i", "PFMERGE i h j", "PFDEBUG ENCODING h"):
        keyspace.hits = keyspace.misses = 0
        server.call(*line.encode().split())
        found.append((keyspace.hits, keyspace.misses))
    assert found == [(0, 0), (1, 0), (0, 1), (2, 1), (1, 2), (0, 0)]


def test_the_self_test(server: Handling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperloglogs, "_TEST_ELEMENTS", 5000)
    assert server.call(b"PFSELFTEST") == OK.data
    with monkeypatch.context() as broken:
        broken.setattr(HyperLogLog, "count", lambda self: 470)
        assert server.call(b"PFSELFTEST") == "-TESTFAILED Too big error. card:500 abserr:30"
    monkeypatch.setattr(HyperLogLog, "encode", lambda self: NEW)
    with pytest.raises(CommandError, match="TESTFAILED dense/sparse disagree"):
        list(server.handle(b"PFSELFTEST"))


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("change", ["PFADD other x", "PFADD k3 x y", "DEL k0", "SET k39 v", "PFADD to z", "DEL to"])
def test_a_merge_of_many_in_slices_is_of_its_end(change: str, is_dense: bool) -> None:
    """As in one step, byte for byte, once the change has been made."""
    one, sliced = Handling(), Handling()
    keys = [b"k%d" % number for number in range(40)]
    for server in (one, sliced):
        for key in keys:
            server.call(b"PFADD", key, key, b"a " + key, b"a " + key[:2])
        server.call(b"PFADD", b"to", b"first")
        if is_dense:
            server.call(b"PFDEBUG", b"TODENSE", b"k20")
        server.pending.commit()
    slices = sliced.handle(b"PFMERGE", b"to", *keys)
    for _ in range(3):
        next(slices)
    words = change.encode().split()
    sliced.call(*words)
    sliced.pending.commit()
    one.call(*words)
    if change == "SET k39 v":
        with pytest.raises(CommandError, match="not a valid HyperLogLog"):
            last_of(slices)
        return
    assert last_of(slices) is OK
    merged = HyperLogLog()
    value = one.context.keyspace.value(b"to")
    if value is not None:
        merged = HyperLogLog.decode(value)
    held = [one.context.keyspace.value(key) for key in ([b"to"] if value is not None else []) + keys]
    merged.merge([HyperLogLog.decode(each) for each in held if each is not None], 3000)
    assert sliced.context.keyspace.value(b"to") == merged.encode()
