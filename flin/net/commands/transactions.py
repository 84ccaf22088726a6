"""MULTI, EXEC, DISCARD, WATCH, UNWATCH. Dispatch queues the requests between MULTI and EXEC and runs them whole.

The first four run at once even inside MULTI, since they decide about the queue itself; UNWATCH is queued as in Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command import ALL_KEYS, Flag
from flin.net.many_keys import FEW_KEYS, find_many
from flin.net.registry import command
from flin.net.replies import OK, Slices, Value
from flin.net.transaction import run_transaction

if TYPE_CHECKING:
    from flin.net.context import Context

_AT_ANY_TIME: Final = Flag.NOSCRIPT | Flag.LOADING | Flag.STALE


@command(
    "multi",
    arity=1,
    flags=_AT_ANY_TIME | Flag.FAST | Flag.ALLOW_BUSY | Flag.UNQUEUED,
    group="transactions",
    since="1.2.0",
    complexity="O(1)",
    summary="Begins a transaction: requests are queued until EXEC.",
)
def multi(context: Context, args: list[bytes]) -> Value:
    if context.session.queue is not None:
        raise CommandError("ERR MULTI calls can not be nested")
    context.begin_transaction()
    return OK


@command(
    "exec",
    arity=1,
    flags=_AT_ANY_TIME | Flag.SKIP_SLOWLOG | Flag.UNQUEUED | Flag.ENDS_QUEUE,
    group="transactions",
    since="1.2.0",
    complexity="Depends on the queued commands",
    summary="Runs the queued requests as one; nothing runs if a watched key has changed.",
)
def exec_(context: Context, args: list[bytes]) -> Value:
    if context.session.queue is None:
        raise CommandError("ERR EXEC without MULTI")
    return run_transaction(context, args)


@command(
    "discard",
    arity=1,
    flags=_AT_ANY_TIME | Flag.FAST | Flag.ALLOW_BUSY | Flag.UNQUEUED,
    group="transactions",
    since="2.0.0",
    complexity="O(N) for N queued requests",
    summary="Ends a transaction without running it and forgets all watched keys.",
)
def discard(context: Context, args: list[bytes]) -> Value:
    if context.session.queue is None:
        raise CommandError("ERR DISCARD without MULTI")
    context.end_transaction()
    return OK


@command(
    "watch",
    arity=-2,
    flags=_AT_ANY_TIME | Flag.FAST | Flag.ALLOW_BUSY | Flag.UNQUEUED,
    keys=ALL_KEYS,
    group="transactions",
    since="2.2.0",
    complexity="O(N) for N keys",
    summary="Makes the next EXEC fail if one of the keys changes before it.",
)
def watch(context: Context, args: list[bytes]) -> Value:
    if context.session.queue is not None:
        raise CommandError("ERR WATCH inside MULTI is not allowed")
    if len(args) > FEW_KEYS:
        return _watch_many(context, args[1:])
    found = [context.keyspace.exists(key) for key in args[1:]]
    context.watch(args[1:], found)
    return OK


def _watch_many(context: Context, keys: list[bytes]) -> Slices:
    entries = yield from find_many(context.keyspace, keys)
    context.watch(keys, [entry is not None for entry in entries])
    return OK


@command(
    "unwatch",
    arity=1,
    flags=_AT_ANY_TIME | Flag.FAST | Flag.ALLOW_BUSY,
    group="transactions",
    since="2.2.0",
    complexity="O(1)",
    summary="Forgets all watched keys.",
)
def unwatch(context: Context, args: list[bytes]) -> Value:
    context.unwatch()
    return OK
