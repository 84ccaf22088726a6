"""MULTI, EXEC, DISCARD, WATCH, UNWATCH. Dispatch queues the requests between MULTI and EXEC and runs them whole.

The first four run at once even inside MULTI, since they decide about the queue itself; UNWATCH is queued as in Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.client.session import Closure
from flin.net.command.command import ALL_KEYS
from flin.net.command.registry import command
from flin.net.data.many_keys import MAX_UNSLICED_KEYS, find_many
from flin.net.run.transaction import run_transaction
from flin.net.wire.replies import OK, Slices, Value

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "transactions"

_AT_ANY_TIME: Final = "noscript loading stale"


@command("multi", 1, f"{_AT_ANY_TIME} fast allow_busy unqueued")
def multi(context: Context, args: list[bytes]) -> Value:
    """Begins a transaction: requests are queued until EXEC."""
    if context.session.queue is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    context.begin_transaction()
    return OK


@command("exec", 1, f"{_AT_ANY_TIME} skip_slowlog unqueued ends_queue")
def exec_(context: Context, args: list[bytes]) -> Value:
    """Runs the queued requests as one; nothing runs if a watched key has changed."""
    if context.session.queue is None:
        raise CommandError("ERR EXEC without MULTI")
    return run_transaction(context, args)


@command("discard", 1, f"{_AT_ANY_TIME} fast allow_busy unqueued")
def discard(context: Context, args: list[bytes]) -> Value:
    """Ends a transaction without running it and forgets all watched keys."""
    if context.session.queue is None:
        raise CommandError("ERR DISCARD without MULTI")
    context.end_transaction()
    return OK


@command("watch", -2, f"{_AT_ANY_TIME} fast allow_busy unqueued", ALL_KEYS)
def watch(context: Context, args: list[bytes]) -> Value:
    """Makes the next EXEC fail if one of the keys changes before it."""
    if context.session.queue is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    if len(args) > MAX_UNSLICED_KEYS:
        return _watch_many(context, args[1:])
    found = [context.keyspace.exists(key) for key in args[1:]]
    context.watch(args[1:], found)
    return OK


def _watch_many(context: Context, keys: list[bytes]) -> Slices:
    entries = yield from find_many(context.keyspace, keys)
    context.watch(keys, [entry is not None for entry in entries])
    return OK


@command("unwatch", 1, f"{_AT_ANY_TIME} fast allow_busy")
def unwatch(context: Context, args: list[bytes]) -> Value:
    """Forgets all watched keys, and ends FLIN.WATCH."""
    context.unwatch()
    context.session.end(Closure.FEED)
    return OK
