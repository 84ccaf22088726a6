"""Ready replies: bounded, kept while asked for, gone when discarded."""

from __future__ import annotations

from flin.net.hot_keys import LARGEST_VALUE_BYTES, OVERHEAD_BYTES, HotKeys


def test_fill_find_discard() -> None:
    hot = HotKeys(100_000)
    hot.fill(b"a", b"value")
    assert hot.young[b"a"].data == b"$5\r\nvalue\r\n"
    hot.discard(b"a")
    assert hot.size() == 0
    assert hot.find_old(b"a") is None
    assert hot.misses == 1


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    hot = HotKeys(40 * (OVERHEAD_BYTES + 8))
    for number in range(400):
        hot.fill(b"key:%04d" % number, b"")
        assert hot.young.get(b"key:0000") or hot.find_old(b"key:0000"), number
    assert hot.size() <= 42
    assert hot.approximate_bytes() <= 42 * (OVERHEAD_BYTES + 8 + 6)
    assert b"key:0001" not in hot.young
    assert b"key:0001" not in hot.old
    assert hot.evictions > 300


def test_an_old_reply_is_discarded_too() -> None:
    hot = HotKeys(4 * (OVERHEAD_BYTES + 1))
    for name in (b"a", b"b", b"c"):
        hot.fill(name, b"")
    assert b"a" in hot.old
    hot.discard(b"a")
    assert hot.find_old(b"a") is None


def test_large_values_and_no_capacity() -> None:
    hot = HotKeys(1 << 20)
    hot.fill(b"large", b"x" * (LARGEST_VALUE_BYTES + 1))
    assert hot.size() == 0
    off = HotKeys(0)
    off.fill(b"a", b"b")
    assert off.size() == 0
    hot.fill(b"a", b"b")
    hot.clear()
    assert hot.size() == hot.approximate_bytes() == 0
