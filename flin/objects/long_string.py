"""A string that commands change in parts: SETBIT, SETRANGE, APPEND, BITFIELD.

Up to MAX_WHOLE_BYTES it is a bytearray as long as it is dirty. It settles as a plain string, and the object goes: so
sixteen changes in one round copy the string once, and whatever reads the store finds a string. A longer one is spread:
chunks of 1,024 bytes, each a piece. A bit at random in 1 MiB then writes 1,095 bytes to the WAL in place of 1 MiB.

Where there is no chunk, or behind the end of a short one, the string is zeros: SETBIT at 2^32 - 1 writes one chunk. A
string never becomes shorter by such commands, so no chunk lies beyond the length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeAlias

from flin.engine.entry import Live, make_entry
from flin.errors import CorruptionError
from flin.objects.layout import CHUNK_BYTES, LONG_STRING, chunk_suffix, parse_chunk_suffix
from flin.objects.live_object import BASE_BYTES, LiveObject, Objects
from flin.objects.meta import LongStringMeta, Meta
from flin.objects.pieces import Part, Pieces

MAX_WHOLE_BYTES: Final = 16 << 10
"""A commit that writes all of these costs 21 to 39 µs, one chunk 8 (measured in a prototype)."""

_SINGLE: Final = 4
"""Up to so many neighbours are read one by one: a page costs as much, since it looks at all of the batch."""

Edit: TypeAlias = tuple[int, bytes]
"""An offset, and what is written there."""

_GAP_BYTES: Final = 1 << 20
"""Zeros that are left out come back in parts of this length."""


class LongString(LiveObject):
    """`_text`, or None: spread."""

    TAG = LONG_STRING

    __slots__ = ("_text",)

    meta: LongStringMeta | None

    def __init__(self, objects: Objects, key: bytes, value: bytes = b"", expires_at_ms: int = 0) -> None:
        """The string is live once it has changed."""
        super().__init__(objects, key)
        self._text: bytearray | None = bytearray(value)
        self.expires_at_ms = expires_at_ms

    def load_packed(self, value: bytes) -> None:
        raise CorruptionError("a long string", 0, "it is packed")

    def encode_packed(self) -> bytes:
        assert self._text is not None
        return bytes(self._text)

    def own_entry(self) -> Live:
        if self._text is None:
            return super().own_entry()
        return make_entry(bytes(self._text), self.expires_at_ms)

    @property
    def outlives_commit(self) -> bool:
        return self._text is None

    def charge_bytes(self) -> int:
        return BASE_BYTES + len(self.key) + (0 if self._text is None else len(self._text))

    @property
    def encoding(self) -> bytes:
        return b"raw"

    # Reads.

    def __len__(self) -> int:
        meta = self.meta
        if meta is not None:
            return meta.length
        assert self._text is not None
        return len(self._text)

    def parts(self, begin: int, end: int) -> Iterator[Edit]:
        """What is there from a byte to below another, in order; zeros in between may be left out."""
        if self._text is not None:
            yield begin, bytes(self._text[begin:end])
            return
        yield from _cut(self._chunks(begin // CHUNK_BYTES, (end - 1) // CHUNK_BYTES), begin, end)

    def part_pages(self, begin: int, end: int) -> Iterator[Iterable[Edit]]:
        """`parts` as of this call, some at a time; other commands may run between two pages."""
        if self._text is not None:
            return iter([[*self.parts(begin, end)]])
        first, last = begin // CHUNK_BYTES, (min(end, len(self)) - 1) // CHUNK_BYTES
        pieces = Pieces(self.objects.host, self.prefix)
        pages = pieces.frozen_parts(chunk_suffix(first), chunk_suffix(last + 1))
        return (_cut(_numbered(page), begin, end) for page in pages)

    def between(self, begin: int, end: int) -> bytes:
        """The bytes from one to below another, which is not beyond the end."""
        return b"".join(chain.from_iterable(filled([self.parts(begin, end)], begin, end)))

    def whole(self) -> bytes:
        """All of it. The caller has looked at its length."""
        return self.between(0, len(self))

    # Changes.

    def write(self, edits: Sequence[Edit], length: int) -> None:
        """Overwrite parts of it; it has at least this length then, which no edit goes beyond. Everything is read before
        anything changes."""
        text = self._text
        if text is None:
            self._put(edits, length, {number: chunk for edit in edits for number, chunk in self._under(edit)})
        elif length > MAX_WHOLE_BYTES or len(text) > MAX_WHOLE_BYTES:
            self._put(edits, length, self._spread(text))
        else:
            if length > len(text):
                text.extend(bytes(length - len(text)))
            for offset, part in edits:
                text[offset : offset + len(part)] = part
            self.objects.touch(self, MAX_WHOLE_BYTES)  # what it may grow to until the commit

    # Inside.

    def _begin_spread(self, meta: Meta) -> None:
        super()._begin_spread(meta)
        self._text = None

    def _spread(self, text: bytearray) -> dict[int, bytes]:
        """Put its chunks, and return them."""
        chunks = {}
        for start in range(0, len(text), CHUNK_BYTES):
            chunk = bytes(text[start : start + CHUNK_BYTES])
            if any(chunk):
                chunks[start // CHUNK_BYTES] = chunk
        slot, version = self.new_place()
        self.become_spread(LongStringMeta(slot, version, len(chunks), len(text)))
        for number, chunk in chunks.items():
            self.objects.host.put_piece(self.prefix + chunk_suffix(number), chunk)
        return chunks

    def _put(self, edits: Sequence[Edit], length: int, held: dict[int, bytes]) -> None:
        """held: the chunks that are there of those that change."""
        meta = self.meta
        assert meta is not None
        put, prefix = self.objects.host.put_piece, self.prefix
        for offset, part in edits:
            taken = 0
            while taken < len(part):
                number, low = divmod(offset + taken, CHUNK_BYTES)
                new = part[taken : taken + CHUNK_BYTES - low]
                taken += len(new)
                old = held.get(number)
                if old is None:
                    if not any(new):
                        continue
                    meta.count += 1
                    new = bytes(low) + new
                elif len(new) < CHUNK_BYTES:
                    new = old[:low].ljust(low, b"\0") + new + old[low + len(new) :]
                held[number] = new
                put(prefix + chunk_suffix(number), new)
        meta.length = max(meta.length, length)
        self.objects.touch(self)

    def _under(self, edit: Edit) -> Iterator[tuple[int, bytes]]:
        """The chunks that an edit touches, as far as they are there."""
        offset, part = edit
        if part:
            yield from self._chunks(offset // CHUNK_BYTES, (offset + len(part) - 1) // CHUNK_BYTES)

    def _chunks(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Those that are there of the chunks from one to another, both included, in order."""
        last = min(last, (len(self) - 1) // CHUNK_BYTES)
        if last - first >= _SINGLE:
            pieces = Pieces(self.objects.host, self.prefix)
            for page in pieces.parts(chunk_suffix(first), chunk_suffix(last + 1)):
                yield from _numbered(page)
            return
        host, prefix = self.objects.host, self.prefix
        for number in range(first, last + 1):
            chunk = host.piece(prefix + chunk_suffix(number))
            if chunk is not None:
                yield number, chunk


def _numbered(page: Part) -> Iterator[tuple[int, bytes]]:
    suffixes, chunks = page
    return zip(map(parse_chunk_suffix, suffixes), chunks, strict=True)


def _cut(chunks: Iterable[tuple[int, bytes]], begin: int, end: int) -> Iterator[Edit]:
    """What of these chunks lies between two bytes."""
    for number, chunk in chunks:
        start = number * CHUNK_BYTES
        if start < begin or start + len(chunk) > end:
            part = chunk[max(0, begin - start) : end - start]
            if part:
                yield max(begin, start), part
        else:
            yield start, chunk


def filled(pages: Iterable[Iterable[Edit]], begin: int, end: int) -> Iterator[list[bytes]]:
    """The pages of what is there from a byte to below another, with the zeros that they leave out."""
    at = begin
    for page in pages:
        parts: list[bytes] = []
        for start, part in page:
            while start - at > _GAP_BYTES:
                yield [*parts, bytes(_GAP_BYTES)]
                parts.clear()
                at += _GAP_BYTES
            if start > at:
                parts.append(bytes(start - at))
            parts.append(part)
            at = start + len(part)
        yield parts
    for start in range(at, end, _GAP_BYTES):
        yield [bytes(min(_GAP_BYTES, end - start))]
