"""Options: sizes as text, what is refused, and how the memory limit is divided; stalls, which follow from them."""

from __future__ import annotations

import dataclasses
import inspect
import time
from typing import Any

import pytest

import flin.engine
from flin.engine.options import MIN_MEMORY_LIMIT_BYTES, MemoryBudget, Options, check_size, parse_bytes
from flin.engine.tree.stall import NO_STALL, SLOW_RUNS, SLOW_UNSEEN, SLOWEST_DELAY_SECONDS, STOP_RUNS, stall_of
from flin.errors import LimitError
from flin.testing import SimulatedDisk


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1048576, 1048576),
        ("1048576", 1048576),
        ("1048576b", 1048576),
        ("1mb", 1 << 20),
        ("1MB", 1 << 20),
        (" 256 Mb ", 256 << 20),
        ("1m", 1_000_000),
        ("4k", 4000),
        ("4kb", 4096),
        ("2gb", 2 << 30),
        ("64MiB", 64 << 20),
        ("1 tib", 1 << 40),
        ("2g", 2_000_000_000),
        ("0", 0),
    ],
)
def test_parse_bytes(text: int | str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "mb", "1.5gb", "-1mb", "1 m b", "1pb", "1mi", "one", "1e6", "\u0661mb", 1.5, None, b"1"]
)
def test_what_is_no_size(text: Any) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sync": "sometimes"}, "sync must be one of always, interval, never"),
        ({"runner": "process"}, "runner must be one of"),
        ({"runner": "helper", "fs": SimulatedDisk()}, "needs the real file system"),
        ({"compression": "gzip"}, "compression must be one of"),
        ({"shards": 0}, "power of two"),
        ({"shards": 3}, "power of two"),
        ({"shards": 2048}, "power of two"),
        ({"shards": -1}, "power of two"),
        ({"block_size_bytes": 100}, "block_size_bytes"),
        ({"block_size_bytes": 1 << 21}, "block_size_bytes"),
        ({"sync_interval_ms": 0}, "sync_interval_ms"),
        ({"stall_timeout_ms": -1}, "stall_timeout_ms"),
        ({"memory_limit": "1kb"}, f"at least {MIN_MEMORY_LIMIT_BYTES} bytes, not '1kb'"),
        ({"memory_limit": -5}, "at least"),
        ({"memory_limit": "lots"}, "'lots' is not a size"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": "4"}, "shards must be an int, not '4'"),
        ({"shards": 4.0}, "shards must be an int, not 4.0"),
        ({"shards": True}, "shards must be an int, not True"),
        ({"block_size_bytes": "8kb"}, "block_size_bytes must be an int"),
        ({"sync_interval_ms": 0.5}, "sync_interval_ms must be an int, not 0.5"),
        ({"stall_timeout_ms": None}, "stall_timeout_ms must be an int"),
        ({"memory_limit": 1.5e9}, 'memory_limit must be bytes or text like "256mb", not 1500000000.0'),
        ({"memory_limit": None}, "memory_limit must be bytes or text"),
        ({"memory_limit": True}, "memory_limit must be bytes or text"),
        ({"create": "no"}, "create must be True or False, not 'no'"),
        ({"value_cache": 0}, "value_cache must be True or False, not 0"),
        ({"stall_writers": None}, "stall_writers must be True or False"),
        ({"clock_ms": 5}, "clock_ms must be a function, not 5"),
        ({"on_expired": 5}, "on_expired must be a function or None, not 5"),
        ({"clock_ms": time.time}, r"clock_ms must return whole milliseconds \(time.time_ns\(\) // 1_000_000\), not 1"),
        ({"random_bytes": b"0123"}, "random_bytes must be a function"),
    ],
)
def test_what_is_of_another_type(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Options(**options)


def test_open_takes_every_option() -> None:
    """By name, with the type and the default in Options, so that editors complete and type checkers check."""
    parameters = dict(inspect.signature(flin.engine.open).parameters)
    assert parameters.pop("path").kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    fields = {field.name: field for field in dataclasses.fields(Options)}
    del fields["replication"]  # open_replica's
    assert list(parameters) == list(fields)
    fs = parameters.pop("fs")
    assert (fs.annotation, fs.default) == ("FileSystem | None", None), "made anew for each engine"
    for name, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert (parameter.annotation, parameter.default) == (fields[name].type, fields[name].default)


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="memory"):
        Options(memory=5)  # type: ignore[call-arg]


