"""Reads that must not wait, of which every second one says that it would have to."""

from __future__ import annotations

import random
from typing import Any

import pytest

from flin.engine.snapshot import Snapshot
from flin.engine.table.cold_read import ColdRead
from flin.engine.tree.store import Store


def every_second_read_is_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    read_nowait, read, pages = Store.read_nowait, Snapshot._read, Snapshot._pages

    def maybe_cold() -> None:
        if chance.random() < 0.5:
            raise ColdRead(lambda: None)

    def store_read(self: Any, key: bytes, **options: Any) -> Any:
        maybe_cold()
        return read_nowait(self, key, **options)

    def snapshot_read(self: Any, stored: bytes, *, wait: bool = True, **options: Any) -> Any:
        if not wait:
            maybe_cold()
        return read(self, stored, wait=wait, **options)

    def cold_pages(found: Any) -> Any:
        for page in found:
            maybe_cold()
            yield page

    def snapshot_pages(self: Any, *bounds: Any, wait: bool = True, **options: Any) -> Any:
        found = pages(self, *bounds, wait=wait, **options)
        return found if wait else cold_pages(found)

    monkeypatch.setattr(Store, "read_nowait", store_read)
    monkeypatch.setattr(Snapshot, "_read", snapshot_read)
    monkeypatch.setattr(Snapshot, "_pages", snapshot_pages)
