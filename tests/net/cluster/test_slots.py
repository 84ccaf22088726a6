"""Hash slots, beside those of a real redis-server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.net.cluster.slots import SLOTS, hash_tag, slot_of
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis

_pieces = st.sampled_from([b"{", b"}", b"{}", b"a", b"user1", b"\r\n", b"\0", b"\xff"]) | st.binary(max_size=40)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawClient]:
    with running_redis(tmp_path_factory.mktemp("redis"), **{"cluster-enabled": "yes"}) as port:
        client = RawClient(port)
        yield client
        client.close()


@given(st.lists(_pieces, max_size=6).map(b"".join))
def test_a_slot_is_what_redis_computes(redis: RawClient, key: bytes) -> None:
    (reply,) = redis.pipeline([[b"CLUSTER", b"KEYSLOT", key]])
    assert reply.data == b":%d\r\n" % slot_of(key)


@pytest.mark.parametrize(
    ("key", "part"),
    [
        (b"", b""),
        (b"user", b"user"),
        (b"{user1}:name", b"user1"),
        (b"a{user1}{other}", b"user1"),
        (b"{}user", b"{}user"),
        (b"{}{a}", b"{}{a}"),
        (b"{{a}}", b"{a"),
        (b"{a", b"{a"),
        (b"a}{", b"a}{"),
        (b"}{a}", b"a"),
    ],
)
def test_the_hash_tag_is_the_first_one_unless_it_is_empty(key: bytes, part: bytes) -> None:
    assert hash_tag(key) == part


def test_slots_of_the_specification() -> None:
    assert slot_of(b"123456789") == 0x31C3 % SLOTS  # the example of Redis Cluster's specification
    assert slot_of(b"{123456789}x") == slot_of(b"123456789")