@pytest.mark.parametrize("limit", [MIN_MEMORY_LIMIT_BYTES, 10_000_001, 256 << 20, 1 << 40])
def test_the_budget_fits_in_the_limit(limit: int) -> None:
    budget = MemoryBudget.of(limit)
    waiting = 3 * budget.generation  # the open one, one that waits, one that is being flushed
    assert waiting + budget.flush + budget.compaction_slice + budget.block_cache + budget.value_cache <= limit * 17 / 16
    assert budget.generation + budget.flush + budget.compaction_slice * 2 + budget.value_cache <= (
        limit - budget.quiet_block_cache
    ), "while one generation fills: before its flush the room is given back"
    assert min(budget.generation, budget.flush, budget.compaction_slice, budget.block_cache, budget.value_cache) > 0


def test_check_size() -> None:
    check_size("it", 5, 5)
    with pytest.raises(LimitError, match="it is 6, the maximum is 5") as raised:
        check_size("it", 6, 5)
    assert (raised.value.what, raised.value.size, raised.value.maximum) == ("it", 6, 5)


# Stalls.


@pytest.mark.parametrize("sealed", [0, 1, 2])
@pytest.mark.parametrize("runs", [0, 1, SLOW_RUNS - 1])
def test_nothing_to_wait_for(sealed: int, runs: int) -> None:
    assert stall_of(sealed, runs) is NO_STALL
    assert not NO_STALL


def test_writers_are_slowed_before_they_are_stopped() -> None:
    delays = [stall_of(0, runs).delay_seconds for runs in range(SLOW_RUNS, STOP_RUNS)]
    assert delays == sorted(delays)
    assert 0 < delays[0] < delays[-1] <= SLOWEST_DELAY_SECONDS
    assert not any(stall_of(2, runs).stopped for runs in range(STOP_RUNS))


def test_a_large_shard_may_have_more_runs() -> None:
    assert stall_of(0, 35, is_large=True) is NO_STALL
    assert 0 < stall_of(0, 36, is_large=True).delay_seconds < stall_of(0, 63, is_large=True).delay_seconds
    assert stall_of(0, 64, is_large=True).stopped


def test_writers_are_slowed_by_overwritten_values_that_no_merge_has_found() -> None:
    assert stall_of(0, 0, unseen=SLOW_UNSEEN) is NO_STALL
    delays = [stall_of(0, 0, unseen=SLOW_UNSEEN + share).delay_seconds for share in (0.01, 0.5, 1.0, 9.0)]
    assert 0 < delays[0] < delays[1] < delays[2] == delays[3] == SLOWEST_DELAY_SECONDS
    assert not stall_of(0, 0, unseen=9.0).stopped


@pytest.mark.parametrize(
    ("sealed", "runs", "reason"),
    [(3, 0, "3 generations wait for their flush"), (0, STOP_RUNS, "48 runs wait for compaction"), (9, 99, "9 gen")],
)
def test_writers_are_stopped(sealed: int, runs: int, reason: str) -> None:
    stall = stall_of(sealed, runs)
    assert stall
    assert stall.stopped
    assert stall.reason.startswith(reason)


def test_auto_stays_in_the_process_on_another_disk() -> None:
    with flin.engine.open("/db", fs=SimulatedDisk(), runner="auto") as db:
        db.put(b"key", b"value")
        db.flush()
        assert db.stats()["background"]["helper_pids"] == []
        assert db.get(b"key") == b"value"


@pytest.mark.parametrize("threshold", [-1, 1, 7, (1 << 30) + 1])
def test_thresholds_out_of_bounds(threshold: int) -> None:
    with pytest.raises(ValueError, match="value_threshold must be 0 or from 8 to 1073741824"):
        Options(value_threshold=threshold)
    with pytest.raises(TypeError, match="value_threshold must be an int"):
        Options(value_threshold=float(threshold))  # type: ignore[arg-type]
