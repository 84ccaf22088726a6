"""Which objects the load on a cluster writes."""

from __future__ import annotations

from collections import Counter

from flin.testing.cluster.history import Call, Outcome
from flin.testing.cluster.load import MAX_UNKNOWN, Objects
from flin.testing.cluster.nodes import group_of, slot_of


def test_each_group_has_objects_throughout() -> None:
    """One without any seems to answer nobody: a gap that is none."""
    objects = Objects("load", 18, seed=1, groups=6)
    first = objects.now
    for name in objects.now * 2:
        for _ in range(MAX_UNKNOWN):
            objects.note(Call("it", name, (("INCR", name),), 0, 1, Outcome.UNKNOWN))
        assert Counter(group_of(slot_of(each), 6) for each in objects.now) == dict.fromkeys(range(6), 3)
    assert not {*first} & {*objects.now}
