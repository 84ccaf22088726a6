"""A database that a thread writes to, and whether a copy of it is of one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import flin.engine
from flin.engine import Engine

KEYS = 3000


@contextmanager
def written_meanwhile(db: Engine) -> Iterator[Callable[[], int]]:
    """A thread writes batches of two keys until the end; gives how many it has written."""
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            db.put_many([(b"%05d" % (written % KEYS), b"%d" % written), (b"large", b"%d " % written * 400)])
            written += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: written
    finally:
        stop.set()
        thread.join()


def check_moment(path: str | Path, sequence: int, least: int, most: int) -> None:
    """The copy holds all batches up to one that was written between its call (least) and its return (most)."""
    with flin.engine.open(path, runner="inline") as copy:
        last = int(copy[b"large"].split()[0])
        assert least - 1 <= last <= most + 1
        assert sequence == 2 * (last + 1)
        assert len(copy) == min(last + 1, KEYS) + 1
        assert copy.verify() == []
