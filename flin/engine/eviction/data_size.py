"""What the data of a store takes: its live keys and their values, before compression, by random samples.

Files and memtables tell how many entries they hold, but not how many of these are dead: overwritten or deleted, and not
merged yet. To count them exactly costs some microseconds for each write (`len()` does). So entries are drawn, and each
is asked whether it is the newest of its key:

    entries  x  the mean of (size if it is the newest, else 0) over the sample

Between two samples what was written counts as new, and what was evicted is known. The two are weighed by how uncertain
each is (a Kalman filter of one number), so the error of a sample, some percent, does not jump about. A sample that
differs by far more than that says that much was deleted, and counts alone. So does one that `counts_alone`.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean
from typing import Final

from flin.engine.entry import Live, maybe_pointer, value_length
from flin.engine.eviction.candidates import Candidates, is_newest
from flin.engine.key import KEYS_END
from flin.engine.read.read_state import ReadState
from flin.engine.tree.store import Store

STRETCHES: Final = 64
ASKED: Final = 64
"""Stretches of a sample, and how many entries of each are asked for: 5 to 10 ms, and an error of 2 to 4 percent where
half of all is dead. It is taken once while a sixteenth of the limit is written."""

FAR: Final = 9.0
"""A difference of three standard deviations, squared."""


def entry_bytes(key: bytes, entry: Live) -> int:
    """The bytes of a key and its value."""
    pointer = maybe_pointer(entry)
    if pointer is not None:
        return len(key) + value_length(pointer)
    return len(key) + len(entry[0] if type(entry) is tuple else entry)


class DataSize:
    """The size of one store's data, about. Used by one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._candidates = Candidates(store.options.random_bytes(8), b"", KEYS_END)
        self.is_known = False
        """Whether there was a sample."""
        self._bytes = 0.0
        self._variance = 0.0
        self._position = store.position
        self.mean_entry_bytes = 1.0
        """The mean size of a live entry."""

    @property
    def bytes(self) -> int:
        """The size by now: at most all that files and memtables hold."""
        self._note_written()
        held = self._held()
        return round(max(0.0, min(self._bytes, held))) if self.is_known else held

    def evicted(self, size: float, error: float = 0.0) -> None:
        """So many bytes are gone, or will be; `error`: give or take so many."""
        self._note_written()
        self._bytes -= size
        self._variance += error**2

    def measure(self, state: ReadState, *, counts_alone: bool = False) -> None:
        """Take a sample of a state that was frozen just now. counts_alone: what was known before says nothing. Raises
        CorruptionError, StorageError."""
        self._note_written()
        sampled, uncertainty = self._sampled(state)
        both = self._variance + uncertainty
        if counts_alone or not self.is_known or (sampled - self._bytes) ** 2 > FAR * both or not both:
            self._bytes, self._variance = sampled, uncertainty
        else:
            gain = self._variance / both
            self._bytes += gain * (sampled - self._bytes)
            self._variance *= 1 - gain
        self.is_known = True

    def forget_own_writes(self, size: int) -> None:
        """What was written to the WAL to evict is no data."""
        self._position += size

    def _held(self) -> int:
        """All that files and memtables hold, at once: more than the data."""
        version = self._store.state.version
        tables = sum(table.raw_bytes for runs in version.shards for run in runs for table in run)
        values = sum(each.live_bytes for each in version.value_files)
        return tables + values + self._store.position - self._store.manifest.wal_position

    def _note_written(self) -> None:
        position = self._store.position
        written, self._position = max(0, position - self._position), max(position, self._position)
        self._bytes += written
        self._variance += written**2  # all of it may be overwriting

    def _sampled(self, state: ReadState) -> tuple[float, float]:
        """The size by a sample, and how uncertain that is."""
        places = self._candidates.places(state)
        means: list[float] = []
        alive = total = 0
        for place, stretch in self._candidates.spread_stretches(places, STRETCHES):
            asked = self._candidates.random.sample(stretch, min(ASKED, len(stretch)))
            sizes = [entry_bytes(key, entry) for key, entry in asked if is_newest(state, place, key)]
            if asked:
                means.append(sum(sizes) / len(asked))
            alive += len(sizes)
            total += sum(sizes)
        if len(means) < 2:
            return float(total), 0.0
        entries = sum(place.weight for place in places)
        self.mean_entry_bytes = max(1.0, total / max(1, alive))
        # Neighbouring stretches are of one place, mostly: how places differ is no uncertainty.
        spread = fmean((one - other) ** 2 for one, other in pairwise(means)) / 2
        return entries * fmean(means), entries**2 * spread / len(means)
