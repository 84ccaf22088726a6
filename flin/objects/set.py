"""A set: members, each once. It has at least one: who takes the last one deletes the key.

Packed while small (packed.py), spread later, perhaps whole: limits.py says when. One that is packed or whole holds a
list of its members and a dict to their places, so that a member at random is found, and taken out, in constant time:
the last one takes its place.

A larger one becomes whole, too, once members at random are asked for, if the database has room for it: it is *gathered*
in slices. To find a member by its rank among 100,000 takes 70 to 140 µs, to gather it 1 µs, and then SPOP takes 6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, repeat
from operator import not_
from typing import Final

from flin.objects import limits
from flin.objects.layout import SET
from flin.objects.limits import PAGE, fits_whole
from flin.objects.live_object import BASE_BYTES, Objects
from flin.objects.packed import decode_set, encode_set
from flin.objects.pieces import Part
from flin.objects.thresholds import Thresholds
from flin.objects.unordered import Unordered

MEMBER_BYTES: Final = 150
"""A member in memory: a bytes object, its places in a list and in a dict, the number of its place."""

_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]{0,18}")


class Gathering:
    """The members that were read so far, in their order; changes may come between two pages."""

    __slots__ = ("bytes", "is_done", "last", "members")

    def __init__(self) -> None:
        self.members: dict[bytes, None] = {}
        self.bytes = 0  # of those that were read
        self.last = b""  # members above it are still to be read
        self.is_done = False

    @property
    def next(self) -> bytes:
        """The first member that is still to be read, if it is there."""
        return self.last + b"\0" if self.members or self.last else b""

    def read(self, page: Sequence[bytes], size: int) -> None:
        """Take the next page, of so many members if there are more."""
        self.members.update(dict.fromkeys(page))
        self.bytes += sum(map(len, page))
        if len(page) < size:
            self.is_done = True
        else:
            self.last = page[-1]

    def added(self, new: Iterable[bytes]) -> None:
        self.members.update((member, None) for member in new if member < self.next)

    def removed(self, gone: Iterable[bytes]) -> None:
        for member in gone:
            self.members.pop(member, None)


class Set(Unordered[bytes]):
    """`members` and `places`, or both None: spread, and not whole."""

    TAG = SET

    __slots__ = ("_gathering", "_is_too_large", "members", "places")

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self.members: list[bytes] | None = []
        self.places: dict[bytes, int] | None = {}
        self._gathering: Gathering | None = None  # done: it is whole, however large
        self._is_too_large = False  # by its bytes, as gathering has shown

    def load_packed(self, value: bytes) -> None:
        self._hold(decode_set(value))

    def encode_packed(self) -> bytes:
        assert self.members is not None
        return encode_set(self.members, self.was_large)

    def charge_bytes(self) -> int:
        held = len(self.members) * MEMBER_BYTES + self.held_bytes if self.members is not None else 0
        if self._gathering is not None:
            held += len(self._gathering.members) * MEMBER_BYTES
        return BASE_BYTES + len(self.key) + held + self._index_bytes

    # Reads.

    def __len__(self) -> int:
        if self.meta is not None:
            return self.meta.count
        assert self.members is not None
        return len(self.members)

    def __contains__(self, member: bytes) -> bool:
        places = self.places
        return member in places if places is not None else self.objects.host.piece(self.prefix + member) is not None

    @property
    def is_whole(self) -> bool:
        return self.members is not None

    def elements(self) -> list[bytes]:
        if self.members is not None:
            return self.members.copy()
        found = [member for members, _ in self._pieces.parts() for member in members]
        size = sum(map(len, found))
        if fits_whole(len(found), size):
            self._hold(found.copy())
            self.held_bytes = size
            self.objects.grown(self.key)
        return found

    def pages(self) -> Iterator[list[bytes]]:
        """All members, some at a time; nothing may change in between."""
        if self.members is not None or fits_whole(len(self)):
            return iter([self.elements()])
        return (members for members, _ in self._pieces.parts())

    def element_pages(self) -> Iterator[list[bytes]]:
        if self.members is not None:
            members = self.members.copy()
            return (members[start : start + PAGE] for start in range(0, len(members), PAGE))
        return (members for members, _ in self._pieces.frozen_parts())

    @property
    def is_ranked(self) -> bool:
        if self.is_whole or not self.is_large:
            return True
        pays = self._ranks_read * limits.RANK_READS >= len(self) and self._may_gather
        return self._pieces.is_ranked and not pays

    def rank_some(self) -> bool:
        if self.is_whole or not self._may_gather:
            return super().rank_some()
        gathering = self._gathering
        if gathering is None:
            gathering = self._gathering = Gathering()
        gathering.read(self._pieces.part(gathering.next, None, limits.PAGE)[0], limits.PAGE)
        self._is_too_large = not self._has_room(len(self) * MEMBER_BYTES + gathering.bytes)
        if self._is_too_large:
            self._gathering = None
        elif gathering.is_done:
            self._hold(list(gathering.members))
            self.held_bytes = gathering.bytes
            gathering.members = {}
            self.objects.grown(self.key)
        return self.is_whole

    @property
    def _may_gather(self) -> bool:
        return not self._is_too_large and self._has_room(len(self) * MEMBER_BYTES)

    def _has_room(self, held_bytes: int) -> bool:
        return held_bytes <= self.objects.large_bytes

    def _may_stay_whole(self) -> bool:
        if self._gathering is not None and self._gathering.is_done:
            return self._has_room(len(self) * MEMBER_BYTES + self.held_bytes)
        return super()._may_stay_whole()

    def _held_at(self, rank: int) -> bytes:
        assert self.members is not None
        return self.members[rank]

    def _parsed(self, part: Part) -> list[bytes]:
        return part[0]

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING."""
        return b"hashtable" if self.was_large else b"intset"

    def hold(self, members: Iterable[bytes]) -> list[bool]:
        """Whether each is in it."""
        places = self.places
        if places is not None:
            return list(map(places.__contains__, members))
        pieces = self.objects.host.pieces(list(map(self.prefix.__add__, members)))
        return [piece is not None for piece in pieces]

    def absent(self, members: Iterable[bytes]) -> list[bytes]:
        """Those that are not in it, each once."""
        unique = list(dict.fromkeys(members))
        return list(compress(unique, map(not_, self.hold(unique))))

    def present(self, members: Iterable[bytes]) -> list[bytes]:
        """Those that are in it, each once."""
        unique = list(dict.fromkeys(members))
        return list(compress(unique, self.hold(unique)))

    # Changes.

    def add_absent(self, new: list[bytes]) -> None:
        """Add at least one member; the caller knows that none of them is there. Nothing is read."""
        if not self.was_large:
            self.was_large = is_large(new, len(self) + len(new), self.objects.thresholds)
        if self.members is not None:
            assert self.places is not None
            self.places.update(zip(new, range(len(self.members), len(self.members) + len(new)), strict=True))
            self.members += new
            self.held_bytes += sum(map(len, new)) + len(new)
        if self.meta is None:
            if self.is_too_large_to_pack():
                self._spread()
            self.objects.touch(self, self.held_bytes)
            return
        self.objects.host.put_pieces(map(self.prefix.__add__, new), [b""] * len(new))
        if self._gathering is not None and self.members is None:
            self._gathering.added(new)
        self._note_new(new)
        self.objects.touch(self)

    def remove_present(self, gone: list[bytes]) -> None:
        """Take members out; the caller knows that they are there. Nothing is read."""
        if self.members is not None:
            for member in gone:
                self._take_out(member)
        elif self._gathering is not None:
            self._gathering.removed(gone)
        self._note_gone(gone)

    # Inside.

    def _hold(self, members: list[bytes]) -> None:
        self.members = members
        self.places = dict(zip(members, range(len(members)), strict=True))

    def _take_out(self, member: bytes) -> None:
        assert self.members is not None
        assert self.places is not None
        place = self.places.pop(member)
        last = self.members.pop()
        if last is not member and last != member:
            self.members[place] = last
            self.places[last] = place
        self.held_bytes -= len(member) + 1

    def _spread(self) -> None:
        members, places = self.members, self.places
        assert members is not None
        self._spread_pieces(list(zip(members, repeat(b""))))
        if fits_whole(len(members), self.held_bytes):
            self.members, self.places = members, places

    def _forget_elements(self) -> None:
        self.members = self.places = self._gathering = None


def is_large(members: Iterable[bytes], count: int, thresholds: Thresholds) -> bool:
    """Whether Redis would not keep a set with these members, of so many in all, as an array of integers."""
    return count > thresholds.set_integers or not all(map(_is_integer, members))


def _is_integer(member: bytes) -> bool:
    """Whether Redis keeps it as one: 64 bits, written in the one way that it writes numbers."""
    return _INTEGER.fullmatch(member) is not None and -(1 << 63) <= int(member) < 1 << 63
