"""A reply that grows page by page is the reply of all its elements at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flin.errors import LimitError
from flin.net.wire.growing_reply import GrowingReply
from flin.net.wire.resp import encode2, encode3

MUCH = 1 << 20
PAGES: list[list[Any]] = [[b"a", b"1", b"b", b""], [], [b"\r\n", b"2"]]


@pytest.mark.parametrize("encode", [encode2, encode3])
def test_arrays(encode: Callable[[Any], bytes]) -> None:
    reply = GrowingReply(encode, MUCH)
    for page in [*PAGES, [None, (b"x", b"y")]]:
        reply.add(page)
    assert reply.array().data == encode([b"a", b"1", b"b", b"", b"\r\n", b"2", None, (b"x", b"y")])
    assert GrowingReply(encode, MUCH).array().data == b"*0\r\n"


@pytest.mark.parametrize(("encode", "is_resp3"), [(encode2, False), (encode3, True)])
def test_maps(encode: Callable[[Any], bytes], is_resp3: bool) -> None:
    reply = GrowingReply(encode, MUCH)
    for page in PAGES:
        reply.add(page)
    assert reply.map(is_resp3=is_resp3).data == encode({b"a": b"1", b"b": b"", b"\r\n": b"2"})
    assert GrowingReply(encode, MUCH).map(is_resp3=is_resp3).data == encode({})


def test_it_ends_where_it_would_be_too_large() -> None:
    reply = GrowingReply(encode2, 20)
    reply.add([b"12345"])  # 11 bytes
    with pytest.raises(LimitError, match="22"):
        reply.add([b"67890"])
