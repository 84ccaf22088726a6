"""Lists, against a list."""

from __future__ import annotations

from random import Random
from typing import TypeAlias

from flin.objects.list import List
from flin.objects.meta import Meta
from flin.objects.packed import decode_list
from tests.objects.kinds.kind import VALUES, Kind

Plain: TypeAlias = list[bytes]


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
        count = random.randint(1, len(plain))
        how = random.choice(("drop left", "drop right", "pop left", "pop right"))
        if how == "drop left":
            found.drop_left(count)
            del plain[:count]
        elif how == "drop right":
            found.drop_right(count)
            del plain[-count:]
        elif how == "pop left":
            assert found.pop_left() == plain.pop(0)
        else:
            assert found.pop_right() == plain.pop()

    def read_all(self, found: List) -> Plain:
        return found.between(0, len(found))

    def compare(self, found: List, plain: Plain) -> None:
        assert len(found) == len(plain)
        assert [found.at(rank) for rank in range(len(plain))] == plain

    def of_packed(self, value: bytes) -> Plain:
        return decode_list(value)

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert len(pieces) == meta.count
        return [element for _, element in pieces]
