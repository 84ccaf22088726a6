"""What readers in other programs and those who watch rely on."""

from __future__ import annotations

from typing import Any

from flin.engine import feed
from flin.engine.tree import opening
from flin.engine.wal import retention, tail
from tests.engine.hunts import followed_workloads
from tests.engine.mutants.mutant import Patch, caught_by


@caught_by(followed_workloads)
def flushed_segments_are_not_kept(patch: Patch) -> None:
    """what `wal_retention` asks for stays after its flush"""
    patch.setattr(opening, "kept", lambda *_: [])


@caught_by(followed_workloads)
def kept_segments_have_no_successor(patch: Patch) -> None:
    """after a clean close the first segment follows those that are kept"""

    def link(*arguments: Any) -> set[str]:
        recovery = arguments[3]
        before = recovery.last_segment, recovery.last_end
        names: set[str] = original(*arguments)
        recovery.last_segment, recovery.last_end = before
        return names

    original = opening._link_to_kept
    patch.setattr(opening, "_link_to_kept", link)


@caught_by(followed_workloads)
def newest_segment_is_not_seen(patch: Patch) -> None:
    """whoever reads on goes on to the segments that were begun meanwhile"""

    def segments(*arguments: Any) -> dict[int, str]:
        names = original(*arguments)
        return {number: name for number, name in names.items() if number < max(names)}

    original = retention.segments_of
    patch.setattr(tail, "segments_of", segments)


@caught_by(followed_workloads)
def events_without_expiry(patch: Patch) -> None:
    """an event says when its value expires"""

    def point_event(*arguments: Any) -> feed.Event:
        event = original(*arguments)
        return feed.Event(*event[:5], 0, event.commit)

    original = feed._point_event
    patch.setattr(feed, "_point_event", point_event)
