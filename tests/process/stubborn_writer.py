"""Like flin/testing/killed_writer.py, but a write that is refused with a documented error is tried again until it is
taken.

    python -m tests.process.stubborn_writer DIRECTORY SYNC SHARDS LANES PAGE

It prints the class of each error that it meets for the first time. Without memory an exception may come from anywhere,
and the write under way is done or not: then it ends with 3.
"""

from __future__ import annotations

import faulthandler
import os
from contextlib import suppress
from time import sleep

from flin.engine.engine import Engine
from flin.errors import FlinError
from flin.testing.killed_writer import Page, commit, main
from flin.testing.lane import counter_key, parse_counter
from flin.testing.process import PATIENCE_SECONDS

NO_MEMORY = 3

_met: set[str] = set()


def _tell(error: BaseException) -> None:
    name = type(error).__name__
    if name not in _met:
        _met.add(name)
        with suppress(OSError):  # there may be no room for that, either
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


if __name__ == "__main__":
    faulthandler.dump_traceback_later(PATIENCE_SECONDS / 2)  # it hangs: the test prints where
    main(_write)
