"""Jobs and their results as bytes, for the pipe between a process and its helper.

A message is a u32 length (big-endian) and that many bytes of JSON, an object with a `type`:

    to the helper                               from the helper
    {"type": "held", "directories"}             {"type": "hello", "protocol", "pid"}
    {"type": "job", "id", "kind", "job",
     and "keys" of an encrypted database}       {"type": "result", "id", "result"}
    {"type": "cancel", "id"}                    {"type": "error", "id", "error"}

JSON because it is in the standard library, in C, and cannot execute anything when it is read; never pickle. Bytes are
written as latin-1 text: one character per byte, and back without loss. Dataclasses are lists of their fields in order.
Both ends are Flin, but not always the same version (an upgrade under a running process), so the protocol number is
compared before anything else, and lists must have the right length. Keys go with each job, and only here: every user
of the machine can see a command line, and the environment of a process stays readable for its owner.

Any fault of a message is a WireError.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import astuple, fields, replace
from typing import Any, Final, TypeVar

from flin.engine.background.job import (
    CompactionJob,
    CountJob,
    FlushJob,
    Job,
    JobCancelled,
    JobResult,
    JobStarved,
    JobStatistics,
)
from flin.engine.catalog.version import Run, ShardRuns, ValueFile
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.directory_lock import HeldDirectory
from flin.engine.disk.fs import FileSystem
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.sstable import TableOptions
from flin.engine.table.meta import TableMeta
from flin.engine.wal.frames import SegmentSlice
from flin.errors import CorruptionError, FormatVersionError, JobFailedError, StorageError

PROTOCOL: Final = 8

MAX_MESSAGE_BYTES: Final = 1 << 30
"""A job names every table that it may read: some 300 bytes each, so this is millions. Anything longer is no message."""

_LENGTH: Final = struct.Struct(">I")

Message = dict[str, Any]

_Made = TypeVar("_Made")


class WireError(Exception):
    """Bytes that are no message of this protocol."""


def encode_message(message: Message) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return _LENGTH.pack(len(body)) + body


def read_message(read: Callable[[int], bytes | None]) -> Message | None:
    """The next message, or None at the end of the stream. `read(n)` gives up to n bytes, none at the end."""
    head = _read_exactly(read, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {length} bytes")
    body = _read_exactly(read, length)
    if body is None:
        raise WireError("the stream ends inside a message")
    try:
        message = json.loads(body)
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WireError("a message without a type")
    return message


def encode_held(held: Mapping[str, HeldDirectory]) -> Message:
    """The directories whose locks the sender holds: the receiver has their descriptors, under the same numbers."""
    plain = {path: [each.fd, each.lock_name, each.lock_device, each.lock_number] for path, each in held.items()}
    return {"type": "held", "directories": plain}


def decode_held(message: Message) -> dict[str, HeldDirectory]:
    try:
        return {path: HeldDirectory(*each) for path, each in message["directories"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise WireError(f"not directories: {error!r}") from error


def encode_keys(fs: FileSystem) -> Message:
    """The field `keys` of a job's message: the data keys that its files are sealed with; no field if they are plain."""
    if not isinstance(fs, SealedFileSystem):
        return {}
    return {"keys": [[number, _text(key)] for number, key in fs.keys.by_number.items()]}


def with_keys(fs: FileSystem, message: Message) -> FileSystem:
    """The file system for the job of a message."""
    if "keys" not in message:
        return fs
    try:
        return SealedFileSystem(fs, DataKeys({number: _bytes(key) for number, key in message["keys"]}))
    except (TypeError, ValueError, AttributeError) as error:
        raise WireError(f"not keys: {error!r}") from error


def encode_job(job: Job) -> Message:
    """The fields `kind` and `job` of a message."""
    if isinstance(job, FlushJob):
        body = [
            job.directory,
            job.number,
            job.epoch,
            job.shards,
            [[one.file, one.start, one.end] for one in job.segments],
            _plain(job.options),
            job.now_ms,
            job.value_threshold,
            job.urgent,
            job.first_sequence,
        ]
        return {"kind": "flush", "job": body}
    if isinstance(job, CountJob):
        runs = [_plain_runs(job.unsettled), _plain_runs(job.older)]
        return {"kind": "count", "job": [job.directory, job.number, job.epoch, job.shard, *runs, job.urgent]}
    body = [
        job.directory,
        job.number,
        job.epoch,
        job.shard,
        _plain_runs(job.inputs),
        job.bottom,
        _plain(job.options),
        job.now_ms,
        job.target_table_bytes,
        job.slice_bytes,
        [_text(cut) for cut in job.output_boundaries],
        job.urgent,
        [_text(fence) for fence in job.fences],
        job.settles,
        job.settled_inputs,
        [_plain(each) for each in job.worn],
        job.has_values,
    ]
    return {"kind": "compaction", "job": body}


