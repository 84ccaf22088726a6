"""The wire between a process and its helper: round trips by example and by hypothesis, and every kind of damage."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.background import job_wire
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
from flin.engine.background.job_wire import (
    WireError,
    decode_error,
    decode_job,
    decode_result,
    encode_error,
    encode_job,
    encode_message,
    encode_result,
    read_message,
)
from flin.engine.catalog.version import ValueFile
from flin.engine.sstable import TableOptions
from flin.engine.table.meta import TableMeta
from flin.engine.wal.frames import SegmentSlice
from flin.errors import CorruptionError, FormatVersionError, JobFailedError, StorageError

number = st.integers(0, 2**63)
name = st.text(max_size=20)
key = st.binary(max_size=20)

pairs = st.lists(st.tuples(number, number), max_size=3).map(tuple)
metas = st.builds(TableMeta, name, *[number] * 6, key, key, *[number] * 3, st.none() | pairs)
runs = st.lists(metas, max_size=3).map(tuple)
shard_runs = st.lists(runs, max_size=3).map(tuple)
options = st.builds(TableOptions, number, number, name, number)
segments = st.lists(st.builds(SegmentSlice, name, number, number), max_size=3).map(tuple)
jobs = st.one_of(
    st.builds(CountJob, name, number, number, number, shard_runs, shard_runs, st.booleans()),
    st.builds(FlushJob, name, number, number, number, segments, options, number, number, st.booleans()),
    st.builds(
        CompactionJob,
        name,
        number,
        number,
        number,
        shard_runs,
        st.booleans(),
        options,
        number,
        number,
        number,
        st.lists(key, max_size=3).map(tuple),
    ),
)
results = st.builds(
    JobResult,
    st.dictionaries(number, runs, max_size=3),
    st.dictionaries(number, st.integers(), max_size=3),
    st.builds(JobStatistics, st.floats(0, 1e9), number, number, number, number),
    st.lists(st.builds(ValueFile, number, name, number, number), max_size=2).map(tuple),
    st.dictionaries(number, st.integers(), max_size=3),
)


def over_the_wire(message: dict[str, Any]) -> dict[str, Any]:
    read = read_message(io.BytesIO(encode_message(message)).read)
    assert read is not None
    return read


@given(jobs)
def test_jobs_come_back_as_they_were(job: Job) -> None:
    assert decode_job(over_the_wire({"type": "job", "id": 1, **encode_job(job)})) == job


@given(results)
def test_results_come_back_as_they_were(result: JobResult) -> None:
    body = over_the_wire({"type": "result", "result": encode_result(result)})["result"]
    assert decode_result(body) == result


@given(st.lists(st.dictionaries(name, name), max_size=4), st.integers(1, 7))
def test_messages_follow_each_other_in_any_pieces(bodies: list[dict[str, str]], piece: int) -> None:
    messages = [{**body, "type": "x"} for body in bodies]
    stream = io.BytesIO(b"".join(map(encode_message, messages)))
    for message in messages:
        assert read_message(lambda size: stream.read(min(size, piece))) == message
    assert read_message(stream.read) is None


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (CorruptionError("dir/x: y", 7, "torn: badly"), {"path": "dir/x: y", "offset": 7, "reason": "torn: badly"}),
        (FormatVersionError("a b", "too new"), {"path": "a b", "reason": "too new"}),
        (
            StorageError("write", "a: b", OSError(28, "No space left")),
            {"path": "a: b", "operation": "write", "errno": 28},
        ),
        (StorageError("write", "x", "because"), {"path": "x", "errno": None}),
    ],
)
def test_errors_come_back_as_they_were(error: Exception, attributes: dict[str, object]) -> None:
    body = over_the_wire({"type": "error", "error": encode_error(error, "trace")})["error"]
    back = decode_error(body)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert {one: getattr(back, one) for one in attributes} == attributes


def test_other_errors_come_back_with_their_traceback() -> None:
    for error in (JobCancelled(), JobStarved()):
        assert type(decode_error(encode_error(error, ""))) is type(error)
    failed = decode_error(encode_error(KeyError("x"), "Traceback: KeyError"))
    assert isinstance(failed, JobFailedError)
    assert str(failed) == "Traceback: KeyError"


@pytest.mark.parametrize(
    "stream",
    [
        b"\0",
        b"\0\0\0\5ab",
        struct.pack(">I", job_wire.MAX_MESSAGE_BYTES + 1),
        b"\0\0\0\2{]",
        b"\0\0\0\2[]",
        b"\0\0\0\2{}",
        b"\0\0\0\2\xff\xff",
        b"\0\0\0\x0a" + json.dumps({"type": 1}).encode(),
    ],
)
def test_damaged_messages(stream: bytes) -> None:
    with pytest.raises(WireError):
        read_message(io.BytesIO(stream).read)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "flush"},
        {"kind": "other", "job": []},
        {"kind": "flush", "job": [1, 2]},
        {"kind": "flush", "job": ["d", 1, 1, 1, [["a"]], [], [], 0]},
        {"kind": "flush", "job": ["d", 1, 1, 1, [], [[[["too short"]]]], [], 0]},
        {"kind": "compaction", "job": ["d", 1, 1, 0, [], True, [], 0, 1, 1, ["\u20ac"], False]},
        {"kind": "compaction", "job": ["d", 1, 1, 0, [], True, [], 0, 1, 1, [5], False]},
        {"kind": "compaction", "job": ["d", 1, 1, 0, [], True, [], 0, 1, 1, []]},
        {"kind": "compaction", "job": None},
    ],
)
def test_what_is_no_job(message: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode_job(message)


@pytest.mark.parametrize("body", [None, [], {}, [1, 2, 3], [[[0, [[1]]]], [], []], [[], [], [1, 2, 3, 4]]])
def test_what_is_no_result(body: object) -> None:
    with pytest.raises(WireError):
        decode_result(body)


@pytest.mark.parametrize("body", [None, [], ["corruption"], ["storage", 1, 2, 3, 4], ["unknown"]])
def test_what_is_no_error(body: object) -> None:
    with pytest.raises(WireError):
        decode_error(body)
