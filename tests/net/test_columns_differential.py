"""Pipelines of one command over collections against a real Redis: Flin runs them as columns."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from flin.objects import limits
from tests.net.fake_store import FakeStore
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread
from tests.net.wire.test_columns_of_collections import FORMS, KEYS, pipeline, rare

ROUNDS = 250
SKIPPED = (b"HELLO", b"SMEMBERS", b"HGETALL")  # what they return has no order; and a HELLO's reply names the server


@pytest.mark.parametrize(("packed", "whole"), [(64, 16384), (3, 0)], ids=["packed", "spread"])
def test_the_replies_are_those_of_redis(
    packed: int, whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", packed)
    monkeypatch.setattr(limits, "MAX_WHOLE", whole)
    source = random.Random(packed)
    with (
        running_redis(tmp_path) as redis_port,
        ServerThread(FakeStore()) as server,
        RawClient(server.port) as flin,
        RawClient(redis_port) as redis,
    ):
        for _ in range(ROUNDS):
            name = source.choice(list(FORMS))
            # The second and third chunk of a kind are looked at as columns.
            chunks = [pipeline(source, name) for _ in range(3)]
            chunks = [
                chunk for chunk in chunks if not any(b"-0" in request for request in chunk)
            ]  # a listed difference
            others = [rare(source) for _ in range(source.randrange(3))]
            chunks.append([request for request in others if request[0] not in SKIPPED])
            chunks.append([[b"HLEN", b"h1"], [b"SCARD", b"s1"], *([b"EXISTS", key] for key in KEYS)])
            for requests in chunks:
                ours, theirs = (client.pipeline(requests) for client in (flin, redis))
                assert [one.data for one in ours] == [one.data for one in theirs], requests
