"""Sorted sets, against a dict."""

from __future__ import annotations

from random import Random
from typing import Final, TypeAlias

from flin.objects.layout import IN_ORDER, MEMBER, SCORE_BYTES, in_order_suffix
from flin.objects.meta import Meta, SortedSetMeta
from flin.objects.packed import decode_sorted_set
from flin.objects.score import decode_score, encode_score
from flin.objects.sorted_set import SortedSet, pair_at, place_of
from tests.objects.kinds.kind import NAMES, Kind, sample

Plain: TypeAlias = dict[bytes, float]

MEMBERS: Final = [*NAMES, b"l" * 70, b"l" * 70 + b"m"]
"""Also two that are longer than floor and ceiling may be."""

SCORES: Final = [float("-inf"), -1.5, 0.0, 1.0, 1.0, 2.0, float("inf")]


def in_order(plain: Plain) -> list[bytes]:
    return sorted(place_of(member, score) for member, score in plain.items())


class SortedSetKind(Kind[SortedSet, Plain]):
    made = SortedSet

    def empty(self) -> Plain:
        return {}

    def grow(self, found: SortedSet, plain: Plain, random: Random) -> None:
        scores = {member: random.choice(SCORES) for member in sample(random, MEMBERS, 5)}
        before = {member: found.score(member) for member in scores}
        assert before == {member: plain.get(member) for member in scores}
        changes = [(member, score, before[member]) for member, score in scores.items()]
        if len(changes) == 1:
            found.put(*changes[0])
        else:
            found.put_many(changes)
        plain.update(scores)

    def change(self, found: SortedSet, plain: Plain, random: Random) -> None:
        how = random.choice(["remove", "pop", "range"])
        if how == "remove":
            places = random.sample(in_order(plain), random.randint(1, min(3, len(plain))))
        elif how == "pop":
            is_last = random.random() < 0.5
            count = random.randint(1, 3)
            places = found.order.from_rank(0, count, reverse=is_last)
            assert places == (in_order(plain)[::-1] if is_last else in_order(plain))[:count]
        else:
            start, stop = sorted(map(encode_score, random.sample(SCORES, 2)))
            places = found.order.part(start, stop, len(plain))
            assert places == [place for place in in_order(plain) if start <= place < stop]
        if places:
            found.remove(places)
            for place in places:
                del plain[place[SCORE_BYTES:]]

    def read_all(self, found: SortedSet) -> Plain:
        return dict(found.all_scores())

    def compare(self, found: SortedSet, plain: Plain) -> None:
        places = in_order(plain)
        assert len(found) == len(plain)
        assert {member: found.score(member) for member in plain} == plain
        assert found.score(b"absent") is None
        assert [found.element_at(rank) for rank in range(len(plain))] == list(map(pair_at, places))
        assert [found.rank(place[SCORE_BYTES:]) for place in places] == list(range(len(plain)))
        middle = len(places) // 2
        for start, stop in ((b"", None), (places[middle], None), (b"", places[middle]), (places[0], places[-1])):
            inside = [place for place in places if start <= place and (stop is None or place < stop)]
            assert found.order.part(start, stop, 2, reverse=True, skip=1) == inside[::-1][1:3]
            assert found.order.part(start, stop, len(places)) == inside
            assert found.order.count(start, stop) == len(inside)

    def of_packed(self, value: bytes) -> Plain:
        return decode_sorted_set(value)

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert isinstance(meta, SortedSetMeta)
        plain = {suffix[1:]: decode_score(score) for suffix, score in pieces if suffix[:1] == MEMBER}
        places = in_order(plain)
        assert len(plain) == meta.count
        assert [suffix for suffix, _ in pieces if suffix[:1] == IN_ORDER] == [
            in_order_suffix(place[:SCORE_BYTES], place[SCORE_BYTES:]) for place in places
        ]
        assert meta.floor <= places[0]
        assert not meta.ceiling or places[-1] <= meta.ceiling
        return plain

    def literal(self, plain: Plain) -> object:
        return sorted((member, repr(score)) for member, score in plain.items())

    def of_literal(self, literal: object) -> Plain:
        assert isinstance(literal, list)
        return {member: float(score) for member, score in literal}
