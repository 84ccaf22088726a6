"""A real server, whose sweep deletes expired keys in a thread while clients meet them: each is told of once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from flin.testing.process import wait_until
from tests.net.raw_client import RawClient
from tests.process.collections_load import LOW, Served

KEYS = 300


def test_each_expired_key_is_told_of_once(tmp_path: Path) -> None:
    served = Served(tmp_path / "db", "interval", LOW, 1)
    port = served.start()
    with RawClient(port) as listener, RawClient(port) as client:
        listener.call(b"SUBSCRIBE", b"__keyevent@0__:expired")
        client.call(b"CONFIG", b"SET", b"notify-keyspace-events", b"Ex")
        keys = [b"k%d" % number for number in range(KEYS)]
        made = [
            [b"HSET", key, *(b"%d" % field for field in range(20))] if number % 10 == 0 else [b"SET", key, b"v"]
            for number, key in enumerate(keys)
        ]
        client.pipeline([*made, *([b"PEXPIRE", key, b"%d" % (1 + number)] for number, key in enumerate(keys))])
        told: Counter[bytes] = Counter()

        def all_are_told() -> bool:
            """Some keys are met by a command, most are left to the sweep; both go on at the same time."""
            client.pipeline([[b"TYPE", key] for key in keys[::7]])
            while listener.has_reply():
                told[listener.read().items[2].payload] += 1
            return len(told) == KEYS

        wait_until(all_are_told, "the keys expire")
        client.call(b"SET", b"last", b"v", b"PX", b"1")  # swept after all others: nothing of them is told behind it
        while (payload := listener.read().items[2].payload) != b"last":
            told[payload] += 1
        assert told == Counter(keys)
        assert client.call(b"DBSIZE").data == b":0\r\n"
    served.stop()
