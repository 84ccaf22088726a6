"""What a handler sees: its session, the keyspace it selected, the tick's clock and the server's services.

One context lives as long as its session, so a command allocates none. A handler never sees a socket, and it reads all
that it needs before it changes anything: a read may raise ColdRead, and then the whole handler runs again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from flin.net.client.session import Session
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.services import Services


class Context:
    """`context.keyspace` is the selected database; `context.services` is the rest of the server."""

    __slots__ = ("_config", "has_waited", "keyspace", "services", "session")
    in_script: ClassVar[bool] = False

    def __init__(self, services: Services, session: Session) -> None:
        self.services = services
        self._config = services.config
        self.session = session
        self.has_waited = False  # the present command has waited for the stall, so it need not wait again
        self.keyspace: Keyspace = services.databases.keyspaces[session.database]

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970: one value for a whole command or transaction."""
        return self.services.pending.now_ms

    def notify(self, event: bytes, key: bytes) -> None:
        """A keyspace event, by Redis's name for it, of a key of the selected database. (The handlers of SET without
        options and of the counters tell none: run/noting.py does.)"""
        if self._config.notified:
            self.services.notifications.tell(event, key, self.keyspace.database)

    def notify_times(self, event: bytes, key: bytes, times: int) -> None:
        """`notify` that many times."""
        if self._config.notified:
            for _ in range(times):
                self.notify(event, key)

    def notify_each(self, event: bytes, keys: Iterable[bytes]) -> None:
        """`notify` for each of the keys."""
        if self._config.notified:
            for key in keys:
                self.notify(event, key)

    def notify_in(self, keyspace: Keyspace, event: bytes, key: bytes) -> None:
        """`notify` of a key of another database."""
        if self._config.notified:
            self.services.notifications.tell(event, key, keyspace.database)

    def note_subscriptions(self) -> None:
        """After a change of the session's subscriptions or its protocol."""
        self.services.pubsub.note_protocol(self.session)
        self.session.note_subscriptions(server_gates_open=self.services.clients.gates_open)

    def select(self, database: int) -> None:
        """Make another database the session's own. The caller has checked the number."""
        self.session.database = database
        self.session.remarks.append(None)
        self.keyspace = self.services.databases.keyspaces[database]

    def begin_transaction(self) -> None:
        """MULTI: from now on dispatch queues what is not flagged UNQUEUED."""
        self.session.begin_queue()

    def end_transaction(self) -> None:
        """DISCARD: the queue and every WATCH are gone."""
        self.session.end_queue(server_gates_open=self.services.clients.gates_open)

    def watch(self, keys: list[bytes], found: list[bool]) -> None:
        """WATCH: EXEC fails if one of the keys is written, flushed or expires from now on. found: which are there."""
        for key, is_there in zip(keys, found, strict=True):
            self.session.watch(self.keyspace, key, is_there)

    def unwatch(self) -> None:
        """UNWATCH."""
        self.session.unwatch()
