"""The number of keys on demand: exact at any moment, and each run is settled once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from flin.engine.catalog.version import Version, with_counts, with_flush, with_shard
from flin.engine.read import count, live_count
from flin.engine.read.live_count import newer_runs
from flin.engine.table.meta import TableMeta
from flin.testing import CrashModel, SimulatedDisk, after_crash
from tests.engine.small_database import count_away_from, opened

KEYS = [b"%02d" % number for number in range(40)]


def table(smallest: bytes, largest: bytes, first: int, last: int, **changes: Any) -> TableMeta:
    points = changes.pop("points", ((0, 5),))
    return TableMeta("00000001-0000.1.sst", 0, 100, 5, 0, 0, 0, smallest, largest, first, last, 500, points)


def test_a_flush_that_meets_nothing_is_settled() -> None:
    version = with_flush(Version(((),)), {0: (table(b"a", b"c", 1, 5),)})
    assert (version.counts, version.unsettled) == ({0: 5}, (0,))
    version = with_flush(version, {0: (table(b"d", b"f", 6, 10),)})  # keys in order: no merge, no count
    assert (version.counts, version.unsettled) == ({0: 10}, (0,))
    version = with_flush(version, {0: (table(b"f", b"h", 11, 15),)})
    assert (version.counts, version.unsettled) == ({0: 10}, (1,))
    version = with_flush(version, {0: (table(b"x", b"z", 16, 20),)})
    assert (version.counts, version.unsettled) == ({0: 10}, (2,)), "settled runs are the oldest"


def test_a_table_of_an_older_format_does_not_tell() -> None:
    version = with_flush(Version(((),)), {0: (table(b"a", b"c", 1, 5, points=None),)})
    assert (version.counts, version.unsettled) == ({}, (1,))


def test_newer_runs() -> None:
    old, new, mixed = table(b"a", b"c", 1, 5), table(b"a", b"c", 6, 9), table(b"a", b"c", 4, 7)
    assert newer_runs(Version((((new,), (old,)), ((old,),))), 5) == (1, 0)
    assert newer_runs(Version((((new,), (old,)),)), 9) == (0,)
    assert newer_runs(Version((((mixed,), (old,)),)), 5) is None


def test_a_count_joins_the_next_edit() -> None:
    version = Version((((table(b"a", b"c", 6, 9),), (table(b"a", b"c", 1, 5),)),), {0: 5}, (1,))
    counts = live_count.LiveCount()
    assert counts.settled(version) == version
    counts._counted = live_count.Counted(9, {0: 7})
    assert counts.settled(version) == with_counts(version, {0: 2}, (0,))
    younger = with_flush(version, {0: (table(b"b", b"b", 10, 12),)})
    assert (counts.settled(younger).counts, counts.settled(younger).unsettled) == ({0: 7}, (1,))


@pytest.mark.parametrize("few", [0, live_count.FEW_ENTRIES], ids=["in a helper", "in slices"])
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("seed", range(2))
def test_len_is_exact_at_any_moment(monkeypatch: pytest.MonkeyPatch, seed: int, shards: int, few: int) -> None:
    """Writes, flushes, merges, snapshots, power cuts and reopenings in any order, and counts in between."""
    count_away_from(monkeypatch, few)
    chance, disk, model = Random(seed), SimulatedDisk(), dict[bytes, bytes]()
    db = opened(disk, shards=shards, sync="always")
    snapshots: list[tuple[Any, int]] = []
    for step in range(250):
        match chance.randrange(14):
            case 0 | 1 | 2 | 3:
                pairs = dict.fromkeys(chance.sample(KEYS, chance.randint(1, 12)), b"%d" % step)
                db.put_many(pairs)
                model |= pairs
            case 4 | 5:
                gone = chance.sample(KEYS, chance.randint(1, 5))
                db.delete_many(gone)
                model = {key: value for key, value in model.items() if key not in gone}
            case 6:
                start, stop = sorted(chance.sample(KEYS, 2))
                db.delete_range(start, stop)
                model = {key: value for key, value in model.items() if not start <= key < stop}
            case 7 | 8:
                db.flush()
            case 9:
                assert len(db) == len(model), f"step {step}"
            case 10:
                if chance.random() < 0.3:
                    db.compact()
            case 11:
                db._compactor.counter.count_idly()
                assert db.stats()["count"]["unsettled_entries"] == 0
            case 12:
                snapshots.append((db.snapshot(), len(model)))
            case 13:
                for snapshot, number in snapshots:
                    assert len(snapshot) == number, f"step {step}"
                    snapshot.close()
                snapshots.clear()
                if chance.random() < 0.5:
                    disk = after_crash(disk, CrashModel.TORN, Random(step).randrange)
                    db = opened(disk, sync="always")
                elif chance.random() < 0.5:
                    db.close()
                    db = opened(disk, sync="always")
    assert len(db) == len(model)
    assert db.verify() == []
    db.close()


def test_a_count_that_a_merge_into_the_bottom_has_overtaken() -> None:
    """A deletion was flushed and merged after the count began, in a range where the unsettled run holds nothing. It is
    gone with what it deleted, and no table tells: that count is of no use any more."""
    bottom, gone, newer = table(b"a", b"c", 1, 2), table(b"x", b"x", 1, 2, points=((0, 1),)), table(b"b", b"c", 3, 5)
    version = Version((((newer,), (bottom, gone)),), {0: 6}, (1,))
    counts = live_count.LiveCount()
    flushed = with_flush(version, {0: (table(b"x", b"x", 6, 6, points=()),)})
    assert flushed.unsettled == (2,)
    merged = with_shard(flushed, 0, ((newer,), (bottom,)), unsettled=1, counts={0: -1}, bottom_sequence=6)
    counts._counted = live_count.Counted(5, {0: 7})
    assert counts.settled(version).counts == {0: 7}, "as of then"
    assert counts.settled(merged) == merged
    counts._counted = live_count.Counted(6, {0: 6})
    assert (counts.settled(merged).counts, counts.settled(merged).unsettled) == ({0: 6}, (0,))


def test_an_older_version_is_counted_for_itself() -> None:
    """A snapshot's version, after a count of a newer one, and after a merge that left nothing of the last flush."""
    with opened(SimulatedDisk()) as db:
        db.put_many(dict.fromkeys(KEYS[:20], b"v"))
        db.flush()
        db.put_many(dict.fromkeys(KEYS[10:30], b"v"))
        db.flush()  # meets keys, so it is not settled
        snapshots = [(db.snapshot(), 30)]
        db.delete_range(KEYS[0], KEYS[5])
        db.flush()
        snapshots.append((db.snapshot(), 25))
        db.put_many(dict.fromkeys(KEYS[:40], b"v"))
        db.flush()
        for _ in range(2):
            assert len(db) == 40
            assert [len(snapshot) for snapshot, _ in snapshots] == [count for _, count in snapshots]
        db.delete_range(KEYS[0], KEYS[39])
        db.flush()
        snapshots.append((db.snapshot(), 1))
        db.compact()
        db.put_many(dict.fromkeys(KEYS[38:], b"v"))
        db.flush()
        for _ in range(2):
            assert len(db) == 2
            assert [len(snapshot) for snapshot, _ in snapshots] == [count for _, count in snapshots]


