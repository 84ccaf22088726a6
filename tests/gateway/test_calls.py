"""The six calls, health and reflection, by a client of grpcio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from flin.gateway import flin_pb2 as pb
from flin.gateway.flin_pb2_grpc import KVStub
from flin.gateway.server import NAME, Gateway, GatewayError, GatewayOptions
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread

Code = grpc.StatusCode


def put(key: bytes, value: bytes = b"", **expiry: int) -> pb.Operation:
    return pb.Operation(put=pb.PutRequest(key=key, value=value, **expiry))


def get(key: bytes) -> pb.Operation:
    return pb.Operation(get=pb.GetRequest(key=key))


def fails(call: Callable[[], Any], code: grpc.StatusCode, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert (error.code(), text in error.details()) == (code, True), error.details()


def asked(server: ServerThread, *words: bytes) -> bytes:
    with RawClient(server.port) as client:
        return client.call(*words).payload


def test_get_and_put(kv: KVStub) -> None:
    assert not kv.Get(pb.GetRequest(key=b"a")).HasField("value")
    kv.Put(pb.PutRequest(key=b"a", value=b""))
    reply = kv.Get(pb.GetRequest(key=b"a"))
    assert (reply.HasField("value"), reply.value) == (True, b"")
    long = bytes(range(256)) * 10_000
    kv.Put(pb.PutRequest(key=b"\xff\0", value=long))
    assert kv.Get(pb.GetRequest(key=b"\xff\0")).value == long


def test_expiry(kv: KVStub, server: ServerThread) -> None:
    kv.Put(pb.PutRequest(key=b"a", value=b"x", ttl_ms=100_000))
    kv.Put(pb.PutRequest(key=b"b", value=b"x", expires_at_ms=2_000_000_000_000))
    assert 0 < int(asked(server, b"PTTL", b"a")) <= 100_000
    assert asked(server, b"PEXPIRETIME", b"b") == b"2000000000000"
    fails(lambda: kv.Put(pb.PutRequest(key=b"a", ttl_ms=0)), Code.INVALID_ARGUMENT, "ttl_ms is 0, it must be above 0")
    fails(lambda: kv.Put(pb.PutRequest(key=b"a", ttl_ms=(1 << 63) - 1)), Code.INVALID_ARGUMENT, "invalid expire time")


def test_batch(kv: KVStub, server: ServerThread) -> None:
    assert kv.Batch(pb.BatchRequest()) == pb.BatchReply()
    asked(server, b"RPUSH", b"list", b"x")
    reply = kv.Batch(
        pb.BatchRequest(
            operations=[
                *(put(b"k%d" % number, b"v") for number in range(5)),
                pb.Operation(delete=pb.DeleteRequest(key=b"k0")),
                pb.Operation(delete=pb.DeleteRequest(key=b"none")),
                pb.Operation(delete_range=pb.DeleteRangeRequest(prefix=b"k", start=b"k3")),
                get(b"k1"),
                get(b"k3"),
                get(b"list"),
            ]
        )
    )
    assert [result.WhichOneof("result") for result in reply.results[:5]] == ["put"] * 5
    deleted, none, of_range, one, three, failed = reply.results[5:]
    assert (deleted.delete.existed, none.delete.existed, of_range.WhichOneof("result")) == (True, False, "delete_range")
    assert (one.get.value, three.get.HasField("value")) == (b"v", False)
    assert (failed.failure.code, failed.failure.message[:9]) == (Code.FAILED_PRECONDITION.value[0], "WRONGTYPE")
    assert asked(server, b"DBSIZE") == b"3"


def test_a_batch_that_cannot_be_right_leaves_nothing(kv: KVStub, server: ServerThread) -> None:
    everything = pb.Operation(delete_range=pb.DeleteRangeRequest())
    for wrong, text in (
        (pb.Operation(), "one of get, put"),
        (everything, "delete everything"),
        (put(b"b", ttl_ms=-1), "ttl"),
    ):
        request = pb.BatchRequest(operations=[put(b"a"), wrong])
        fails(lambda request=request: kv.Batch(request), Code.INVALID_ARGUMENT, text)  # type: ignore[misc]
    assert asked(server, b"DBSIZE") == b"0"


def test_range(kv: KVStub) -> None:
    numbers = [b"k%04d" % number for number in range(2500)]
    kv.Batch(pb.BatchRequest(operations=[put(key, key[1:]) for key in numbers]))

    def keys(**asked: Any) -> list[bytes]:
        return [pair.key for reply in kv.Range(pb.RangeRequest(**asked)) for pair in reply.pairs]

    assert keys() == numbers
    assert [len(reply.pairs) for reply in kv.Range(pb.RangeRequest())] == [1000, 1000, 500]
    assert keys(reverse=True) == numbers[::-1]
    assert keys(start=b"k0010", stop=b"k0012") == numbers[10:12]
    assert keys(prefix=b"k24", reverse=True, limit=1) == [b"k2499"]
    assert keys(prefix=b"k1", start=b"k1998", stop=b"k3") == numbers[1998:2000]
    assert keys(limit=1500) == numbers[:1500]
    assert keys(prefix=b"x") == keys(start=b"b", stop=b"a") == []
    (page,) = kv.Range(pb.RangeRequest(limit=2))
    assert [pair.value for pair in page.pairs] == [b"0000", b"0001"]
    (page,) = kv.Range(pb.RangeRequest(limit=2, keys_only=True))
    assert not page.pairs[0].HasField("value")
    fails(lambda: [*kv.Range(pb.RangeRequest(limit=-1))], Code.INVALID_ARGUMENT, "limit is -1")


def test_a_range_waits_for_its_reader(kv: KVStub, server: ServerThread) -> None:
    """Pages are asked for as the client takes them: of 24 MiB some few windows are on their way."""
    kv.Batch(pb.BatchRequest(operations=[put(b"k%02d" % number, bytes(1 << 20)) for number in range(24)]))
    before = int(
        dict(line.split(b":") for line in _info(server).split(b"\r\n") if b":" in line)[b"total_net_output_bytes"]
    )
    stream = kv.Range(pb.RangeRequest())
    next(stream)
    threading.Event().wait(0.3)
    after = int(
        dict(line.split(b":") for line in _info(server).split(b"\r\n") if b":" in line)[b"total_net_output_bytes"]
    )
    assert after - before < 16 << 20
    assert sum(len(reply.pairs) for reply in stream) == 23


def _info(server: ServerThread) -> bytes:
    return asked(server, b"INFO", b"stats")


def test_txn(kv: KVStub) -> None:
    request = pb.TxnRequest(
        compares=[pb.Compare(key=b"a", exists=False), pb.Compare(key=b"b", value=b"1", relation=pb.GREATER)],
        then=[put(b"a", b"x"), get(b"a")],
        otherwise=[get(b"b")],
    )
    reply = kv.Txn(request)
    assert (reply.succeeded, reply.results[0].get.HasField("value")) == (False, False)
    kv.Put(pb.PutRequest(key=b"b", value=b"2"))
    reply = kv.Txn(request)
    assert (reply.succeeded, reply.results[1].get.value) == (True, b"x")
    reply = kv.Txn(request)
    assert (reply.succeeded, reply.results[0].get.value) == (False, b"2")
    assert kv.Txn(pb.TxnRequest()).succeeded
    assert kv.Txn(pb.TxnRequest(compares=[pb.Compare(key=b"a", exists=False, relation=pb.NOT_EQUAL)])).succeeded
    assert kv.Txn(pb.TxnRequest(compares=[pb.Compare(key=b"a", expires_at_ms=0)])).succeeded
    for wrong, text in (
        (pb.Compare(key=b"a"), "a compare tests"),
        (pb.Compare(key=b"a", exists=True, relation=pb.LESS), "EQUAL or NOT_EQUAL"),
    ):
        fails(lambda wrong=wrong: kv.Txn(pb.TxnRequest(compares=[wrong])), Code.INVALID_ARGUMENT, text)  # type: ignore[misc]


def events(stream: Iterator[pb.WatchReply], number: int) -> list[pb.Event]:
    return [*islice((event for reply in stream for event in reply.events), number)]


def test_watch(kv: KVStub, server: ServerThread) -> None:
    stream = kv.Watch(pb.WatchRequest(prefixes=[b"a", b"b"]), timeout=PATIENCE_SECONDS)
    begun = next(stream)
    kv.Batch(
        pb.BatchRequest(operations=[put(b"a", b"1"), put(b"x", b"2"), put(b"b", b"3", expires_at_ms=2_000_000_000_000)])
    )
    kv.Batch(pb.BatchRequest(operations=[pb.Operation(delete_range=pb.DeleteRangeRequest(prefix=b"a"))]))
    asked(server, b"DEL", b"b")
    asked(server, b"RPUSH", b"b", b"x")
    found = events(stream, 5)
    assert [(event.kind, event.key, event.value) for event in found] == [
        (pb.Event.PUT, b"a", b"1"),
        (pb.Event.PUT, b"b", b"3"),
        (pb.Event.DELETE_RANGE, b"a", b""),
        (pb.Event.DELETE, b"b", b""),
        (pb.Event.COLLECTION, b"b", b""),
    ]
    assert [event.sequence - begun.sequence for event in found][:3] == [1, 3, 4]
    assert found[0].commit == found[1].commit == begun.sequence + 1
    assert (found[1].expires_at_ms, found[2].stop) == (2_000_000_000_000, b"b")
    stream.cancel()
    again = kv.Watch(pb.WatchRequest(since=found[2].sequence), timeout=PATIENCE_SECONDS)
    assert [event.key for event in events(again, 2)] == [b"b", b"b"]
    again.cancel()
    fails(
        lambda: next(kv.Watch(pb.WatchRequest(since=1 << 40), timeout=PATIENCE_SECONDS)), Code.OUT_OF_RANGE, "FEEDGAP"
    )


def test_no_more_streams_than_there_is_room_for(kv: KVStub) -> None:
    streams = [kv.Watch(pb.WatchRequest(), timeout=PATIENCE_SECONDS) for _ in range(2)]
    for stream in streams:
        next(stream)
    fails(
        lambda: next(kv.Watch(pb.WatchRequest(), timeout=PATIENCE_SECONDS)),
        Code.RESOURCE_EXHAUSTED,
        "2 streams are open",
    )
    for stream in streams:
        stream.cancel()
    kv.Put(pb.PutRequest(key=b"a", value=b"1"))

    def has_room() -> bool:
        with suppress(grpc.RpcError):
            return [len(reply.pairs) for reply in kv.Range(pb.RangeRequest())] == [1]
        return False

    wait_until(has_room, "the gateway to hear of the end of the streams")


def test_errors_have_the_server_s_text(kv: KVStub, server: ServerThread) -> None:
    asked(server, b"RPUSH", b"list", b"x")
    fails(lambda: kv.Get(pb.GetRequest(key=b"list")), Code.FAILED_PRECONDITION, "WRONGTYPE Operation against a key")


def test_a_deadline_is_kept(kv: KVStub, server: ServerThread) -> None:
    """The client's; and that of the gateway, for a call that has none."""
    with running(GatewayOptions("127.0.0.1:0", f"127.0.0.1:{server.port}", call_timeout=0.1)) as impatient:
        asked(server, b"CLIENT", b"PAUSE", b"1000000", b"ALL")
        try:
            fails(lambda: kv.Get(pb.GetRequest(key=b"a"), timeout=0.1), Code.DEADLINE_EXCEEDED, "")
            fails(
                lambda: impatient.Get(pb.GetRequest(key=b"a")),
                Code.DEADLINE_EXCEEDED,
                "the server did not answer in time",
            )
        finally:
            server.call(server.server.services.pause.end)
        assert not kv.Get(pb.GetRequest(key=b"a"), timeout=PATIENCE_SECONDS).HasField("value")


