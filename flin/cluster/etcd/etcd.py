"""etcd as a KeyValueStore, over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from flin.cluster.etcd.etcd_channels import OPEN, Access, Channels, Method
from flin.cluster.etcd.etcd_pb2 import (
    CompactionRequest,
    CompactionResponse,
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    TxnResponse,
)
from flin.cluster.etcd.etcd_watch import EtcdWatch, pair_of
from flin.cluster.etcd.key_value import (
    LATEST,
    Compacted,
    Delete,
    Found,
    Get,
    ModRevision,
    Operation,
    Outcome,
    Put,
    Receive,
)

_RANGE: Final = Method("/etcdserverpb.KV/Range", RangeResponse)
_TXN: Final = Method("/etcdserverpb.KV/Txn", TxnResponse)
_COMPACT: Final = Method("/etcdserverpb.KV/Compact", CompactionResponse)


class EtcdKeyValueStore:
    """A client of etcd: a KeyValueStore."""

    def __init__(self, endpoints: Sequence[str], access: Access = OPEN) -> None:
        """endpoints: `host:port` of members' client addresses, or URLs. Nothing is sent yet."""
        self.channels = Channels(endpoints, access)
        self._watches: set[EtcdWatch] = set()

    def get(
        self, key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = LATEST, serializable: bool = False,
        timeout: float,
    ) -> Found:  # fmt: skip
        request = RangeRequest(key=key, range_end=end, limit=limit, revision=revision, serializable=serializable)
        response = self.channels.call(_RANGE, request, timeout)
        return _found(response, response.header.revision)

    def txn(
        self, compares: Sequence[ModRevision], success: Sequence[Operation], failure: Sequence[Operation] = (), *,
        timeout: float,
    ) -> Outcome:  # fmt: skip
        request = TxnRequest(
            compare=[_compare(each) for each in compares],
            success=[_request(each) for each in success],
            failure=[_request(each) for each in failure],
        )
        response = self.channels.call(_TXN, request, timeout)
        ranges = [each.response_range for each in response.responses if each.HasField("response_range")]
        revision = response.header.revision
        return Outcome(response.succeeded, revision, tuple(_found(each, revision) for each in ranges))

    def compact(self, revision: int, *, timeout: float) -> None:
        with suppress(Compacted):  # up to there, or further: as was asked for
            # `physical`: the member that answers has done it by then, so its room can be seen.
            self.channels.call(_COMPACT, CompactionRequest(revision=revision, physical=True), timeout)

    def watch(self, key: bytes, end: bytes, revision: int, receive: Receive) -> EtcdWatch:
        watch = EtcdWatch(self.channels, key, end, revision, receive, self._watches.discard)
        self._watches.add(watch)
        watch.begin()
        return watch

    def close(self) -> None:
        self.channels.close()
        for watch in list(self._watches):
            watch.cancel()


def _compare(compare: ModRevision) -> Compare:
    return Compare(target=Compare.MOD, key=compare.key, mod_revision=compare.equals)


def _request(operation: Operation) -> RequestOp:
    match operation:
        case Put(key, value):
            return RequestOp(request_put=PutRequest(key=key, value=value))
        case Get(key, end, limit, keys_only):
            return RequestOp(request_range=RangeRequest(key=key, range_end=end, limit=limit, keys_only=keys_only))
        case Delete(key, end):
            return RequestOp(request_delete_range=DeleteRangeRequest(key=key, range_end=end))


def _found(response: Any, revision: int) -> Found:
    return Found(tuple(map(pair_of, response.kvs)), revision, response.more)
