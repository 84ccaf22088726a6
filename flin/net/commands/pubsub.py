"""SUBSCRIBE and its kin, PUBLISH, PUBSUB.

A client in RESP2 that is subscribed may only send what is about subscriptions (Flag.WHILE_SUBSCRIBED), as in Redis. The
commands that change subscriptions answer with a frame for each name: in RESP3 these are pushes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.client.session import RESP3
from flin.net.command.command import Keys
from flin.net.command.registry import command, container
from flin.net.commands.columns import NONE_DONE
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.messages.pattern_index import matches_channel
from flin.net.messages.pubsub import Kind
from flin.net.wire.glob import compile_glob
from flin.net.wire.replies import Reply, Value

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "pubsub"

_SUBSCRIBING: Final = "pubsub noscript loading stale while_subscribed"
_PUBLISHING: Final = "pubsub loading stale fast publishes"


SHARD_CHANNELS: Final = Keys(1, -1, 1, are_channels=True)
SHARD_CHANNEL: Final = Keys(1, 1, 1, are_channels=True)
"""COMMAND INFO shows them in the place of keys, as Redis does for its cluster; they are none."""


@command("subscribe", -2, _SUBSCRIBING)
def subscribe(context: Context, args: list[bytes]) -> Value:
    """Listens to messages that are published to channels."""
    return _subscribe(context, args, Kind.CHANNEL)


@command("psubscribe", -2, _SUBSCRIBING)
def psubscribe(context: Context, args: list[bytes]) -> Value:
    """Listens to messages of all channels that match patterns."""
    return _subscribe(context, args, Kind.PATTERN)


@command("ssubscribe", -2, _SUBSCRIBING, SHARD_CHANNELS)
def ssubscribe(context: Context, args: list[bytes]) -> Value:
    """Listens to messages that are published to sharded channels."""
    if context.services.pending.in_transaction:
        raise CommandError("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
    return _subscribe(context, args, Kind.SHARD)


@command("unsubscribe", -1, _SUBSCRIBING)
def unsubscribe(context: Context, args: list[bytes]) -> Value:
    """Stops listening to channels, or to all of them."""
    return _unsubscribe(context, args, Kind.CHANNEL)


@command("punsubscribe", -1, _SUBSCRIBING)
def punsubscribe(context: Context, args: list[bytes]) -> Value:
    """Stops listening to patterns, or to all of them."""
    return _unsubscribe(context, args, Kind.PATTERN)


@command("sunsubscribe", -1, _SUBSCRIBING, SHARD_CHANNELS)
def sunsubscribe(context: Context, args: list[bytes]) -> Value:
    """Stops listening to sharded channels, or to all of them."""
    return _unsubscribe(context, args, Kind.SHARD)


def _subscribe(context: Context, args: list[bytes], kind: Kind) -> Value:
    session, pubsub = context.session, context.services.pubsub
    if kind is Kind.PATTERN:  # all or none
        for pattern in args[1:]:
            compile_glob(pattern)
    frames = []
    for name in args[1:]:
        pubsub.subscribe(session, kind, name)
        frames.append(_frame(context, args[0], kind, name))
    return _frames(context, args, frames)


def _unsubscribe(context: Context, args: list[bytes], kind: Kind) -> Value:
    session, pubsub = context.session, context.services.pubsub
    mine = session.subscriptions
    names: Sequence[bytes | None] = args[1:]
    if not names:
        names = [None] if mine is None else list(mine.names[kind]) or [None]
    frames = []
    for name in names:
        if name is not None:
            pubsub.unsubscribe(session, kind, name)
        frames.append(_frame(context, args[0], kind, name))
    return _frames(context, args, frames)


def _frame(context: Context, name: bytes, kind: Kind, subject: bytes | None) -> bytes:
    """What is answered for one name; the command's own is shown in lower case."""
    session = context.session
    mine = session.subscriptions
    is_resp3 = session.protocol == RESP3
    null = b"_\r\n" if is_resp3 else b"$-1\r\n"
    number = 0 if mine is None else mine.count(kind)
    parts = (
        b">3\r\n" if is_resp3 else b"*3\r\n",
        b"$%d\r\n%b\r\n" % (len(name), name.lower()),
        null if subject is None else b"$%d\r\n%b\r\n" % (len(subject), subject),
        b":%d\r\n" % number,
    )
    return b"".join(parts)


def _frames(context: Context, args: list[bytes], frames: list[bytes]) -> Reply:
    context.note_subscriptions()
    if len(frames) > 1:
        context.session.remarks.append((args, len(frames)))
    return Reply(b"".join(frames))


def _publish_many(context: Context, channels: tuple[bytes, ...], payloads: tuple[bytes, ...]) -> Sequence[bytes]:
    """A pipeline of PUBLISHes, unless the client may get some of the messages itself: each stands before its reply."""
    pubsub = context.services.pubsub
    if context.session.subscriptions is not None or pubsub.is_too_long(channels, payloads[0]):
        return NONE_DONE
    return pubsub.publish_many(channels, payloads)


@command("publish", 3, _PUBLISHING, batch=_publish_many)
def publish(context: Context, args: list[bytes]) -> Value:
    """Sends a message to a channel; returns how many clients of this server, or node, get it."""
    return context.services.pubsub.publish_to_all(args[1], args[2])


@command("spublish", 3, _PUBLISHING, SHARD_CHANNEL)
def spublish(context: Context, args: list[bytes]) -> Value:
    """Sends a message to a sharded channel; returns how many clients get it."""
    return context.services.pubsub.publish_shard(args[1], args[2])


container("pubsub", GROUP, "Commands about the state of publish and subscribe.")

_ASKING: Final = "pubsub loading stale"


@command("pubsub|channels", -2, _ASKING)
def pubsub_channels(context: Context, args: list[bytes]) -> Value:
    """Returns the channels with subscribers, or those that match a pattern."""
    return _names(context, args, Kind.CHANNEL)


@command("pubsub|shardchannels", -2, _ASKING)
def pubsub_shardchannels(context: Context, args: list[bytes]) -> Value:
    """Returns the sharded channels with subscribers, or those that match a pattern."""
    return _names(context, args, Kind.SHARD)


def _names(context: Context, args: list[bytes], kind: Kind) -> list[bytes]:
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    names: Iterable[bytes] = context.services.pubsub.registries[kind]
    if len(args) == 2:
        return list(names)
    glob = compile_glob(args[2])
    return [name for name in names if matches_channel(glob, name)]


@command("pubsub|numsub", -2, _ASKING)
def pubsub_numsub(context: Context, args: list[bytes]) -> Value:
    """Returns the number of subscribers of channels, those by patterns left out."""
    return _numbers(context, args[2:], Kind.CHANNEL)


@command("pubsub|shardnumsub", -2, _ASKING)
def pubsub_shardnumsub(context: Context, args: list[bytes]) -> Value:
    """Returns the number of subscribers of sharded channels."""
    return _numbers(context, args[2:], Kind.SHARD)


def _numbers(context: Context, names: list[bytes], kind: Kind) -> list[bytes | int]:
    pubsub = context.services.pubsub
    return [part for name in names for part in (name, pubsub.number_of(kind, name))]


@command("pubsub|numpat", 2, _ASKING)
def pubsub_numpat(context: Context, args: list[bytes]) -> Value:
    """Returns the number of patterns with subscribers."""
    return len(context.services.pubsub.registries[Kind.PATTERN])


declare_help("pubsub", GROUP)
