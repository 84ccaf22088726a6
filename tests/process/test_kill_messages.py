"""kill -9 of a server whose clients are told of writes: whoever was told of one finds it afterwards."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from flin.testing.process import wait_until
from tests.figures import KILLS, Figures
from tests.net.raw_client import RawClient
from tests.process.collections_load import LOW, Served

HEARD = 200
"""Messages before the kill."""


def write(port: int, numbers: count[int]) -> None:
    """Add one to a counter and publish what it is then, again and again, several at once, until the server has died."""
    try:
        with RawClient(port) as client:
            while True:
                some = [next(numbers) for _ in range(8)]
                client.pipeline(
                    [words for number in some for words in ([b"INCR", b"n"], [b"PUBLISH", b"c", b"%d" % number])]
                )
    except (OSError, EOFError, ValueError):
        pass


def listen(port: int, heard: list[int]) -> None:
    try:
        with RawClient(port) as client:
            client.call(b"SUBSCRIBE", b"c")
            while True:
                heard.append(int(client.read().items[2].payload))
    except (OSError, EOFError, ValueError):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["interval", "always"])
def test_what_was_told_outlives_a_kill(tmp_path: Path, figures: Figures, sync: str) -> None:
    served = Served(tmp_path / "db", sync, LOW, 1)
    value = 0
    for _ in range(3):
        heard: list[int] = []
        port = served.start()
        listener = Thread(target=listen, args=(port, heard))
        writer = Thread(target=write, args=(port, count(value + 1)))
        listener.start()
        wait_until(lambda port=port: _listeners(port), "it is subscribed")  # type: ignore[misc]
        writer.start()
        wait_until(lambda heard=heard: len(heard) >= HEARD, "messages arrive")  # type: ignore[misc]
        served.kill()
        writer.join()
        listener.join()
        figures.add(KILLS, 1)
        with RawClient(served.start()) as client:
            before, value = value, int(client.call(b"GET", b"n").payload)
        served.kill()
        assert heard == list(range(before + 1, before + 1 + len(heard)))
        assert heard[-1] <= value, "it was told of a write that is not there"


def _listeners(port: int) -> bool:
    with RawClient(port) as client:
        return client.call(b"PUBSUB", b"NUMSUB", b"c").items[1].payload == b"1"
