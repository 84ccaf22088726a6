"""From messages of gRPC to requests of the server, and from its replies back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from hiredis import ReplyError

from flin.gateway import flin_pb2 as pb
from flin.gateway.connection import Request, Word
from flin.gateway.status import code_of, invalid, refused

PAGE: Final = 1000
"""Keys of one message of Range, if their values leave room."""

_RELATIONS: Final[dict[int, str]] = {
    pb.EQUAL: "=",
    pb.NOT_EQUAL: "!=",
    pb.LESS: "<",
    pb.LESS_OR_EQUAL: "<=",
    pb.GREATER: ">",
    pb.GREATER_OR_EQUAL: ">=",
}


def put_request(put: pb.PutRequest) -> Request:
    expiry = put.WhichOneof("expiry")
    if expiry is None:
        return "SET", put.key, put.value
    moment = put.ttl_ms if expiry == "ttl_ms" else put.expires_at_ms
    if moment <= 0:
        raise invalid(f"{expiry} is {moment}, it must be above 0")
    return "SET", put.key, put.value, "PX" if expiry == "ttl_ms" else "PXAT", moment


def bounds_of(asked: pb.RangeRequest | pb.DeleteRangeRequest) -> tuple[bytes, bytes]:
    """Start and stop of the keys in the range that begin with the prefix. An empty stop is no end."""
    stops = [stop for stop in (asked.stop, prefix_stop(asked.prefix)) if stop]
    return max(asked.start, asked.prefix), min(stops, default=b"")


def prefix_stop(prefix: bytes) -> bytes:
    """The smallest key above all that begin with the prefix; empty: there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b""


def operation_request(operation: pb.Operation) -> Request:
    kind = operation.WhichOneof("operation")
    if kind == "put":
        return put_request(operation.put)
    if kind == "get":
        return "GET", operation.get.key
    if kind == "delete":
        return "DEL", operation.delete.key
    if kind == "delete_range":
        asked = operation.delete_range
        if not (asked.start or asked.stop or asked.prefix):
            raise invalid("a delete_range names start, stop or prefix: without any it would delete everything")
        return "FLIN.DELRANGE", *bounds_of(asked)
    raise invalid("an operation is one of get, put, delete, delete_range")


def transaction_request(
    compares: Iterable[pb.Compare], then: Iterable[pb.Operation], otherwise: Iterable[pb.Operation]
) -> list[Word]:
    """FLIN.TXN; its name alone where there is nothing to do."""
    words: list[Word] = ["FLIN.TXN"]
    for compare in compares:
        words.append("IF")
        words += _compare_words(compare)
    for clause, operations in (("THEN", then), ("ELSE", otherwise)):
        for operation in operations:
            request = operation_request(operation)
            words += (clause, len(request), *request)
    return words


def _compare_words(compare: pb.Compare) -> tuple[Word, ...]:
    test = compare.WhichOneof("test")
    relation = _RELATIONS.get(compare.relation)
    if relation is None:
        raise invalid(f"there is no relation {compare.relation}")
    if test == "value":
        return "VALUE", compare.key, relation, compare.value
    if test == "expires_at_ms":
        return "EXPIRES", compare.key, relation, compare.expires_at_ms
    if test == "exists":
        if compare.relation not in (pb.EQUAL, pb.NOT_EQUAL):
            raise invalid("exists is compared with EQUAL or NOT_EQUAL")
        return "EXISTS", compare.key, int(compare.exists == (compare.relation == pb.EQUAL))
    raise invalid("a compare tests value, exists or expires_at_ms")


def results_of(operations: Sequence[pb.Operation], replies: Sequence[Any]) -> list[pb.Result]:
    return [_result(operation, reply) for operation, reply in zip(operations, replies, strict=True)]


def _result(operation: pb.Operation, reply: Any) -> pb.Result:
    if isinstance(reply, ReplyError):
        return pb.Result(failure=pb.Failure(code=code_of(str(reply)).value[0], message=str(reply)))
    kind = operation.WhichOneof("operation")
    if kind == "get":
        return pb.Result(get=pb.GetReply(value=reply))
    if kind == "put":
        return pb.Result(put=pb.PutReply())
    if kind == "delete":
        return pb.Result(delete=pb.DeleteReply(existed=bool(reply)))
    return pb.Result(delete_range=pb.DeleteRangeReply())


def pairs_of(page: list[Any], *, keys_only: bool) -> list[pb.Pair]:
    if keys_only:
        return [pb.Pair(key=key) for key in page]
    return [pb.Pair(key=key, value=value) for key, value in zip(page[::2], page[1::2], strict=True)]


_KINDS: Final = {
    b"put": pb.Event.PUT,
    b"delete": pb.Event.DELETE,
    b"delete_range": pb.Event.DELETE_RANGE,
    b"collection": pb.Event.COLLECTION,
}


def watch_reply(pushes: Iterable[list[Any]], sequence: int) -> pb.WatchReply:
    """Messages of FLIN.WATCH, and the sequence before them. Raises Refused for its last one."""
    events = []
    for _, sequence, kind, key, value, expires_at_ms, commit, stop in pushes:  # the newest
        if kind in _KINDS:
            events.append(
                pb.Event(
                    kind=_KINDS[kind],
                    key=key,
                    value=value,
                    sequence=sequence,
                    expires_at_ms=expires_at_ms,
                    commit=commit,
                    stop=stop,
                )
            )
        elif kind == b"error":
            raise refused(ReplyError(value.decode("utf-8", "replace")))
    return pb.WatchReply(events=events, sequence=sequence)