def test_a_connection_that_was_closed_is_replaced(kv: KVStub, server: ServerThread) -> None:
    for _ in range(3):
        kv.Put(pb.PutRequest(key=b"a", value=b"1"))
        asked(server, b"CLIENT", b"KILL", b"TYPE", b"NORMAL")


def test_health_and_reflection(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        health, serving = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckResponse.SERVING
        for name in ("", NAME):
            request = health_pb2.HealthCheckRequest(service=name)
            wait_until(lambda request=request: health.Check(request).status == serving, "the health of the server")  # type: ignore[misc]
        reflected = ProtoReflectionDescriptorDatabase(channel)
        assert {NAME, "grpc.health.v1.Health"} <= {*reflected.get_services()}
        assert reflected.FindFileContainingSymbol(NAME).service[0].method[0].name == "Get"


def test_a_server_with_a_password(server: ServerThread) -> None:
    asked(server, b"ACL", b"SETUSER", b"gate", b"on", b">secret", b"%R~a*", b"+get", b"+set", b"+client")
    for password, code, text in (
        ("wrong", Code.UNAVAILABLE, "refuses the gateway: WRONGPASS"),
        ("secret", Code.PERMISSION_DENIED, "NOPERM"),
    ):
        options = GatewayOptions("127.0.0.1:0", f"127.0.0.1:{server.port}", user="gate", password=password)
        with running(options) as kv:
            fails(lambda kv=kv: kv.Put(pb.PutRequest(key=b"a")), code, text)  # type: ignore[misc]
    asked(server, b"ACL", b"DELUSER", b"gate")


class running:  # noqa: N801 - reads as a function
    """A gateway of its own; gives a client."""

    def __init__(self, options: GatewayOptions, **channel: Any) -> None:
        self._gateway = Gateway(options)

    def __enter__(self) -> KVStub:
        self._gateway.start()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._gateway.port}")
        return KVStub(self._channel)

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._gateway.stop()


