"""A file system on another one, whose tables and manifests are sealed on the disk and plain to the engine.

A sealed file (integers little-endian):

    offset  size
         0     8  magic "FlinSEAL"
         8     4  format version, 1
        12     4  number of the data key
        16    16  salt, random
        32     4  CRC-32 of all before it
        36        chunks: 1 to 16,384 bytes of the plain file each, sealed, and the tag of 16 bytes
         …        the directory: the size of each chunk's plain bytes (u16), sealed, and the tag
      -8     4  number of chunks
      -4     4  CRC-32 of these four bytes

The key of a file is HKDF-SHA256 of the data key, the salt and "table <name>" or "manifest": so no file passes for
another one. The nonce of a chunk is its index (u64) and 0 (u32), that of the directory the number of chunks and 1: so
chunks cannot be moved, and none can be cut off. A new file is written once, from its beginning to its end, under a new
salt, so each nonce seals one text; after a failed write the file takes no more bytes, and what could not be written is
lost with it.

What is appended at once is a chunk, or several. A table appends each block by itself, so a look-up opens one chunk.

Segments and value files are not sealed here, but frame by frame (wal/sealed.py): they are read where they lie, must
show their torn tails without a key, and are written at once, not in chunks. Other files hold no keys and values.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from flin.engine.checksum import crc32
from flin.engine.disk import data_keys
from flin.engine.disk.cipher import TAG_BYTES, Aead, SealKey, aead, derived, fresh_bytes, invalid_tag, maybe_opened
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.file_name import KEYS, MANIFEST, maybe_parse
from flin.engine.disk.fs import (
    AppendFile,
    Buffer,
    DirectoryLock,
    FileSystem,
    Mapped,
    ReadableFile,
    SegmentFile,
    append_all,
    join,
)
from flin.errors import CorruptionError, EncryptionError, FormatVersionError

MAGIC: Final = b"FlinSEAL"
FORMAT_VERSION: Final = 1
CHUNK_BYTES: Final = 16 << 10
"""The most of a chunk: blocks of the default size fit, and of a larger one a few tags more cost nothing."""

SALT_BYTES: Final = 16

_HEADER: Final = struct.Struct(f"<8sII{SALT_BYTES}s")
_CRC: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CRC.size
_TRAILER: Final = struct.Struct("<II")
_SIZE_BYTES: Final = 2
_nonce: Final = struct.Struct("<QI").pack

_WRITE_BYTES: Final = 256 << 10
"""Bytes per append to the disk, as in table/writer.py."""

SEGMENT_SALT: Final = slice(36, 44)
"""Where a segment's header has its salt (wal/frames.py)."""


class SealedAppendFile:
    """A new file. The sync ends it."""

    def __init__(self, file: AppendFile, cipher: Aead, header: bytes) -> None:
        self._file = file
        self._encrypt: Final = cipher.encrypt
        self._sizes = array("H")
        self._pieces = [header]
        self._pieces_size = 0
        self._ended = False

    @property
    def path(self) -> str:
        return self._file.path

    def append(self, data: Buffer) -> int:
        """Take all of it. OSError if not: then the file takes nothing any more."""
        if self._ended:
            raise OSError(f"{self.path} has ended")
        text = data if len(data) <= CHUNK_BYTES else memoryview(data)
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = text[at : at + CHUNK_BYTES]
            number = len(self._sizes)
            self._sizes.append(len(chunk))  # first: if an interrupt comes, the number is gone
            self._pieces.append(self._encrypt(_nonce(number, 0), chunk, None))
        self._pieces_size += len(data)
        if self._pieces_size >= _WRITE_BYTES:
            self._write()
        return len(data)

    def sync(self) -> None:
        self.end()
        self._file.sync()

    def end(self) -> None:
        """Write what is held back, and the directory: all that a sync does before it syncs. OSError."""
        if not self._ended:
            self._ended = True
            count = len(self._sizes)
            self._pieces.append(self._encrypt(_nonce(count, 1), _encode_sizes(self._sizes), None))
            self._pieces.append(_encode_trailer(count))
            self._write()

    def close(self) -> None:
        self._ended = True
        self._file.close()

    def _write(self) -> None:
        pieces, self._pieces, self._pieces_size = self._pieces, [], 0
        try:
            append_all(self._file, b"".join(pieces))
        except BaseException:  # also an interrupt: what was written is unknown
            self._ended = True
            raise


