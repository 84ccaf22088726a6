"""Sealed frames: how the frames of a segment, or of a file of collected values, hide what they hold.

The header of a frame (wal/frames.py) stays as it is: length, position, sequences, and the checksum over all that lies
on the disk. So recovery finds the end of the WAL without a key. A sealed frame has SEALED added to its kind; its
payload (integers little-endian):

    12  nonce: a counter (u64), 0 (u32)
     …  the plain payload, sealed; its tag of 16 bytes

Large values are sealed one by one, since pointers of tables (wal/large_values.py) open them one by one. Then the kind
has WITH_VALUES added to it, too:

    12  nonce
     4  size of what follows, as far as its tag
     …  sealed, with its tag: number of the large values (u32); of each its place among the puts' values (u32)
        and the size of its sealed text (u32); the plain payload, in which these values are empty
     …  the large values, one after the other: nonce, sealed text, tag

A pointer to one names the place of its sealed text and the checksum of that, but the length of the value: what is
stored is by SEAL_BYTES longer.

The key of a segment is HKDF-SHA256 of a data key, the segment's salt and "segment <number>". The first two bytes of the
salt are the number of the data key: frames have the salt, too, so a segment whose header is lost can be opened. With a
frame its header and nonce are vouched for, checksum apart, and with a large value its offset: so nothing can be moved,
neither within a segment nor into another one. The end frame of a clean close is not sealed, as it tells nothing.

Nonces count from 0 in each segment. Only the writer of a new segment seals in it, and each text takes the next number,
also one that is written over what an interrupted write left: so none is used twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from flin.engine.checksum import crc32
from flin.engine.disk.cipher import NONCE_BYTES, SEAL_BYTES, TAG_BYTES, SealKey, invalid_tag, maybe_opened
from flin.engine.disk.file_name import maybe_value_number
from flin.engine.disk.fs import FileSystem, Mapped
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.entry import KIND_DELETE, Entry, Range, value_size
from flin.engine.wal.frames import (
    DELETE_BYTES,
    FRAME_BYTES,
    FRAME_OPERATIONS,
    FRAME_PUT,
    FRAME_PUTS,
    FRAME_REST,
    PLAIN_KIND,
    SEALED,
    WITH_VALUES,
    SealedColumns,
    SegmentHeader,
    are_plain,
    check_sizes,
    decode_payload,
    pack_crc,
    plain_payload,
)
from flin.engine.wal.large_values import LargeValues
from flin.errors import CorruptionError

pack_head: Final = struct.Struct(FRAME_REST.format + "QI").pack  # with the nonce
_NUMBER: Final = struct.Struct("<I")
_VALUE: Final = struct.Struct("<II")
_pack_offset: Final = struct.Struct("<Q").pack
pack_length: Final = _NUMBER.pack
_DELETE: Final = bytes((KIND_DELETE,)) + bytes(9)  # the columns of one tombstone, up to its key's length
_NO_VALUE: Final = bytes(4)
_SINGLE: Final = struct.Struct("<5I")
_pack_single: Final = _SINGLE.pack
_SINGLE_BYTES: Final = _SINGLE.size
"""One large value, its place and size; and of the plain payload the lengths of its key and of nothing."""

_KIND: Final = FRAME_BYTES - 5
"""Where a header without its checksum has the frame's kind."""

SEALED_FRAME_BYTES: Final = NONCE_BYTES + 4 + TAG_BYTES + _NUMBER.size
SEALED_VALUE_BYTES: Final = _VALUE.size + SEAL_BYTES
"""By how much a frame with large values is longer than a plain one, and by how much more for each of them."""

MIN_SEALED: Final = 1 << 14
"""Shorter payloads hold no key that is too long: one test in the ordinary case, as in frames.encode_put."""


class Placed(NamedTuple):
    """A large value of a frame: where its sealed text lies in the file."""

    offset: int
    sealed: bytes