def test_each_run_is_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    settling = count.settling

    def counted(newer: Any, older: Any) -> Any:
        nonlocal asked
        asked += sum(map(len, newer))
        return settling(newer, older)

    monkeypatch.setattr(live_count, "settling", counted)
    disk = SimulatedDisk()
    with opened(disk) as db:
        for _ in range(2):
            db.put_many(dict.fromkeys(KEYS, b"v"))
            db.flush()
        assert (len(db), asked) == (40, 1), "the first flush met nothing"
        assert (len(db), asked) == (40, 1)
        db.put(KEYS[0], b"v")
        db.flush()  # its edit says that those are settled
        assert (len(db), asked) == (40, 2)
    with opened(disk) as db:
        assert (len(db), asked) == (40, 3), "no edit came after that count"
        db.compact()
        assert (len(db), asked) == (40, 3), "merges settle, too"


def test_a_snapshot_may_be_older_than_the_newest_count() -> None:
    with opened(SimulatedDisk()) as db:
        for begin, end in ((0, 20), (5, 25)):
            db.put_many(dict.fromkeys(KEYS[begin:end], b"v"))
            db.flush()
        before = db.snapshot()
        db.put_many(dict.fromkeys(KEYS[5:40], b"v"))
        db.flush()
        assert (len(db), len(before), len(db)) == (40, 25, 40)
        before.close()


def test_newer_runs_of_an_older_version() -> None:
    version = Version((((table(b"a", b"c", 6, 9),), (table(b"a", b"c", 1, 5),)),))
    assert newer_runs(version, 12) is None
    assert newer_runs(Version(((),)), 12) is None


def test_sequences_that_lie_end_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged manifest may say that a table's first sequence is above its last."""
    monkeypatch.setattr(live_count, "newer_runs", lambda version, _: version.unsettled)
    with opened(SimulatedDisk()) as db:
        for _ in range(2):
            db.put_many(dict.fromkeys(KEYS, b"v"))
            db.flush()
        assert len(db) == 40