class SealedReadableFile:
    """A finished file. Raises CorruptionError where a seal is broken."""

    def __init__(self, file: ReadableFile, cipher_of: Callable[[int, bytes], Aead]) -> None:
        """`cipher_of`: the file's cipher, of a data key's number and a salt."""
        self._file = file
        self._cipher_of = cipher_of
        self._cipher: Aead | None = None
        self._ends: array[int] = array("Q")  # of the chunks, in the plain file

    @property
    def path(self) -> str:
        return self._file.path

    def size(self) -> int:
        if self._cipher is None:
            self._begin()
        return self._ends[-1] if self._ends else 0

    def pread(self, size: int, offset: int) -> bytes:
        cipher = self._cipher or self._begin()
        ends = self._ends
        first = bisect_right(ends, offset)
        if first < len(ends) and size and offset + size == ends[first] and offset == (ends[first - 1] if first else 0):
            # A whole chunk, as a block of a table is: a third less than the way below.
            sealed = self._file.pread(size + TAG_BYTES, HEADER_BYTES + TAG_BYTES * first + offset)
            text = maybe_opened(cipher, _nonce(first, 0), sealed, None) if len(sealed) > TAG_BYTES else None
            if text is None:
                raise self.broken(first)
            return text
        first, last, start, stop = self._range(size, offset)
        if first > last:
            return b""
        return self._opened(cipher, self._file.pread(stop - start, start), first, last, offset, size)

    def pread_nowait(self, size: int, offset: int) -> bytes | None:
        cipher = self._cipher or self._begin()
        first, last, start, stop = self._range(size, offset)
        if first > last:
            return b""
        sealed = self._file.pread_nowait(stop - start, start)
        return None if sealed is None else self._opened(cipher, sealed, first, last, offset, size)

    def will_need(self, size: int, offset: int) -> None:
        if self._cipher is None:
            self._begin()
        first, last, start, stop = self._range(size, offset)
        if first <= last:
            self._file.will_need(stop - start, start)

    def map(self) -> Mapped:
        """Nothing: what lies in the file is sealed. Whoever maps reads by `pread` then."""
        return b""

    def mapping(self) -> SealedMapping:
        """What opens blocks where they lie in a mapping of the file; that stays when the file is closed."""
        return SealedMapping(self, self._cipher or self._begin(), self._ends, self._file.map())

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> Aead:
        """The cipher, after header and directory have been read: a finished file never changes."""
        file, path = self._file, self.path
        cipher = self._cipher_of(*decode_header(file.pread(HEADER_BYTES, 0), path))
        size = file.size()
        count = _chunks(file, size)
        start = size - _directory_bytes(count)
        sizes = maybe_opened(cipher, _nonce(count, 1), file.pread(_SIZE_BYTES * count + TAG_BYTES, start), None)
        if sizes is None:
            raise CorruptionError(
                path, start, "the directory's seal is broken: it was changed or cut, or is another file's"
            )
        ends = array("Q", accumulate(_decode_sizes(sizes)))
        if HEADER_BYTES + (ends[-1] if ends else 0) + TAG_BYTES * count != start:
            raise CorruptionError(path, start, "the chunks are not as long as the directory says")
        self._ends, self._cipher = ends, cipher
        return cipher

    def _range(self, size: int, offset: int) -> tuple[int, int, int, int]:
        """The first and the last chunk (less than the first if there is nothing to read), and their place on the
        disk."""
        ends = self._ends
        first = bisect_right(ends, offset)
        last = min(bisect_left(ends, offset + size, first), len(ends) - 1) if size > 0 else -1
        if first > last:
            return 0, -1, 0, 0
        start = HEADER_BYTES + TAG_BYTES * first + (ends[first - 1] if first else 0)
        return first, last, start, HEADER_BYTES + TAG_BYTES * (last + 1) + ends[last]

    def _opened(self, cipher: Aead, sealed: bytes, first: int, last: int, offset: int, size: int) -> bytes:
        begin = self._ends[first - 1] if first else 0
        if first == last:
            text = maybe_opened(cipher, _nonce(first, 0), sealed, None) if len(sealed) >= TAG_BYTES else None
            if text is None:
                raise self.broken(first)
        else:
            view, at, before = memoryview(sealed), 0, begin
            chunks = []
            for number in range(first, last + 1):
                end = self._ends[number]
                stop = at + end - before + TAG_BYTES
                chunk = maybe_opened(cipher, _nonce(number, 0), view[at:stop], None) if stop <= len(sealed) else None
                if chunk is None:
                    raise self.broken(number)
                chunks.append(chunk)
                at, before = stop, end
            text = b"".join(chunks)
        start = offset - begin
        return text if not start and size == len(text) else text[start : start + size]

    def broken(self, number: int) -> CorruptionError:
        begin = self._ends[number - 1] if number else 0
        text = "a seal is broken: these bytes were changed, moved or cut, or are another file's"
        return CorruptionError(self.path, HEADER_BYTES + TAG_BYTES * number + begin, text)


