"""From messages to requests, and from errors to codes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from hiredis import ReplyError

from flin.gateway import flin_pb2 as pb
from flin.gateway.connection import Address
from flin.gateway.requests import bounds_of, prefix_stop, transaction_request, watch_reply
from flin.gateway.status import Refused, code_of

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("asked", "bounds"),
    [
        ({}, (b"", b"")),
        ({"start": b"a", "stop": b"c"}, (b"a", b"c")),
        ({"prefix": b"b"}, (b"b", b"c")),
        ({"prefix": b"b", "start": b"a", "stop": b"z"}, (b"b", b"c")),
        ({"prefix": b"b", "start": b"b5", "stop": b"b7"}, (b"b5", b"b7")),
        ({"prefix": b"b", "start": b"d"}, (b"d", b"c")),
        ({"prefix": b"\xff", "start": b"a"}, (b"\xff", b"")),
        ({"prefix": b"a\xff", "stop": b"x"}, (b"a\xff", b"b")),
    ],
)
def test_bounds(asked: dict[str, bytes], bounds: tuple[bytes, bytes]) -> None:
    assert bounds_of(pb.RangeRequest(**asked)) == bounds_of(pb.DeleteRangeRequest(**asked)) == bounds  # type: ignore[arg-type]


def test_the_end_of_a_prefix() -> None:
    assert [prefix_stop(prefix) for prefix in (b"", b"a", b"a\xff", b"\xff\xff")] == [b"", b"b", b"b", b""]


def test_a_transaction() -> None:
    compares = [pb.Compare(key=b"a", value=b"1", relation=pb.LESS_OR_EQUAL), pb.Compare(key=b"b", exists=True)]
    then = [pb.Operation(put=pb.PutRequest(key=b"a", value=b"2", ttl_ms=5))]
    assert transaction_request(compares, then, [pb.Operation(get=pb.GetRequest(key=b"a"))]) == [
        *("FLIN.TXN", "IF", "VALUE", b"a", "<=", b"1", "IF", "EXISTS", b"b", 1),
        *("THEN", 5, "SET", b"a", b"2", "PX", 5, "ELSE", 2, "GET", b"a"),
    ]


@pytest.mark.parametrize("relation", [pb.EQUAL, pb.NOT_EQUAL])
@pytest.mark.parametrize("exists", [True, False])
def test_whether_a_key_exists(relation: Any, exists: bool) -> None:
    words = transaction_request([pb.Compare(key=b"a", exists=exists, relation=relation)], (), ())
    assert words[-1] == int(exists is (relation == pb.EQUAL))


def test_a_relation_of_the_future() -> None:
    compare = pb.Compare.FromString(pb.Compare(key=b"a", value=b"").SerializeToString() + b"\x28\x63")
    with pytest.raises(Refused, match="there is no relation 99"):
        transaction_request([compare], (), ())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("WRONGTYPE Operation", Code.FAILED_PRECONDITION),
        ("NOPERM this user", Code.PERMISSION_DENIED),
        ("NOAUTH Authentication required.", Code.UNAUTHENTICATED),
        ("MISCONF Flin cannot write", Code.FAILED_PRECONDITION),
        ("FEEDGAP the events", Code.OUT_OF_RANGE),
        ("OOM command not allowed", Code.RESOURCE_EXHAUSTED),
        ("ERR unknown command 'FLIN.TXN'", Code.UNIMPLEMENTED),
        ("ERR invalid expire time in 'set' command", Code.INVALID_ARGUMENT),
        ("ERR internal error", Code.INTERNAL),
        ("ERR something else", Code.UNKNOWN),
        ("", Code.UNKNOWN),
    ],
)
def test_codes(text: str, code: grpc.StatusCode) -> None:
    assert code_of(text) == code


def test_messages_of_a_watch() -> None:
    progress = [b"flin.watch", 9, b"progress", None, None, 0, 9, None]
    assert watch_reply([progress], 3) == pb.WatchReply(sequence=9)
    with pytest.raises(Refused) as caught:
        watch_reply([[b"flin.watch", 9, b"error", None, b"FEEDGAP x", 0, 9, None]], 3)
    assert (caught.value.code, caught.value.text) == (Code.OUT_OF_RANGE, "FEEDGAP x")
    assert not isinstance(caught.value, ReplyError)


def test_addresses() -> None:
    assert Address("unix:/run/flin.sock").path == "/run/flin.sock"
    assert (Address("[::1]:6380").host, Address("[::1]:6380").port) == ("::1", 6380)
    for text in ("", "unix:", "host", "host:", ":1", "host:0", "host:65536", "host:x"):
        with pytest.raises(ValueError, match="is no address"):
            Address(text)