def test_a_server_that_is_down_and_comes_back(tmp_path: Any) -> None:
    path = tmp_path / "flin.sock"
    with running(GatewayOptions("127.0.0.1:0", f"unix:{path}")) as kv:
        fails(lambda: kv.Get(pb.GetRequest(key=b"a")), Code.UNAVAILABLE, "the server does not answer at unix:")
        fails(
            lambda: next(kv.Watch(pb.WatchRequest(), timeout=PATIENCE_SECONDS)),
            Code.UNAVAILABLE,
            "the server does not answer at unix:",
        )
        for _ in range(2):
            with ServerThread(unixsocket=str(path)):
                assert not kv.Get(pb.GetRequest(key=b"a")).HasField("value")
        fails(lambda: kv.Get(pb.GetRequest(key=b"a")), Code.UNAVAILABLE, "unix:")


def test_a_watch_ends_with_the_gateway(server: ServerThread) -> None:
    gateway = running(GatewayOptions("127.0.0.1:0", f"127.0.0.1:{server.port}"))
    kv = gateway.__enter__()
    stream = kv.Watch(pb.WatchRequest(), timeout=PATIENCE_SECONDS)
    next(stream)
    ended = threading.Thread(target=gateway._gateway.stop)
    ended.start()
    fails(lambda: next(stream), Code.UNAVAILABLE, "the gateway stops")
    ended.join()
    gateway._channel.close()