class SealedMapping:
    """A mapped file, whose chunks are opened one at a time, without a call of the system. What is opened is copied
    first: else who writes into the file at that moment might have other bytes vouched for than are opened.

    Where a file ends early, it raises CorruptionError for what is not there."""

    __slots__ = ("_data", "_decrypt", "_ends", "_file")

    def __init__(self, file: SealedReadableFile, cipher: Aead, ends: array[int], data: Mapped) -> None:
        self._file: Final = file
        self._decrypt: Final = cipher.decrypt
        self._ends: Final = ends
        self._data: Final = data

    def first_chunk(self, offset: int) -> int:
        """The number of the chunk that has the byte at this offset of the plain file."""
        return bisect_right(self._ends, offset)

    def maybe_chunk(self, number: int, size: int, offset: int) -> bytes | None:
        """What is at this offset, if it is the whole chunk of this number."""
        ends = self._ends
        if number >= len(ends) or ends[number] != offset + size or (number and ends[number - 1] != offset):
            return None
        start = HEADER_BYTES + TAG_BYTES * number + offset
        try:
            return self._decrypt(_nonce(number, 0), self._data[start : start + size + TAG_BYTES], None)
        except invalid_tag():
            raise self._file.broken(number) from None


def _encode_sizes(sizes: array[int]) -> bytes:
    return struct.pack(f"<{len(sizes)}H", *sizes)


