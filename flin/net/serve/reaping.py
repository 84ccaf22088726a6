"""Reaping: the reaper's turns on the loop, a millisecond of each tenth of a second, and what a sweep has told it.

Internal writes happen only while writers' gates are open: in a stall, or where the store is read-only, a round of a
client that only reads would fail for them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from flin.engine.key import namespace_of
from flin.errors import CorruptionError, FlinError, FormatVersionError
from flin.net.data.database_keys import user_part
from flin.net.settings.event_classes import EventClass
from flin.objects.copying import maybe_spread
from flin.objects.layout import anchor_key
from flin.objects.reaper import Reaper

if TYPE_CHECKING:
    from flin.engine.entry import Live
    from flin.net.run.services import Services
    from flin.net.serve.cold import ColdReads

logger = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.001
"""A hundredth of a processor, whatever is to be deleted."""


class Reaping:
    def __init__(self, services: Services, cold: ColdReads) -> None:
        databases = [keyspace.objects for keyspace in services.databases.keyspaces]
        self.reaper = Reaper(databases, services.pending.delete_range, services.pending.commit)
        self._services = services
        self._cold = cold
        self._is_loading = False
        # Stored keys that a sweep has deleted, and when they expired, while somebody wants to know.
        self._expired: deque[tuple[bytes, int]] = deque()

    def step(self) -> None:
        """One turn. While a long script runs nothing else touches a database."""
        if self._services.long_script.job is not None:
            return
        while self._expired:
            self._tell_expired(*self._expired.popleft())
        self._services.notifications.pass_on()
        if self._is_loading or not self._services.clients.takes_writes():
            return
        deadline = time.perf_counter() + TURN_SECONDS
        try:
            load = self.reaper.step(self._services.tick.steady_ms, lambda: time.perf_counter() >= deadline)
        except FlinError as error:  # a damaged table, mostly: the rest is reaped all the same
            self._note(error)
            self.reaper.skip()
            return
        if load is not None:
            self._is_loading = True
            self._cold.submit(load, self._loaded)

    def _tell_expired(self, stored: bytes, expires_at_ms: int) -> None:
        services = self._services
        services.waiters.note_deleted(stored)
        if services.tracking.trackers:
            services.tracking.note_deleted(user_part(stored))
        if services.config.notified & EventClass.EXPIRED:
            namespace = namespace_of(stored)
            for keyspace in services.databases.keyspaces:
                if keyspace.namespace == namespace:
                    key = keyspace.key_of(stored)
                    services.notifications.tell_swept(stored, expires_at_ms, key, keyspace.database)

    def _loaded(self) -> None:
        self._is_loading = False

    def _note(self, error: FlinError) -> None:
        if isinstance(error, CorruptionError):
            self._services.damage.note(error)
        else:
            logger.error("pieces of a collection could not be deleted: %s", error)

    def note_expired(self, expired: Mapping[bytes, Live]) -> None:
        """What a sweep has deleted, by stored key. Any thread may call this."""
        services = self._services
        if services.waiters.number or services.tracking.trackers or services.config.notified & EventClass.EXPIRED:
            self._expired.extend((stored, entry[1]) for stored, entry in expired.items() if type(entry) is tuple)
        gone = self._services.databases.keyspaces[0].objects.gone
        for stored, entry in expired.items():
            with suppress(CorruptionError, FormatVersionError):
                meta = maybe_spread(entry)
                if meta is not None:
                    gone.append(anchor_key(namespace_of(stored), meta.slot, meta.version))
