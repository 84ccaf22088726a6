"""Bugs that are put into a resize on purpose: its tests must find each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

import flin.engine
from flin.cluster.resize.copying import Copying
from flin.cluster.resize.source_group import SourceGroup
from flin.cluster.resize.staging import Staging
from flin.cluster.resize.target_group import TargetGroup
from flin.engine.disk.file_name import MANIFEST
from flin.engine.disk.fs import join
from flin.engine.entry import Entry, Expiring
from flin.errors import FlinError
from flin.objects.meta import Meta
from tests.cluster.copies import Contents, contents, write
from tests.cluster.copies import low_limits as low_limits  # the fixture
from tests.cluster.test_resizing import resize
from tests.cluster.test_resizing_crash import check_crashes

Patch = Callable[[pytest.MonkeyPatch], None]


def _own_entry(change: Callable[[Expiring, TargetGroup], Entry]) -> Patch:
    """What becomes of the entry of each key with a tag."""
    right = Copying._own_entry

    def wrong(
        self: Copying, source: SourceGroup, namespace: int, key: bytes, entry: Expiring, to: TargetGroup
    ) -> Entry:
        made = right(self, source, namespace, key, entry, to)
        assert type(made) is tuple
        return change(made, to)

    return lambda patch: patch.setattr(Copying, "_own_entry", wrong)


def _without_anchor(made: Expiring, to: TargetGroup) -> Entry:
    for key in [key for key in to.points if key.startswith(b"\xff\x01\xc0")]:
        del to.points[key]
    return made


def _old_version(patch: pytest.MonkeyPatch) -> None:
    def wrong(meta: Meta, *, slot: int, version: int) -> Meta:
        return replace(meta, slot=slot, version=version // 2)

    patch.setattr("flin.cluster.resize.copying.replace", wrong)


def _no_last_piece(patch: pytest.MonkeyPatch) -> None:
    right = SourceGroup.pieces

    def wrong(self: SourceGroup, prefix: bytes) -> Any:
        for keys, entries in right(self, prefix):
            yield keys[:-1], entries[:-1]

    patch.setattr(SourceGroup, "pieces", wrong)


COPIES: dict[str, Patch] = {
    "expiries of collections are lost": _own_entry(lambda made, _: (made[0], 0, made[2])),
    "expiries are rounded": _own_entry(lambda made, _: (made[0], made[1] // 1000 * 1000, made[2])),
    "anchors are lost": _own_entry(_without_anchor),
    "two collections have one version": _old_version,
    "the last piece of each page is lost": _no_last_piece,
    "batches are counted and not written": lambda patch: patch.setattr(
        "flin.engine.tree.store.Store.commit", lambda store, points, *_, **__: 0
    ),
}


def _move_unsynced(staging: Staging, source: str, target: str, names: list[str]) -> None:
    for name in names:
        staging._fs.rename(join(source, name), join(target, name))


def _move_manifest_first(staging: Staging, source: str, target: str, names: list[str]) -> None:
    _move_unsynced(staging, source, target, sorted(staging._files(), key=lambda name: name != MANIFEST))
    staging._fs.sync_directory(target)


MOVES: dict[str, Patch] = {
    "moves are not synced": lambda patch: patch.setattr(Staging, "_move", _move_unsynced),
    "MANIFEST is not the last": lambda patch: patch.setattr(Staging, "_move", _move_manifest_first),
}


def check_copy(path: Path, before: Contents) -> None:
    resize(path / "db", path / "new", 2)
    assert contents(str(path / "new")) == before


@pytest.mark.parametrize("bug", COPIES)
@pytest.mark.usefixtures("low_limits")
def test_a_wrong_copy_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        write(db, Random(1), 1500)
    before = contents(str(tmp_path / "db"))
    COPIES[bug](monkeypatch)
    with pytest.raises((AssertionError, FlinError)):
        check_copy(tmp_path, before)


@pytest.mark.parametrize("bug", MOVES)
@pytest.mark.usefixtures("low_limits")
def test_a_wrong_order_of_moves_is_found(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    MOVES[bug](monkeypatch)
    with pytest.raises((AssertionError, FlinError)):
        check_crashes(1)
