"""Cached replies: bounded, kept while they are read, gone when discarded."""

from __future__ import annotations

from random import Random

from flin.net.data.reply_cache import (
    DOORKEEPER_SLOTS,
    FREED_PER_FILL,
    MAX_CACHED_BYTES,
    OVERHEAD_BYTES,
    ReplyCache,
)


def fill(hot: ReplyCache, key: bytes, value: bytes) -> None:
    """Offer it twice, or once if that is enough: one first miss in 256 is mistaken for a second."""
    hot.fill(key, value)
    if key not in hot.young:
        hot.fill(key, value)


def test_fill_find_discard() -> None:
    hot = ReplyCache(100_000)
    fill(hot, b"a", b"value")
    assert hot.young[b"a"] == b"$5\r\nvalue\r\n"
    hot.discard(b"a")
    assert hot.size() == 0
    assert hot.find_old(b"a") is None


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    hot = ReplyCache(40 * (OVERHEAD_BYTES + 8 + 6))
    for number in range(400):
        fill(hot, b"key:%04d" % number, b"")
        assert hot.young.get(b"key:0000") or hot.find_old(b"key:0000"), number
    assert hot.size() <= 42
    assert hot.approximate_bytes() <= 42 * (OVERHEAD_BYTES + 8 + 6)
    assert b"key:0001" not in hot.young
    assert b"key:0001" not in hot.old
    assert hot.evictions > 300


def test_an_old_reply_is_discarded_too() -> None:
    hot = ReplyCache(4 * (OVERHEAD_BYTES + 1 + 6))
    for name in (b"a", b"b", b"c", b"d", b"e"):
        fill(hot, name, b"")
    assert b"a" in hot.old
    hot.discard(b"a")
    assert hot.find_old(b"a") is None


def test_all_room_is_taken_and_what_is_counted_is_what_is_there() -> None:
    room = 1 << 17
    hot = ReplyCache(room)
    source = Random(11)
    for step in range(1000):
        keys = [b"%d" % int(source.paretovariate(0.3)) for _ in range(source.randrange(1, 40))]
        keys = [key for key in keys if len(key) < 8]
        missing = [key for key in keys if key not in hot.young and hot.find_old(key) is None]
        hot.fill_many(missing, [b"$%d\r\n" % len(key) + key * 9 for key in missing])  # some keys come twice
        if step % 7 == 0:
            hot.discard_many(keys[:5])
            hot.discard_many(keys[:5])
        if keys and step % 5 == 0:
            hot.discard(keys[-1])
            if hot.find_old(b"one") is None:
                fill(hot, b"one", b"")
                hot.fill(b"one", b"")
        assert hot.young.keys().isdisjoint(hot.old)
        assert hot._bytes == hot.approximate_bytes() <= room
    assert hot.evictions > 100
    assert hot.approximate_bytes() > room // 2
    hot.clear()
    assert hot._bytes == 0


def test_what_was_lent_is_given_back_as_others_are_filled() -> None:
    hot = ReplyCache(1 << 18)
    names = iter(range(1 << 30))

    def some() -> None:
        keys = [b"%d" % next(names) for _ in range(50)]
        hot.fill_many(keys, [b"$-1\r\n"] * 50)
        hot.fill_many(keys, [b"$-1\r\n"] * 50)

    while not hot.evictions:
        some()
    hot.lend(1 << 20)
    size = hot.size()
    some()
    assert size - 50 * FREED_PER_FILL <= hot.size() < size, "a few at a time"
    some()
    assert hot.approximate_bytes() <= 1 << 17


def test_large_values_and_no_capacity() -> None:
    hot = ReplyCache(1 << 20)
    fill(hot, b"large", b"x" * (MAX_CACHED_BYTES + 1))
    assert hot.size() == 0
    off = ReplyCache(0)
    fill(off, b"a", b"b")
    assert off.size() == 0
    fill(hot, b"a", b"b")
    assert hot.size() == 1
    hot.clear()
    assert hot.size() == hot.approximate_bytes() == 0


def test_a_key_is_admitted_at_its_second_miss() -> None:
    once = ReplyCache(1 << 20)
    first = 0
    while not once.evictions:
        once.fill(b"first %d" % first, b"")
        first += 1
    assert once.size() == first - 1, "at the first, as long as nothing had to go"
    count = DOORKEEPER_SLOTS // 2
    for number in range(count):
        once.fill(b"%d" % number, b"")
    assert once.evictions < count // 64, "hardly any that was asked for once"
    fill(once, b"d", b"")
    assert b"d" in once.young


def test_many_at_once_are_filled_as_one_by_one() -> None:
    once, each = ReplyCache(1 << 18), ReplyCache(1 << 18)
    source = Random(7)
    for _ in range(300):
        asked = [b"%d" % source.randrange(3000) for _ in range(source.randrange(1, 60))]
        keys = [key for key in dict.fromkeys(asked) if key not in once.young and once.find_old(key) is None]
        once.fill_many(keys, [b"$8\r\n%b\r\n" % key.zfill(8) for key in keys])
        for key in dict.fromkeys(asked):
            if key not in each.young and each.find_old(key) is None:
                each.fill(key, key.zfill(8))
        assert once.approximate_bytes() <= (1 << 18) + 60 * (OVERHEAD_BYTES + 18), "it turns behind a batch"
    assert once.evictions > 100
    assert abs(once.size() - each.size()) < 400
    off = ReplyCache(0)
    off.fill_many([b"a"], [b"$-1\r\n"])
    assert off.size() == 0


def test_many_old_ones_are_found_as_one_by_one() -> None:
    one, many = (ReplyCache(30 * (OVERHEAD_BYTES + 7)) for _ in range(2))
    for hot in (one, many):
        hot.fill_many([b"%02d" % number for number in range(31)], [b"$-1\r\n"] * 31)
        assert len(hot.old) == 30
    asked = [b"07", b"xx", b"08", b"07", b"29", b"00"]
    found: list[bytes | None] = [None] * 6
    assert many.find_old_many(range(5), asked, found) == [1, 3], "it has moved to young by the second time"
    assert found == [b"$-1\r\n", None, b"$-1\r\n", None, b"$-1\r\n", None]
    assert [one.find_old(key) for key in (b"07", b"xx", b"08", b"29")] == [found[0], None, found[2], found[4]]
    assert (many.young, many.old) == (one.young, one.old)


def test_a_first_miss_before_the_turn_counts_no_more() -> None:
    hot = ReplyCache(40 * (OVERHEAD_BYTES + 8))
    while not hot.evictions:
        hot.fill(b"first %d" % hot.size(), b"")
    # Hashes differ in each process: not one of those keys whose byte is that of an unused slot, 0.
    key = next(key for key in (b"a", b"b", b"c", b"d", b"e", b"f") if hash(key) >> 16 & 0xFF)
    hot.fill(key, b"")
    number = 0
    while hot.old:
        fill(hot, b"%d" % number, b"")
        number += 1
    fill(hot, b"last", b"")
    hot.fill(key, b"")
    assert key not in hot.young
    hot.fill(key, b"")
    assert key in hot.young
