"""Errors are counted by their first words."""

from __future__ import annotations

from flin.net.client.counters import COUNTED_PREFIXES, PREFIX_CHARACTERS, Counters


def test_prefixes_are_short_words() -> None:
    """A script makes errors of any text: none fills the memory, or another line of INFO."""
    counters = Counters()
    longest = "y" * (PREFIX_CHARACTERS - 1)
    texts = "ERR a b", "WORD", "MY\r\nused_memory:0 x", "MY\nx", "y" * 1000 + " z", f"{longest} z", f"y{longest} z"
    for text in texts:
        counters.count_error(text)
    assert counters.errors == {"ERR": 4, "MY": 2, longest: 1}
    counters.uncount_error("MY\r\nother")
    assert counters.errors["MY"] == 1
    for number in range(2 * COUNTED_PREFIXES):
        counters.count_error(f"E{number} x")
    assert len(counters.errors) == COUNTED_PREFIXES
