"""XCLAIM and XAUTOCLAIM: a consumer takes over what is pending for others who seem to have died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.stream_arguments import parse_start, parse_strict_id
from flin.net.commands.stream_groups import Room, find_group, see, shown_name
from flin.net.wire.numbers import INT64_MAX, parse_int64
from flin.net.wire.replies import Value, syntax_error
from flin.objects.layout import Pending
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_group import Group
from flin.objects.stream_id import show_id

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "stream"

_AUTOCLAIM_COUNT: Final = 100
_ATTEMPTS: Final = 10
"""XAUTOCLAIM looks at so many pending entries for each that it may return: figures of Redis."""

_MOST_COUNT: Final = INT64_MAX // 16


@dataclass(slots=True)
class _Claim:
    """XCLAIM's options."""

    ids: list[bytes]
    delivered_at_ms: int | None = None
    deliveries: int = -1
    forces: bool = False
    just_ids: bool = False
    last_id: bytes = NO_ID


@command("xclaim", -6, "write fast", FIRST_KEY)
def xclaim(context: Context, args: list[bytes]) -> Value:
    """Gives pending entries to a consumer, if nobody has worked at them for some time; returns them."""
    key, now_ms = args[1], context.now_ms
    stream, group = find_group(context, key, args[2])
    least_idle_ms = max(0, parse_int64(args[4], "ERR Invalid min-idle-time argument for XCLAIM"))
    claim = _parse_claim(args, now_ms)
    entries: dict[bytes, list[bytes] | None] = {}
    room = Room(context)
    for id_ in claim.ids:
        entries[id_] = strings = stream.get(id_)
        room.take(strings)
    delivered = group.find(entries)
    group.consumers()  # all that is read is read before the first change
    if claim.last_id > group.last_id:
        group.last_id = claim.last_id
        group.save()
    at_ms = claim.delivered_at_ms
    if at_ms is None or not 0 <= at_ms <= now_ms:
        at_ms = now_ms
    claimed: list[Value] = []
    for id_ in claim.ids:
        pending, strings = delivered.get(id_), entries[id_]
        if strings is None:  # it was deleted
            if pending is not None:
                group.acknowledge({id_: delivered.pop(id_)})
            continue
        if pending is None and not claim.forces:
            continue
        if pending is not None and least_idle_ms and now_ms - pending.delivered_at_ms < least_idle_ms:
            continue
        deliveries = 1 if pending is None else pending.deliveries
        if claim.deliveries >= 0:
            deliveries = claim.deliveries
        elif not claim.just_ids:
            deliveries += 1
        if not claimed:
            see(context, key, group, args[3])  # only now is a consumer made, as in Redis
        claimed_now = Pending(at_ms, deliveries, args[3])
        group.set_pending(id_, claimed_now, pending)
        delivered[id_] = claimed_now  # an id may come again
        claimed.append(show_id(id_) if claim.just_ids else [show_id(id_), strings])
    return claimed


def _parse_claim(args: list[bytes], now_ms: int) -> _Claim:
    claim = _Claim([])
    at = 5
    while at < len(args):
        try:
            claim.ids.append(parse_strict_id(args[at]))
        except CommandError:  # the options begin here
            break
        at += 1
    while at < len(args):
        name, has_more = args[at].upper(), at + 1 < len(args)
        if name == b"FORCE":
            claim.forces = True
        elif name == b"JUSTID":
            claim.just_ids = True
        elif name in {b"IDLE", b"TIME", b"RETRYCOUNT"} and has_more:
            at += 1
            number = parse_int64(args[at], f"ERR Invalid {name.decode()} option argument for XCLAIM")
            if name == b"RETRYCOUNT":
                claim.deliveries = number
            else:
                claim.delivered_at_ms = now_ms - number if name == b"IDLE" else number
        elif name == b"LASTID" and has_more:
            at += 1
            claim.last_id = parse_strict_id(args[at])
        else:
            raise CommandError(f"ERR Unrecognized XCLAIM option '{shown_name(args[at])}'")
        at += 1
    return claim


@command("xautoclaim", -6, "write fast", FIRST_KEY)
def xautoclaim(context: Context, args: list[bytes]) -> Value:
    """Gives a consumer what is pending for long; returns where to go on, the entries, and the ids of deleted ones."""
    key, now_ms = args[1], context.now_ms
    least_idle_ms = max(0, parse_int64(args[4], "ERR Invalid min-idle-time argument for XAUTOCLAIM"))
    start = parse_start(args[5])
    count, just_ids = _autoclaim_options(args)
    stream, group = find_group(context, key, args[2])
    before_ms = now_ms - least_idle_ms if least_idle_ms else None
    seen, next_id = _stale(Room(context), stream, group, start, count, before_ms)
    group.consumers()  # all that is read is read before the first change
    claimed: list[Value] = []
    deleted: dict[bytes, Pending] = {}
    for id_, pending, strings in seen:
        if strings is None:
            deleted[id_] = pending
            continue
        if not claimed:
            see(context, key, group, args[3])
        group.set_pending(id_, Pending(now_ms, pending.deliveries + (not just_ids), args[3]), pending)
        claimed.append(show_id(id_) if just_ids else [show_id(id_), strings])
    group.acknowledge(deleted)
    return [show_id(next_id), claimed, list(map(show_id, deleted))]


_Seen: TypeAlias = tuple[bytes, Pending, list[bytes] | None]
"""An id, its pending entry, and the entry's strings; None: it was deleted."""


def _stale(
    room: Room, stream: Stream, group: Group, start: bytes, count: int, before_ms: int | None
) -> tuple[list[_Seen], bytes]:
    """Up to `count` pending entries that were delivered by then (None: whenever) or are deleted, and the id to go on
    with: 0-0 at the end."""
    found: list[_Seen] = []
    attempts = count * _ATTEMPTS
    for id_, pending in group.between(start):
        if not attempts or len(found) == count:
            return found, id_
        attempts -= 1
        strings = stream.get(id_)
        if strings is None or before_ms is None or pending.delivered_at_ms <= before_ms:
            room.take(strings)
            found.append((id_, pending, strings))
    return found, NO_ID


def _autoclaim_options(args: list[bytes]) -> tuple[int, bool]:
    count, just_ids = _AUTOCLAIM_COUNT, False
    at = 6
    while at < len(args):
        name = args[at].upper()
        if name == b"COUNT" and at + 1 < len(args):
            count = parse_int64(args[at + 1], "ERR COUNT must be > 0")
            if not 1 <= count <= _MOST_COUNT:
                raise CommandError("ERR COUNT must be > 0")
            at += 1
        elif name == b"JUSTID":
            just_ids = True
        else:
            raise syntax_error()
        at += 1
    return count, just_ids