class FrameSealer:
    """Makes the frames of one new segment."""

    def __init__(self, key: SealKey, salt: bytes, base: int, threshold: int) -> None:
        """`threshold`: the bytes from which on a value is sealed by itself; 0: none is."""
        self.salt: Final = salt
        self._key: Final = key
        self.encrypt: Final = key.cipher.encrypt
        self.next_nonce: Final = key.next_nonce
        self._base: Final = base
        self.threshold: Final = threshold or 1 << 62
        self.short: Final = min(self.threshold, MIN_SEALED)
        """A put whose payload is shorter is sealed whole, and has no key that is too long."""

    def put(self, position: int, sequence: int, synced: int, key: bytes, value: bytes) -> bytes:
        """What frames.encode_put makes, sealed. (Written out in wal.sealed_writer.SealedWalWriter.put.)"""
        if len(value) >= self.threshold:
            return b"".join(self.large_put(position, sequence, synced, key, value))
        size = SEAL_BYTES + 4 + len(key) + len(value)
        if size > MIN_SEALED:
            check_sizes((key,), size)
        fields = (size, self.salt, position, sequence, synced, 1, SEALED | FRAME_PUT)
        return self._frame(fields, pack_length(len(key)) + key + value)

    def large_put(self, position: int, sequence: int, synced: int, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """What `commit` makes of one large value, in a third of the time: the frame as far as that, and that, sealed.

        Written out: wal.sealed.FrameSealer.commit_placed, wal.sealed.FrameSealer._frame"""
        text = _pack_single(1, 0, len(value) + SEAL_BYTES, len(key), 0) + key
        sealed_size = len(text) + TAG_BYTES
        size = NONCE_BYTES + 4 + sealed_size + len(value) + SEAL_BYTES
        check_sizes((key,), size)
        about = _pack_offset(position - self._base + FRAME_BYTES + NONCE_BYTES + 4 + sealed_size)
        nonce = self.next_nonce().to_bytes(NONCE_BYTES, "little")
        sealed = self.encrypt(nonce, value, about)
        kind = SEALED | WITH_VALUES | FRAME_PUTS
        head = pack_head(size, self.salt, position, sequence, synced, 1, kind, self.next_nonce(), 0)
        start = b"".join((head, pack_length(sealed_size), self.encrypt(head[-NONCE_BYTES:], text, head), nonce))
        return pack_crc(crc32(sealed, crc32(start))) + start, sealed

    def delete(self, position: int, sequence: int, synced: int, key: bytes) -> bytes:
        """What frames.encode_delete makes, sealed."""
        size = SEAL_BYTES + DELETE_BYTES + len(key)
        if size > MIN_SEALED:
            check_sizes((key,), size)
        text = b"".join((_DELETE, pack_length(len(key)), _NO_VALUE, key))
        return self._frame((size, self.salt, position, sequence, synced, 1, SEALED | FRAME_OPERATIONS), text)

    def commit(
        self,
        position: int,
        sequence: int,
        synced: int,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range] = (),
        plain: bool | None = None,
    ) -> bytes:
        """What frames.encode_commit makes, sealed."""
        frame, _ = self.commit_placed(position, sequence, synced, points, ranges, plain)
        return frame

    def commit_placed(
        self,
        position: int,
        sequence: int,
        synced: int,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range] = (),
        plain: bool | None = None,
    ) -> tuple[bytes, list[Placed]]:
        """The frame, and its large values in the order of the points. (Written out in `large_put`.)"""
        pieces, placed = self.commit_pieces(position, sequence, synced, points, ranges, plain)
        return b"".join(pieces), placed

    def commit_pieces(
        self,
        position: int,
        sequence: int,
        synced: int,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range] = (),
        plain: bool | None = None,
    ) -> tuple[tuple[bytes, bytes], list[Placed]]:
        """The frame in two pieces, and its large values."""
        plain = are_plain(points) if plain is None else plain
        large: list[tuple[int, Entry]] = []
        if not plain or max(map(len, points.values()), default=0) >= self.threshold:  # type: ignore[arg-type]  # plain
            large = [
                (place, entry) for place, entry in enumerate(points.values()) if value_size(entry) >= self.threshold
            ]
        if large:
            points = {key: _emptied(entry, self.threshold) for key, entry in points.items()}
        kind, columns = plain_payload(points, ranges, plain)
        count = len(points) + len(ranges)
        text = b"".join(columns)
        if not large:
            size = SEAL_BYTES + len(text)
            if size > MIN_SEALED:
                check_sizes(points, size)
            return self._pieces((size, self.salt, position, sequence, synced, count, SEALED | kind), text), []
        values = [_value(entry) for _, entry in large]
        text = b"".join(
            (
                _NUMBER.pack(len(large)),
                *[_VALUE.pack(place, len(value) + SEAL_BYTES) for (place, _), value in zip(large, values, strict=True)],
                text,
            )
        )
        sealed_size = len(text) + TAG_BYTES
        size = NONCE_BYTES + 4 + sealed_size + sum(map(len, values)) + SEAL_BYTES * len(values)
        check_sizes(points, size)
        offset = position - self._base + FRAME_BYTES + NONCE_BYTES + 4 + sealed_size
        placed = []
        for value in values:
            placed.append(Placed(offset, self._key.seal(value, _pack_offset(offset))))
            offset += len(value) + SEAL_BYTES
        fields = (size, self.salt, position, sequence, synced, count, SEALED | WITH_VALUES | kind)
        return self._pieces(fields, text, _NUMBER.pack(sealed_size), *[each.sealed for each in placed]), placed

    def _frame(self, fields: tuple[Any, ...], text: bytes) -> bytes:
        """The frame with this header and sealed text. (Written out in wal.sealed_writer.SealedWalWriter.put and
        `large_put`.)"""
        return b"".join(self._pieces(fields, text))

    def _pieces(self, fields: tuple[Any, ...], text: bytes, before: bytes = b"", *values: bytes) -> tuple[bytes, bytes]:
        """Such a frame, with what stands before and after the text, in two pieces: to join them would copy it all."""
        head = pack_head(*fields, self.next_nonce(), 0)
        start, rest = head + before, self.encrypt(head[-NONCE_BYTES:], text, head)
        if values:
            rest = b"".join((rest, *values))
        return pack_crc(crc32(rest, crc32(start))) + start, rest


