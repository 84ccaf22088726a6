"""When keys expire: EXPIRE and its kin, TTL and its kin, PERSIST.

A time that has passed deletes the key at once, as in Redis. Seconds are rounded half up when they are read back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.engine.entry import make_entry
from flin.net.command.arguments import EX, EXAT, PX, PXAT, ExpiryUnit, any_expiry, expire_options
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.wire.replies import ONE, ZERO, Value

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "generic"

_NO_KEY: Final = -2
_NO_EXPIRY: Final = -1
_MS_PER_SECOND: Final = 1000


@command("expire", -3, "write fast", FIRST_KEY)
def expire(context: Context, args: list[bytes]) -> Value:
    """Lets a key expire after some seconds."""
    return _expire(context, args, EX, "expire")


@command("pexpire", -3, "write fast", FIRST_KEY)
def pexpire(context: Context, args: list[bytes]) -> Value:
    """Lets a key expire after some milliseconds."""
    return _expire(context, args, PX, "pexpire")


@command("expireat", -3, "write fast", FIRST_KEY)
def expireat(context: Context, args: list[bytes]) -> Value:
    """Lets a key expire at a time in seconds since 1970."""
    return _expire(context, args, EXAT, "expireat")


@command("pexpireat", -3, "write fast", FIRST_KEY)
def pexpireat(context: Context, args: list[bytes]) -> Value:
    """Lets a key expire at a time in milliseconds since 1970."""
    return _expire(context, args, PXAT, "pexpireat")


def _expire(context: Context, args: list[bytes], unit: ExpiryUnit, name: str) -> Value:
    keyspace, key = context.keyspace, args[1]
    options = expire_options(args, 3) if len(args) > 3 else None
    expires_at_ms = any_expiry(args[2], unit, context.now_ms, name)
    entry = keyspace.settled(key)
    if entry is None:
        return ZERO
    value, current_ms, tag = (entry, 0, 0) if isinstance(entry, bytes) else entry
    if options is not None and not options.allow(current_ms, expires_at_ms):
        return ZERO
    if expires_at_ms <= keyspace.now_ms:
        keyspace.note_gone(entry)
        keyspace.delete(key)
        context.notify(b"del", key)
    else:
        keyspace.put(key, make_entry(value, expires_at_ms, tag))
        context.notify(b"expire", key)
    return ONE


@command("persist", 2, "write fast", FIRST_KEY)
def persist(context: Context, args: list[bytes]) -> Value:
    """Removes a key's expiry."""
    if not context.keyspace.expires_at_ms(args[1]):
        return ZERO
    entry = context.keyspace.settled(args[1])
    assert type(entry) is tuple
    value, _, tag = entry
    context.keyspace.put(args[1], make_entry(value, 0, tag))
    context.notify(b"persist", args[1])
    return ONE


@command("ttl", 2, "readonly fast peeks", FIRST_KEY)
def ttl(context: Context, args: list[bytes]) -> Value:
    """Returns the seconds until a key expires; -1 without expiry, -2 without key."""
    return _in_seconds(_remaining_ms(context, args[1]))


@command("pttl", 2, "readonly fast peeks", FIRST_KEY)
def pttl(context: Context, args: list[bytes]) -> Value:
    """Returns the milliseconds until a key expires; -1 without expiry, -2 without key."""
    return _remaining_ms(context, args[1])


@command("expiretime", 2, "readonly fast peeks", FIRST_KEY)
def expiretime(context: Context, args: list[bytes]) -> Value:
    """Returns when a key expires, in seconds since 1970; -1 without expiry, -2 without key."""
    return _in_seconds(_expires_at_ms(context, args[1]))


@command("pexpiretime", 2, "readonly fast peeks", FIRST_KEY)
def pexpiretime(context: Context, args: list[bytes]) -> Value:
    """Returns when a key expires, in milliseconds since 1970; -1 without expiry, -2 without key."""
    return _expires_at_ms(context, args[1])


def _expires_at_ms(context: Context, key: bytes) -> int:
    entry = context.keyspace.look_up(key, values=False)
    if entry is None:
        return _NO_KEY
    return (entry[1] if type(entry) is tuple else 0) or _NO_EXPIRY


def _remaining_ms(context: Context, key: bytes) -> int:
    expires_at_ms = _expires_at_ms(context, key)
    return expires_at_ms - context.now_ms if expires_at_ms > 0 else expires_at_ms


def _in_seconds(ms: int) -> int:
    return ms if ms < 0 else (ms + _MS_PER_SECOND // 2) // _MS_PER_SECOND
