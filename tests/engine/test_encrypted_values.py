"""Value files of encrypted databases, where seals take bytes that no pointer tells of: what is collected stays
collected, and what is not in memory is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import pytest

import flin.engine
from flin.engine.background.collecting import LEAST_SHARE, Collector
from flin.engine.background.compactor import Compactor
from flin.engine.engine import Engine, store_of
from flin.engine.table.cold_read import ColdRead
from flin.testing import SimulatedDisk
from flin.testing.run import KEY, PATH

MANY = 100
"""Merges one after the other, without a write between them: the workloads here need fewer than 20."""


@pytest.fixture(autouse=True)
def _watched(monkeypatch: pytest.MonkeyPatch) -> None:
    watch_merges(monkeypatch)


def watch_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where it would be merged without end, or where a collected file is worn from its birth."""
    merges = 0

    def compact_once(self: Any) -> bool:
        nonlocal merges
        merges = merges + 1 if original(self) else 0
        if merges > MANY:
            pytest.fail(f"merges do not end: {self.statistics.reasons}")
        return merges > 0

    def end_file(self: Any) -> None:
        before = len(self.value_files)
        original_end(self)
        for file in self.value_files[before:]:
            assert file.live_bytes >= LEAST_SHARE * file.length

    original, original_end = Compactor.compact_once, Collector._end_file
    monkeypatch.setattr(Compactor, "compact_once", compact_once)
    monkeypatch.setattr(Collector, "_end_file", end_file)


def opened(disk: SimulatedDisk, **options: Any) -> Engine:
    defaults: dict[str, Any] = {"runner": "inline", "memory_limit": 1 << 20, "sync": "never", "encryption_key": KEY}
    return flin.engine.open(PATH, fs=disk, **defaults | options)


def small_beside_large(threshold: int, number: int) -> Iterator[tuple[bytes, bytes]]:
    """Segments of these values are full; those without the large ones would be, but for their seals."""
    for each in range(number):
        yield b"s%04d" % each, b"s" * (threshold + 12)
        if each % 5 == 0:
            yield b"l%04d" % each, b"l" * max(2000, 30 * threshold)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("threshold", [8, 64, 400, 4096])
def test_small_values_are_collected_once(threshold: int, shards: int) -> None:
    with opened(SimulatedDisk(window_bytes=4096), value_threshold=threshold, shards=shards) as db:
        values = dict(small_beside_large(threshold, 200))
        db.put_many(values)
        db.flush()
        assert db.stats()["value_files"]["files"] == 1
        small = {key: value for key, value in values.items() if key[:1] == b"s"}
        for key in values.keys() - small.keys():
            db.delete(key)
        db.compact()  # tells what is garbage
        db.flush()
        assert dict(db.items()) == small
        assert db.stats()["value_files"]["live_share"] >= LEAST_SHARE
        assert db.verify() == []


@pytest.mark.parametrize("runner", ["thread", "helper"])
def test_small_values_are_collected_once_by_other_runners(runner: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"runner": runner, "value_threshold": 64, "shards": 4, "encryption_key": KEY}
    with flin.engine.open(tmp_path, **options) as db:
        values = dict(small_beside_large(64, 1500))
        db.put_many(values)
        db.flush()
        assert db.stats()["value_files"]["files"] == 1
        small = {key: value for key, value in values.items() if key[:1] == b"s"}
        for key in values.keys() - small.keys():
            db.delete(key)
        db.compact()
        compactor: Any = db._compactor
        for _ in range(600):
            if not compactor._busy and compactor._pick(store_of(db).state) is None:
                break
            sleep(0.05)
        else:
            pytest.fail(f"merges do not end, or none is begun: {db.stats()['compaction']['reasons']}")
        assert dict(db.items()) == small
        assert db.verify() == []


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("shards", [1, 4])
def test_random_workloads(shards: int, key: bytes | None) -> None:
    collected = 0
    for seed in range(6):
        rng = Random(seed)
        threshold = rng.choice([8, 64, 400])
        least = rng.choice([threshold // 2, threshold, 2 * threshold])
        most = least + rng.choice([8, 40, 300, 1000])
        model: dict[bytes, bytes] = {}
        options: dict[str, Any] = {"value_threshold": threshold, "shards": shards, "encryption_key": key}
        with opened(SimulatedDisk(window_bytes=4096), **options) as db:
            for _ in range(40):
                with db.write_batch() as batch:
                    for _ in range(rng.choice([1, 10, 50])):
                        name = b"%06d" % rng.randrange(50 if seed % 2 else 500)
                        if rng.random() < 0.3:
                            batch.delete(name)
                            model.pop(name, None)
                        else:
                            model[name] = rng.randbytes(rng.randint(least, most))
                            batch.put(name, model[name])
                if rng.random() < 0.5:
                    db.flush()
            db.flush()
            assert dict(db.items()) == model
            assert db.verify() == []
            collected += db.stats()["compaction"]["collected_bytes"]
    assert collected > 5_000


def test_pages_of_values_that_are_not_in_memory() -> None:
    """A page that must not wait says what to load: sealed texts, which are longer than the pointers say."""
    disk = SimulatedDisk(window_bytes=4096)
    values = {b"%02d" % each: b"%02d" % each * 400 for each in range(20)}
    with opened(disk, value_threshold=500) as db:
        db.put_many(values)
        db.flush()
        assert db.stats()["value_files"]["files"] == 1
    with opened(disk, value_threshold=500) as db:
        state = store_of(db).state
        pages = list(state.pages(b"", b"\xff" * 4, values=False))
        page = [key for keys, _ in pages for key in keys], [entry for _, entries in pages for entry in entries]
        with pytest.raises(ColdRead) as cold:
            state.value_files.resolved_page(page, nowait=True)
        cold.value.load()
        assert state.value_files.resolved_page(page, nowait=True)[1] == list(values.values())
