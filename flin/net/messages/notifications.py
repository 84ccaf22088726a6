"""Keyspace events: what clients are told who are subscribed to `__keyspace@0__:KEY` or `__keyevent@0__:EVENT`.

Handlers name each event as Redis does (Context.notify); its class, by which notify-keyspace-events lets it through,
follows from the name. Nothing is built unless somebody is subscribed to some channel or pattern.

Two kinds of events need to know what was there before a command, run/noting.py looks for them: keys that have expired
are deleted before the command sees them, and `new` is told right before a key's first event. An expired key is told of
once, by whoever deletes it, the command that meets it or the sweep. As the sweep deletes in a thread of its own, both
may: so what a command has told is kept for a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flin.net.settings.event_classes import EventClass

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.messages.pubsub import PubSub
    from flin.net.settings.config import Config

_TABLE: Final = {
    EventClass.GENERIC: "del rename_from rename_to move_from move_to copy_to restore expire persist",
    EventClass.STRING: "set append setrange setbit incrby incrbyfloat pfadd",
    EventClass.LIST: "lpush rpush lpop rpop linsert lset lrem ltrim sortstore",
    EventClass.SET: "sadd srem spop sinterstore sunionstore sdiffstore",
    EventClass.HASH: "hset hdel hincrby hincrbyfloat",
    EventClass.SORTED_SET: "zadd zincr zrem zremrangebyrank zremrangebyscore zremrangebylex zpopmin zpopmax "
    "zinterstore zunionstore zdiffstore zrangestore geosearchstore georadiusstore",
    EventClass.STREAM: "xadd xtrim xdel xsetid xgroup-create xgroup-setid xgroup-destroy xgroup-createconsumer "
    "xgroup-delconsumer",
    EventClass.EXPIRED: "expired",
    EventClass.EVICTED: "evicted",
    EventClass.NEW: "new",
    EventClass.MISS: "keymiss",
}

CLASS_OF: Final = {name.encode(): int(found) for found, names in _TABLE.items() for name in names.split()}
"""The class of each event, as a plain number: an operation of an IntFlag takes a microsecond."""

_KEYSPACE: Final = int(EventClass.KEYSPACE)
_KEYEVENT: Final = int(EventClass.KEYEVENT)


class Notifications:
    """Sends them. Of the present command it knows `added`, the keys (with their databases' numbers) that were not there
    before it, while new keys are listened to, and `missed`, those that it looks for in vain, while these are."""

    __slots__ = ("_config", "_pending", "_pubsub", "_told", "_told_before", "added", "missed")

    def __init__(self, config: Config, pubsub: PubSub, pending: Pending) -> None:
        self.added: set[tuple[int, bytes]] = set()
        self.missed: list[tuple[int, bytes]] = []
        self._config = config
        self._pubsub = pubsub
        self._pending = pending
        # Expired keys that commands have told of, by stored key: when they expired, and how many batches had been
        # refused, since a refused one takes its messages with it.
        self._told: dict[bytes, tuple[int, int]] = {}
        self._told_before: dict[bytes, tuple[int, int]] = {}

    def tell(self, event: bytes, key: bytes, database: int) -> None:
        """Send an event to all who listen to it."""
        if self.missed:
            self.tell_missed()
        if self.added and (database, key) in self.added:
            self.added.discard((database, key))
            self._send(b"new", key, database)
            if event == b"new":
                return
        self._send(event, key, database)

    def tell_missed(self) -> None:
        """Before the first event of the command, or after it."""
        missed, self.missed = self.missed, []
        for database, key in missed:
            self._send(b"keymiss", key, database)

    def _send(self, event: bytes, key: bytes, database: int) -> None:
        classes, pubsub = self._config.notified, self._pubsub
        if not classes & CLASS_OF[event] or not pubsub.has_listeners:
            return
        if classes & _KEYSPACE:
            pubsub.publish(b"__keyspace@%d__:%b" % (database, key), event)
        if classes & _KEYEVENT:
            pubsub.publish(b"__keyevent@%d__:%b" % (database, event), key)

    # Keys that have expired.

    def tell_expired(self, stored: bytes, expires_at_ms: int, key: bytes, database: int) -> None:
        """A command has met an expired key, and deletes it."""
        told = expires_at_ms, self._pending.failures

        def note() -> None:
            self._told[stored] = told

        self._pending.after_step(note)
        self.tell(b"expired", key, database)

    def tell_swept(self, stored: bytes, expires_at_ms: int, key: bytes, database: int) -> None:
        """The sweep has deleted an expired key. A command may have told of it."""
        told = expires_at_ms, self._pending.failures
        if self._told.get(stored) != told and self._told_before.get(stored) != told:
            self.tell(b"expired", key, database)

    def pass_on(self) -> None:
        """Called now and then, after all that was swept: what was told before the last call is forgotten."""
        if self._told or self._told_before:
            self._told_before, self._told = self._told, {}
