"""Copying keys from one database into the group of each key's slot.

A key goes as its stored entry, with its encoding, its expiry to the millisecond and all that a collection remembers.
The pieces of a spread collection lie under a slot and a version (objects/layout.py): they are written anew, under the
slot of their key, since RENAME may have left them under another's, and under a version of the new database.

Memory is bounded, however large a collection is: only a page and the batches are held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from flin.cluster.resize.source_group import SourceGroup
from flin.cluster.resize.target_group import TargetGroup
from flin.cluster.workers.groups import slots_of
from flin.engine.entry import Entry, Expiring, Page, is_alive, make_entry
from flin.engine.key import user_key
from flin.engine.slot import slot_of
from flin.errors import CorruptionError
from flin.objects.copying import maybe_spread
from flin.objects.layout import PREFIX_BYTES, SORTED_SET, TYPE_NAMES, anchor_key
from flin.objects.meta import Meta, StreamMeta

BATCH_BYTES: Final = 1 << 20
"""Keys and values in the batches of all targets together. Larger ones gain nothing."""


class Copying:
    """`copied` counts the keys."""

    def __init__(self, targets: Sequence[TargetGroup], now_ms: int) -> None:
        self.copied = 0
        self._targets: Final = targets
        self._now_ms: Final = now_ms
        self._by_slot: Final[list[TargetGroup]] = []
        for number, target in enumerate(targets):
            first, last = slots_of(number, len(targets))
            self._by_slot.extend([target] * (last - first + 1))
        self._size = 0  # of the batches

    def copy(self, source: SourceGroup, namespace: int) -> None:
        """Copy the keys of a namespace. What a source or target raises; CorruptionError if a collection is broken."""
        for page in source.keys(namespace):
            if namespace or page[0][-1] >= b"\xff":
                names = [stored[4:] if namespace else user_key(stored) for stored in page[0]]
            else:
                names = page[0]
            slots = [*map(slot_of, names)]
            source.check(names, slots)
            self._copy_page(source, namespace, names, slots, page)
            self._maybe_commit()

    def end(self, shared: dict[bytes, Entry]) -> None:
        """Write what every target gets, and all that is not committed yet."""
        for target in self._targets:
            target.points.update(shared)
            target.end()

    def _copy_page(
        self, source: SourceGroup, namespace: int, names: Sequence[bytes], slots: Sequence[int], page: Page
    ) -> None:
        """The names are the keys as users know them."""
        by_slot, expired = self._by_slot, 0
        for key, slot, stored, entry in zip(names, slots, *page, strict=True):
            if type(entry) is tuple:
                if not is_alive(entry, self._now_ms):
                    expired += 1
                    continue
                self._size += len(entry[0])
                if entry[2]:
                    entry = self._own_entry(source, namespace, key, entry, by_slot[slot])
            by_slot[slot].points[stored] = entry
        self.copied += len(names) - expired
        self._size += sum(map(len, names)) + sum(map(len, page[1]))  # type: ignore[arg-type]  # no tombstone

    def _own_entry(
        self, source: SourceGroup, namespace: int, key: bytes, entry: Expiring, target: TargetGroup
    ) -> Entry:
        """The entry of a key with a tag, after the pieces that it names."""
        value, expires_at_ms, tag = entry
        if not value:
            raise CorruptionError(source.path, 0, f"the key {key!r} has no value")
        meta = maybe_spread(entry)
        if meta is None:
            return entry
        made = replace(meta, slot=slot_of(key), version=target.take_version())
        target.points[anchor_key(namespace, made.slot, made.version)] = key
        prefix, found = made.elements_prefix(namespace), 0
        for keys, entries in source.pieces(meta.elements_prefix(namespace)):
            found += len(keys)
            self._size += sum(map(len, keys)) + sum(map(len, entries))  # type: ignore[arg-type]  # else it is damaged
            target.points.update(zip((prefix + stored[PREFIX_BYTES:] for stored in keys), entries, strict=True))
            self._maybe_commit()
        if found < _least_pieces(tag, meta):
            raise CorruptionError(source.path, 0, f"pieces of the {TYPE_NAMES[tag]} {key!r} are missing")
        return make_entry(made.encode(), expires_at_ms, tag)

    def _maybe_commit(self) -> None:
        if self._size > BATCH_BYTES:
            for target in self._targets:
                target.commit()
            self._size = 0


def _least_pieces(tag: int, meta: Meta) -> int:
    """No meta tells of the consumers and pending entries of a stream."""
    if isinstance(meta, StreamMeta):
        return meta.count + meta.groups
    return 2 * meta.count if tag == SORTED_SET else meta.count
