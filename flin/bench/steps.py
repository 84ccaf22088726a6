"""Where the time goes, `flin bench steps`: the cost of single steps of a put, a batch, a get, a scan, a served SET and
GET, a flush and a merge in this process, in nanoseconds. docs/performance.md shows its output.

Steps call the engine's own functions. Of each operation the whole comes first, then its parts: with the calls between
them, they add up to the whole, more or less. A step whose function no longer exists is named, and the others run.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, NamedTuple
from zlib import crc32

from flin.bench import generator
from flin.bench.lab import VALUE_BYTES, Lab
from flin.bench.processes import cpu_seconds
from flin.bench.progress import Progress
from flin.bench.report import aligned
from flin.bench.row import SEEK_LENGTH
from flin.bench.server_process import ServerError, ServerProcess
from flin.bench.workload import BATCH_SIZE
from flin.engine.disk.fs import WINDOW_BYTES
from flin.engine.engine import store_of
from flin.engine.memtable import Memtable
from flin.engine.read import merge
from flin.engine.table import block, bloom, stored_block
from flin.engine.table.writer import TableOptions, TableWriter
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay

PIPELINE: Final = 16
SERVED_KEYS: Final = 10_000
AS_FAST_AS_IT_GOES: Final = 1e9
MOVED: Final = (AttributeError, ImportError, TypeError, ValueError)
"""The exceptions of a call to a function that has moved, or takes other arguments now."""

NOT_SERVED: Final = (ServerError, generator.UnexpectedReplyError)

INTERPRETER, MEMORY, KERNEL, LIBRARY, ALL = "interpreter", "memory", "kernel", "C library", "-"


class Step(NamedTuple):
    operation: str
    name: str
    bound: str  # what bounds it
    measure: Callable[[Lab], float]  # nanoseconds


@dataclass(frozen=True, slots=True)
class Measured:
    operation: str
    step: str
    bound: str
    nanoseconds: float | None
    problem: str = ""  # why there is no figure


def run(lab: Lab, progress: Progress, operations: Iterable[str] | None = None) -> list[Measured]:
    chosen = [step for step in STEPS if operations is None or step.operation in operations]
    return [_measured(step, lab, progress) for step in chosen]


def _measured(step: Step, lab: Lab, progress: Progress) -> Measured:
    try:
        nanoseconds = step.measure(lab)
    except (*MOVED, *NOT_SERVED) as error:
        problem = f"{step.operation}, {step.name}: {type(error).__name__}: {error}"
        progress.step(problem)
        return Measured(step.operation, step.name, step.bound, None, problem)
    progress.step(f"{step.operation}, {step.name}: {nanoseconds:,.0f} ns")
    return Measured(step.operation, step.name, step.bound, nanoseconds)


def table(measured: list[Measured]) -> str:
    lines = [["step", "bound by", "ns"]]
    for one in measured:
        figure = "-" if one.nanoseconds is None else f"{one.nanoseconds:,.0f}"
        lines.append([f"{one.operation}: {one.step}", one.bound, figure])
    return aligned(lines)


# Writing.


SALT: Final = b"saltsalt"


def _frame(lab: Lab) -> bytes:
    return wal_frames.encode_put(SALT, 1 << 20, 1 << 20, 0, lab.key, lab.value)


def _encode_put(lab: Lab) -> float:
    return lab.call(wal_frames.encode_put, SALT, 1 << 20, 1 << 20, 0, lab.key, lab.value)


def _encode_batch(lab: Lab) -> float:
    points = dict(lab.workload.batches[0])
    return lab.call(wal_frames.encode_commit, SALT, 1 << 20, 1 << 20, 0, points, per=len(points))


def _batch(lab: Lab) -> float:
    return lab.call(lab.engine.put_many, lab.workload.batches[0], per=BATCH_SIZE)


def _as_dict(lab: Lab) -> float:
    return lab.call(dict, lab.workload.batches[0], per=BATCH_SIZE)


def _batch_bytes(lab: Lab) -> bytes:
    return b"".join(key + value for key, value in lab.workload.batches[0])


def _append(lab: Lab, data: bytes, per: int = 1) -> float:
    """The cost of a write system call for the data."""
    descriptor = os.open(lab.path("appended"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        return lab.call(os.write, descriptor, data, per=per)
    finally:
        os.close(descriptor)
        lab.path("appended").unlink()


def _copy_to_window(lab: Lab) -> float:
    frame = _frame(lab)
    with mmap.mmap(-1, WINDOW_BYTES) as window:
        return lab.statement("window[4096:stop] = frame", {"window": window, "stop": 4096 + len(frame), "frame": frame})


def _lock(lab: Lab) -> float:
    return lab.statement("with lock: pass", {"lock": threading.Lock()})


def _store_in_dict(lab: Lab) -> float:
    return lab.each({}.__setitem__, lab.workload.keys, lab.value)


def _apply(lab: Lab) -> float:
    points = dict(lab.workload.batches[0])
    return lab.call(Memtable().apply, (), points, per=len(points))


# Reading.


def _get_from(engine: Callable[[Lab], Any], keys: Callable[[Lab], list[bytes]]) -> Callable[[Lab], float]:
    return lambda lab: lab.each(engine(lab).get, keys(lab))


def _random(lab: Lab) -> list[bytes]:
    return lab.workload.other_order


def _few(lab: Lab) -> list[bytes]:
    return lab.workload.other_order[:100]


def _missing(lab: Lab) -> list[bytes]:
    return lab.workload.missing_keys


def _payload(lab: Lab) -> bytes:
    """A data block of about 8 KiB."""
    keys, values = lab.page
    count = min(len(keys), TableOptions().block_size_bytes // (len(keys[0]) + len(values[0])))
    return block.encode(keys[:count], values[:count], len(keys[0]), len(values[0]))


def _count(lab: Lab) -> int:
    return block.entry_count(_payload(lab), 0)


def _find(lab: Lab) -> float:
    payload = _payload(lab)
    return lab.each(lambda key: block.find(payload, 0, key), lab.page[0][: _count(lab)])


def _contains(lab: Lab) -> float:
    hashes = [bloom.hash_key(key) for key in lab.workload.keys]
    words = bloom.build(hashes, len(hashes), TableOptions().filter_bits_per_key)
    return lab.each(lambda hashed: bloom.contains(words, hashed), hashes)


def _unpack(lab: Lab, per: int = 1) -> float:
    packed = b"".join(stored_block.store(_payload(lab), 0, stored_block.compressor("zstd", 1)))
    return lab.call(stored_block.unpack, packed, "", 0, per=per)


def _read_block(lab: Lab) -> float:
    payload = _payload(lab)
    lab.path("block").write_bytes(payload)
    descriptor = os.open(lab.path("block"), os.O_RDONLY)
    try:
        return lab.call(os.pread, descriptor, len(payload), 0)
    finally:
        os.close(descriptor)


def _drain(items: Iterable[object]) -> None:
    deque(items, maxlen=0)


def _scan(engine: Callable[[Lab], Any]) -> Callable[[Lab], float]:
    def measure(lab: Lab) -> float:
        scan = engine(lab).scan
        return lab.call(lambda: _drain(scan()), per=lab.workload.count)

    return measure


def _seek(engine: Callable[[Lab], Any]) -> Callable[[Lab], float]:
    def measure(lab: Lab) -> float:
        scan = engine(lab).scan
        return lab.each(lambda key: _drain(scan(start=key, limit=SEEK_LENGTH)), _random(lab))

    return measure


def _decode(lab: Lab) -> float:
    return lab.call(block.decode, _payload(lab), 0, per=_count(lab))


def _merge(lab: Lab) -> float:
    """Merge four runs, each with every fourth key."""
    keys, values = lab.page
    pages = [(keys[start::4], values[start::4]) for start in range(4)]

    def merge_all() -> None:
        _drain(merge.merge_pages([merge.Source([(page[0].copy(), page[1].copy())]) for page in pages]))

    return lab.call(merge_all, per=len(keys))


# The background.


def _replay(lab: Lab) -> float:
    """Replay single puts, into a fresh memtable each time, as in a flush."""
    header = wal_frames.SegmentHeader(bytes(16), 1, SALT, 0, 1, 0, 0, 0)
    data = bytearray(wal_frames.encode_header(header))
    for number, (key, value) in enumerate(lab.workload.pairs, 1):
        data += wal_frames.encode_put(SALT, len(data), number, 0, key, value)
    if wal_replay.replay(bytes(data), header, "", Memtable(), end=len(data)).operations != lab.workload.count:
        raise ValueError("the frames are no longer those of a segment")
    return lab.call(
        lambda segment: wal_replay.replay(segment, header, "", Memtable(), end=len(segment)),
        bytes(data),
        per=lab.workload.count,
    )


def _write_and_sync(lab: Lab) -> float:
    """Write and sync as many bytes as all keys and values have, like those of a table."""
    data = b"".join(key + value for key, value in lab.workload.pairs)

    def write() -> None:
        with lab.path("synced").open("wb") as file:
            file.write(data)
            os.fsync(file.fileno())

    try:
        return lab.call(write, per=lab.workload.count)
    finally:
        lab.path("synced").unlink()


def _write_table(codec: str) -> Callable[[Lab], float]:
    def measure(lab: Lab) -> float:
        keys = lab.workload.sorted_keys
        entries = (lab.workload.values * (1 + len(keys) // len(lab.workload.values)))[: len(keys)]

        def write() -> None:
            sink: deque[bytes] = deque(maxlen=1)
            writer = TableWriter(sink.append, TableOptions(codec=codec), 1, 1)
            for start in range(0, len(keys), BATCH_SIZE):
                writer.add(keys[start : start + BATCH_SIZE], list(entries[start : start + BATCH_SIZE]))
            writer.finish()

        return lab.call(write, per=len(keys))

    return measure


def _sort(lab: Lab) -> float:
    memtable = dict(lab.workload.pairs)
    return lab.call(sorted, memtable, per=len(memtable))


def _hash_all(lab: Lab) -> float:
    keys = lab.workload.keys
    return lab.call(lambda: _drain(map(bloom.hash_key, keys)), per=len(keys))


def _build_filter(lab: Lab) -> float:
    hashes = [bloom.hash_key(key) for key in lab.workload.keys]
    return lab.call(bloom.build, hashes, len(hashes), 12, per=len(hashes))


def _compress(lab: Lab) -> float:
    compress = stored_block.compressor("zstd", TableOptions().zstd_level)
    assert compress is not None
    return lab.call(compress, _payload(lab), per=_count(lab))


def _flush(lab: Lab) -> float:
    return _background(lab, "flushing", lambda engine: engine.flush(), 1)


def _compact(lab: Lab) -> float:
    """Merge two flushed runs of all keys into one."""
    return _background(lab, "merging", lambda engine: engine.compact(), 2)


def _background(lab: Lab, name: str, work: Callable[[Any], None], runs: int) -> float:
    """Nanoseconds per input entry, in this process; measured once, since it takes long enough to be steady."""
    engine = lab.open(name, runner="inline")
    for number in range(runs):
        for batch in lab.workload.batches:
            engine.put_many(batch)
        if number < runs - 1:
            engine.flush()
    if runs > 1:
        engine.flush()
    started = perf_counter()
    work(engine)
    seconds = perf_counter() - started
    engine.close()
    return 1e9 * seconds / (runs * lab.workload.count)


# The server.


def _wire(lab: Lab, *request: bytes) -> bytes:
    return b"*%d\r\n" % len(request) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in request)


def _parse(*request: str) -> Callable[[Lab], float]:
    def measure(lab: Lab) -> float:
        from flin.net.wire.requests import RequestParser

        wire = b"".join(_wire(lab, *one) for one in _requests(lab, request))
        return lab.call(RequestParser().feed, wire, per=PIPELINE)

    return measure


def _requests(lab: Lab, request: tuple[str, ...]) -> list[list[bytes]]:
    """A pipeline of such requests, with different keys."""
    rest = [lab.value] if request[0] == "SET" else []
    return [[request[0].encode(), key, *rest] for key in lab.workload.keys[:PIPELINE]]


def _dispatch(name: str) -> Callable[[Lab], float]:
    """Dispatch of a pipeline, with the commit of the tick, one frame for all."""

    def measure(lab: Lab) -> float:
        client = lab.client
        client.requests(_requests(lab, ("SET",)))
        client.pending.commit()
        requests = _requests(lab, (name,))

        def answer() -> None:
            client.requests(requests)
            client.pending.commit()

        return lab.call(answer, per=PIPELINE)

    return measure


def _served(mode: str, pipeline: int, connections: int) -> Callable[[Lab], float]:
    """Processor time of the server and its helper per request, the kernel's share included."""

    def measure(lab: Lab) -> float:
        with ServerProcess("flin", str(lab.path(f"served-{mode}-{pipeline}"))) as server:
            generator.fill(server.port, SERVED_KEYS, VALUE_BYTES)
            before = cpu_seconds(server.pid)
            outcome = generator.run(
                generator.Task(
                    mode,
                    server.port,
                    lab.served_seconds,
                    SERVED_KEYS,
                    VALUE_BYTES,
                    connections,
                    rate=AS_FAST_AS_IT_GOES,
                    pipeline=pipeline,
                )
            )
            return (cpu_seconds(server.pid) - before) / outcome.requests * 1e9

    return measure