class FrameOpener:
    """Opens the sealed frames of one segment. CorruptionError where a seal is broken."""

    def __init__(self, key: SealKey, path: str) -> None:
        self._key: Final = key
        self._path: Final = path
        self.start = 0  # where in its file the data begins that is opened

    def points(
        self, data: Mapped, offset: int, end: int, kind: int, count: int, large: LargeValues | None
    ) -> tuple[list[Range], list[tuple[bytes, Entry]]]:
        """The range deletes and points of a good frame, pointers in the places of large values if `large` is given."""
        if not kind & SEALED:
            raise CorruptionError(self._path, offset, "a frame is not sealed, as all of an encrypted database are")
        at = offset + FRAME_BYTES + NONCE_BYTES
        head = data[offset + 4 : at]
        if not kind & WITH_VALUES:
            text = self._text(offset, head, data[at:end])
            if kind == SEALED | FRAME_PUT:
                key_end = 4 + int.from_bytes(text[:4], "little")
                if key_end > len(text) or count != 1:
                    raise CorruptionError(self._path, offset, "a put's key is longer than its frame")
                return [], [(text[4:key_end], text[key_end:])]
            return decode_payload(kind & PLAIN_KIND, text, count, self._path, offset)
        stop = at + 4 + int.from_bytes(data[at : at + 4], "little")
        text = self._text(offset, head, data[at + 4 : stop] if stop <= end else b"")
        if len(text) < 4:
            raise self._broken(offset)
        (number,) = _NUMBER.unpack_from(text)
        columns = 4 + number * _VALUE.size
        if columns > len(text):
            raise CorruptionError(self._path, offset, "a frame has fewer large values than it says")
        values = dict(self._values(data, stop, end, _VALUE.iter_unpack(text[4:columns]), large))
        plain_kind = kind & PLAIN_KIND
        if len(values) == count == 1 and plain_kind == FRAME_PUTS and len(text) >= _SINGLE_BYTES:
            # A put of a large value: decoded in place. Written out: wal.frames.decode_payload
            key = text[_SINGLE_BYTES:]
            if text[columns:_SINGLE_BYTES] == _VALUE.pack(len(key), 0) and 0 in values:
                return [], [(key, values[0])]
        try:
            return decode_payload(plain_kind, text[columns:], count, self._path, offset, _Filled(values))
        except IndexError:
            raise CorruptionError(self._path, offset, "a frame has more large values than values") from None

    def _values(
        self, data: Mapped, at: int, end: int, sizes: Iterable[tuple[int, int]], large: LargeValues | None
    ) -> Iterable[tuple[int, bytes]]:
        for place, size in sizes:
            sealed = data[at : at + size] if at + size <= end else b""
            if large is not None and size - SEAL_BYTES >= large.threshold and sealed:
                yield place, large.pointer(at, sealed, SEAL_BYTES)
            else:
                yield place, self.value(self.start + at, sealed)
            at += size

    def columns(
        self, data: Mapped, found: SealedColumns, large: LargeValues | None
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """The keys and values of puts of one size, pointers in the places of large values if `large` is given."""
        if found.headers[0][_KIND] & WITH_VALUES:
            return self._large_columns(data, found, large)
        texts = self._texts(found, found.sealed)
        lengths = {text[:4] for text in texts}
        if len(lengths) == 1:
            key_size = int.from_bytes(lengths.pop(), "little")
            value_size = len(texts[0]) - 4 - key_size
            if value_size < 0:
                raise CorruptionError(self._path, found.offset, "a put's key is longer than its frame")
            flat = _struct_of_texts(len(texts), key_size, value_size).unpack(b"".join(texts))
            return flat[::2], flat[1::2]
        ends = [4 + int.from_bytes(text[:4], "little") for text in texts]
        if max(ends) > len(texts[0]):
            raise CorruptionError(self._path, found.offset, "a put's key is longer than its frame")
        keys = [text[4:end] for text, end in zip(texts, ends, strict=True)]
        return keys, [text[end:] for text, end in zip(texts, ends, strict=True)]

    def _large_columns(
        self, data: Mapped, found: SealedColumns, large: LargeValues | None
    ) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Those of puts of a large value each: in columns, if their keys have one length, too."""
        sealed, size = found.sealed, found.size
        number, text_size = len(sealed), len(sealed[0])
        key_size = text_size - 4 - TAG_BYTES - _SINGLE_BYTES
        value_size = size - FRAME_BYTES - NONCE_BYTES - text_size
        if key_size >= 0 and value_size >= SEAL_BYTES and {each[:4] for each in sealed} == {pack_length(text_size - 4)}:
            texts = self._texts(found, [each[4:] for each in sealed])
            if {text[:_SINGLE_BYTES] for text in texts} == {_pack_single(1, 0, value_size, key_size, 0)}:
                keys = [text[_SINGLE_BYTES:] for text in texts]
                first = found.offset + FRAME_BYTES + NONCE_BYTES + text_size
                places = range(first, first + number * size, size)
                if large is not None and value_size - SEAL_BYTES >= large.threshold:
                    view = memoryview(data)
                    return keys, large.pointers(places, [view[at : at + value_size] for at in places], SEAL_BYTES)
                return keys, [self.value(self.start + at, data[at : at + value_size]) for at in places]
        kind, places = found.headers[0][_KIND], range(found.offset, found.offset + number * size, size)
        points = [self.points(data, at, at + size, kind, 1, large)[1][0] for at in places]
        return [key for key, _ in points], [_value(entry) for _, entry in points]

    def _texts(self, found: SealedColumns, sealed: Iterable[bytes]) -> list[bytes]:
        try:
            return list(map(self._key.cipher.decrypt, found.nonces, sealed, found.headers))
        except invalid_tag():
            raise self._broken(found.offset) from None

    def value(self, offset: int, sealed: bytes) -> bytes:
        """A large value whose sealed text lies at the offset."""
        text = self._key.maybe_open(sealed, _pack_offset(offset))
        if text is None:
            raise self._broken(offset)
        return text

    def _text(self, offset: int, head: bytes, sealed: bytes) -> bytes:
        if len(sealed) < TAG_BYTES:
            raise self._broken(offset)
        text = maybe_opened(self._key.cipher, head[-NONCE_BYTES:], sealed, head)
        if text is None:
            raise self._broken(offset)
        return text

    def _broken(self, offset: int) -> CorruptionError:
        text = "a seal is broken: these bytes were changed or moved, or are another file's"
        return CorruptionError(self._path, offset, text)


class _Filled:
    """Puts large values into their places among the puts' values (frames.Replaces)."""

    def __init__(self, values: Mapping[int, bytes]) -> None:
        self._values = values

    def replaced(self, values: Iterable[bytes], stop: int) -> list[bytes]:
        filled = list(values)
        for place, value in self._values.items():
            filled[place] = value
        return filled


def maybe_opener(fs: FileSystem, header: SegmentHeader, path: str) -> FrameOpener | None:
    """What opens the frames of a segment; None in a database that is not encrypted. CorruptionError if its data key is
    not there."""
    if not isinstance(fs, SealedFileSystem):
        return None
    number = header.number or maybe_value_number(path.rpartition("/")[2]) or 0  # a header that is lost has none
    return FrameOpener(fs.segment_key(header.salt, number, path), path)


@lru_cache(maxsize=32)  # as many shapes as wal/frames.py keeps
def _struct_of_texts(count: int, key_size: int, value_size: int) -> struct.Struct:
    return struct.Struct(f"<{f'4x{key_size}s{value_size}s' * count}")


def _value(entry: Entry) -> bytes:
    value = entry[0] if type(entry) is tuple else entry
    assert isinstance(value, bytes)
    return value


def _emptied(entry: Entry, threshold: int) -> Entry:
    if value_size(entry) < threshold:
        return entry
    return (b"", entry[1], entry[2]) if type(entry) is tuple else b""
