"""Sets, against a set."""

from __future__ import annotations

from random import Random
from typing import Any, TypeAlias

from flin.objects.meta import Meta
from flin.objects.packed import decode_set
from flin.objects.set import Set
from tests.objects.kinds.kind import NAMES, Kind, sample
from tests.objects.kinds.scanned import scanned

Plain: TypeAlias = set[bytes]


class SetKind(Kind[Set, Plain]):
    made = Set

    def empty(self) -> Plain:
        return set()

    def grow(self, found: Set, plain: Plain, random: Random) -> None:
        members = sample(random, NAMES, 5)
        new = found.absent(members)
        assert sorted(new) == sorted(set(members) - plain)
        if new:
            found.add_absent(new)
            plain.update(new)

    def change(self, found: Set, plain: Plain, random: Random) -> None:
        if random.random() < 0.5:
            gone = [found.element_at(random.randrange(len(plain)))]
            assert gone[0] in plain
        else:
            members = random.choices(NAMES, k=random.randint(1, 5)) + random.choice(([], sorted(plain)))
            gone = found.present(members)
            assert sorted(gone) == sorted(plain & set(members))
        if gone:
            found.remove_present(gone)
            plain.difference_update(gone)

    def read_all(self, found: Set) -> Plain:
        members = found.elements()
        assert len(members) == len(set(members))
        return set(members)

    def compare(self, found: Set, plain: Plain) -> None:
        assert all(member in found for member in plain)
        assert b"absent" not in found
        assert len(found) == len(plain)
        assert sorted(found.element_at(rank) for rank in range(len(plain))) == sorted(plain)
        assert scanned(found) == sorted(plain)

    def of_packed(self, value: bytes) -> Plain:
        return set(decode_set(value))

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert len(pieces) == meta.count
        assert not any(value for _, value in pieces)
        return {member for member, _ in pieces}

    def literal(self, plain: Plain) -> object:
        return sorted(plain)

    def of_literal(self, literal: Any) -> Plain:
        return set(literal)
