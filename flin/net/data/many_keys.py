"""Commands over many keys (DEL, MGET, MSET …) in slices that others run between, and yet at one moment.

Looking 300,000 keys up takes a second or more, deleting them a quarter. So the lookups go in slices; a *journal* notes
which keys others write meanwhile, and those are read again at the end, in the step that answers and writes. What the
command shows and changes is the state of that step: no client sees half of it, and it is one frame of the WAL. Inside
EXEC everything is one step anyway.

Most of these commands ask only whether a key is there. They keep no values: those of 300,000 keys may be larger than
the memory. MGET keeps them, up to the size of the largest reply.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flin.engine.entry import Expiring, Live, make_entry
from flin.engine.table.cold_read import ColdRead
from flin.errors import CorruptionError, FormatVersionError
from flin.net.wire.replies import too_large_reply
from flin.objects.copying import maybe_spread
from flin.objects.layout import LONG_STRING

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace

MAX_UNSLICED_KEYS: Final = 64
"""The most keys that are done in one step: they take less than a millisecond."""

SLICE_KEYS: Final = 256
"""Lookups of one slice: at some 5 microseconds each, other clients wait about a millisecond."""

ROUNDS: Final = 4
"""If others change more than a slice of the keys again and again, the last round is one step."""

Loads = Generator[Any, None, list[Live | None]]


class _Found:
    """The entries that were read so far: whole ones, or without their values."""

    def __init__(self, number: int, most_bytes: int | None) -> None:
        """most_bytes: for all values together; None: no values are kept."""
        self.entries: list[Live | None] = [None] * number
        self.done = 0
        self.keeps_values = most_bytes is not None
        self._most_bytes = most_bytes
        self._bytes = 0

    def add(self, size_bytes: int) -> None:
        """A value is larger than its entry. LimitError if that is too much for one reply."""
        self._bytes += size_bytes
        if self._most_bytes is not None and self._bytes > self._most_bytes:
            raise too_large_reply(self._bytes, self._most_bytes)

    def read(self, read: Callable[[bytes], Live | None], keys: Sequence[bytes], positions: Sequence[int]) -> None:
        """Read the keys at these positions. After a ColdRead `done` says how many have been read.

        In one loop: a call for each key would cost a third of an MGET. LimitError if the values are too much for one
        reply."""
        entries, most_bytes, size = self.entries, self._most_bytes, self._bytes
        done = 0
        try:
            for done, position in enumerate(positions):  # noqa: B007
                entry = read(keys[position])
                if most_bytes is None:
                    if entry is not None:
                        entry = _bare(entry) if type(entry) is tuple else b""
                else:
                    if entry is not None:
                        size += len(entry) if type(entry) is bytes else len(entry[0])  # type: ignore[arg-type]
                    old = entries[position]
                    if old is not None:  # it has changed since
                        size -= len(old) if type(old) is bytes else len(old[0])  # type: ignore[arg-type]
                    if size > most_bytes:
                        raise too_large_reply(size, most_bytes)
                entries[position] = entry
        finally:
            self._bytes, self.done = size, done


def _bare(entry: Expiring) -> Expiring:
    """The entry without its value, unless that names pieces, which whoever deletes it must know."""
    with suppress(CorruptionError, FormatVersionError):
        if maybe_spread(entry) is not None:
            return entry
    return (b"", entry[1], entry[2])


def find_many(keyspace: Keyspace, keys: Sequence[bytes]) -> Loads:
    """The entries that `read_many` gives, with empty values: they tell which keys are there. Those of spread
    collections are whole, for who deletes them."""
    return _gather(keyspace, keys, _Found(len(keys), None))


def read_many(keyspace: Keyspace, keys: Sequence[bytes], most_bytes: int) -> Loads:
    """The live entries (None: absent) as of its end: what follows without a yield still sees the same state.

    Long strings are put together. LimitError if the values have more than `most_bytes` bytes."""
    found = _Found(len(keys), most_bytes)
    entries = yield from _gather(keyspace, keys, found)
    for position, entry in enumerate(entries):
        if type(entry) is tuple and entry[2] == LONG_STRING:
            text = _whole(keyspace, keys[position], is_sliced=len(keys) > SLICE_KEYS)
            found.add(len(text))
            entries[position] = make_entry(text, entry[1])
    return entries


def _whole(keyspace: Keyspace, key: bytes, *, is_sliced: bool) -> bytes:
    if not is_sliced:  # ColdRead: it runs again
        return keyspace.put_together(key, LONG_STRING)
    with keyspace.waiting():
        return keyspace.put_together(key, LONG_STRING)


def _gather(keyspace: Keyspace, keys: Sequence[bytes], found: _Found) -> Loads:
    wanted: Sequence[int] = range(len(keys))
    if len(keys) <= SLICE_KEYS or keyspace.is_in_transaction:
        found.read(keyspace.entry if found.keeps_values else keyspace.outline, keys, wanted)
        return found.entries
    with keyspace.journal() as journal:
        for _ in range(ROUNDS):
            for part in _slices(wanted):
                yield from _read(keyspace, keys, part, found)
                yield
            wanted = keyspace.changed(journal, keys)
            if len(wanted) <= SLICE_KEYS:
                break
        found.read(keyspace.entry_waiting if found.keeps_values else keyspace.outline_waiting, keys, wanted)
    now_ms = keyspace.now_ms
    return [None if type(entry) is tuple and 0 != entry[1] <= now_ms else entry for entry in found.entries]


def _slices(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(positions), SLICE_KEYS):
        yield positions[start : start + SLICE_KEYS]


def _read(keyspace: Keyspace, keys: Sequence[bytes], part: Sequence[int], found: _Found) -> Generator[Any, None, None]:
    """Read a slice; if a key is cold, a thread reads the rest of the slice first."""
    try:
        found.read(keyspace.entry if found.keeps_values else keyspace.outline, keys, part)
        return
    except ColdRead:
        rest = part[found.done :]
    yield partial(keyspace.load, [keys[position] for position in rest], values=found.keeps_values)
    # The cache may be too small for a slice.
    found.read(keyspace.entry_waiting if found.keeps_values else keyspace.outline_waiting, keys, rest)
