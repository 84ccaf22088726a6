"""The service: each call of gRPC is some requests to the server. It runs in the threads of grpcio's server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Any, Final

import grpc
from hiredis import ReplyError

from flin.gateway import flin_pb2 as pb
from flin.gateway import flin_pb2_grpc
from flin.gateway.connection import Connection, LoginFailed, Pool, Request, ServerGone
from flin.gateway.requests import (
    PAGE,
    bounds_of,
    pairs_of,
    put_request,
    results_of,
    transaction_request,
    watch_reply,
)
from flin.gateway.status import Code, Refused, refused

logger = logging.getLogger(__name__)

MESSAGE_EVENTS: Final = 1000
"""The most events of one message of Watch."""


class KV(flin_pb2_grpc.KVServicer):
    """Errors end a call with a status: `_answering`."""

    def __init__(self, pool: Pool, *, streams: int, seconds: float) -> None:
        """streams: how many Range and Watch at once, since each keeps a thread. seconds: of a call without deadline."""
        self._pool: Final = pool
        self._seconds: Final = seconds
        self._streams: Final = streams
        self._room: Final = BoundedSemaphore(streams)
        self._watches: Final[set[Connection]] = set()
        self._lock: Final = Lock()
        self._is_stopping = False

    def Get(self, request: pb.GetRequest, context: grpc.ServicerContext) -> pb.GetReply:  # noqa: N802 - of the .proto
        with _answering(context):
            return pb.GetReply(value=self._ask(("GET", request.key), context))

    def Put(self, request: pb.PutRequest, context: grpc.ServicerContext) -> pb.PutReply:  # noqa: N802
        with _answering(context):
            self._ask(put_request(request), context)
            return pb.PutReply()

    def Batch(self, request: pb.BatchRequest, context: grpc.ServicerContext) -> pb.BatchReply:  # noqa: N802
        with _answering(context):
            operations = request.operations
            words = transaction_request((), operations, ())
            replies = self._ask(words, context)[1] if operations else []
            return pb.BatchReply(results=results_of(operations, replies))

    def Txn(self, request: pb.TxnRequest, context: grpc.ServicerContext) -> pb.TxnReply:  # noqa: N802
        with _answering(context):
            words = transaction_request(request.compares, request.then, request.otherwise)
            held, replies = self._ask(words, context) if len(words) > 1 else (1, [])
            ran = request.then if held else request.otherwise
            return pb.TxnReply(succeeded=bool(held), results=results_of(ran, replies))

    def Range(self, request: pb.RangeRequest, context: grpc.ServicerContext) -> Iterator[pb.RangeReply]:  # noqa: N802
        with _answering(context), self._streaming():
            if request.limit < 0:
                raise Refused(Code.INVALID_ARGUMENT, f"limit is {request.limit}, it must not be negative")
            bounds = [*bounds_of(request)]
            left = request.limit or None
            options = ["REV"] * request.reverse + ["KEYS"] * request.keys_only
            while True:
                limit = PAGE if left is None else min(left, PAGE)
                cursor, page = self._ask(("FLIN.RANGE", *bounds, "LIMIT", limit, *options), context)
                pairs = pairs_of(page, keys_only=request.keys_only)
                if pairs:
                    yield pb.RangeReply(pairs=pairs)
                left = None if left is None else left - len(pairs)
                if cursor is None or left == 0:
                    return
                bounds[request.reverse] = cursor

    def Watch(self, request: pb.WatchRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchReply]:  # noqa: N802
        with _answering(context), self._streaming(), self._watching(context) as connection:
            since = ("SINCE", request.since) if request.HasField("since") else ()
            watch: Request = ("FLIN.WATCH", *(request.prefixes or (b"",)), *since)
            (sequence,) = connection.call([watch], self._deadline(context))
            if isinstance(sequence, ReplyError):
                raise refused(sequence)
            yield pb.WatchReply(sequence=sequence)
            while True:
                pushes = [connection.read(None)]
                while len(pushes) < MESSAGE_EVENTS and (push := connection.maybe_read()) is not None:
                    pushes.append(push)
                reply = watch_reply(pushes, sequence)
                sequence = reply.sequence
                yield reply

    def stop(self) -> None:
        """End the watches, and take no new ones."""
        with self._lock:
            self._is_stopping = True
            for connection in self._watches:
                connection.shut_down()

    def _ask(self, request: Request, context: grpc.ServicerContext) -> Any:
        """One request's reply. Refused if it is an error."""
        (reply,) = self._pool.call((request,), self._deadline(context))
        if isinstance(reply, ReplyError):
            raise refused(reply)
        return reply

    def _deadline(self, context: grpc.ServicerContext) -> float:
        left = context.time_remaining()
        return monotonic() + (self._seconds if left is None else min(left, self._seconds))

    @contextmanager
    def _streaming(self) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            raise Refused(Code.RESOURCE_EXHAUSTED, f"{self._streams} streams are open, the most of this gateway")
        try:
            yield
        finally:
            self._room.release()

    @contextmanager
    def _watching(self, context: grpc.ServicerContext) -> Iterator[Connection]:
        """A connection of its own, which the client's end and the gateway's shut down."""
        connection = Connection(self._pool.address, self._deadline(context))
        try:
            with self._lock:
                if self._is_stopping:
                    raise Refused(Code.UNAVAILABLE, "the gateway stops")
                self._watches.add(connection)
            if not context.add_callback(connection.shut_down):
                raise Refused(Code.CANCELLED, "the call is over")
            yield connection
        except ServerGone:
            if self._is_stopping:
                raise Refused(Code.UNAVAILABLE, "the gateway stops") from None
            raise
        finally:
            with self._lock:
                self._watches.discard(connection)
            connection.close()


@contextmanager
def _answering(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with a status if the block fails."""
    try:
        yield
    except Refused as error:
        context.abort(error.code, error.text)
    except ServerGone as error:
        context.abort(Code.UNAVAILABLE, str(error))
    except LoginFailed as error:
        logger.error("%s", error)
        context.abort(Code.UNAVAILABLE, str(error))
    except TimeoutError:
        context.abort(Code.DEADLINE_EXCEEDED, "the server did not answer in time")
