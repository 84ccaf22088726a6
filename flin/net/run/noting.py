"""Noting: how a command runs while keyspace events are listened to. Then the gates of all sessions are closed, so every
command comes here, one by one.

Handlers tell what they do to keys (Context.notify), but those of the hot path: they cannot tell anything without
costing those who do not listen, so their events stand here. What was there before a command is looked at before it
runs: keys that have expired are deleted, keys that are not there may be new afterwards, or missed.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Final

from flin.net.command.command import Command, Flag
from flin.net.settings.event_classes import EventClass
from flin.net.wire.replies import Slices, Value, last_of

if TYPE_CHECKING:
    from flin.net.run.context import Context


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HOT: Final = {"set": b"set", "incr": b"incrby", "decr": b"incrby", "incrby": b"incrby", "decrby": b"incrby"}
"""The event of a key by the commands whose handlers tell none: SET without options, counters."""

_HOT_WORDS: Final = 3
"""A SET with more has options, and tells of itself."""

# Plain numbers: an operation of an IntFlag takes a microsecond.
_EXPIRED: Final = int(EventClass.EXPIRED)
_NEW: Final = int(EventClass.NEW)
_MISS: Final = int(EventClass.MISS)
_BEFORE: Final = _EXPIRED | _NEW | _MISS

# Which keys a command misses, as Redis looks for them: one that only reads misses all that are not there. (One that
# fails tells of none: Redis tells of those that it had looked for until then.)

_MISSES_NONE: Final = _names("object|encoding object|refcount object|idletime object|freq memory|usage")
_MISSES_FIRST: Final = _names(
    "getex getdel getset copy sort georadius georadiusbymember xclaim xautoclaim xack xreadgroup"
)
_MISSES_SOURCES: Final = _names(
    "bitop sinterstore sunionstore sdiffstore zinterstore zunionstore zdiffstore zrangestore geosearchstore"
)
"""All but the first key, which is the destination."""
_MISSES_ALL: Final = _names("pfmerge")
_LOOKS_TWICE: Final = _names("xread")


def run_noting(context: Context, command: Command, request: list[bytes]) -> Value:
    """Run the handler and tell what it does not. Raises what the handler raises, and ColdRead before it has run."""
    classes = context.services.config.notified
    if command.group == "scripting":  # what it calls comes here, one by one
        return command.handler(context, request)
    absent = _look(context, command, request) if classes & _BEFORE else []
    if absent and classes & (_NEW | _MISS):
        return _run_with_absent(context, command, request, absent)
    value = command.handler(context, request)
    _tell_hot(context, command, request)
    return value


def _run_with_absent(context: Context, command: Command, request: list[bytes], absent: list[int]) -> Value:
    """Run the handler where some keys, by their positions, are not there: it may make them, or miss them."""
    notifications = context.services.notifications
    classes = context.services.config.notified
    missed = _missed(context, command, request, absent) if classes & _MISS else []
    if classes & _NEW and command.is_write:
        notifications.added = {(context.keyspace.database, request[position]) for position in absent}
    notifications.missed = missed
    try:
        value = command.handler(context, request)
        if type(value) is GeneratorType:
            if not notifications.added:
                notifications.missed = []
                return _in_slices(context, missed, value)
            value = last_of(value)  # in one step, so that nobody else's events are taken for its own
        _tell_hot(context, command, request)
        notifications.tell_missed()
    finally:
        notifications.added, notifications.missed = set(), []
    return value


def _tell_hot(context: Context, command: Command, request: list[bytes]) -> None:
    event = _HOT.get(command.name)
    if event is not None and len(request) <= _HOT_WORDS:
        context.notify(event, request[1])


def _look(context: Context, command: Command, request: list[bytes]) -> list[int]:
    """Delete the keys of the request that have expired. Returns the positions of those that are not there."""
    keyspace = context.keyspace
    absent: list[int] = []
    for position in command.keys.positions(request):
        if not keyspace.exists(request[position]):
            absent.append(position)
            if context.services.config.notified & _EXPIRED:
                _maybe_delete(context, request[position])
    return absent


def _maybe_delete(context: Context, key: bytes) -> None:
    """Delete a key that is not there, if that is because it has expired, and writes are taken. (In a CLIENT PAUSE
    nothing expires.)"""
    services, keyspace = context.services, context.keyspace
    expired = keyspace.expired(key)
    if expired is not None and not services.pause.kind and services.clients.takes_writes():
        keyspace.note_gone(expired)
        keyspace.delete(key)
        services.notifications.tell_expired(keyspace.stored(key), expired[1], key, keyspace.database)


def _missed(context: Context, command: Command, request: list[bytes], absent: list[int]) -> list[tuple[int, bytes]]:
    """Those of the absent keys that the command looks for in order to read them, with the database."""
    name, positions = command.name, command.keys.positions(request)
    if name in _MISSES_NONE:
        return []
    if name in _MISSES_FIRST or _reads_first(name, request):
        absent = [position for position in absent if position == positions[0]]
    elif name in _MISSES_SOURCES:
        absent = [position for position in absent if position != positions[0]]
    elif not command.flags & Flag.READONLY and name not in _MISSES_ALL:
        return []
    keys = [(context.keyspace.database, request[position]) for position in absent]
    return keys * 2 if name in _LOOKS_TWICE else keys


def _reads_first(name: str, request: list[bytes]) -> bool:
    """Whether by its options the command shows what is at the key: SET with GET, BITFIELD with nothing but GET."""
    words = [word.lower() for word in request[2:]]
    return (name == "set" and b"get" in words[1:]) or (name == "bitfield" and not {b"set", b"incrby"} & {*words})


def _in_slices(context: Context, missed: list[tuple[int, bytes]], slices: Slices) -> Slices:
    """A command in slices, others of which run in between: what it missed is told before its first event, or at its
    end."""
    notifications = context.services.notifications
    try:
        while True:
            notifications.missed = missed
            try:
                step = next(slices)
            except StopIteration as finished:
                notifications.tell_missed()
                return finished.value
            finally:
                missed, notifications.missed = notifications.missed, []
            yield step
    finally:
        slices.close()
