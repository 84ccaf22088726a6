"""Lists, against a list."""

from __future__ import annotations

from itertools import chain
from random import Random
from typing import Final, TypeAlias

from flin.objects.list import List
from flin.objects.meta import Meta
from flin.objects.packed import decode_list
from tests.objects.kinds.kind import VALUES, Kind

Plain: TypeAlias = list[bytes]

MUCH: Final = 1 << 30
"""Bytes that a list may be written anew with."""


class ListKind(Kind[List, Plain]):
    made = List

    def empty(self) -> Plain:
        return []

    def grow(self, found: List, plain: Plain, random: Random) -> None:
        elements = random.choices(VALUES, k=random.randint(1, 4))
        if random.random() < 0.5:
            found.push_left(elements)
            plain[:0] = elements[::-1]
        else:
            found.push_right(elements)
            plain += elements

    def change(self, found: List, plain: Plain, random: Random) -> None:
        how = random.choice((self._drop, self._keep, self._pop, self._rotate, self._set, self._insert, self._remove))
        how(found, plain, random)

    def _drop(self, found: List, plain: Plain, random: Random) -> None:
        left = random.randint(0, len(plain))
        right = random.randint(0 if left else 1, len(plain) - left)
        found.drop(left, right)
        del plain[len(plain) - right :]
        del plain[:left]

    def _keep(self, found: List, plain: Plain, random: Random) -> None:
        start = random.randint(0, len(plain))
        stop = random.randint(start, len(plain))
        if stop - start < len(plain):
            found.keep(start, stop, random.choice((0, MUCH)))
            plain[:] = plain[start:stop]

    def _pop(self, found: List, plain: Plain, random: Random) -> None:
        if random.random() < 0.5:
            assert found.pop_left() == plain.pop(0)
        else:
            assert found.pop_right() == plain.pop()

    def _rotate(self, found: List, plain: Plain, random: Random) -> None:
        is_from_left, is_to_left = random.random() < 0.5, random.random() < 0.5
        element = plain.pop(0 if is_from_left else -1)
        plain.insert(0 if is_to_left else len(plain), element)
        assert found.rotate(is_from_left=is_from_left, is_to_left=is_to_left) == element

    def _set(self, found: List, plain: Plain, random: Random) -> None:
        rank = random.randrange(len(plain))
        plain[rank] = random.choice(VALUES)
        found.set_at(rank, plain[rank])

    def _insert(self, found: List, plain: Plain, random: Random) -> None:
        pivot, element, is_before = random.choice(VALUES), random.choice(VALUES), random.random() < 0.5
        assert found.insert(pivot, element, is_before=is_before, most_bytes=MUCH) == (pivot in plain)
        if pivot in plain:
            plain.insert(plain.index(pivot) + (not is_before), element)

    def _remove(self, found: List, plain: Plain, random: Random) -> None:
        element, count = random.choice(VALUES), random.randint(-2, 2)
        ranks = [rank for rank, other in enumerate(plain) if other == element]
        ranks = ranks[count:] if count < 0 else ranks[: count or None]
        assert found.remove(element, count) == len(ranks)
        plain[:] = [other for rank, other in enumerate(plain) if rank not in ranks]

    def read_all(self, found: List) -> Plain:
        return found.between(0, len(found))

    def compare(self, found: List, plain: Plain) -> None:
        assert len(found) == len(plain)
        assert [found.at(rank) for rank in range(len(plain))] == plain
        assert list(chain.from_iterable(found.all_pages(reverse=True))) == plain[::-1]

    def of_packed(self, value: bytes) -> Plain:
        return decode_list(value)

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert len(pieces) == meta.count
        return [element for _, element in pieces]
