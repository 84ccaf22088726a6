"""A sorted set: members with scores, in the order of scores, and of bytes where these are equal. It has at least one
member: who takes the last one deletes the key.

Packed while small: a dict of scores. Spread later: an entry from each member to its score, and one for each place in
the order (spread_order.py). A spread one of up to MAX_WHOLE members may hold the dict, too, and is *whole* then: its
order is that of the dict, sorted on demand (whole_order.py), and no read asks the store.

Ranges, ranks and counts are asked of `order`. It answers with *places*: a score's ordered 8 bytes and then the member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress, islice, repeat
from operator import add, is_
from typing import Final, TypeAlias, cast

from flin.objects import limits
from flin.objects.layout import MEMBER, SCORE_BYTES, SORTED_SET
from flin.objects.live_object import BASE_BYTES, LiveObject, Objects
from flin.objects.meta import Meta, SortedSetMeta
from flin.objects.packed import decode_sorted_set, encode_sorted_set
from flin.objects.pieces import Pieces
from flin.objects.score import decode_score, decode_scores, encode_score, encode_scores
from flin.objects.spread_order import SpreadOrder
from flin.objects.whole_order import WholeOrder

MEMBER_BYTES: Final = 250
"""A member in memory beside its bytes: two bytes objects, a float, its places in a dict and in the order."""

_PACKED_BYTES: Final = 9
"""What a member adds to a packed value: its score, and what parts it from the next one."""

_CHANGES: Final = 1024
"""Changes that are made at once: some lists of them are made, and no longer ones."""

Pair: TypeAlias = tuple[bytes, float]
"""A member and its score."""

Change: TypeAlias = tuple[bytes, float, float | None]
"""A member, its new score, and what `score` has just said of it."""


def place_of(member: bytes, score: float) -> bytes:
    return encode_score(score) + member


def member_at(place: bytes) -> bytes:
    return place[SCORE_BYTES:]


def pair_at(place: bytes) -> Pair:
    return place[SCORE_BYTES:], decode_score(place[:SCORE_BYTES])


def pairs_at(places: Sequence[bytes]) -> list[Pair]:
    members = [place[SCORE_BYTES:] for place in places]
    return list(zip(members, decode_scores([place[:SCORE_BYTES] for place in places]), strict=True))


class SortedSet(LiveObject):
    """`scores` is None if it is spread, and not whole."""

    TAG = SORTED_SET

    __slots__ = ("_members", "_spread", "_whole", "scores")

    _members: Pieces
    """Those of a spread one, from a member to its score."""

    def __init__(self, objects: Objects, key: bytes) -> None:
        super().__init__(objects, key)
        self._spread: SpreadOrder | None = None
        self.scores: dict[bytes, float] | None = None
        self._whole: WholeOrder | None = None
        self._hold({})

    def load_packed(self, value: bytes) -> None:
        self._hold(decode_sorted_set(value))

    def encode_packed(self) -> bytes:
        assert self.scores is not None
        return encode_sorted_set(self.scores, self.was_large)

    def encode(self) -> bytes:
        if self._spread is not None:
            self._narrow(self._spread)
        return super().encode()

    def charge_bytes(self) -> int:
        held = len(self.scores) * MEMBER_BYTES + 2 * self.held_bytes if self.scores is not None else 0
        spread = 0 if self._spread is None else self._spread.charge_bytes
        return BASE_BYTES + len(self.key) + held + spread

    # Reads.

    def __len__(self) -> int:
        if self.meta is not None:
            return self.meta.count
        assert self.scores is not None
        return len(self.scores)

    def score(self, member: bytes) -> float | None:
        """None: it is no member."""
        scores = self.scores
        if scores is not None:
            return scores.get(member)
        found = self._members.get(member)
        return None if found is None else decode_score(found)

    def scores_of(self, members: Sequence[bytes]) -> list[float | None]:
        """`score` of each."""
        if self.scores is not None:
            return list(map(self.scores.get, members))
        found = self._members.get_each(members)
        if None in found:
            return [None if one is None else decode_score(one) for one in found]
        return [*decode_scores(cast("list[bytes]", found))]

    @property
    def order(self) -> WholeOrder | SpreadOrder:
        """Who knows the places. To be asked anew after each change."""
        if self._whole is not None:
            return self._whole
        assert self._spread is not None
        return self._spread

    @property
    def is_ranked(self) -> bool:
        """Whether ranks are found by a few reads; if not, rank_some() makes it so."""
        return self.order.is_ranked

    def rank_some(self) -> bool:
        """Read a page more for the rank index; whether ranks are found now. Others may run between two calls."""
        return self.order.rank_some()

    def rank(self, member: bytes) -> int | None:
        """How many members come before it; None: it is no member."""
        score = self.score(member)
        return None if score is None else self.order.rank_of(place_of(member, score))

    @property
    def is_whole(self) -> bool:
        """Whether all of it is in memory."""
        return self.scores is not None

    @property
    def is_large(self) -> bool:
        """Whether a reply with all of it should go in slices."""
        return len(self) > limits.SLICED

    def all_scores(self) -> dict[bytes, float]:
        """All of it, not to be changed; from here on it is kept if it is not too large."""
        if self.scores is not None:
            return self.scores
        found = dict(chain.from_iterable(map(pairs_at, self.order.parts(b"", None))))
        if limits.fits_whole(len(found)):
            self._hold(found)
            self.held_bytes = sum(map(len, found)) + _PACKED_BYTES * len(found)
            self.objects.grown(self.key)
        return found

    def pages(self) -> Iterator[Iterable[Pair]]:
        """All members with their scores, some at a time; nothing may change in between."""
        if self.scores is not None or limits.fits_whole(len(self)):
            return iter([self.all_scores().items()])
        return map(pairs_at, self.order.parts(b"", None))

    def elements(self) -> list[Pair]:
        """All of it, as a list of the caller's own; that of a packed one in order."""
        if self.is_packed:
            return pairs_at(self.order.from_rank(0, len(self)))
        return list(self.all_scores().items())

    def element_pages(self) -> Iterator[list[Pair]]:
        """All as of this call, some at a time; other commands may run in between."""
        return map(pairs_at, self.order.frozen_parts(b"", None))

    def element_at(self, rank: int) -> Pair:
        return pair_at(self.order.from_rank(rank, 1)[0])

    def scan(self, after: bytes | None, count: int) -> tuple[list[Pair], bytes | None]:
        """The next `count` members above `after`, in the order of their bytes, with their scores, and the last one, to
        go on after it; None at the end."""
        if self.is_packed:
            return self.elements(), None
        members, scores = self._members.part(b"" if after is None else after + b"\0", None, count + 1)
        last = members[count - 1] if len(members) > count else None
        return list(islice(zip(members, map(decode_score, scores), strict=True), count)), last

    @property
    def encoding(self) -> bytes:
        """OBJECT ENCODING."""
        return b"skiplist" if self.was_large else b"listpack"

    # Changes.

    def put(self, member: bytes, score: float, before: float | None) -> None:
        """Set one score, which is not NaN. before: what `score` has just said of the member. Nothing is read."""
        self._put(member, score + 0.0, before)
        self.objects.touch(self, self.held_bytes if self.meta is None else 0)

    def put_many(self, changes: Sequence[Change]) -> None:
        """`put` of at least one; each member once."""
        done = 0
        while self._spread is None and done < len(changes):
            member, score, before = changes[done]
            self._put(member, score + 0.0, before)
            done += 1
        for at in range(done, len(changes), _CHANGES):
            self._put_spread(*zip(*changes[at : at + _CHANGES], strict=True))
        self.objects.touch(self, self.held_bytes if self.meta is None else 0)

    def remove(self, places: Sequence[bytes]) -> None:
        """Take members out, at least one, each once; the caller knows that they are there. Nothing is read."""
        if len(places) == len(self):
            self.remove_all()
            return
        scores, whole = self.scores, self._whole
        if scores is not None:
            assert whole is not None
            for place in places:
                member = place[SCORE_BYTES:]
                whole.moved(member, scores.pop(member))
                self.held_bytes -= len(member) + _PACKED_BYTES
        spread, meta = self._spread, self.meta
        if spread is not None and meta is not None:
            for place in places:
                self._members.delete(place[SCORE_BYTES:])
                spread.remove(place)
            meta.count -= len(places)
        self.objects.touch(self, self.held_bytes if self.meta is None else 0)

    def remove_all(self) -> None:
        """Take all members out, and delete the key. The reaper deletes the pieces. Nothing is read."""
        if self.meta is None:
            self._hold({})
            self.objects.delete(self)
        else:
            self.meta.count = 0
            self.objects.abandon(self)

    # Inside.

    def _hold(self, scores: dict[bytes, float]) -> None:
        self.scores = scores
        self._whole = WholeOrder(scores)

    def _put(self, member: bytes, score: float, before: float | None) -> None:
        if before is None:
            self._note_size((member,))
        scores = self.scores
        if scores is not None:
            scores[member] = score
            assert self._whole is not None
            self._whole.moved(member, before)
            if before is None:
                self.held_bytes += len(member) + _PACKED_BYTES
        if self._spread is None:
            if self.is_too_large_to_pack():
                self._become_spread()
            return
        ordered = encode_score(score)
        self._members.put(member, ordered)
        if before is None:
            assert self.meta is not None
            self.meta.count += 1
            if scores is not None and not limits.fits_whole(len(scores)):
                self.scores = self._whole = None  # from here on it is read piece by piece
        else:
            self._spread.remove(encode_score(before) + member)
        self._spread.add(ordered + member)

    def _put_spread(self, members: Sequence[bytes], scores: Sequence[float], before: Sequence[float | None]) -> None:
        """`_put` for each, into a spread one, with loops in C."""
        spread, meta, held = self._spread, self.meta, self.scores
        assert spread is not None
        assert meta is not None
        scores = [score + 0.0 for score in scores]
        ordered = encode_scores(scores)
        new: list[bytes] = []
        if None in before:
            new = list(compress(members, map(is_, before, repeat(None))))
            self._note_size(new)
            old = [(score, member) for score, member in zip(before, members, strict=True) if score is not None]
            gone = [encode_score(score) + member for score, member in old]
        else:
            gone = list(map(add, encode_scores(cast("Sequence[float]", before)), members))
        if held is not None:
            assert self._whole is not None
            for member, score in zip(members, before, strict=True):
                self._whole.moved(member, score)
            held.update(zip(members, scores, strict=True))
            self.held_bytes += sum(map(len, new)) + _PACKED_BYTES * len(new)
            if not limits.fits_whole(len(held)):
                self.scores = self._whole = None  # from here on it is read piece by piece
        self._members.put_each(members, ordered)
        spread.move(gone, list(map(add, ordered, members)))
        meta.count += len(new)

    def _note_size(self, new: Sequence[bytes]) -> None:
        """These are about to come: whether it is large for Redis."""
        if not self.was_large:
            sizes = self.objects.thresholds
            longest = max(map(len, new))
            self.was_large = longest > sizes.sorted_set_member_bytes or len(self) + len(new) > sizes.sorted_set_members

    def _become_spread(self) -> None:
        scores, whole = self.scores, self._whole
        assert scores is not None
        slot, version = self.new_place()
        self.become_spread(SortedSetMeta(slot, version, len(scores)))
        assert self._spread is not None
        for member, score in scores.items():
            ordered = encode_score(score)
            self._members.put(member, ordered)
            self._spread.add(ordered + member)
        if limits.fits_whole(len(scores)):
            self.scores, self._whole = scores, whole

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        assert isinstance(meta, SortedSetMeta)
        host = self.objects.host
        self._members = Pieces(host, self.prefix + MEMBER)
        self._spread = SpreadOrder(host, self.prefix, meta, partial(self.objects.grown, self.key))
        self.scores = self._whole = None

    def _narrow(self, spread: SpreadOrder) -> None:
        """Floor and ceiling, as far as they are known without much work."""
        if self._whole is None:
            spread.narrow()
        elif self._whole.is_sorted:
            places = self._whole.places()
            spread.narrow_to(places[0], places[-1])
