"""Power cuts for collections: after each crash every hash is whole, owned, and of a prefix of what was committed.

Random work (collections_run.py): renames, copies, flushes, expiry, conversions, refused and rolled back batches, the
reaper and version leases; a crash after changes of the disk, in every crash model. After it the database holds a prefix
of the accepted batches, at least the promised ones; no version comes twice; once the reaper has run, every piece has an
owner and every owner all of its pieces.
"""

from __future__ import annotations

import pytest

from flin.testing.run import EngineSetup
from tests.figures import Figures
from tests.net.data.collections_run import CollectionsChecker, crash_collections

SYNC_MODES = ["always", "interval", "never"]


@pytest.mark.parametrize("sync", SYNC_MODES)
def test_collections_after_power_cuts(sync: str, figures: Figures) -> None:
    checker = CollectionsChecker(EngineSetup(sync), limit=2, second_every=8)
    crash_collections(checker, range(3), steps=80, crash_points=12)
    figures.checked(checker)
    assert checker.states > 75
    assert checker.during_recovery > 4


@pytest.mark.slow
@pytest.mark.long(14)
@pytest.mark.parametrize(("sync", "shards"), [("always", 4), ("interval", 1), ("never", 4)])
def test_many_collections_after_power_cuts(sync: str, shards: int, figures: Figures) -> None:
    checker = CollectionsChecker(EngineSetup(sync, shards), limit=3, second_every=8)
    crash_collections(checker, range(100, 120), steps=120, crash_points=15)
    figures.checked(checker)
    assert checker.states > 500