def test_tls_with_certificates_of_clients(server: ServerThread, certificates: dict[str, str]) -> None:
    def read(name: str) -> bytes:
        with open(certificates[name], "rb") as file:
            return file.read()

    options = GatewayOptions(
        "localhost:0",
        f"127.0.0.1:{server.port}",
        tls_cert_file=certificates["cert"],
        tls_key_file=certificates["key"],
        tls_ca_cert_file=certificates["authority"],
    )
    gateway = Gateway(options)
    gateway.start()
    try:
        known = grpc.ssl_channel_credentials(read("authority"), read("client_key"), read("client_cert"))
        for credentials, is_answered in ((known, True), (grpc.ssl_channel_credentials(read("authority")), False)):
            with grpc.secure_channel(f"localhost:{gateway.port}", credentials) as channel:
                call = partial(KVStub(channel).Get, pb.GetRequest(key=b"a"), timeout=PATIENCE_SECONDS)
                if is_answered:
                    call()
                else:
                    fails(call, Code.UNAVAILABLE, "")
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"listen": "0.0.0.0:0"}, "could read and write everything"),
        ({"listen": "300.1.1.1:1", "protected_mode": False}, "cannot listen on 300.1.1.1:1"),
        ({"server": "nowhere"}, "is no address: write unix:PATH or HOST:PORT"),
        ({"tls_key_file": "key.pem"}, "TLS needs a certificate"),
        ({"tls_cert_file": "cert.pem"}, "TLS needs the key"),
        ({"tls_cert_file": "/none/cert.pem", "tls_key_file": "/none/key.pem"}, "cannot read /none/key.pem"),
    ],
)
def test_what_is_refused_at_the_start(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        Gateway(GatewayOptions(**{"listen": "127.0.0.1:0", **changed})).start()
    assert text in str(caught.value)
