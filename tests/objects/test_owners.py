"""What a check says of collections that do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

import flin.engine
from flin.engine.engine import Engine, store_of
from flin.engine.entry import EXPIRED_MS, TOMBSTONE, Entry, make_entry
from flin.engine.slot import slot_of
from flin.objects.layout import (
    HASH,
    LIST,
    LONG_STRING,
    SORTED_SET,
    STREAM,
    Pending,
    anchor_key,
    chunk_suffix,
    consumers_of,
    elements_prefix,
    encode_consumer,
    encode_pending,
    in_order_suffix,
    pending_of,
)
from flin.objects.list_position import position
from flin.objects.meta import ListMeta, LongStringMeta, Meta, SortedSetMeta, StreamMeta
from flin.objects.owners import Owners
from flin.objects.score import encode_score
from tests.test_cli import Capture
from tests.test_cli import run as run_command

Entries = dict[bytes, Entry]
SLOT = slot_of(b"k")
PREFIX = elements_prefix(0, SLOT, 7)
ANCHOR = anchor_key(0, SLOT, 7)


def whole() -> Entries:
    """A hash of three fields."""
    entries: Entries = {PREFIX + b"%d" % number: b"v" for number in range(3)}
    return {b"k": make_entry(Meta(SLOT, 7, 3).encode(), 0, HASH), ANCHOR: b"k"} | entries


def problems(entries: Entries, *, dead: int = 0) -> list[str]:
    owners = Owners()
    keys = sorted(entries)
    found = owners.check([([key], [entries[key]]) for key in keys])
    assert owners.dead == dead
    return found


def test_a_whole_collection() -> None:
    assert problems(whole()) == []
    assert problems(whole() | {b"packed": make_entry(b"\0a\xffb", 0, HASH), b"string": b"v", b"gone": TOMBSTONE}) == []


def test_an_expired_owner_owns() -> None:
    assert problems(whole() | {b"k": make_entry(Meta(SLOT, 7, 3).encode(), 1, HASH)}) == []


@pytest.mark.parametrize(
    "own", [TOMBSTONE, b"string", (b"", EXPIRED_MS, HASH), make_entry(Meta(SLOT, 8, 1).encode(), 0, HASH)]
)
def test_a_dead_collection_is_no_problem(own: Entry) -> None:
    newer: Entries = {anchor_key(0, SLOT, 8): b"k", elements_prefix(0, SLOT, 8) + b"f": b"v"}
    entries = whole() | {b"k": own}
    assert problems(entries | newer if type(own) is tuple and own[0] else entries, dead=1) == []


MEMBER = PREFIX + b"mx"
IN_ORDER = PREFIX + in_order_suffix(encode_score(1.0), b"x")
SET_OF_SCORES: Entries = {
    b"k": make_entry(SortedSetMeta(SLOT, 7, 1).encode(), 0, SORTED_SET),
    ANCHOR: b"k",
    MEMBER: encode_score(1.0),
    IN_ORDER: b"",
}
STREAM_OF_ONE: Entries = {
    b"k": make_entry(StreamMeta(SLOT, 7, 1, last_id=bytes(15) + b"\1", groups=1).encode(), 0, STREAM),
    ANCHOR: b"k",
    PREFIX + b"e" + bytes(15) + b"\1": b"",
    PREFIX + b"gone": bytes(24),
}


def test_types_of_several_kinds_of_pieces() -> None:
    assert problems(SET_OF_SCORES) == []
    assert problems(STREAM_OF_ONE) == []


AT = f"version 7 of slot {SLOT} in database 0"
DAMAGED: dict[str, tuple[Entries, str]] = {
    "no anchor": (whole() | {ANCHOR: TOMBSTONE}, f"b'k' has no anchor for {AT}: nobody would ever delete its pieces"),
    "neither anchor nor owner": (
        whole() | {ANCHOR: TOMBSTONE, b"k": TOMBSTONE},
        f"3 pieces of {AT} have no anchor: nobody would ever delete them",
    ),
    "a wrong anchor": (
        whole() | {ANCHOR: b"other"},
        f"the anchor of {AT} names b'other', but b'k' owns it: the reaper would delete it",
    ),
    "a piece too few": (whole() | {PREFIX + b"1": TOMBSTONE}, f"the hash b'k' says 3 pieces and has 2, {AT}"),
    "a piece too many": (whole() | {PREFIX + b"": b""}, f"the hash b'k' says 3 pieces and has 4, {AT}"),
    "a shared version": (
        whole() | {b"l": make_entry(Meta(SLOT, 7, 3).encode(), 0, HASH)},
        f"the keys b'k' and b'l' name the same pieces, {AT}",
    ),
    "a placeholder": (whole() | {b"p": make_entry(b"", 0, HASH)}, "the key b'p' of database 0 has no value"),
    "a piece with a tag": (whole() | {PREFIX + b"1": make_entry(b"v", 0, LIST)}, f"a piece of {AT} has a tag"),
    "a member without its place in the order": (
        SET_OF_SCORES | {IN_ORDER: TOMBSTONE},
        f"the sorted set b'k' says 1 pieces of kind s and has 0, {AT}",
    ),
    "a group too few": (
        STREAM_OF_ONE | {PREFIX + b"gone": TOMBSTONE},
        f"the stream b'k' says 1 pieces of kind g and has 0, {AT}",
    ),
}
LIST_OF_TWO: Entries = {
    b"k": make_entry(ListMeta(SLOT, 7, 2, 10, 12, True).encode(), 0, LIST),
    ANCHOR: b"k",
    PREFIX + position(10): b"a",
    PREFIX + position(11): b"b",
}
STRING: Entries = {
    b"k": make_entry(LongStringMeta(SLOT, 7, 1, 2000).encode(), 0, LONG_STRING),
    ANCHOR: b"k",
    PREFIX + chunk_suffix(1): bytes(976),
}
ORDERED: Entries = SET_OF_SCORES | {
    b"k": make_entry(SortedSetMeta(SLOT, 7, 1, encode_score(1.0), encode_score(1.0) + b"x").encode(), 0, SORTED_SET)
}
DELIVERED: Entries = STREAM_OF_ONE | {
    PREFIX + consumers_of(b"one") + b"c": encode_consumer(5),
    PREFIX + pending_of(b"one") + bytes(15) + b"\1": encode_pending(Pending(1, 1, b"c")),
}


@pytest.mark.parametrize("entries", [LIST_OF_TWO, STRING, ORDERED, DELIVERED])
def test_pieces_in_their_places(entries: Entries) -> None:
    assert problems(entries) == []


DAMAGED |= {
    "an element behind the tail": (
        LIST_OF_TWO | {PREFIX + position(11): TOMBSTONE, PREFIX + position(12): b"b"},
        "the list b'k' has 1 pieces outside of its head and tail",
    ),
    "an element before the head": (
        LIST_OF_TWO | {PREFIX + position(10): TOMBSTONE, PREFIX + position(9, b"x"): b"b"},
        "the list b'k' has 1 pieces outside of its head and tail",
    ),
    "a chunk that is too long": (
        STRING | {PREFIX + chunk_suffix(1): bytes(977)},
        "the long string b'k' has 1 pieces beyond its length",
    ),
    "a chunk behind the end": (
        STRING | {PREFIX + chunk_suffix(1): TOMBSTONE, PREFIX + chunk_suffix(2): b"x"},
        "the long string b'k' has 1 pieces beyond its length",
    ),
    "another score": (
        ORDERED | {MEMBER: encode_score(2.0)},
        "the sorted set b'k' has members whose scores are not those of their places in order",
    ),
    "another member": (
        ORDERED | {IN_ORDER: TOMBSTONE, PREFIX + in_order_suffix(encode_score(1.0), b"w"): b""},
        "the sorted set b'k' has members whose scores are not those of their places in order",
    ),
    "a place above the ceiling": (
        ORDERED
        | {
            MEMBER: encode_score(2.0),
            IN_ORDER: TOMBSTONE,
            PREFIX + in_order_suffix(encode_score(2.0), b"x"): b"",
        },
        "the sorted set b'k' has 1 pieces outside of its floor and ceiling",
    ),
    "an entry above the last id": (
        STREAM_OF_ONE | {PREFIX + b"e" + bytes(15) + b"\1": TOMBSTONE, PREFIX + b"e" + bytes(15) + b"\2": b""},
        "the stream b'k' has 1 pieces outside of its floor and last id",
    ),
    "pending for nobody": (
        DELIVERED | {PREFIX + consumers_of(b"one") + b"c": TOMBSTONE},
        "the stream b'k' has 1 pieces pending for a consumer that is not there",
    ),
    "a consumer of no group": (
        DELIVERED | {PREFIX + consumers_of(b"two") + b"c": encode_consumer(5)},
        "the stream b'k' has 1 consumers of groups that are not there",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_collections_are_named(damage: str) -> None:
    entries, text = DAMAGED[damage]
    [found] = problems(entries)
    assert found.startswith(text)


def test_a_suffix_that_no_type_has() -> None:
    found = problems(SET_OF_SCORES | {PREFIX + b"s": b""})
    assert any("is not s, a score and a member" in text for text in found)


def written(path: Path, entries: Entries) -> Engine:
    engine = flin.engine.open(str(path), runner="inline")
    store_of(engine).commit(entries)
    return engine


def test_verify_names_a_piece_without_an_owner(tmp_path: Path) -> None:
    entries = whole() | {ANCHOR: TOMBSTONE, b"k": TOMBSTONE}
    with written(tmp_path, entries) as engine:
        [problem] = engine.verify()
        assert str(problem).endswith(f"3 pieces of {AT} have no anchor: nobody would ever delete them")
        store_of(engine).commit({ANCHOR: b"k"})
        assert engine.verify() == []


def test_flin_check_names_them_and_counts_the_dead(tmp_path: Path, capsys: Capture) -> None:
    written(tmp_path, whole() | {b"k": b"string"}).close()
    told = f"{tmp_path}: 1 keys, all well; the next server removes what is left of 1 deleted collection\n"
    assert run_command(capsys, "check", tmp_path) == (0, told, "")
    written(tmp_path, {ANCHOR: TOMBSTONE}).close()
    code, output, _ = run_command(capsys, "check", tmp_path)
    assert code == 1
    assert f"3 pieces of {AT} have no anchor" in output