def _decode_sizes(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // _SIZE_BYTES}H", data)


def _encode_trailer(count: int) -> bytes:
    return _TRAILER.pack(count, crc32(_CRC.pack(count)))


def _directory_bytes(count: int) -> int:
    """The size of the directory and of what follows it."""
    return _SIZE_BYTES * count + TAG_BYTES + _TRAILER.size


def _chunks(file: ReadableFile, size: int) -> int:
    """The number of chunks, as the end of the file says it. CorruptionError if it says nothing."""
    if size >= HEADER_BYTES + _directory_bytes(0):
        count, checksum = _TRAILER.unpack(file.pread(_TRAILER.size, size - _TRAILER.size).ljust(_TRAILER.size))
        if checksum == crc32(_CRC.pack(count)) and HEADER_BYTES + TAG_BYTES * count + _directory_bytes(count) <= size:
            return int(count)
    raise CorruptionError(file.path, size, "the sealed file was cut, or its end is damaged")


def encode_header(number: int, salt: bytes) -> bytes:
    fields = _HEADER.pack(MAGIC, FORMAT_VERSION, number, salt)
    return fields + _CRC.pack(crc32(fields))


def decode_header(data: bytes, path: str) -> tuple[int, bytes]:
    """The number of the data key and the salt. CorruptionError, FormatVersionError."""
    if len(data) < HEADER_BYTES:
        raise CorruptionError(path, len(data), "the sealed file is shorter than its header")
    magic, version, number, salt = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptionError(path, 0, "the file is not sealed, as all of an encrypted database are")
    if version > FORMAT_VERSION:
        raise FormatVersionError(path, f"sealed format {version}; this Flin reads up to {FORMAT_VERSION}")
    if version != FORMAT_VERSION or _CRC.unpack_from(data, _HEADER.size)[0] != crc32(data[: _HEADER.size]):
        raise CorruptionError(path, _HEADER.size, "the header's checksum does not match")
    return number, salt


class SealedFileSystem:
    """Another file system with sealed tables and manifests. `keys` may be replaced: new files get the newest."""

    def __init__(
        self, fs: FileSystem, keys: DataKeys | None = None, random_bytes: Callable[[int], bytes] = fresh_bytes
    ) -> None:
        self.raw: Final = fs
        self.keys = DataKeys({}) if keys is None else keys
        self._random_bytes = random_bytes

    def key(self, number: int, path: str) -> bytes:
        """A data key. CorruptionError if there is none of this number."""
        found = self.keys.by_number.get(number)
        if found is None:
            raise CorruptionError(path, 0, f"it is sealed with data key {number}, which {KEYS} does not hold")
        return found

    def segment_key(self, salt: bytes, number: int, path: str) -> SealKey:
        """The key of a segment or value file. The first two bytes of its salt are the number of its data key."""
        key = self.key(number_of_salt(salt), path)
        return SealKey(derived(key, salt, b"segment %d" % number))

    def segment_salt(self) -> bytes:
        """The salt of a new segment or value file."""
        return self.keys.current.to_bytes(2, "little") + self._random_bytes(6)

    def create(self, path: str) -> AppendFile:
        purpose = _purpose(path)
        if not purpose:
            return self.raw.create(path)
        number, salt = self.keys.current, self._random_bytes(SALT_BYTES)
        cipher = aead(derived(self.keys.by_number[number], salt, purpose))
        return SealedAppendFile(self.raw.create(path), cipher, encode_header(number, salt))

    def create_segment(self, path: str) -> SegmentFile:
        return self.raw.create_segment(path)

    def open(self, path: str) -> ReadableFile:
        purpose = _purpose(path)
        file = self.raw.open(path)
        if not purpose:
            return file
        return SealedReadableFile(file, lambda number, salt: aead(derived(self.key(number, path), salt, purpose)))

    def rename(self, old: str, new: str) -> None:
        self.raw.rename(old, new)

    def link(self, old: str, new: str) -> None:
        self.raw.link(old, new)

    def remove(self, path: str) -> None:
        self.raw.remove(path)

    def names(self, directory: str) -> list[str]:
        return self.raw.names(directory)

    def is_file(self, path: str) -> bool:
        return self.raw.is_file(path)

    def file_size(self, path: str) -> int:
        size = self.raw.file_size(path)
        if not _purpose(path):
            return size
        file = self.raw.open(path)
        try:
            count = _chunks(file, size)
        finally:
            file.close()
        return size - HEADER_BYTES - TAG_BYTES * count - _directory_bytes(count)

    def sync_file(self, path: str) -> None:
        self.raw.sync_file(path)

    def sync_directory(self, directory: str) -> None:
        self.raw.sync_directory(directory)

    def check_directory(self, directory: str) -> None:
        self.raw.check_directory(directory)

    def make_directory(self, path: str) -> None:
        self.raw.make_directory(path)

    def free_bytes(self, directory: str) -> int:
        return self.raw.free_bytes(directory)

    def lock(self, path: str, holder: bytes) -> DirectoryLock | bytes:
        return self.raw.lock(path, holder)


def number_of_salt(salt: bytes) -> int:
    """The number of the data key that a segment's salt tells."""
    return int.from_bytes(salt[:2], "little")


def raw_of(fs: FileSystem) -> FileSystem:
    """The file system as the disk shows it."""
    return fs.raw if isinstance(fs, SealedFileSystem) else fs


def _purpose(path: str) -> bytes:
    """What the key of the file is derived for; empty if the file is not sealed here."""
    name = path.rpartition("/")[2]
    if name == MANIFEST:
        return b"manifest"
    parsed = maybe_parse(name)
    if parsed is None or parsed.role not in ("table", "temporary"):
        return b""
    return b"manifest" if parsed.role == "temporary" else b"table " + name.encode()


# Which keys a directory has.


def unlock(
    fs: FileSystem,
    directory: str,
    key: bytes | None,
    random_bytes: Callable[[int], bytes] = fresh_bytes,
    *,
    create: bool = True,
) -> None:
    """Give a SealedFileSystem the keys of its directory; make them if there is no database in it yet. Nothing else is
    touched. EncryptionError if a key is needed and there is none, or the other way round; WrongKeyError."""
    names = fs.names(directory)
    if not isinstance(fs, SealedFileSystem) or key is None:
        if KEYS in names:
            raise EncryptionError(f"{directory} is encrypted: give its key (encryption_key, --encryption-key-file)")
        if is_sealed(fs, directory):
            raise data_keys.missing_keys(directory)
        return
    if KEYS in names:
        fs.keys = data_keys.read(fs.raw, directory, key)
        return
    if is_sealed(fs, directory):
        raise data_keys.missing_keys(directory)
    if not create or any(name == MANIFEST or maybe_parse(name) is not None for name in names):
        text = (
            "holds a database that is not encrypted: open it without a key; docs/encryption.md says how to encrypt it"
        )
        raise EncryptionError(f"{directory} {text}")
    keys = DataKeys({}).with_another(random_bytes(32))
    data_keys.write(fs.raw, directory, keys, key, random_bytes)
    fs.keys = keys


def unlocked(fs: FileSystem, directory: str, key: bytes | None) -> FileSystem:
    """The file system for a database that is there, sealed if there is a key. Raises what `unlock` raises."""
    made = fs if key is None else SealedFileSystem(fs)
    unlock(made, directory, key, create=False)
    return made


def is_sealed(fs: FileSystem, directory: str) -> bool:
    """Whether the directory has a manifest, and it is sealed."""
    path = join(directory, MANIFEST)
    if not fs.is_file(path):
        return False
    file = raw_of(fs).open(path)
    try:
        return file.pread(len(MAGIC), 0) == MAGIC
    finally:
        file.close()
