"""Pages of stored entries as commands see them: with the pending batch, and without what is deleted or has expired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from flin.engine.boundaries import covers
from flin.engine.entry import TOMBSTONE, Entry, Live, Page
from flin.engine.key import user_key

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending


def laid_over(
    pages: Iterator[Page],
    points: Mapping[bytes, Entry],
    ranges: list[bytes],
    begin: bytes,
    end: bytes,
    *,
    reverse: bool,
) -> Iterator[Page]:
    """A batch, its points and the boundaries of its range deletes, laid over the pages of a frozen state."""
    inside = ((key, entry) for key, entry in points.items() if begin <= key < end)
    pending = sorted(inside, key=lambda item: item[0], reverse=reverse)
    taken = 0
    for keys, entries in pages:
        found = {key: entry for key, entry in zip(keys, entries, strict=True) if not covers(ranges, key)}
        while taken < len(pending) and (pending[taken][0] >= keys[-1] if reverse else pending[taken][0] <= keys[-1]):
            found[pending[taken][0]] = pending[taken][1]
            taken += 1
        ordered = sorted(found, reverse=reverse)
        yield ordered, [found[key] for key in ordered]
    yield [key for key, _ in pending[taken:]], [entry for _, entry in pending[taken:]]


def live_pages(pending: Pending, cut: int, pages: Iterator[Page]) -> Iterator[tuple[list[bytes], list[Live]]]:
    """Users' keys with their entries. cut: the length of the prefix of the database's stored keys; expiry is judged by
    the pending batch's clock at the moment of each page."""
    for stored_keys, entries in pages:
        now_ms = pending.now_ms
        keys: list[bytes] = []
        live: list[Live] = []
        for stored, entry in zip(stored_keys, entries, strict=True):
            if entry is TOMBSTONE or (type(entry) is tuple and entry[1] and entry[1] <= now_ms):
                continue
            keys.append(stored[cut:] if cut else user_key(stored))
            live.append(entry)
        yield keys, live
