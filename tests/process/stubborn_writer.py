"""As flin/testing/killed_writer.py, but what is refused with a documented error is tried again until it is taken.

    python -m tests.process.stubborn_writer DIRECTORY SYNC SHARDS LANES PAGE

It prints the class of each error that it met for the first time. Without memory an exception may come from anywhere,
and what was under way is done or not done: then it ends with 3.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import sleep

import flin.engine
from flin.engine.engine import Engine
from flin.errors import FlinError
from flin.testing.killed_writer import MEMORY_LIMIT, Page, commit
from flin.testing.lane import counter_key, parse_counter

NO_MEMORY = 3

_met: set[str] = set()


def _tell(error: BaseException) -> None:
    name = type(error).__name__
    if name not in _met:
        _met.add(name)
        with suppress(OSError):  # there may be no room for that either
            os.write(1, f"{name}: {error}\n".encode())


def _write(engine: Engine, page: Page, lane: int) -> None:
    number = parse_counter(engine.get(counter_key(lane)))[0]
    while not page.is_stop_wanted:
        number += 1
        while not page.is_stop_wanted:
            try:
                commit(engine, lane, number, page.answered())
            except FlinError as error:
                _tell(error)
                sleep(0.01)
            except BaseException as error:
                _tell(error)
                os._exit(NO_MEMORY)
            else:
                page.set_answered(lane, number)
                break


def main() -> None:
    directory, sync, shards, lanes, path = sys.argv[1:]
    page = Page(Path(path), int(lanes))
    with flin.engine.open(directory, sync=sync, shards=int(shards), memory_limit=MEMORY_LIMIT) as engine:
        page.set_open(True)
        threads = [Thread(target=_write, args=(engine, page, lane), daemon=True) for lane in range(page.lanes)]
        for thread in threads:
            thread.start()
        while not page.is_stop_wanted:
            sleep(0.005)
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
