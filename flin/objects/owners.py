"""Whether every piece of a collection has an owner, and every owner all of its pieces: what a check of a database asks.

A spread collection is three things: the key's own entry with a meta, an anchor that names the key, and as many pieces
as the meta says, where it says (misplaced.py). Where the key's entry is gone, or names another version, anchor and
pieces are *dead*: that is no fault, they wait for the reaper. All else that does not fit together is one, for example
pieces without an anchor, which no reaper would ever find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from flin.engine.entry import EXPIRED_MS, TOMBSTONE, Entry, Page
from flin.engine.key import PIECES_START, PIECES_STOP, namespace_of, namespace_prefix, user_key
from flin.errors import FlinError
from flin.objects.copying import maybe_spread
from flin.objects.layout import (
    ANCHORS,
    GROUP,
    IN_ORDER,
    PREFIX_BYTES,
    SORTED_SET,
    STREAM,
    TYPE_NAMES,
    Owner,
    check_suffix,
    parse_anchor,
    parse_element,
)
from flin.objects.layout import ENTRY as STREAM_ENTRY
from flin.objects.layout import MEMBER as SCORED_MEMBER
from flin.objects.meta import Meta, StreamMeta
from flin.objects.misplaced import Misplaced

_ANCHORS_START: Final = namespace_prefix(ANCHORS)


@dataclass(slots=True)
class _Spread:
    """A key's own entry, of a spread collection."""

    key: bytes
    tag: int
    meta: Meta
    misplaced: Misplaced
    has_anchor: bool = False
    pieces: Counter[bytes] = field(default_factory=Counter)  # by letter; of types without letters under b""


class Owners:
    """The check of one state. Memory grows with the number of spread collections, and of consumers of streams, not with
    that of pieces."""

    def __init__(self) -> None:
        self.dead = 0
        """Collections whose key is gone, and which wait for the reaper."""
        self._spread: dict[Owner, _Spread] = {}
        self._unowned: Counter[Owner] = Counter()  # pieces without an owner
        self._problems: list[str] = []

    def check(self, pages: Iterable[Page]) -> list[str]:
        """What is wrong in a state, given all of its entries in order, tombstones and expired ones perhaps among them:
        a key that has expired and was not swept yet owns its pieces still."""
        for keys, entries in pages:
            self._check_page(keys, entries)
        for owner, spread in self._spread.items():
            self._problems += self._of_spread(owner, spread)
        for owner, count in self._unowned.items():
            self._problems.append(f"{count} pieces of {_of(owner)} have no anchor: nobody would ever delete them")
        return self._problems

    def _check_page(self, keys: Sequence[bytes], entries: Sequence[Entry]) -> None:
        for stored, entry in zip(keys, entries, strict=True):
            if entry is TOMBSTONE or stored >= PIECES_STOP:
                continue
            try:
                if stored >= _ANCHORS_START:
                    self._check_anchor(stored, entry)
                elif stored >= PIECES_START:
                    self._check_piece(stored, entry)
                elif type(entry) is tuple and entry[2]:
                    self._check_own(stored, entry)
            except FlinError as error:
                self._problems.append(f"{_named(stored)}: {error}")

    def _check_own(self, stored: bytes, entry: Entry) -> None:
        assert type(entry) is tuple
        if entry[1] == EXPIRED_MS:  # a merge has taken its value; it waits for the sweep, and owns nothing any more
            return
        namespace = namespace_of(stored)
        key = stored[4:] if namespace else user_key(stored)
        if not entry[0]:
            self._problems.append(f"{_named(stored)} has no value: it was committed before its collection was written")
            return
        meta = maybe_spread(entry)
        if meta is None:
            return
        owner = Owner(namespace, meta.slot, meta.version)
        other = self._spread.get(owner)
        if other is not None:
            self._problems.append(f"the keys {other.key!r} and {key!r} name the same pieces, {_of(owner)}")
        else:
            self._spread[owner] = _Spread(key, entry[2], meta, Misplaced(meta))

    def _check_piece(self, stored: bytes, entry: Entry) -> None:
        owner, suffix = parse_element(stored)
        if type(entry) is not bytes:
            self._problems.append(f"a piece of {_of(owner)} has a tag or an expiry")
        spread = self._spread.get(owner)
        if spread is None:
            self._unowned[owner] += 1
            return
        spread.pieces[suffix[:1] if spread.tag in (SORTED_SET, STREAM) else b""] += 1
        check_suffix(spread.tag, suffix)
        if type(entry) is bytes:
            spread.misplaced.take(suffix, entry)

    def _check_anchor(self, stored: bytes, entry: Entry) -> None:
        owner = parse_anchor(stored)
        spread = self._spread.get(owner)
        if type(entry) is not bytes:
            self._problems.append(f"the anchor of {_of(owner)} has a tag or an expiry")
        elif spread is None:
            self.dead += 1
            self._unowned.pop(owner, None)
        else:
            spread.has_anchor = True
            if entry != spread.key:
                whose = f"names {entry!r}, but {spread.key!r} owns it: the reaper would delete it"
                self._problems.append(f"the anchor of {_of(owner)} {whose}")

    def _of_spread(self, owner: Owner, spread: _Spread) -> Iterator[str]:
        if not spread.has_anchor:
            yield f"{spread.key!r} has no anchor for {_of(owner)}: nobody would ever delete its pieces"
        fit = True
        for letter, count in _counts(spread).items():
            if spread.pieces[letter] != count:
                of = f" of kind {letter.decode()}" * bool(letter)
                what = TYPE_NAMES[spread.tag]
                yield f"the {what} {spread.key!r} says {count} pieces{of} and has {spread.pieces[letter]}, {_of(owner)}"
                fit = False
        for problem in spread.misplaced.problems() if fit else ():
            yield f"the {TYPE_NAMES[spread.tag]} {spread.key!r} has {problem}, {_of(owner)}"


def _counts(spread: _Spread) -> dict[bytes, int]:
    """How many pieces there must be, by letter. (Of a stream's consumers and pending entries no meta tells.)"""
    meta = spread.meta
    if spread.tag == SORTED_SET:
        return {SCORED_MEMBER: meta.count, IN_ORDER: meta.count}
    if isinstance(meta, StreamMeta):
        return {STREAM_ENTRY: meta.count, GROUP: meta.groups}
    return {b"": meta.count}


def _of(owner: Owner) -> str:
    return f"version {owner.version} of slot {owner.slot} in database {owner.database}"


def _named(stored: bytes) -> str:
    what = "the anchor" if stored >= _ANCHORS_START else "the piece" if stored >= PIECES_START else "the key"
    namespace = namespace_of(stored)
    if what == "the key":
        return f"the key {stored[4:] if namespace else user_key(stored)!r} of database {namespace}"
    return f"{what} {stored[:PREFIX_BYTES].hex()} {stored[PREFIX_BYTES:]!r}"
