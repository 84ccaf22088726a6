"""Pipelines of one command, which run as columns, beside a real Redis: byte-equal replies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import flin.engine
from flin.net.command.registry import find
from flin.net.serve.connection import Connection
from flin.net.serve.dispatch import Caller, run_columns
from flin.net.wire.columns import Column
from flin.objects import limits as sizes
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread
from tests.net.wire.test_columns_of_collections import ELEMENTS, FORMS, KEYS, pipeline

ROUNDS = 2000


@pytest.fixture(params=[(64, 16384), (3, 16384), (3, 0)], ids=["packed", "whole", "spread"])
def flin_port(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    packed, whole = request.param
    monkeypatch.setattr(sizes, "MAX_PACKED_ELEMENTS", packed)
    monkeypatch.setattr(sizes, "MAX_WHOLE", whole)
    with flin.engine.open(str(tmp_path / "db"), runner="inline") as engine, ServerThread(engine._store) as server:
        yield server.port


def between(source: random.Random) -> list[list[bytes]]:
    """What makes the pipelines' keys others: some are deleted, expire, lose elements, or are ranked and read whole."""
    key, element = source.choice(KEYS), source.choice(ELEMENTS)
    more = {
        b"s": [[b"SREM", key, element], [b"SCARD", key]],
        b"h": [[b"HDEL", key, element], [b"HLEN", key]],
        b"z": [
            [b"ZREM", key, element],
            [b"ZRANK", key, element],
            [b"ZRANGE", key, b"0", b"2", b"WITHSCORES"],
            [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            [b"ZREVRANGE", key, b"1", b"3"],
            [b"ZCOUNT", key, b"(1", b"7"],
            [b"ZPOPMIN", key],
        ],
    }
    kin = [other for other in KEYS if other[:1] == key[:1]]
    common = [[b"DEL", key], [b"DEL", key], [b"PEXPIRE", key, b"100000"], [b"RENAME", key, source.choice(kin)]]
    return [source.choice(more.get(key[:1], common) if source.random() < 0.5 else common)]


@pytest.mark.parametrize("protocol", [2, 3])
def test_alike_pipelines(flin_port: int, redis_port: int, protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Counter[bytes] = Counter()

    def counted(caller: Caller, name: bytes, columns: list[Column]) -> int:
        done = run_columns(caller, name, columns)
        run[name] += done
        return done

    monkeypatch.setattr(Connection, "_run_columns", staticmethod(counted))
    source = random.Random(protocol)
    ours, theirs = RawClient(flin_port), RawClient(redis_port)
    for client in (ours, theirs):
        client.pipeline([[b"RESET"], [b"HELLO", b"%d" % protocol], [b"FLUSHALL"]])
    name = b""
    for number in range(ROUNDS):
        if number % 5 == 0:  # the second pipeline of a kind is looked at as columns
            name = source.choice(list(FORMS))
        requests = pipeline(source, name) if source.random() < 0.8 else between(source)
        requests = [[b"-1" if word == b"-0" else word for word in words] for words in requests]  # a listed difference
        found, expected = ours.pipeline(requests), theirs.pipeline(requests)
        assert [one.data for one in found] == [one.data for one in expected], (number, requests)
    for client in (ours, theirs):
        client.close()
    for name in FORMS:
        command = find(name)
        assert command is not None
        assert command.batch is None or run[name] > 8, (name, run)
