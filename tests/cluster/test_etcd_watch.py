"""What a watch makes of the messages of its stream, without a member."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

pytest.importorskip("google.protobuf")

from flin.cluster.etcd.etcd_channels import Channels
from flin.cluster.etcd.etcd_pb2 import Event, KeyValue, WatchResponse
from flin.cluster.etcd.etcd_watch import EtcdWatch
from flin.cluster.etcd.key_value import Compacted, KeyValueError, Unavailable, WatchBatch


def response(*revisions: int, fragment: bool = False) -> Any:
    """One event of each revision, whose keys are numbered from 0 on."""
    events = [Event(kv=KeyValue(key=b"%d" % place, mod_revision=each)) for place, each in enumerate(revisions)]
    return WatchResponse(events=events, fragment=fragment)


class Heard:
    """A watch from revision 5 on, and what it has told."""

    def __init__(self) -> None:
        self.told: list[WatchBatch | KeyValueError] = []
        channels = Channels(["nowhere:1"])
        self.watch = EtcdWatch(channels, b"a", b"b", 5, self.told.append, lambda watch: None)

    def hear(self, responses: Iterable[Any]) -> list[tuple[list[int], int]]:
        """The revisions of each batch's events, and the batch's own, of what it tells now."""
        self.told.clear()
        self.watch._hear(responses)
        return self.batches()

    def batches(self) -> list[tuple[list[int], int]]:
        return [
            ([event.pair.mod_revision for event in each.events], each.revision)
            for each in self.told
            if isinstance(each, WatchBatch)
        ]


def test_what_came_at_once_is_one_batch() -> None:
    heard = Heard()
    assert heard.hear([response()]) == []
    assert heard.hear([response(5, 6), response(), response(8)]) == [([5, 6, 8], 8)]
    assert heard.watch._next == 9


def test_a_revision_is_told_whole() -> None:
    heard = Heard()
    assert heard.hear([response(5, 6, 6, fragment=True)]) == [([5], 5)]
    assert heard.watch._next == 6, "who begins anew here gets all of revision 6"
    assert heard.hear([response(6, fragment=True)]) == []
    assert heard.hear([response(6, 7, 7, fragment=True), response(7, 8)]) == [([6, 6, 6, 6, 7, 7, 7, 8], 8)]


@pytest.mark.parametrize(("compacted", "kind"), [(0, Unavailable), (7, Compacted)])
def test_what_came_before_the_end_is_told(compacted: int, kind: type[KeyValueError]) -> None:
    heard = Heard()
    with pytest.raises(kind):
        heard.hear([response(5), WatchResponse(canceled=True, compact_revision=compacted), response(6)])
    assert heard.batches() == [([5], 5)]
    assert heard.watch._next == 6
