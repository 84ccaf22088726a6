"""The tests of collections are tested: each of these bugs, switched on alone, is caught.

The decorator of each (seeded_bug.py) is the hunt that must catch it. The code as it is passes all hunts, which
test_power_cuts.py makes longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from flin.errors import StorageError
from flin.net.batch.pending import Pending
from flin.net.batch.version_lease import VersionLease
from flin.net.data import keyspace as keyspace_module
from flin.net.data.database_keys import bounds_of
from flin.net.data.databases import Databases
from flin.net.data.keyspace import Keyspace
from flin.objects.hash import Hash
from flin.objects.layout import anchor_key, anchors_namespace
from flin.objects.live_objects import LiveObjects
from flin.objects.reaper import Reaper
from flin.objects.versions import Versions
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import EngineSetup
from tests.figures import CAUGHT, Figures
from tests.net.data.collections_run import CollectionsChecker, CollectionsRun, Served, crash_collections, small_limits
from tests.net.data.seeded_bug import Bug, Hunt, Patch, check_caught

BUGS: Final[list[tuple[Bug, Hunt]]] = []


def power_cuts() -> None:
    for window_bytes in (0, 512):  # without a window every commit is a call, which the disk can refuse
        checker = CollectionsChecker(EngineSetup("interval", window_bytes=window_bytes), limit=1, second_every=8)
        crash_collections(checker, range(16), steps=80, crash_points=4)


def runs() -> None:
    """Many runs, without any crash but those among their steps."""
    with small_limits():
        for seed in range(14):
            CollectionsRun(EngineSetup("interval", window_bytes=0), seed, every=1 << 30).run(100)


class Watcher:
    touched = 0

    def touch(self) -> None:
        self.touched += 1


def watched_changes() -> None:
    """Whoever watches a hash between two changes of one batch is told of the second."""
    served = Served(EngineSetup().open(SimulatedDisk(), ManualClock(), 0))
    keyspace, watcher = served.keyspace(0), Watcher()
    for fields in (1, 100):
        found = keyspace.objects.find_or_make(b"key", Hash)
        found.put_many({b"%d" % number: b"v" for number in range(fields)})
        keyspace.watches.add(b"key", watcher)
        before = watcher.touched
        found.put_many({b"0": b"w"})
        assert watcher.touched > before, "a change within the batch touched nobody"
        keyspace.watches.discard(b"key", watcher)
    served.engine.close()


def leases() -> None:
    """A version is taken in a batch that comes to nothing; what is stored covers those that are taken later."""
    for how in ("refused", "rolled back"):
        served = Served(EngineSetup().open(SimulatedDisk(), ManualClock(), 0))
        savepoint = served.pending.savepoint()
        _spread(served, b"nothing")
        if how == "refused":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(served.store, "commit", _fail)
                patch.setattr(served.store, "put", _fail)
                served.pending.commit()
        else:
            served.pending.settle()  # as a command that reads entries as they are
            served.databases.take_back(savepoint)
        served.keyspace(0).put_value(b"string", b"v")
        served.pending.commit()
        _spread(served, b"later")
        served.pending.commit()
        served.check_lease()
        served.engine.close()


def _spread(served: Served, key: bytes) -> None:
    served.keyspace(0).objects.find_or_make(key, Hash).put_many({b"%d" % number: b"v" for number in range(100)})


def _fail(*_: Any) -> int:
    raise StorageError("write", "/db", "a test says so")


def caught_by(hunt: Hunt) -> Callable[[Bug], Bug]:
    def add(bug: Bug) -> Bug:
        BUGS.append((bug, hunt))
        return bug

    return add


@caught_by(power_cuts)
def version_reused(patch: Patch) -> None:
    """after a crash no version is given that was given before"""
    take = Versions.take
    patch.setattr(Versions, "take", lambda self: (take(self)[0], None))


@caught_by(leases)
def refused_lease_is_committed(patch: Patch) -> None:
    """only a commit covers a lease, not a batch that was refused"""
    patch.setattr(VersionLease, "batch_refused", lambda self, _: self.batch_committed())


@caught_by(leases)
def lease_rolled_back_is_committed(patch: Patch) -> None:
    """nor one that was taken back"""
    patch.setattr(VersionLease, "rolled_back", lambda _: None)


@caught_by(power_cuts)
def forgotten_object_settles(patch: Patch) -> None:
    """a forgotten object writes nothing any more"""

    def forget(self: LiveObjects, key: bytes) -> Any:
        dirty = self._dirty.get(key)
        found = original(self, key)
        if dirty is not None:
            self._dirty[key] = dirty
        return found

    original = LiveObjects.forget
    patch.setattr(LiveObjects, "forget", forget)


@caught_by(watched_changes)
def watchers_touched_once(patch: Patch) -> None:
    """every change touches watchers, not the first of a batch only"""

    def touch(self: LiveObjects, changed: Any, size_bytes: int = 0) -> None:
        if not changed.is_dirty:
            original(self, changed, size_bytes)

    original = LiveObjects.touch
    patch.setattr(LiveObjects, "touch", touch)


@caught_by(power_cuts)
def anchor_not_renamed(patch: Patch) -> None:
    """the anchor names the key that owns the pieces, also after RENAME"""

    def rename(self: Keyspace, key: bytes, destination: bytes, entry: Any) -> None:
        self.put(destination, entry)
        self.delete(key)

    patch.setattr(Keyspace, "rename", rename)


@caught_by(power_cuts)
def reaper_does_not_look(patch: Patch) -> None:
    """the reaper deletes nothing that a key owns"""
    patch.setattr(Reaper, "_is_alive", lambda self, objects, anchor, version: objects.host.piece(anchor) is None)


@caught_by(power_cuts)
def reaper_takes_the_anchor_first(patch: Patch) -> None:
    """the anchor goes with the last piece, so that who is interrupted goes on"""

    def look_at(self: Reaper, anchor: bytes, now_ms: int) -> bool:
        objects = self._databases[anchor[3] & 0x3F]
        is_dead = objects.host.piece(anchor) is not None and not is_alive(self, objects, anchor, anchor_version(anchor))
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Reaper, "_is_alive", lambda *_: not is_dead)
            if is_dead:
                objects.host.delete_piece(anchor)
            return original(self, anchor, now_ms)

    def anchor_version(anchor: bytes) -> int:
        return int.from_bytes(anchor[6:14], "big")

    is_alive, original = Reaper._is_alive, Reaper._look_at
    patch.setattr(Reaper, "_look_at", look_at)


@caught_by(runs)
def objects_kept_after_a_refusal(patch: Patch) -> None:
    """after a refused batch no object is as that batch made it"""

    def make(self: Databases, store: Any, pending: Pending, *rest: Any) -> None:
        original(self, store, pending, *rest)
        pending.on_refused = lambda: None

    original = Databases.__init__
    patch.setattr(Databases, "__init__", make)


@caught_by(power_cuts)
def placeholder_at_a_savepoint(patch: Patch) -> None:
    """a savepoint holds true values, no placeholders whose objects are forgotten later"""
    patch.setattr(Pending, "savepoint", lambda self: (dict(self.points), list(self.ranges), self.large_bytes))


@caught_by(power_cuts)
def copy_shares_the_version(patch: Patch) -> None:
    """each collection has a version of its own"""

    def write(host: Any, key: bytes, entry: Any, meta: Any, _: Any) -> Any:
        host.put_piece(anchor_key(host.namespace, meta.slot, meta.version), key)
        return entry

    patch.setattr(keyspace_module, "write_copy", write)


@caught_by(power_cuts)
def flush_leaves_pieces(patch: Patch) -> None:
    """FLUSHDB deletes pieces together with their anchors, without which nobody finds them"""

    def clear(self: Keyspace) -> None:
        self.note_clear()
        for bounds in (bounds_of(self.namespace), bounds_of(anchors_namespace(self.namespace))):
            self._pending.delete_range(*bounds)
        self.hot.clear()

    patch.setattr(Keyspace, "clear", clear)


@pytest.mark.parametrize(("bug", "hunt"), BUGS, ids=lambda value: value.__name__)
def test_seeded_bug_is_caught(bug: Bug, hunt: Hunt, monkeypatch: Patch, figures: Figures) -> None:
    check_caught(bug, hunt, monkeypatch)
    figures.add(CAUGHT, 1)


@pytest.mark.parametrize(
    "hunt",
    [pytest.param(power_cuts, marks=pytest.mark.slow), runs, watched_changes, leases],  # as in test_power_cuts.py
    ids=lambda hunt: hunt.__name__,
)
def test_the_code_itself_is_not_caught(hunt: Hunt) -> None:
    hunt()
