"""The log of a replica, in memory, and who keeps it: other machines, so that no crash of a simulated disk takes it.

It is a list of entries, each of some runs of frames, which goes along with the disk (SimulatedDisk.elsewhere). A
replica that is fenced appends no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from flin.engine.engine import Engine, store_of
from flin.engine.entry import EXPIRED_MS, TOMBSTONE, Entry, Range
from flin.engine.key import KEYS_END, namespace_prefix
from flin.engine.memtable import Memtable
from flin.engine.replication import FrameQueue, FrameRun
from flin.engine.wal.frame_run import decode_run
from flin.engine.wal.frames import encode_commit
from flin.errors import FencedError

Entries: TypeAlias = list[list[FrameRun]]

INDEX: Final = namespace_prefix(0x7F00) + b"index"
"""The stored key of a replica's last words: how many entries its tables hold for certain."""


class MemoryReplication:
    """The Replication of one open of a replica: it follows until `lead`, and leads until it is fenced."""

    def __init__(self, entries: Entries, name: str = "a replica in memory") -> None:
        self.entries: Final = entries
        self.name: Final = name
        self.applied = 0  # how many entries are in the store for certain
        self.synced = 0
        self.is_fenced = False
        self.frames: FrameQueue

    def attach(self, frames: FrameQueue) -> None:
        self.frames = frames
        self.synced = frames.position

    def sync(self, position: int) -> None:
        reached, runs = self.frames.position, self.frames.take()
        if runs:
            if self.is_fenced:
                raise FencedError(self.name, "another one leads")
            self.entries.append(runs)
            self.applied = len(self.entries)
        self.synced = reached

    def last_words(self) -> Mapping[bytes, Entry]:
        return {INDEX: b"%d" % self.applied}


def replication_of(engine: Engine) -> MemoryReplication:
    """Who keeps the log of this replica."""
    found = store_of(engine).options.replication
    assert isinstance(found, MemoryReplication)
    return found


def begin(engine: Engine) -> None:
    """Called after the open: apply the log after what the tables hold."""
    found = store_of(engine).read(INDEX)
    assert found is None or type(found) is bytes
    replication_of(engine).applied = int(found or b"0")
    follow(engine)


def follow(engine: Engine) -> None:
    """Apply what it has not applied yet, each entry as one commit for each of its runs."""
    replication, store = replication_of(engine), store_of(engine)
    while replication.applied < len(replication.entries):
        for run in replication.entries[replication.applied]:
            store.commit(*decode_run(run))
        replication.applied += 1


def lead(engine: Engine) -> None:
    """Let it lead: it must have applied the whole log."""
    replication = replication_of(engine)
    assert replication.applied == len(replication.entries)
    replication.frames.keeps = True
    store_of(engine).holds_sweep = False


def append_as_another(entries: Entries, points: Mapping[bytes, Entry], ranges: Sequence[Range]) -> None:
    """Append what another leader has committed, its own last words among it."""
    number = len(entries)
    told = {**points, INDEX: b"%d" % max(0, number - 1)}
    salt, position = b"%08d" % number, 1000 * number
    frame = bytes(encode_commit(salt, position, number + 1, 0, told, ranges))
    entries.append([FrameRun(salt, position, number + 1, frame)])


def check_is_log(engine: Engine, entries: Iterable[Sequence[FrameRun]]) -> None:
    """Check that a replica holds what the log says, no more and no less."""
    memtable = Memtable()
    for entry in entries:
        for run in entry:
            points, ranges = decode_run(run)
            memtable.apply(ranges, points)
    store, now_ms = store_of(engine), store_of(engine).now_ms()
    found: dict[bytes, Entry] = {
        key: entry
        for keys, column in store.scan(b"", KEYS_END)
        for key, entry in zip(keys, column, strict=True)
        if entry is not TOMBSTONE
    }
    expected = {key: entry for key, entry in memtable.entries.items() if entry is not TOMBSTONE}
    different = {
        key: (found.get(key), expected.get(key))
        for key in sorted({*found, *expected} - {INDEX})
        if not _are_equal(found.get(key), expected.get(key), now_ms)
    }
    if different:  # not an assertion: python -O would leave it out
        raise AssertionError(f"a replica differs from the log; found and expected: {different}")


def _are_equal(found: Entry | None, expected: Entry | None, now_ms: int) -> bool:
    """Whether they are, or what was found has expired, and its value is gone, or may go."""
    if found == expected or type(found) is not tuple or type(expected) is not tuple:
        return found == expected
    return found[1] == EXPIRED_MS or (found[1:] == expected[1:] and 0 != found[1] <= now_ms)
