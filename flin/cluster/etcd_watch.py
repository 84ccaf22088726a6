"""A watch of etcd: a stream of its own, read by a thread of its own, begun anew wherever it broke off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import grpc

from flin.cluster.etcd_channels import METADATA, Channels, Stubs, meaning_of
from flin.cluster.etcd_pb2 import Event as WireEvent
from flin.cluster.etcd_pb2 import WatchCreateRequest, WatchRequest
from flin.cluster.key_value import (
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
        self._stream: Any = None
        self._is_heard = False
        self._pieces: list[Event] = []  # of a revision that is not whole yet

    def begin(self) -> None:
        threading.Thread(target=self._run, name="etcd watch", daemon=True).start()

    def cancel(self) -> None:
        self._over.set()
        if (stream := self._stream) is not None:
            stream.cancel()
        with self._telling:
            pass

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

    def _follow(self, stubs: Stubs) -> None:
        """Tell of changes till the stream ends. Raises KeyValueError, unless it was cancelled here."""
        self._pieces = []
        request = WatchCreateRequest(key=self._key, range_end=self._end, start_revision=self._next, fragment=True)
        try:
            # The requests end with the first: etcd goes on, and no thread of gRPC waits for a second one.
            self._stream = stubs.watch.Watch(iter((WatchRequest(create_request=request),)), metadata=METADATA)
            if self._over.is_set():  # cancelled before there was a stream
                self._stream.cancel()
            for response in self._stream:
                self._hear(response)
        except grpc.RpcError as error:
            self._channels.give_up(stubs.endpoint)
            raise meaning_of(error, stubs.endpoint) from None
        except ValueError as error:  # the channel was closed meanwhile
            raise Unavailable(f"etcd at {stubs.endpoint}: {error}") from None
        except Unavailable:
            self._channels.give_up(stubs.endpoint)
            raise
        finally:
            if self._stream is not None:
                self._stream.cancel()

    def _hear(self, response: Any) -> None:
        if response.canceled:
            raise _why(response)
        self._is_heard = True
        events = self._pieces + [_event_of(each) for each in response.events]
        whole = len(events)
        if response.fragment and events:  # the last revision goes on in the next message
            last = events[-1].pair.mod_revision
            whole = next(index for index, event in enumerate(events) if event.pair.mod_revision == last)
        self._pieces = events[whole:]
        if whole:
            batch = WatchBatch(tuple(events[:whole]), events[whole - 1].pair.mod_revision)
            self._next = batch.revision + 1
            self._tell(batch)

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
        if self._over.is_set() and self._stream is not None:
            self._stream.cancel()


def _why(response: Any) -> KeyValueError:
    """The watch was cancelled by etcd: for good, or so that it begins anew."""
    if response.compact_revision:
        return Compacted(response.compact_revision)
    reason = response.cancel_reason
    if "permission denied" in reason or "invalid" in reason:
        return Refused(f"etcd: {reason}")
    return Unavailable(f"etcd: {reason or 'the watch was cancelled'}")
