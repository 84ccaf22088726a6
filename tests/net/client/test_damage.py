"""A server whose disk has lost bytes: what clients, the diagnostics and INFO say."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import flin.engine
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread

KEYS = [b"k%04d" % number for number in range(200)]


def test_reads_of_a_damaged_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "db"
    with flin.engine.open(str(path), runner="inline") as engine:
        engine.put_many([(key, b"v" * 50) for key in KEYS])
        engine.flush()
    [table] = path.glob("*.sst")
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)
    with (
        flin.engine.open(str(path), runner="inline") as engine,
        ServerThread(engine._store) as server,
        RawClient(server.port) as client,
    ):
        requests = [[b"GET", KEYS[0]], [b"MGET", *KEYS[:3]], [b"DEL", *KEYS], [b"INCR", KEYS[1]], [b"KEYS", b"*"]]
        replies = client.pipeline([*requests, *[[b"GET", key] for key in KEYS[:8]]])
        for reply in replies:
            assert reply.data.startswith(b"-ERR corruption: %b is damaged at offset " % table.name.encode()), reply
            assert reply.data.endswith(b"; run flin check\r\n")
        client.pipeline([[b"MULTI"], [b"GET", KEYS[0]], [b"SET", b"new", b"1"]])
        failed, done = client.call(b"EXEC").items
        assert failed.data.startswith(b"-ERR corruption")
        assert done.data == b"+OK\r\n"
        assert client.call(b"GET", b"new").payload == b"1"
        figures = client.call(b"INFO", b"flin").payload
    assert b"corruption_errors:14\r\n" in figures
    assert b"corruption_last:%b at offset " % str(table).encode() in figures
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1, [record.getMessage() for record in told]
    assert told[0].getMessage().endswith("; run: flin check flin-data")
    assert str(table) in told[0].getMessage()
