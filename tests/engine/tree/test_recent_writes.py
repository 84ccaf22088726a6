"""The notes of recent writes, beside a list of all of them."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import Entry
from flin.engine.tree.recent_writes import NOTE_BYTES, Begun, Change, RecentWrites

KEYS = [b"a", b"b", b"c", b"d"]
keys = st.sampled_from(KEYS)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("note"), keys),
        st.tuples(st.just("commit"), st.lists(keys, max_size=3, unique=True), st.booleans()),
        st.tuples(st.just("begin")),
        st.tuples(st.just("end"), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(steps, st.sampled_from([4, 10, 1000]))
def test_what_was_written_since(taken: list[tuple[Any, ...]], room: int) -> None:
    recent = RecentWrites(room * NOTE_BYTES)
    written: list[Change] = []
    running: list[tuple[Begun, int]] = []
    for name, *arguments in taken:
        if name == "note":
            assert recent.note(arguments[0]) is bool(running)
            written += arguments if running else []
        elif name == "commit":
            some, with_range = arguments
            ranges = [(b"b", b"d")] if with_range else []
            assert recent.note_commit(some, ranges) is bool(running)
            written += [*ranges, *some] if running else []
        elif name == "begin":
            running.append((recent.begin(0), len(written)))
        elif running:
            recent.end(running.pop(arguments[0] % len(running))[0])
        assert recent.is_needed == bool(running)
        for begun, place in running:
            since = written[place:]
            if recent.since(begun.sequence) is None:
                assert len(since) > room // 4, "few writes, but they are forgotten"
                assert all(recent.written_since(key, begun.sequence) for key in KEYS)
                continue
            assert recent.since(begun.sequence) == since
            for key in KEYS:
                expected = any(key == c if isinstance(c, bytes) else c[0] <= key < c[1] for c in since)
                assert recent.written_since(key, begun.sequence) is expected
        assert len(recent._young.log) + len(recent._old.log) <= 2 * (room + 4), "both halves have a bound"


def test_the_bound_holds_with_long_keys() -> None:
    recent = RecentWrites(1 << 20)
    begun = recent.begin(0)
    for number in range(300):
        recent.note(b"%d" % number * 10_000)
        held = {id(half): half for half in (recent._young, recent._old)}.values()
        assert sum(sum(map(len, half.last)) for half in held) < (1 << 20) + 20_000, "and one key each"
    assert recent.forgotten > begun.sequence


def test_one_that_is_gone_is_noticed_when_the_halves_take_turns() -> None:
    recent = RecentWrites(8 * NOTE_BYTES)
    recent.begin(0)
    gc.collect()
    assert recent.is_needed
    for _ in range(9):
        recent.note(b"a")
    assert not recent.is_needed


@pytest.mark.parametrize(("clocks", "expected"), [((), 9), ((5, 3), 3), ((12,), 9)])
def test_the_oldest_clock(clocks: tuple[int, ...], expected: int) -> None:
    recent = RecentWrites(1000)
    held = [recent.begin(now_ms) for now_ms in clocks]
    assert recent.oldest_ms(9) == expected
    assert held or recent.oldest_ms(9) == 9


def test_a_sweep_is_seen_by_those_who_began_before_it_was_due() -> None:
    recent = RecentWrites(1000)
    begun = recent.begin(10)
    entries: list[tuple[bytes, Entry | None]] = [
        (b"a", (b"", 10, 0)),
        (b"b", (b"", 11, 0)),
        (b"c", (b"", -(2**63), 0)),
        (b"d", b"plain"),
        (b"e", None),
    ]
    assert recent.seen_by_open(entries) == [b"b", b"d", b"e"]
    recent.end(begun)
