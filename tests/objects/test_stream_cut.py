"""What is trimmed from the beginning of a long stream: found from the nearer end, deleted by one range."""

from __future__ import annotations

from bisect import bisect_left
from random import Random

import pytest

from flin.objects import limits, stream, stream_tail
from flin.objects.layout import stream_id
from flin.objects.live_objects import LiveObjects
from flin.objects.meta import NO_ID
from flin.objects.stream import Stream
from flin.objects.stream_id import MAX_ID
from flin.objects.thresholds import Thresholds
from tests.objects.plain_host import PlainHost


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> PlainHost:
    for module, name, value in (
        (limits, "MAX_PACKED_ELEMENTS", 2),
        (limits, "PAGE", 3),
        (stream, "READ_AHEAD", 2),
        (stream, "MAX_TOMBSTONES", 4),
        (stream_tail, "MAX_HELD", 2),
    ):
        monkeypatch.setattr(module, name, value)
    return PlainHost()


def found_in(host: PlainHost) -> Stream:
    """Read anew, or made."""
    return LiveObjects(host, 1 << 20, Thresholds()).find_or_make(b"s", Stream)


def ids_of(found: Stream) -> list[bytes]:
    return [id_ for page in found.pages(NO_ID, MAX_ID, len(found)) for id_, _ in page]


def made(host: PlainHost, count: int) -> list[bytes]:
    found = found_in(host)
    for number in range(count):
        found.append(stream_id(2 * number + 1, 0), [b"f", b"%d" % number])
    host.commit()
    return [stream_id(2 * number + 1, 0) for number in range(count)]


@pytest.mark.parametrize("number", [1, 4, 5, 9, 10, 11, 15, 19, 20])
def test_a_cut_takes_the_first_ones(host: PlainHost, number: int) -> None:
    ids = made(host, 20)
    found = found_in(host)
    cut = found.cut(number)
    assert (cut.ids is None) == (number > 4)
    found.trim(cut)
    assert ids_of(found) == ids[number:]
    found.append(stream_id(99, 0), [b"f", b"v"])
    assert ids_of(found) == [*ids[number:], stream_id(99, 0)]
    host.commit()
    again = found_in(host)
    assert ids_of(again) == [*ids[number:], stream_id(99, 0)]
    assert again.first_id() == (*ids[number:], stream_id(99, 0))[0]
    assert len(again) == 21 - number


@pytest.mark.parametrize("count", [0, 3, 4, 20])
def test_a_cut_with_the_entry_that_is_added(host: PlainHost, count: int) -> None:
    made(host, count)
    found, added = found_in(host), stream_id(99, 0)
    cut = found.cut(count + 1, added)
    found.append(added, [b"f", b"v"])
    found.trim(cut)
    assert ids_of(found) == []
    host.commit()
    assert len(found_in(host)) == 0
    assert ids_of(found_in(host)) == []


def test_the_last_id_of_all_is_cut(host: PlainHost) -> None:
    made(host, 20)
    found = found_in(host)
    found.append(MAX_ID, [b"f", b"v"])
    found.trim(found.cut(21))
    host.commit()
    assert ids_of(found_in(host)) == []


@pytest.mark.parametrize("seed", range(5))
def test_numbers_below_an_id_with_holes(host: PlainHost, seed: int) -> None:
    random = Random(seed)
    ids = made(host, 30)
    gone = random.sample(ids, 12)
    found_in(host).delete_many(gone)
    host.commit()
    left = [id_ for id_ in ids if id_ not in gone]
    for ms in range(63):
        found, id_ = found_in(host), stream_id(ms, 0)
        below = bisect_left(left, id_)
        assert found.number_below(id_) == below
        assert found_in(host).number_below(id_, below + 1) == below
        assert below < 2 or found_in(host).number_below(id_, 1) > 1
