"""A watch of etcd: a connection of its own, read by a thread of its own, begun anew wherever it broke off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from flin.cluster.etcd.etcd_channels import PONG_SECONDS, Channels, meaning_of
from flin.cluster.etcd.etcd_connection import CallError, EtcdConnection
from flin.cluster.etcd.etcd_pb2 import Event as WireEvent
from flin.cluster.etcd.etcd_pb2 import WatchCreateRequest, WatchRequest, WatchResponse
from flin.cluster.etcd.grpc_headers import WireError
from flin.cluster.etcd.key_value import (
    Compacted,
    Event,
    KeyValueError,
    Pair,
    Receive,
    Refused,
    Unavailable,
    WatchBatch,
)

logger = logging.getLogger(__name__)

_WATCH: Final = "/etcdserverpb.Watch/Watch"

FIRST_PAUSE_SECONDS: Final = 0.05
LAST_PAUSE_SECONDS: Final = 1.0
"""Between tries to begin anew: each pause is twice the one before. The first is short, since mostly another member is
there."""


def pair_of(wire: Any) -> Pair:
    return Pair(wire.key, wire.value, wire.create_revision, wire.mod_revision, wire.version)


def _event_of(wire: Any) -> Event:
    return Event(pair_of(wire.kv), wire.type == WireEvent.DELETE)


class EtcdWatch:
    def __init__(
        self,
        channels: Channels,
        key: bytes,
        end: bytes,
        revision: int,
        receive: Receive,
        forget: Callable[[EtcdWatch], None],
    ) -> None:
        """forget: called when it has ended."""
        if revision < 1:
            raise ValueError("a watch begins at a revision: that of a list, and one more")
        self._channels = channels
        self._key, self._end = key, end
        self._next = revision
        self._receive = receive
        self._forget = forget
        self._over = threading.Event()
        self._telling = threading.RLock()  # held while the receiver is called
        self._connection: EtcdConnection | None = None
        self._is_heard = False
        self._pieces: list[Event] = []  # of a revision that is not whole yet

    def begin(self) -> None:
        threading.Thread(target=self._run, name="etcd watch", daemon=True).start()

    def cancel(self) -> None:
        self._over.set()
        self._shut()
        with self._telling:
            pass

    def _shut(self) -> None:
        """What waits for a change ends."""
        if (connection := self._connection) is not None:
            connection.shut()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._over.is_set():
            self._is_heard = False
            try:
                self._follow(self._channels.pick())
            except Unavailable as error:
                if not (self._over.is_set() or self._channels.is_closed):
                    logger.debug("a watch begins anew: %s", error)
            except KeyValueError as error:
                self._tell(error)
            if self._channels.is_closed:
                self._over.set()
            pause = FIRST_PAUSE_SECONDS if self._is_heard else min(2 * pause, LAST_PAUSE_SECONDS)
            self._over.wait(pause)
        self._forget(self)

    def _follow(self, endpoint: str) -> None:
        """Tell of changes till the stream ends. Raises KeyValueError, unless it was cancelled here."""
        self._pieces = []
        request = WatchCreateRequest(key=self._key, range_end=self._end, start_revision=self._next, fragment=True)
        message = WatchRequest(create_request=request).SerializeToString()
        channels = self._channels
        connection: EtcdConnection | None = None
        try:
            connection = self._connection = channels.connect(endpoint, PONG_SECONDS)
            if self._over.is_set():  # cancelled before there was a connection
                return
            for messages in connection.stream(_WATCH, message, channels.access.ping_seconds, PONG_SECONDS):
                self._hear(map(WatchResponse.FromString, messages))
        except (CallError, OSError, WireError) as error:
            self._fail(endpoint)
            raise meaning_of(error, endpoint) from None
        except Unavailable:
            self._fail(endpoint)
            raise
        finally:
            if connection is not None:
                channels.leave(connection)

    def _fail(self, endpoint: str) -> None:
        if not self._over.is_set():  # else it was shut from here
            self._channels.fail(endpoint)

    def _hear(self, responses: Iterable[Any]) -> None:
        """Tell of what came at once as one batch."""
        events: list[Event] = []
        end: KeyValueError | None = None
        for response in responses:
            if response.canceled:
                end = _why(response)
                break
            self._is_heard = True
            events += self._whole(response)
        if events:
            batch = WatchBatch(tuple(events), events[-1].pair.mod_revision)
            self._next = batch.revision + 1
            self._tell(batch)
        if end is not None:
            raise end

    def _whole(self, response: Any) -> list[Event]:
        """Its events, with what came before of their first revision, but without a revision that goes on in the next
        message."""
        events = self._pieces + [_event_of(each) for each in response.events]
        whole = len(events)
        if response.fragment and events:
            last = events[-1].pair.mod_revision
            whole = next(index for index, event in enumerate(events) if event.pair.mod_revision == last)
        self._pieces = events[whole:]
        return events[:whole]

    def _tell(self, told: WatchBatch | KeyValueError) -> None:
        with self._telling:
            if self._over.is_set():
                return
            if isinstance(told, KeyValueError):
                self._over.set()
            try:
                self._receive(told)
            except Exception:  # the outermost frame of the watch
                logger.exception("a watch ends: its receiver failed")
                self._over.set()
        if self._over.is_set():
            self._shut()


def _why(response: Any) -> KeyValueError:
    """The watch was cancelled by etcd: for good, or so that it begins anew."""
    if response.compact_revision:
        return Compacted(response.compact_revision)
    reason = response.cancel_reason
    if "permission denied" in reason or "invalid" in reason:
        return Refused(f"etcd: {reason}")
    return Unavailable(f"etcd: {reason or 'the watch was cancelled'}")