def _socket(requests: int) -> Callable[[Lab], float]:
    """The cost per request of a send and a receive of `requests` of them, on a socket pair."""

    def measure(lab: Lab) -> float:
        near, far = socket.socketpair()
        data = _wire(lab, b"GET", lab.key) * requests

        def pass_on() -> None:
            near.sendall(data)
            far.recv(len(data))

        try:
            return lab.call(pass_on, per=requests)
        finally:
            near.close()
            far.close()

    return measure


def _nothing() -> None:
    pass


STEPS: Final = (
    Step("Python", "a call of a function that does nothing", INTERPRETER, lambda lab: lab.call(_nothing)),
    Step("Python", "a lookup in a dict", MEMORY, lambda lab: lab.each(dict(lab.workload.pairs).get, _random(lab))),
    Step("Python", "a key of a pair set in a dict", MEMORY, _store_in_dict),
    Step("Python", "a lock taken and released", INTERPRETER, _lock),
    Step("put", "the whole", ALL, lambda lab: lab.each(lab.engine.put, lab.workload.keys, lab.value)),
    Step(
        "put",
        "commit of a stored key",
        ALL,
        lambda lab: lab.each(store_of(lab.engine).put, lab.workload.keys, lab.value),
    ),
    Step("put", "its WAL frame", INTERPRETER, _encode_put),
    Step("put", "of that: the checksum", LIBRARY, lambda lab: lab.call(crc32, _frame(lab))),
    Step("put", "the frame copied to a mapped window", MEMORY, _copy_to_window),
    Step("put", "a write call of so many bytes, for comparison", KERNEL, lambda lab: _append(lab, _frame(lab))),
    Step("batch of 1,000", "the whole, a key", ALL, _batch),
    Step("batch of 1,000", "its pairs as a dict", MEMORY, _as_dict),
    Step("batch of 1,000", "its WAL frame", LIBRARY, _encode_batch),
    Step(
        "batch of 1,000",
        "of that: the checksum",
        LIBRARY,
        lambda lab: lab.call(crc32, _batch_bytes(lab), per=BATCH_SIZE),
    ),
    Step("batch of 1,000", "a write call of it", KERNEL, lambda lab: _append(lab, _batch_bytes(lab), BATCH_SIZE)),
    Step("batch of 1,000", "into the memtable", MEMORY, _apply),
    Step("hot get", "the whole, from the memtable", ALL, _get_from(lambda lab: lab.in_memory, _random)),
    Step("hot get", "the whole, of a few keys in tables", ALL, _get_from(lambda lab: lab.flushed, _few)),
    Step("cold get", "the whole, from a raw table", ALL, _get_from(lambda lab: lab.flushed, _random)),
    Step("cold get", "the whole, from a compressed table", ALL, _get_from(lambda lab: lab.compacted, _random)),
    Step("cold get", "the whole, of a key that is not there", ALL, _get_from(lambda lab: lab.flushed, _missing)),
    Step("cold get", "a lookup in one raw table", ALL, lambda lab: lab.each(lab.table(lab.flushed).get, _random(lab))),
    Step("cold get", "a key's hash", LIBRARY, lambda lab: lab.each(bloom.hash_key, _random(lab))),
    Step("cold get", "a filter asked", INTERPRETER, _contains),
    Step("cold get", "a key found in a raw block", INTERPRETER, _find),
    Step("cold get", "a block decompressed and checked", LIBRARY, _unpack),
    Step("cold get", "a block read, for comparison", KERNEL, _read_block),
    Step("scan", "the whole, from the memtable, a pair", ALL, _scan(lambda lab: lab.in_memory)),
    Step("scan", "the whole, from a raw table, a pair", ALL, _scan(lambda lab: lab.flushed)),
    Step("scan", "the whole, from a compressed table, a pair", ALL, _scan(lambda lab: lab.compacted)),
    Step("scan", "a block decoded, a pair", INTERPRETER, _decode),
    Step("scan", "four runs merged, a pair", INTERPRETER, _merge),
    Step("scan", "a seek and ten pairs, from a raw table", ALL, _seek(lambda lab: lab.flushed)),
    Step("served SET", "the whole, processor time of server and helper, in a pipeline", ALL, _served("write", 1, 1)),
    Step("served SET", "parsed, of a pipeline", LIBRARY, _parse("SET")),
    Step("served SET", "run, and committed with its pipeline", INTERPRETER, _dispatch("SET")),
    Step("served GET", "the whole, processor time of server and helper, alone", ALL, _served("closed", 1, 16)),
    Step(
        "served GET",
        "the whole, processor time of server and helper, in a pipeline",
        ALL,
        _served("closed", PIPELINE, 16),
    ),
    Step("served GET", "parsed, of a pipeline", LIBRARY, _parse("GET")),
    Step("served GET", "run, from a cached reply", INTERPRETER, _dispatch("GET")),
    Step("served GET", "sent and received alone", KERNEL, _socket(1)),
    Step("served GET", "sent and received in a pipeline", KERNEL, _socket(PIPELINE)),
    Step("flush", "the whole, an entry", ALL, _flush),
    Step("flush", "the WAL's frames of single puts replayed", INTERPRETER, _replay),
    Step("flush", "sorted", INTERPRETER, _sort),
    Step("flush", "a table written, raw", ALL, _write_table("none")),
    Step("flush", "of that: hashed", LIBRARY, _hash_all),
    Step("flush", "of that: the filter built", INTERPRETER, _build_filter),
    Step("flush", "its bytes written and synced, for comparison", KERNEL, _write_and_sync),
    Step("merge", "the whole, an entry that goes in", ALL, _compact),
    Step("merge", "a block decompressed and checked, an entry", LIBRARY, lambda lab: _unpack(lab, _count(lab))),
    Step("merge", "a block decoded, an entry", INTERPRETER, _decode),
    Step("merge", "four runs merged, an entry", INTERPRETER, _merge),
    Step("merge", "a table written, compressed", ALL, _write_table("zstd")),
    Step("merge", "of that: compressed", LIBRARY, _compress),
)

OPERATIONS: Final = tuple(dict.fromkeys(step.operation for step in STEPS))
