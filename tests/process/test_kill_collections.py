"""kill -9 of a server behind pipelined commands over collections: each connection finds a prefix of what it sent.

Packed and spread, in every sync mode; transactions, SWAPDB, FLUSHDB, renames and copies among them. At the end every
piece has an owner, and once the reaper has run, every owner is alive.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

import flin.engine
from tests.figures import KILLS, Figures
from tests.net.data import collections_run
from tests.net.raw_client import RawClient
from tests.process.collections_load import LOW, Lane, Served, load_and_kill

LANES = 3


def _cycles(directory: Path, figures: Figures, *, sync: str, limits: str, shards: int, cycles: int, seed: int) -> None:
    served, random = Served(directory, sync, limits, shards), Random(seed)
    lanes = [Lane(seed, number) for number in range(LANES)]
    sent = 0
    for _ in range(cycles):
        load_and_kill(served, lanes, random.randrange(50, 1500))
        port = served.start()
        try:
            with RawClient(port) as client:
                sent += sum(lane.check(client) for lane in lanes)
        finally:
            served.kill()
        figures.add(KILLS, 1)
    assert sent > 50 * LANES * cycles
    with flin.engine.open(directory, runner="inline") as engine:
        assert engine.verify() == []
        over = collections_run.Served(engine, databases=16)
        over.check_owners(is_reaped=False)
        over.reap_all()
        over.check_owners(is_reaped=True)


def test_each_connection_finds_a_prefix(tmp_path: Path, figures: Figures) -> None:
    _cycles(tmp_path / "db", figures, sync="interval", limits=LOW, shards=1, cycles=1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sync", "limits", "shards"),
    [("always", LOW, 1), ("interval", LOW, 4), ("never", LOW, 1), ("interval", "", 1)],
    ids=["always, low", "interval, low, 4 shards", "never, low", "interval"],
)
def test_many_kills(tmp_path: Path, figures: Figures, sync: str, limits: str, shards: int) -> None:
    _cycles(tmp_path / "db", figures, sync=sync, limits=limits, shards=shards, cycles=6, seed=len(sync) + shards)
