"""FLIN.WATCH: changes of keys as they are committed, with their values, from any sequence on that is still kept.

Only one watch per connection. It ends with UNWATCH, RESET or the connection. In RESP3 its messages are pushes; in RESP2
they are arrays among the replies, so such a connection had better send nothing else meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from flin.engine.feed import Feed
from flin.engine.key import prefix_stop
from flin.errors import CommandError, FeedGapError
from flin.net.batch.confirmed_store import ConfirmedStore
from flin.net.batch.following_store import FOLLOWS
from flin.net.client.session import RESP3, Closure
from flin.net.command.key_specs import READS
from flin.net.command.registry import command
from flin.net.commands.ranges import NO_RANGE
from flin.net.messages.feeding import GAP, Feeding, common_prefix
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import Value
from flin.net.wire.resp import encode2, encode3

if TYPE_CHECKING:
    from flin.engine.tree.store import Store
    from flin.net.client.session import Session
    from flin.net.run.context import Context

GROUP: Final = "flin"


@command("flin.watch", -2, "readonly noscript no_multi")
def flin_watch(context: Context, args: list[bytes]) -> Value:
    """Sends every change of the keys with a prefix, until UNWATCH or RESET; returns the sequence it begins after."""
    session, services = context.session, context.services
    prefixes, since = _parse(args)
    if Closure.FEED in session.endings:
        raise CommandError("ERR this connection watches already: UNWATCH ends that")
    if context.keyspace.namespace:
        raise CommandError("ERR FLIN.WATCH watches database 0 alone: SELECT 0 first")
    if not may_watch(session, prefixes):
        raise CommandError(NO_RANGE)
    if services.store.read_only_reason is FOLLOWS:
        raise CommandError("ERR a follower tells of no changes: watch the leader (CLUSTER SLOTS names it)")
    services.pending.commit()
    found = services.store
    store = cast("Store", found.store if isinstance(found, ConfirmedStore) else found)
    try:
        # In `always` nobody is told of what a power cut may take.
        feed = Feed(
            store, common_prefix(prefixes), since, durable=services.pending.reply_barrier is not None, timeout=None
        )
    except FeedGapError as error:
        raise CommandError(f"{GAP} {error}") from None

    def is_allowed() -> bool:
        if not may_watch(session, prefixes):
            session.link.abort()  # as a subscriber that may no longer hear its channel
            return False
        return True

    feeding = Feeding(feed, prefixes, session.link, _encoder(session), is_allowed, lambda: session.end(Closure.FEED))
    session.begin(Closure.FEED, feeding.end)
    feeding.begin()
    return feed.sequence


def may_watch(session: Session, prefixes: list[bytes]) -> bool:
    """Whether the user may read all keys with these prefixes."""
    user = session.user
    return user.is_unrestricted or all(
        user.allows_range(prefix, prefix_stop(prefix) or b"", READS) for prefix in prefixes
    )


def _encoder(session: Session) -> Any:
    def encode(message: list[Any]) -> bytes:
        return b">" + encode3(message)[1:] if session.protocol == RESP3 else encode2(message)

    return encode


def _parse(args: list[bytes]) -> tuple[list[bytes], int | None]:
    """The prefixes, and the sequence."""
    if len(args) < 4 or args[-2].upper() != b"SINCE":
        return args[1:], None
    since = parse_int64(args[-1])
    if since < 0:
        raise CommandError("ERR SINCE must not be negative")
    return args[1:-2], since
