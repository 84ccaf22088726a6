"""How far a group has read: how many entries before an id were ever added, and how many are still ahead of the group.

Both are known as long as no entry was deleted in the middle: a stream knows how many were added, and the greatest id
that was deleted. Where Redis does not know a number, neither does Flin, so the rules are Redis's.
"""

from __future__ import annotations

from flin.objects.layout import UNKNOWN_ENTRIES_READ
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_group import Group


def lag_of(stream: Stream, group: Group) -> int | None:
    """The entries that the group has not read yet; None: unknown."""
    if not stream.added:
        return 0
    read = group.entries_read
    if read == UNKNOWN_ENTRIES_READ or _has_gap_from(stream, group.last_id):
        read = added_up_to(stream, group.last_id)
    return None if read == UNKNOWN_ENTRIES_READ else stream.added - read


def added_up_to(stream: Stream, id_: bytes) -> int:
    """How many entries were added up to this one, or UNKNOWN_ENTRIES_READ."""
    if not stream.added:
        return 0
    if not len(stream) and id_ <= stream.last_id:
        return stream.added
    if id_ >= stream.last_id:
        return stream.added if id_ == stream.last_id else UNKNOWN_ENTRIES_READ
    first_id = stream.first_id()
    if stream.greatest_deleted_id == NO_ID or stream.greatest_deleted_id < first_id:
        if id_ < first_id:
            return stream.added - len(stream)
        if id_ == first_id:
            return stream.added - len(stream) + 1
    return UNKNOWN_ENTRIES_READ


def read_after(stream: Stream, group: Group, ids: list[bytes]) -> int:
    """The group's number of entries read once it has read these, too, which are the next ones, in order."""
    read = group.entries_read
    for id_ in ids:
        if read != UNKNOWN_ENTRIES_READ and not _has_gap_from(stream, id_):
            read += 1
        elif stream.added:
            read = added_up_to(stream, id_)
    return read


def _has_gap_from(stream: Stream, id_: bytes) -> bool:
    """Whether an entry from this id on was deleted that had not been the first."""
    deleted = stream.greatest_deleted_id
    return bool(len(stream)) and deleted != NO_ID and deleted >= max(id_, stream.first_id())
