"""Commands over many keys (DEL, MGET, MSET …) in slices that others run between, and yet at one moment.

Looking 300,000 keys up takes a second or more, deleting them a quarter. So the lookups go in slices; a *journal* notes
which keys others write meanwhile, and those are read again at the end, in the step that answers and writes. What the
command shows and changes is the state of that step: no client sees half of it, and it is one frame of the WAL. Inside
EXEC everything is one step anyway.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from flin.engine.entry import Live
from flin.engine.sstable import ColdRead

if TYPE_CHECKING:
    from flin.net.keyspace import Keyspace

FEW_KEYS: Final = 64
"""So many take less than a millisecond: one step."""

SLICE_KEYS: Final = 256
"""Look-ups of a slice: at some 5 microseconds each a neighbour waits about a millisecond."""

ROUNDS: Final = 4
"""If others change more than a slice of the keys again and again, the last round is one step."""

Loads = Generator[Any, None, list[Live | None]]


def read_many(keyspace: Keyspace, keys: Sequence[bytes]) -> Loads:
    """The live entries (None: absent) of the moment at which this ends: what follows without a yield belongs to it."""
    if len(keys) <= SLICE_KEYS or keyspace.is_in_transaction:
        return [keyspace.entry(key) for key in keys]
    entries: list[Live | None] = [None] * len(keys)
    wanted: Sequence[int] = range(len(keys))
    with keyspace.journal() as journal:
        for _ in range(ROUNDS):
            for part in _slices(wanted):
                yield from _read(keyspace, keys, part, entries)
                yield
            wanted = keyspace.changed(journal, keys)
            if len(wanted) <= SLICE_KEYS:
                break
        for position in wanted:
            entries[position] = keyspace.entry_waiting(keys[position])
    now_ms = keyspace.now_ms
    return [None if type(entry) is tuple and 0 != entry[1] <= now_ms else entry for entry in entries]


def _slices(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(positions), SLICE_KEYS):
        yield positions[start : start + SLICE_KEYS]


def _read(
    keyspace: Keyspace, keys: Sequence[bytes], part: Sequence[int], entries: list[Live | None]
) -> Generator[Any, None, None]:
    """A slice; what is cold is read by a thread first, the rest of the slice with it."""
    for at, position in enumerate(part):
        try:
            entries[position] = keyspace.entry(keys[position])
        except ColdRead:
            rest = [keys[position] for position in part[at:]]
            yield lambda: keyspace.load(rest)  # noqa: B023 - it runs before the loop goes on
            for position in part[at:]:  # the cache may be too small for a slice
                entries[position] = keyspace.entry_waiting(keys[position])
            return
