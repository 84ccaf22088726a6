"""Many processes compute, one writes: a pool returns its results to the process that has the engine open.

python examples/pool.py [DIR]
"""

import hashlib
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator

import flin.engine

COUNT = 10_000
BATCH = 1000


def digest(number: int) -> tuple[bytes, bytes]:
    """What the workers do. They know nothing of the engine, and get no reference to it."""
    return b"digest:%08d" % number, hashlib.sha256(b"%d" % number).digest()


def batches(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    batch = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def main(directory: str) -> None:
    # "spawn" or "forkserver": a forked worker would inherit the parent's locks in the middle of their use.
    with multiprocessing.get_context("spawn").Pool(2) as pool, flin.engine.open(directory) as db:
        for batch in batches(pool.imap_unordered(digest, range(COUNT), chunksize=500)):
            db.put_many(batch)
        print(f"{len(db):,} digests; the first: {db[b'digest:00000000'].hex()[:16]}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(scratch)
