"""What test_kill.py runs and kills: a process that writes as fast as it can and says in a shared page how far it got.

    python -m tests.engine.killed_writer DIRECTORY SYNC SHARDS PROGRESS_FILE

The n-th commit is a pure function of n, so whoever knows how many there are knows the whole state.
"""

from __future__ import annotations

import mmap
import struct
import sys
from pathlib import Path
from typing import Final

import flin.engine

PROGRESS: Final = struct.Struct("<QQQ")  # commits answered, process ids of the helpers (0: not there yet)
KEYS: Final = 997  # prime, so that commits of every kind meet on every key
LAST: Final = b"~last"


def operation(number: int) -> tuple[dict[bytes, bytes], list[bytes]]:
    """What commit n puts and deletes."""
    puts = {LAST: b"%d" % number}
    deletes = []
    if number % 10 == 0:
        puts |= {b"key %d" % ((number * 7 + step) % KEYS): b"%d in a batch" % number for step in range(5)}
    elif number % 7 == 0:
        deletes.append(b"key %d" % (number * 3 % KEYS))
    else:
        puts[b"key %d" % (number % KEYS)] = b"%d " % number * (number % 30)
    return puts, deletes


def state(number: int) -> dict[bytes, bytes]:
    """The database after so many commits."""
    entries: dict[bytes, bytes] = {}
    for each in range(1, number + 1):
        puts, deletes = operation(each)
        entries |= puts
        for key in deletes:
            entries.pop(key, None)
    return entries


def main() -> None:
    directory, sync, shards, progress = sys.argv[1:]
    with Path(progress).open("r+b") as file:
        page = mmap.mmap(file.fileno(), PROGRESS.size)
    # The smallest memory: a flush every few hundred commits, so that kills meet flushes and compactions under way.
    engine = flin.engine.open(directory, sync=sync, shards=int(shards), memory_limit=1 << 20)
    number = int(engine.get(LAST, b"0"))
    while True:
        number += 1
        puts, deletes = operation(number)
        with engine.write_batch() as batch:
            batch.put_many(puts)
            batch.delete_many(deletes)
        helpers = engine.stats()["background"]["helper_pids"] if number % 64 == 0 else PROGRESS.unpack(page[:])[1:]
        page[:] = PROGRESS.pack(number, *[*helpers, 0, 0][:2])


if __name__ == "__main__":
    main()
