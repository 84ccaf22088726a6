"""The tests of streams are tested: each of these bugs, switched on alone, is caught (see test_seeded_bugs.py)."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import pytest

from flin.net.data.object_host import ObjectHost
from flin.objects.layout import GROUP, Pending
from flin.objects.live_object import LiveObject
from flin.objects.stream import Cut, Stream
from flin.objects.stream_group import Consumer, Group
from flin.objects.stream_id import MAX_ID, next_id
from flin.objects.stream_tail import Tail
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import EngineSetup
from tests.figures import CAUGHT, Figures
from tests.net.data.collections_run import Served, small_limits
from tests.net.data.seeded_bug import Bug, Patch, check_caught
from tests.objects.kinds.stream_kind import StreamKind


def reloads() -> None:
    """Random changes of a stream against its plain model; every few changes it is committed and read anew."""
    kind = StreamKind()
    with small_limits():
        for seed in range(12):
            random = Random(seed)
            served = Served(EngineSetup().open(SimulatedDisk(), ManualClock(), seed))
            objects, plain = served.keyspace(0).objects, kind.empty()
            for _ in range(60):
                change = kind.grow if random.random() < 0.5 or not plain.added else kind.change
                change(objects.find_or_make(b"key", Stream), plain, random)
                if random.random() < 0.3:
                    served.pending.commit()
                    served.databases.forget_objects()
                found = objects.find(b"key", Stream)
                assert found is not None
                kind.compare(found, plain)
                assert kind.read_all(found) == plain
            served.pending.commit()
            served.check_owners(is_reaped=False)
            served.engine.close()


def floor_too_high(patch: Patch) -> None:
    """no entry is below the floor"""

    def trim(self: Stream, cut: Cut) -> None:
        original(self, cut)
        self.floor = next_id(self.floor)

    original = Stream.trim
    patch.setattr(Stream, "trim", trim)


def first_ids_stay(patch: Patch) -> None:
    """the ids that were read ahead are those of the first entries"""

    def trim(self: Stream, cut: Cut) -> None:
        before = self._first
        self._first = []
        original(self, cut)
        self._first = before

    original = Stream.trim
    patch.setattr(Stream, "trim", trim)


def tail_keeps_deleted_entries(patch: Patch) -> None:
    """what is deleted leaves memory, too"""
    patch.setattr(Tail, "remove", lambda *_: None)


def tail_keeps_what_a_range_has_taken(patch: Patch) -> None:
    """what is trimmed leaves memory, too"""
    patch.setattr(Tail, "remove_to", lambda *_: None)


def range_ends_too_early(patch: Patch) -> None:
    """the last entry that is trimmed goes, too"""

    def delete_pieces(self: ObjectHost, start: bytes, stop: bytes) -> None:
        original(self, start, stop[:-1])  # without the zero byte the stop is the last one's own key

    original = ObjectHost.delete_pieces
    patch.setattr(ObjectHost, "delete_pieces", delete_pieces)


def meta_is_not_brought_up_to_date(patch: Patch) -> None:
    """the meta that is written has the last id and the counts"""
    patch.setattr(Stream, "encode", LiveObject.encode)


def acknowledged_entries_stay_on_disk(patch: Patch) -> None:
    """an acknowledged entry is not pending after a restart"""

    class Deaf:
        def delete_piece(self, _: bytes) -> None:
            pass

    def acknowledge(self: Group, found: dict[bytes, Pending]) -> int:
        host, self._host = self._host, Deaf()  # type: ignore[misc, assignment]
        try:
            return original(self, found)
        finally:
            self._host = host  # type: ignore[misc]

    original = Group.acknowledge
    patch.setattr(Group, "acknowledge", acknowledge)


def destroyed_group_leaves_consumers(patch: Patch) -> None:
    """a new group of the same name has no consumers"""

    def delete(self: Group) -> None:
        self._host.delete_piece(self._prefix + GROUP + self.name)

    patch.setattr(Group, "delete", delete)


def group_is_not_counted(patch: Patch) -> None:
    """a stream whose meta counts no groups reads none"""

    def create(self: Stream, *rest: Any) -> None:
        original(self, *rest)
        assert self.meta is not None
        self.meta.groups -= 1

    original = Stream.create_group
    patch.setattr(Stream, "create_group", create)


def acknowledged_entries_stay_counted(patch: Patch) -> None:
    """what is acknowledged among the counted entries is taken from the count"""
    patch.setattr(Group, "_uncount", lambda *_: None)


def claimed_entry_below_the_consumers_bounds(patch: Patch) -> None:
    """a consumer's bounds are widened by what it is given"""

    def has(self: Consumer, id_: bytes) -> None:
        if self.first > MAX_ID:
            original(self, id_)

    original = Consumer.has
    patch.setattr(Consumer, "has", has)


def delivered_below_the_groups_floor(patch: Patch) -> None:
    """what is delivered again lowers the group's floor"""

    def set_pending(self: Group, *rest: Any) -> None:
        floor = self._floor
        original(self, *rest)
        self._floor = floor if floor <= MAX_ID else self._floor

    original = Group.set_pending
    patch.setattr(Group, "set_pending", set_pending)


BUGS: Final[list[Bug]] = [
    floor_too_high,
    first_ids_stay,
    tail_keeps_deleted_entries,
    tail_keeps_what_a_range_has_taken,
    range_ends_too_early,
    meta_is_not_brought_up_to_date,
    acknowledged_entries_stay_on_disk,
    destroyed_group_leaves_consumers,
    group_is_not_counted,
    acknowledged_entries_stay_counted,
    claimed_entry_below_the_consumers_bounds,
    delivered_below_the_groups_floor,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_seeded_bug_is_caught(bug: Bug, monkeypatch: Patch, figures: Figures) -> None:
    check_caught(bug, reloads, monkeypatch)
    figures.add(CAUGHT, 1)


def test_the_code_itself_is_not_caught() -> None:
    reloads()