def decode_job(message: Message) -> Job:
    try:
        if message["kind"] == "flush":
            directory, number, epoch, shards, segments, options, now_ms, threshold, urgent, first = message["job"]
            return FlushJob(
                directory,
                number,
                epoch,
                shards,
                tuple(_built(SegmentSlice, one) for one in segments),
                _built(TableOptions, options),
                now_ms,
                threshold,
                bool(urgent),
                first,
            )
        if message["kind"] == "count":
            directory, number, epoch, shard, unsettled, older, urgent = message["job"]
            return CountJob(directory, number, epoch, shard, _runs(unsettled), _runs(older), bool(urgent))
        if message["kind"] == "compaction":
            directory, number, epoch, shard, inputs, bottom, options, now_ms, *limits = message["job"]
            target, slice_bytes, output_boundaries, urgent, fences, settles, settled_inputs, worn, has_values = limits
            return CompactionJob(
                directory,
                number,
                epoch,
                shard,
                _runs(inputs),
                bottom,
                _built(TableOptions, options),
                now_ms,
                target,
                slice_bytes,
                tuple(map(_bytes, output_boundaries)),
                bool(urgent),
                tuple(map(_bytes, fences)),
                bool(settles),
                settled_inputs,
                tuple(_built(ValueFile, each) for each in worn),
                bool(has_values),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WireError(f"not a job: {error!r}") from error
    raise WireError(f"a job of the kind {message['kind']!r}")


def encode_result(result: JobResult) -> list[Any]:
    return [
        [[shard, _plain_run(run)] for shard, run in result.tables.items()],
        [[namespace, change] for namespace, change in result.counts.items()],
        _plain(result.statistics),
        [_plain(each) for each in result.value_files],
        [[number, change] for number, change in result.live_values.items()],
    ]


def decode_result(body: Any) -> JobResult:
    try:
        tables, counts, statistics, value_files, live_values = body
        return JobResult(
            {shard: _run(run) for shard, run in tables},
            dict(counts),
            _built(JobStatistics, statistics),
            tuple(_built(ValueFile, each) for each in value_files),
            dict(live_values),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise WireError(f"not a result: {error!r}") from error


# Errors are sent as a name and the arguments of the constructor: those that a job is documented to raise, and for any
# other a JobFailedError with the traceback.


def encode_error(error: BaseException, traceback: str) -> list[Any]:
    if isinstance(error, CorruptionError):
        return ["corruption", error.path, error.offset, error.reason]
    if isinstance(error, FormatVersionError):
        return ["format", error.path, error.reason]
    if isinstance(error, StorageError):
        cause = str(error).removeprefix(f"cannot {error.operation} {error.path}: ")
        return ["storage", error.operation, error.path, cause, error.errno]
    if isinstance(error, JobStarved):
        return ["starved"]
    if isinstance(error, JobCancelled):
        return ["cancelled"]
    return ["failed", traceback]


def decode_error(body: object) -> Exception:
    match body:
        case ["corruption", str(path), int(offset), str(reason)]:
            return CorruptionError(path, offset, reason)
        case ["format", str(path), str(reason)]:
            return FormatVersionError(path, reason)
        case ["storage", str(operation), str(path), str(cause), int() | None as number]:
            refused = StorageError(operation, path, cause)
            refused.errno = number
            return refused
        case ["cancelled"]:
            return JobCancelled()
        case ["starved"]:
            return JobStarved()
        case ["failed", str(traceback)]:
            return JobFailedError(traceback)
    raise WireError("not an error")


# Memtables.


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _plain(value: Any) -> list[Any]:
    """A flat dataclass as the list of its fields."""
    return list(astuple(value))


def _built(made: Callable[..., _Made], values: list[Any]) -> _Made:
    """The dataclass with these fields, all of them: defaults are for callers, not for messages."""
    if len(values) != len(fields(made)):  # type: ignore[arg-type]
        raise ValueError(f"{len(values)} fields of a {made}")
    return made(*values)


_META_FIELDS: Final = tuple(field.name for field in fields(TableMeta))
_META_BYTES: Final = tuple(index for index, field in enumerate(fields(TableMeta)) if field.type in (bytes, "bytes"))


def _plain_run(run: Run) -> list[Any]:
    plain = []
    for table in run:
        values = [getattr(table, name) for name in _META_FIELDS]
        for index in _META_BYTES:
            values[index] = _text(values[index])
        plain.append(values)
    return plain


def _run(plain: list[list[Any]]) -> Run:
    tables = []
    for values in plain:
        for index in _META_BYTES if len(values) == len(_META_FIELDS) else ():
            values[index] = _bytes(values[index])
        meta = _built(TableMeta, values)
        points = None if meta.points is None else tuple((namespace, count) for namespace, count in meta.points)
        tables.append(replace(meta, points=points))
    return tuple(tables)


def _plain_runs(runs: ShardRuns) -> list[Any]:
    return [_plain_run(run) for run in runs]


def _runs(plain: list[Any]) -> ShardRuns:
    return tuple(map(_run, plain))


def _read_exactly(read: Callable[[int], bytes | None], size: int) -> bytes | None:
    """Exactly `size` bytes; None if the stream ends before the first of them, WireError if it ends in between."""
    pieces: list[bytes] = []
    missing = size
    while missing:
        piece = read(missing)
        if not piece:
            if pieces:
                raise WireError("the stream ends inside a message")
            return None
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
