"""The rows of the embedded comparison: what each one does to an open store.

For its rate a row runs without a clock around each call; for its percentiles, with a list that takes every call's
nanoseconds: reading the clock twice costs about 0.1 µs, too much for a rate and nothing for a tail. Every read row
checks its answers: a fast wrong answer is no result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from operator import attrgetter
from time import perf_counter_ns
from typing import Final

from flin.bench.store import Store
from flin.bench.workload import Workload

Nanoseconds = list[int]

SYNCED_SHARE: Final = 200
"""A synced write takes a thousand times as long as a plain one: one key in two hundred is enough."""

SYNCED_MAXIMUM: Final = 1000
"""The most synced writes: some disks need 10 ms for a sync."""

SYNC_THREADS: Final = 16
WRITER_BURST: Final = 20
WRITER_PAUSE_SECONDS: Final = 0.001
"""About 15,000 writes a second, a sleep's own lateness included: steady, and far below any store's limit."""

SEEK_LENGTH: Final = 10
SEEK_SHARE: Final = 4
"""A seek with ten pairs takes several times as long as a get: one for every fourth key is enough."""


class WrongAnswerError(Exception):
    """A store did not return the written value."""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    loaded: bool  # begins with all keys written and the store reopened; else with an empty directory
    run: Callable[[Store, Workload, Nanoseconds | None], int]  # → operations
    per_call: bool  # one call per operation, so that percentiles mean something
    uses: Callable[[Workload], object]  # makes the parts of the workload that the row uses, before its clock starts
    value_bytes: int | None = None  # the only value size that it runs with


def _put_all(
    put: Callable[[bytes, bytes], object], keys: Iterable[bytes], values: Iterable[bytes], spent: Nanoseconds | None
) -> None:
    if spent is None:
        for key, value in zip(keys, values, strict=False):
            put(key, value)
        return
    clock, record = perf_counter_ns, spent.append
    for key, value in zip(keys, values, strict=False):
        started = clock()
        put(key, value)
        record(clock() - started)


def _fill_random(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    _put_all(store.put, load.keys, cycle(load.values), spent)
    return load.count


def _fill_sequential(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    _put_all(store.put, load.sorted_keys, cycle(load.values), spent)
    return load.count


def _overwrite(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    _put_all(store.put, load.other_order, cycle(load.values), spent)
    return load.count


def _fill_batch(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    put_batch = store.put_batch
    for batch in load.batches:
        put_batch(batch)
    return load.count


def _synced_keys(load: Workload) -> list[bytes]:
    return load.keys[: min(SYNCED_MAXIMUM, max(SYNC_THREADS, load.count // SYNCED_SHARE))]


def _fill_sync(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    keys = _synced_keys(load)
    _put_all(store.put_synced, keys, cycle(load.values), spent)
    return len(keys)


def _fill_sync_threads(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    keys = _synced_keys(load)
    threads = [
        threading.Thread(target=_put_all, args=(store.put_synced, keys[start::SYNC_THREADS], cycle(load.values), spent))
        for start in range(SYNC_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(keys)


def _delete_random(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    delete = store.delete
    if spent is None:
        for key in load.other_order:
            delete(key)
        return load.count
    clock, record = perf_counter_ns, spent.append
    for key in load.other_order:
        started = clock()
        delete(key)
        record(clock() - started)
    return load.count


def _get_all(
    get: Callable[[bytes], bytes | None], keys: list[bytes], spent: Nanoseconds | None, *, missing: bool = False
) -> int:
    wrong = 0
    if spent is None:
        for key in keys:
            if (get(key) is None) is not missing:
                wrong += 1
    else:
        clock, record = perf_counter_ns, spent.append
        for key in keys:
            started = clock()
            value = get(key)
            record(clock() - started)
            if (value is None) is not missing:
                wrong += 1
    if wrong:
        raise WrongAnswerError(f"{wrong} of {len(keys)} keys were {'found' if missing else 'not found'}")
    return len(keys)


def _read_random(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    return _get_all(store.get, load.other_order, spent)


def _read_missing(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    return _get_all(store.get, load.missing_keys, spent, missing=True)


def _read_while_writing(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    """Read while a thread overwrites at a steady rate."""
    done = threading.Event()

    def write() -> None:
        put, pairs = store.put, cycle(load.pairs)
        while not done.wait(WRITER_PAUSE_SECONDS):
            for key, value in islice(pairs, WRITER_BURST):
                put(key, value)

    writer = threading.Thread(target=write, name="writer")
    writer.start()
    try:
        return _get_all(store.get, load.other_order, spent)
    finally:
        done.set()
        writer.join()


def _read_hot(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    return _get_all(store.get, load.hot_keys, spent)


def _scan(store: Store, load: Workload, *, reverse: bool) -> int:
    seen = 0
    first = last = b""
    for key, _value in store.scan(reverse=reverse):
        if not seen:
            first = key
        last = key
        seen += 1
    ends = (load.sorted_keys[0], load.sorted_keys[-1])
    if seen != load.count or (first, last) != (ends[::-1] if reverse else ends):
        raise WrongAnswerError(f"a scan gave {seen} of {load.count} keys, {first!r} to {last!r}")
    return seen


def _scan_forward(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    return _scan(store, load, reverse=False)


def _scan_backward(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    return _scan(store, load, reverse=True)


def _seek(store: Store, load: Workload, spent: Nanoseconds | None) -> int:
    starts = load.other_order[: max(1, load.count // SEEK_SHARE)]
    short = load.count - SEEK_LENGTH
    last_full = load.sorted_keys[short] if short >= 0 else b""
    seek = store.seek
    for start in starts:
        started = perf_counter_ns()
        pairs = seek(start, SEEK_LENGTH)
        if spent is not None:
            spent.append(perf_counter_ns() - started)
        if pairs[0][0] != start or (len(pairs) != SEEK_LENGTH and start <= last_full):
            raise WrongAnswerError(f"a seek to {start!r} gave {pairs!r}")
    return len(starts)


_KEYS = attrgetter("keys", "values")
_ORDER = attrgetter("other_order", "sorted_keys", "values")
_BATCHES = attrgetter("batches")

LOAD: Final = Row("load", False, _fill_batch, False, _BATCHES)
"""Writes every key in batches, for the rows that begin with a loaded store. Not a row of the table."""

BASIC_ROWS: Final[dict[str, Row]] = {
    row.name: row
    for row in (
        Row("fillrandom", False, _fill_random, True, _KEYS),
        Row("fillseq", False, _fill_sequential, True, _ORDER),
        Row("fillbatch", False, _fill_batch, False, _BATCHES),
        Row("fillsync", False, _fill_sync, True, _KEYS),
        Row("fillsync16", False, _fill_sync_threads, True, _KEYS),
        Row("overwrite", True, _overwrite, True, _ORDER),
        Row("deleterandom", True, _delete_random, True, _ORDER),
        Row("readrandom", True, _read_random, True, _ORDER),
        Row("readmissing", True, _read_missing, True, attrgetter("missing_keys")),
        Row("readhot", True, _read_hot, True, attrgetter("hot_keys")),
        Row("readwhilewriting", True, _read_while_writing, True, attrgetter("pairs", "other_order")),
        Row("scan", True, _scan_forward, False, _ORDER),
        Row("scanreverse", True, _scan_backward, False, _ORDER),
        Row("seek+10", True, _seek, True, _ORDER),
    )
}
