"""Hashes, against a dict."""

from __future__ import annotations

from random import Random
from typing import Any, TypeAlias

from flin.objects.hash import Hash
from flin.objects.meta import Meta
from flin.objects.packed import decode_hash
from tests.objects.kinds.kind import NAMES, VALUES, Kind, sample
from tests.objects.kinds.scanned import scanned

Plain: TypeAlias = dict[bytes, bytes]


class HashKind(Kind[Hash, Plain]):
    made = Hash

    def empty(self) -> Plain:
        return {}

    def grow(self, found: Hash, plain: Plain, random: Random) -> None:
        pairs = {field: random.choice(VALUES) for field in sample(random, NAMES, 5)}
        if len(pairs) == 1:
            for field, value in pairs.items():
                assert found.get(field) == plain.get(field)
                found.put(field, value, plain.get(field))
        else:
            assert set(found.put_many(dict(pairs))) == pairs.keys() - plain.keys()
        plain.update(pairs)

    def change(self, found: Hash, plain: Plain, random: Random) -> None:
        fields = random.choices(NAMES, k=random.randint(1, 5)) + random.choice(([], list(plain)))
        assert found.delete_many(fields) == len(plain.keys() & set(fields))
        for field in fields:
            plain.pop(field, None)

    def read_all(self, found: Hash) -> Plain:
        return dict(found.items())

    def compare(self, found: Hash, plain: Plain) -> None:
        assert {field: found.get(field) for field in plain} == plain
        assert found.get(b"absent") is None
        assert len(found) == len(plain)
        assert sorted(found.element_at(rank) for rank in range(len(plain))) == sorted(plain.items())
        assert scanned(found) == sorted(plain.items())

    def of_packed(self, value: bytes) -> Plain:
        return decode_hash(value)

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert len(pieces) == meta.count
        return dict(pieces)

    def literal(self, plain: Plain) -> object:
        return sorted(plain.items())

    def of_literal(self, literal: Any) -> Plain:
        return dict(literal)
