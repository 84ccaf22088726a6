"""Strings that are changed in parts, over a real engine, against plain bytes: small, whole and in chunks.

The machine is that of test_live_objects.py, with its hashes and sets among them.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from flin.errors import CommandError
from flin.net.data import text as text_module
from flin.net.data.keyspace import Keyspace
from flin.net.data.text import part_of, parts_of, text_at, write_parts
from flin.objects import limits, long_string, misplaced
from flin.objects.layout import LONG_STRING
from flin.objects.long_string import LongString
from flin.objects.owners import Owners
from flin.testing.run import EngineSetup
from tests.figures import Figures
from tests.net.data import test_live_objects
from tests.net.data.collections_run import Collection, CollectionsChecker, crash_collections
from tests.net.data.seeded_bug import Bug, check_caught
from tests.net.data.test_live_objects import databases, keys

parts = st.binary(max_size=6) | st.sampled_from([b"\0", bytes(9), b"\xff" * 14])
offsets = st.integers(0, 30)


class Machine(test_live_objects.Machine):
    @rule(
        database=databases,
        key=keys,
        edits=st.lists(st.tuples(offsets, parts), max_size=3),
        more=st.sampled_from([0, 3]),
    )
    def write(self, database: int, key: bytes, edits: list[tuple[int, bytes]], more: int) -> None:
        """As SETBIT, SETRANGE and BITFIELD do."""
        keyspace = self.keyspace(database)
        held = self.model[database].get(key, b"")
        if isinstance(held, Collection):
            if held.tag == LONG_STRING:  # it is changed by its kind
                return
            with pytest.raises(CommandError, match="WRONGTYPE"):
                text_at(keyspace, key)
            return
        text, expires_at_ms = text_at(keyspace, key)
        length = max((offset + len(part) for offset, part in edits), default=0) + more
        changed = bytearray(held.ljust(length, b"\0"))
        for offset, part in edits:
            changed[offset : offset + len(part)] = part
        assert write_parts(keyspace, key, text, expires_at_ms, edits, length) == len(changed)
        self.model[database][key] = bytes(changed)

    def is_refused(self, database: int, key: bytes, tag: int) -> None:
        if tag != LONG_STRING:  # a string that has changed is one, too
            super().is_refused(database, key, tag)

    @rule(database=databases, key=keys, part=parts)
    def append(self, database: int, key: bytes, part: bytes) -> None:
        held = self.model[database].get(key, b"")
        if isinstance(held, bytes) and len(held) < 60:
            self.write(database, key, [(len(held), part)], 0)

    @rule(database=databases, key=keys)
    def settle(self, database: int, key: bytes) -> None:
        self.keyspace(database).objects.settle_key(key)

    @rule(database=databases, key=keys, begin=st.integers(0, 40), size=st.integers(0, 30))
    def read(self, database: int, key: bytes, begin: int, size: int) -> None:
        held = self.model[database].get(key)
        if isinstance(held, bytes):
            text, _ = text_at(self.keyspace(database), key)
            assert text is not None
            assert part_of(text, begin, begin + size) == held[begin : begin + size]
            end = min(begin + size, len(held))
            if begin < end:
                laid = bytearray(end - begin)
                at = begin
                for start, part in parts_of(text, begin, end):
                    assert at <= start, "they come in order, and none twice"
                    laid[start - begin : start - begin + len(part)] = part
                    at = start + len(part)
                assert laid == held[begin:end]

    @invariant()
    def strings_are_kept_as_the_rules_say(self) -> None:
        """A short one is an object only while it is dirty, a long one in chunks."""
        for number in range(2):
            objects = self.keyspace(number).objects
            for kept in (objects.live, objects.old):
                for found in kept.values():
                    if isinstance(found, LongString):
                        assert found.is_dirty or found.meta is not None
                        assert found.meta is not None or len(found) <= long_string.MAX_WHOLE_BYTES


def small_limits(patch: pytest.MonkeyPatch) -> None:
    """A string of more than two bytes becomes an object, of more than eight chunks of four."""
    patch.setattr(text_module, "MAX_PLAIN_BYTES", 2)
    patch.setattr(long_string, "MAX_WHOLE_BYTES", 8)
    patch.setattr(long_string, "CHUNK_BYTES", 4)
    patch.setattr(misplaced, "CHUNK_BYTES", 4)
    patch.setattr(long_string, "_SINGLE", 2)
    patch.setattr(limits, "PAGE", 3)


def run(examples: int) -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))


def test_strings_over_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    small_limits(monkeypatch)
    run(30)


@pytest.mark.slow
def test_many_strings_over_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    small_limits(monkeypatch)
    run(400)


@pytest.fixture
def keyspace() -> Keyspace:
    machine = Machine()
    return machine.keyspace(0)


def written(keyspace: Keyspace, key: bytes, offset: int, part: bytes) -> int:
    text, expires_at_ms = text_at(keyspace, key)
    return write_parts(keyspace, key, text, expires_at_ms, [(offset, part)], offset + len(part))


def test_a_short_one_is_put_as_it_is(keyspace: Keyspace) -> None:
    written(keyspace, b"k", 1000, b"x" * 24)
    assert keyspace.entry(b"k") == bytes(1000) + b"x" * 24
    assert not keyspace.live


def test_one_of_some_length_settles_as_a_plain_string_and_goes(keyspace: Keyspace) -> None:
    written(keyspace, b"k", 0, b"x" * 1025)
    assert keyspace.entry(b"k") == (b"", 0, LONG_STRING)
    written(keyspace, b"k", 16383, b"y")
    keyspace._pending.commit()
    assert keyspace.entry(b"k") == (b"x" * 1025).ljust(16383, b"\0") + b"y"
    assert not len(keyspace.objects)


def test_a_bit_far_away_writes_one_chunk(keyspace: Keyspace) -> None:
    points = keyspace._pending.points
    written(keyspace, b"k", (1 << 29) - 1, b"\1")
    values = [entry[0] if type(entry) is tuple else entry for entry in points.values()]
    assert sum(len(value) for value in values if isinstance(value, bytes)) < 1100
    keyspace._pending.commit()
    written(keyspace, b"k", 1 << 20, b"\1")
    assert sorted(map(len, points)) == [1, 18], "its own entry and one chunk"
    text, _ = text_at(keyspace, b"k")
    assert text is not None
    assert len(text) == 1 << 29
    assert [(start, len(part)) for start, part in parts_of(text, 0, len(text))] == [
        (1 << 20, 1),
        ((1 << 29) - 1024, 1024),
    ]


def test_zeros_are_written_nowhere(keyspace: Keyspace) -> None:
    written(keyspace, b"k", 1 << 20, bytes(5000))
    text, _ = text_at(keyspace, b"k")
    assert isinstance(text, LongString)
    assert text.meta is not None
    assert (text.meta.count, len(text)) == (0, (1 << 20) + 5000)
    assert text.between(0, 2000) == bytes(2000)


def test_long_strings_after_power_cuts(figures: Figures) -> None:
    """test_power_cuts.py draws them among others; here every run has them."""
    checker = CollectionsChecker(EngineSetup("interval"), limit=2, second_every=8)
    crash_collections(checker, range(3), steps=60, crash_points=6, tags=(LONG_STRING,))
    figures.checked(checker)
    assert checker.states > 30


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["always", "interval", "never"])
def test_many_long_strings_after_power_cuts(sync: str, figures: Figures) -> None:
    checker = CollectionsChecker(EngineSetup(sync), limit=3, second_every=8)
    crash_collections(checker, range(100, 104), steps=100, crash_points=10, tags=(LONG_STRING,))
    figures.checked(checker)
    assert checker.states > 80


# The tests are tested: each of these bugs, switched on alone, is caught.


def chunk_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    """a meta counts the chunks that there are"""

    def put(self: LongString, *rest: Any) -> None:
        assert self.meta is not None
        before = self.meta.count
        original(self, *rest)
        self.meta.count = before

    original = LongString._put
    patch.setattr(LongString, "_put", put)


def chunk_is_not_read(patch: pytest.MonkeyPatch) -> None:
    """a chunk that changes keeps what is around the change"""
    patch.setattr(LongString, "_under", lambda self, edit: iter(()))


def old_chunks_are_read_late(patch: pytest.MonkeyPatch) -> None:
    """the chunks of a string that becomes spread are known to the change that makes it so"""

    def spread(self: LongString, text: bytearray) -> dict[int, bytes]:
        original(self, text)
        return {}

    original = LongString._spread
    patch.setattr(LongString, "_spread", spread)


def short_one_stays_live(patch: pytest.MonkeyPatch) -> None:
    """a short string has no object behind its commit, which a SET might miss"""
    patch.setattr(LongString, "outlives_commit", True)


def hunt() -> None:
    """The machine's steps, in an order that a seed repeats."""
    for seed in range(4):
        random, machine = Random(seed), Machine()
        for _ in range(60):
            key = random.choice([b"a", b"b"])
            edit = random.choice([0, 3, 7, 9, 20]), random.choice([b"x", b"\0", b"yy" * 9])
            step = random.choice([machine.write, machine.write, machine.set_string, machine.commit, machine.append])
            if step == machine.write:
                machine.write(0, key, [edit], 0)
            elif step == machine.append:
                machine.append(0, key, edit[1])
            elif step == machine.set_string:
                machine.set_string(0, key)
            else:
                machine.commit()
            machine.every_key_is_what_the_model_says()
            machine.strings_are_kept_as_the_rules_say()
        machine.pending.commit()
        assert not Owners().check(machine.store.freeze().pages())
        machine.engine.close()


def test_the_code_itself_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    small_limits(monkeypatch)
    hunt()


BUGS = [chunk_is_not_counted, chunk_is_not_read, old_chunks_are_read_late, short_one_stays_live]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_seeded_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    small_limits(monkeypatch)
    check_caught(bug, hunt, monkeypatch)


def test_a_change_keeps_the_expiry(keyspace: Keyspace) -> None:
    now_ms = keyspace.now_ms
    for number, size in enumerate((10, 2000, 20_000)):
        key = b"%d" % number
        keyspace.put(key, (b"x" * size, now_ms + 1000, 0))
        for _ in range(2):
            written(keyspace, key, 0, b"y")
            assert keyspace.expires_at_ms(key) == now_ms + 1000
            keyspace._pending.commit()
            assert keyspace.expires_at_ms(key) == now_ms + 1000
        assert keyspace.value(key) == b"y".ljust(size, b"x")
