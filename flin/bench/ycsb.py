"""The six core workloads of the Yahoo Cloud Serving Benchmark (Cooper and others, SoCC 2010), as embedded rows.

    A  half reads, half updates          B  95 % reads, 5 % updates     C  reads only
    D  95 % reads of the newest records, 5 % inserts
    E  95 % scans of 1 to 100 records, 5 % inserts                      F  half reads, half read-modify-writes

Records are chosen by a scattered zipfian (zipfian.py), in D by one over the age. An update writes the whole record:
none of the stores has fields. Records are numbered in the order of their insertion, and that order is random over the
keys, as in YCSB's default. All operations are made before the clock starts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache, partial
from time import perf_counter_ns
from typing import Final, NamedTuple

from flin.bench.row import Nanoseconds, Row, WrongAnswerError
from flin.bench.store import Store
from flin.bench.workload import Workload
from flin.bench.zipfian import Zipfian, scattered

READ: Final = "read"
WRITE: Final = "write"  # an update or an insert
SCAN: Final = "scan"
MODIFY: Final = "modify"  # a read, then a write

MAX_SCAN: Final = 100
SCAN_SHARE: Final = 20
"""A scan, of 50 records on average, takes as long as tens of gets: E has a twentieth of the operations."""

VALUE_BYTES: Final = 1024
"""About YCSB's record of ten fields of 100 bytes."""

SEED: Final = 7


class Mix(NamedTuple):
    """The operations of a workload, in addition to reads."""

    other: str
    share: float
    inserts: bool = False
    latest: bool = False
    scans: bool = False  # instead of reads


MIXES: Final = {
    "a": Mix(WRITE, 0.5),
    "b": Mix(WRITE, 0.05),
    "c": Mix(WRITE, 0.0),
    "d": Mix(WRITE, 0.05, inserts=True, latest=True),
    "e": Mix(WRITE, 0.05, inserts=True, scans=True),
    "f": Mix(MODIFY, 0.5),
}


class Operation(NamedTuple):
    kind: str
    key: bytes
    value: bytes  # to write
    length: int  # of a scan


@cache
def operations(load: Workload, letter: str) -> list[Operation]:
    """All operations of a workload over a store that holds the load's keys; the same for every store."""
    return list(_make(load, MIXES[letter]))


def _make(load: Workload, mix: Mix) -> Iterator[Operation]:
    keys, new_keys, values = load.keys, iter(load.missing_keys), load.values
    records = keys.copy()
    zipfian = Zipfian(len(records), SEED)
    chance = random.Random(SEED + 1)
    for _ in range(max(1, load.count // SCAN_SHARE) if mix.scans else load.count):
        value = values[chance.randrange(len(values))]
        is_other = chance.random() < mix.share
        if is_other and mix.inserts:
            records.append(next(new_keys))
            zipfian.grow()
            yield Operation(WRITE, records[-1], value, 0)
            continue
        rank = zipfian.next()
        key = records[-1 - rank] if mix.latest else records[scattered(rank, len(records))]
        kind = mix.other if is_other else SCAN if mix.scans else READ
        yield Operation(kind, key, value, chance.randint(1, MAX_SCAN) if mix.scans else 0)


def _run(letter: str, store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    """Run the operations. A long loop, not a function per operation: its call would be measured, too."""
    todo = operations(load, letter)
    get, put, seek = store.get, store.put, store.seek
    clock = perf_counter_ns
    size, wrong, started = load.value_bytes, 0, 0
    for kind, key, value, length in todo:
        if spent is not None:
            started = clock()
        if kind is READ:
            found = get(key)
        elif kind is WRITE:
            put(key, value)
            found = value
        elif kind is SCAN:
            pairs = seek(key, length)
            found = pairs[0][1] if pairs and pairs[0][0] == key and len(pairs) <= length else None
        else:
            found = get(key)
            put(key, value)
        if spent is not None:
            spent.append(clock() - started)
        if found is None or len(found) != size:
            wrong += 1
    if wrong:
        raise WrongAnswerError(f"{wrong} of {len(todo)} operations were answered wrongly")
    return len(todo)


def _uses(letter: str, load: Workload) -> object:
    return operations(load, letter)


YCSB_ROWS: Final = {
    f"ycsb-{letter}": Row(
        f"ycsb-{letter}", True, partial(_run, letter), True, partial(_uses, letter), value_bytes=VALUE_BYTES
    )
    for letter in MIXES
}
