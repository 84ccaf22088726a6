"""Strings in chunks, against bytes. They are always longer than one that settles as a plain string."""

from __future__ import annotations

import re
from random import Random
from typing import Any, Final, TypeAlias

from flin.objects.layout import CHUNK_BYTES, parse_chunk_suffix
from flin.objects.long_string import MAX_WHOLE_BYTES, LongString
from flin.objects.meta import LongStringMeta, Meta
from tests.objects.kinds.kind import Kind

Plain: TypeAlias = bytearray

_OFFSETS: Final = [0, 1, 1000, 1023, 1024, 4096, MAX_WHOLE_BYTES, MAX_WHOLE_BYTES + 3000]
_PARTS: Final = [b"\1", b"\0", b"", b"\xff" * 30, bytes(1500), b"ab" * 1100]


class LongStringKind(Kind[LongString, Plain]):
    made = LongString

    def empty(self) -> Plain:
        return bytearray()

    def grow(self, found: LongString, plain: Plain, random: Random) -> None:
        edits = [(random.choice(_OFFSETS), random.choice(_PARTS)) for _ in range(random.choice((1, 1, 2)))]
        if random.random() < 0.2:
            edits = [(len(plain), b"appended")] if len(plain) < 1 << 15 else []
        ends = (offset + len(part) for offset, part in edits)
        length = max(MAX_WHOLE_BYTES + 1, len(plain), *ends)
        found.write(edits, length)
        plain.extend(bytes(length - len(plain)))
        for offset, part in edits:
            plain[offset : offset + len(part)] = part

    def change(self, found: LongString, plain: Plain, random: Random) -> None:
        self.grow(found, plain, random)

    def read_all(self, found: LongString) -> Plain:
        return bytearray(found.whole())

    def compare(self, found: LongString, plain: Plain) -> None:
        assert len(found) == len(plain)
        assert found.between(0, len(plain)) == plain
        for begin, end in ((1, 2), (1000, 1030), (1023, 1025), (2000, len(plain)), (len(plain) - 1, len(plain))):
            assert found.between(begin, end) == plain[begin:end]

    def of_packed(self, value: bytes) -> Plain:
        raise AssertionError("it is never packed")

    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        assert isinstance(meta, LongStringMeta)
        assert len(pieces) == meta.count
        plain = bytearray(meta.length)
        for suffix, chunk in pieces:
            start = parse_chunk_suffix(suffix) * CHUNK_BYTES
            assert 0 < len(chunk) <= min(CHUNK_BYTES, meta.length - start)
            plain[start : start + len(chunk)] = chunk
        return plain

    def literal(self, plain: Plain) -> object:
        return len(plain), [(found.start(), found.group()) for found in re.finditer(rb"[^\0]+", plain)]

    def of_literal(self, literal: Any) -> Plain:
        length, parts = literal
        plain = bytearray(length)
        for start, part in parts:
            plain[start : start + len(part)] = part
        return plain
