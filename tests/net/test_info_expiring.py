"""INFO keyspace: how many keys have an expiry, and how long they live on average."""

from __future__ import annotations

import re
from pathlib import Path

import flin.engine
from flin.engine.expiring import Expiring
from tests.net.serving import HandlerClient


def test_expires_and_avg_ttl(tmp_path: Path) -> None:
    with flin.engine.open(str(tmp_path / "db"), runner="inline") as engine:
        client = HandlerClient(engine._store, expiring=Expiring(engine._store).steps)
        for number in range(50):
            client.call(b"SET", b"e%d" % number, b"v", b"EX", b"1000")
            client.call(b"SET", b"n%d" % number, b"v")
        client.call(b"SELECT", b"3")
        client.call(b"SET", b"x", b"y", b"EX", b"100")
        for _ in range(2):
            text = client.call(b"INFO", b"keyspace").decode()
            [first, second] = re.findall(r"db(\d+):keys=(\d+),expires=(\d+),avg_ttl=(\d+)", text)
            assert (first[:3], second[:3]) == (("0", "100", "50"), ("3", "1", "1"))
            assert 990_000 < int(first[3]) <= 1_000_000
            assert 90_000 < int(second[3]) <= 100_000
            engine.flush()
        client.call(b"SWAPDB", b"3", b"5")
        assert b"db5:keys=1,expires=1," in client.call(b"INFO", b"keyspace")
        client.call(b"FLUSHDB")
        client.call(b"SELECT", b"0")
        client.call(b"DEL", *[b"n%d" % number for number in range(50)])
        client.call(b"DEL", *[b"e%d" % number for number in range(40)])
        assert b"db0:keys=10,expires=10," in client.call(b"INFO", b"keyspace"), "never more than there are keys"
