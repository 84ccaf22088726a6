"""FLIN.RANGE and FLIN.DELRANGE, over a store in memory and over a real one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest

import flin.engine
from flin.engine.engine import store_of
from flin.net.command.registry import find
from flin.net.commands.ranges import NO_RANGE, PAGE_BYTES
from flin.net.wire.replies import last_of
from tests.net.commands.handling import START_MS
from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[HandlerClient]:
    """Over an engine."""
    with flin.engine.open(tmp_path / "db", sync="never") as db:
        yield HandlerClient(store_of(db))


def ask(client: HandlerClient, *words: bytes | str) -> Any:
    reader = hiredis.Reader()
    reader.feed(client.call(*(word.encode() if isinstance(word, str) else word for word in words)))
    reply: Any = reader.gets()
    return str(reply) if isinstance(reply, Exception) else reply


def talk(client: HandlerClient, line: str) -> Any:
    return ask(client, *(b"" if word == "''" else word.encode() for word in line.split(" ")))


def test_a_range(client: HandlerClient) -> None:
    talk(client, "MSET a 1 b 2 c 3 d 4")
    assert talk(client, "FLIN.RANGE b d") == [None, [b"b", b"2", b"c", b"3"]]
    assert talk(client, "FLIN.RANGE b d KEYS") == [None, [b"b", b"c"]]
    assert talk(client, "flin.range b '' rev keys") == [None, [b"d", b"c", b"b"]]
    assert talk(client, "FLIN.RANGE '' '' KEYS LIMIT 4") == [None, [b"a", b"b", b"c", b"d"]]
    for empty in ("e ''", "'' a", "c b", "b b"):
        assert talk(client, f"FLIN.RANGE {empty}") == [None, []]


def test_a_cursor_is_the_bound_of_the_next_page(client: HandlerClient) -> None:
    talk(client, "MSET a 1 b 2 c 3")
    assert talk(client, "FLIN.RANGE '' '' LIMIT 2 KEYS") == [b"b\0", [b"a", b"b"]]
    assert ask(client, "FLIN.RANGE", b"b\0", b"", "KEYS") == [None, [b"c"]]
    assert talk(client, "FLIN.RANGE '' '' LIMIT 2 REV KEYS") == [b"b", [b"c", b"b"]]
    assert talk(client, "FLIN.RANGE '' b LIMIT 2 REV KEYS") == [None, [b"a"]]


def test_what_is_wrong(client: HandlerClient) -> None:
    assert talk(client, "FLIN.RANGE a b LIMIT 0") == "ERR LIMIT must be greater than 0"
    assert talk(client, "FLIN.RANGE a b LIMIT x") == "ERR value is not an integer or out of range"
    assert talk(client, "FLIN.RANGE a b LIMIT") == "ERR syntax error"
    assert talk(client, "FLIN.RANGE a b COUNT 1") == "ERR syntax error"


def test_collections_have_no_value_and_expired_keys_are_absent() -> None:
    now_ms = [START_MS]
    client = HandlerClient(clock=lambda: now_ms[0])
    talk(client, "RPUSH list a b")
    talk(client, "SET soon x PX 1")
    talk(client, "SET late x EX 100")
    assert talk(client, "FLIN.RANGE '' ''") == [None, [b"late", b"x", b"list", None, b"soon", b"x"]]
    now_ms[0] += 200_000
    assert talk(client, "FLIN.RANGE '' ''") == [None, [b"list", None]]


def test_a_page_ends_when_it_is_long(stored: HandlerClient) -> None:
    for key in (b"a", b"b", b"c", b"d"):
        ask(stored, b"SET", key, key * (PAGE_BYTES // 2))
    cursor, found = ask(stored, b"FLIN.RANGE", b"", b"")
    assert (cursor, [*found][::2]) == (b"b\0", [b"a", b"b"])


def test_long_strings_are_whole(stored: HandlerClient) -> None:
    """Those that are kept in chunks: at the beginning of a page, behind a pause, in both directions, in EXEC."""
    long = b"x" * 20_000 + b"y"
    for number in range(3000):
        ask(stored, b"SET", b"k%04d" % number, b"v")
    for key in (b"a", b"k1500", b"z"):
        ask(stored, b"SETRANGE", key, b"20000", b"y")
        ask(stored, b"SETRANGE", key, b"0", b"x" * 20_000)
    ask(stored, b"SETRANGE", b"zz", b"1500000", b"z")  # read in slices itself
    for options in ([], [b"REV"]):
        bounds: list[bytes] = [b"", b""]
        found: list[tuple[bytes, bytes]] = []
        while True:
            cursor, page = ask(stored, b"FLIN.RANGE", *bounds, b"LIMIT", b"5000", *options)
            found += zip(page[::2], page[1::2], strict=True)
            if cursor is None:
                break
            bounds[bool(options)] = cursor
        values = dict(found)
        assert [key for key, _ in found] == sorted(values, reverse=bool(options))
        assert (len(found), {values[key] for key in (b"a", b"k1500", b"z")}) == (3003, {long})
        assert values[b"zz"] == bytes(1_500_000) + b"z"


def test_a_long_string_that_changes_during_a_page_is_not_in_it(stored: HandlerClient) -> None:
    """Its chunks are those of now: so the page ends before it, and the next one begins with it."""
    ask(stored, b"MSET", *(word for number in range(3000) for word in (b"k%04d" % number, b"v")))
    ask(stored, b"SETRANGE", b"z", b"20000", b"y")
    command = find(b"flin.range")
    assert command is not None
    slices = command.handler(stored.context, [b"FLIN.RANGE", b"", b"", b"LIMIT", b"5000"])
    next(slices)
    ask(stored.another(), b"SETRANGE", b"z", b"0", b"x")
    cursor, page = last_of(slices)
    assert (cursor, page[-2]) == (b"k2999\0", b"k2999")
    assert ask(stored, b"FLIN.RANGE", cursor, b"") == [None, [b"z", b"x" + bytes(19_999) + b"y"]]


def test_in_a_transaction_its_own_writes_are_seen(stored: HandlerClient) -> None:
    talk(stored, "MSET a 1 b 2")
    for line in ("MULTI", "SET c 3", "FLIN.DELRANGE b c", "FLIN.RANGE '' ''", "SET b 4", "FLIN.RANGE '' '' REV"):
        talk(stored, line)
    assert talk(stored, "EXEC") == [
        b"OK",
        b"OK",
        [None, [b"a", b"1", b"c", b"3"]],
        b"OK",
        [None, [b"c", b"3", b"b", b"4", b"a", b"1"]],
    ]


def test_delete_a_range(stored: HandlerClient) -> None:
    talk(stored, "MSET a 1 b 2 c 3")
    talk(stored, "RPUSH bb x y")
    assert [talk(stored, "GET b") for _ in range(3)] == [b"2"] * 3  # its reply is cached
    assert talk(stored, "FLIN.DELRANGE b c") == b"OK"
    assert talk(stored, "GET b") is None
    assert talk(stored, "FLIN.DELRANGE c b") == b"OK"
    assert talk(stored, "KEYS *") == [b"a", b"c"]
    assert talk(stored, "MGET a b c") == [b"1", None, b"3"]
    assert talk(stored, "LLEN bb") == 0
    talk(stored, "RPUSH bb z")
    assert talk(stored, "LRANGE bb 0 -1") == [b"z"]
    assert talk(stored, "FLIN.DELRANGE '' ''") == b"OK"
    assert talk(stored, "DBSIZE") == 0


def test_another_database_is_left_alone(stored: HandlerClient) -> None:
    talk(stored, "SET a 0")
    talk(stored, "SELECT 1")
    talk(stored, "MSET a 1 \xff 2")
    assert talk(stored, "FLIN.RANGE '' ''") == [None, [b"a", b"1", "\xff".encode(), b"2"]]
    talk(stored, "FLIN.DELRANGE '' ''")
    assert talk(stored, "DBSIZE") == 0
    talk(stored, "SELECT 0")
    assert talk(stored, "GET a") == b"0"


def test_who_watches_a_deleted_key_is_told(stored: HandlerClient) -> None:
    talk(stored, "MSET a 1 b 2")
    for deleted, expected in (("a b", [b"PONG"]), ("b c", None)):
        talk(stored, "WATCH b")
        talk(stored.another(), f"FLIN.DELRANGE {deleted}")
        talk(stored, "MULTI")
        talk(stored, "PING")
        assert talk(stored, "EXEC") == expected


@pytest.mark.parametrize(
    ("bounds", "may_read", "may_delete"),
    [
        ("user: user;", True, False),
        ("user:1 user:2", True, False),
        ("user:1 ''", False, False),
        ("'' ''", False, False),
        ("user user:5", False, False),
        ("own: own;", True, True),
        ("own: own:\xff", True, True),
        ("own: user;", False, False),
    ],
)
def test_rules_about_keys(client: HandlerClient, bounds: str, may_read: bool, may_delete: bool) -> None:
    """One pattern must be a prefix of the whole range."""
    talk(client.another(), "ACL SETUSER ada on nopass +@all %R~user:* ~own:* ~x?*")
    talk(client, "AUTH ada x")
    assert (talk(client, f"FLIN.RANGE {bounds}") != NO_RANGE) == may_read
    assert (talk(client, f"FLIN.DELRANGE {bounds}") != NO_RANGE) == may_delete


def test_beside_a_dict(stored: HandlerClient) -> None:
    """Random puts, deletes and range deletes; every range, in pages, in both directions."""
    chance = random.Random(7)
    model: dict[bytes, bytes] = {}

    def key() -> bytes:
        return bytes(chance.choices(b"a\xff\x00", k=chance.randrange(1, 4)))

    for _ in range(300):
        action, one, other = chance.randrange(4), key(), key()
        if action == 0:
            ask(stored, b"FLIN.DELRANGE", one, other)
            model = {k: v for k, v in model.items() if not one <= k < other}
        elif action == 1:
            ask(stored, b"DEL", one)
            model.pop(one, None)
        else:
            ask(stored, b"SET", one, other)
            model[one] = other
        start, stop = chance.choice([b"", key()]), chance.choice([b"", key()])
        expected = [k for k in sorted(model) if start <= k and (not stop or k < stop)]
        limit = b"%d" % chance.randrange(1, 5)
        for options in ([], [b"REV"]):
            bounds = [start, stop]
            found: list[tuple[bytes, bytes]] = []
            while True:
                cursor, page = ask(stored, b"FLIN.RANGE", *bounds, b"LIMIT", limit, *options)
                found += zip(page[::2], page[1::2], strict=True)
                if cursor is None:
                    break
                bounds[bool(options)] = cursor
            assert found == [(k, model[k]) for k in (expected[::-1] if options else expected)]
