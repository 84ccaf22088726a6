"""One process writes, a pool of others computes on what it has written: each worker opens the database to read.

python examples/pool_of_readers.py [DIR]
"""

import multiprocessing
import sys
import tempfile

import flin.engine

COUNT = 20_000
PARTS = 8

reader: flin.engine.Engine


def open_reader(directory: str) -> None:
    """What each worker does first."""
    global reader
    reader = flin.engine.open(directory, read_only=True, memory_limit="32mb")


def total(part: int) -> int:
    """The sum of one part of the values."""
    reader.refresh()
    return sum(int(value) for _, value in reader.scan(prefix=b"%d:" % part))


def main(directory: str) -> None:
    db = flin.engine.open(directory)
    with db, multiprocessing.get_context("spawn").Pool(2, open_reader, (directory,)) as pool:
        db.put_many((b"%d:%06d" % (number % PARTS, number), b"%d" % number) for number in range(COUNT))
        print("the sum:", f"{sum(pool.map(total, range(PARTS))):,}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(scratch)
