"""The data keys of an encrypted database, and the file that keeps them, sealed by the key that the user has.

The file KEYS (integers little-endian):

    offset  size
         0     8  magic "FlinKEYS"
         8     4  format version, 1
        12    16  salt, random
        28    12  nonce, random
        40     4  size of the sealed list, its tag included
        44        the sealed list: of each data key its number (u32) and the key (32 bytes), the newest last; tag
         …     4  CRC-32 of all before it

The list is sealed (AES-256-GCM) by a key that HKDF-SHA256 derives from the user's key, the salt and "flin keys"; what
stands before it is vouched for. Every file of the database is sealed by a key that is derived from one of the data
keys: so the user's key can be changed without rewriting anything but this file.

It is written as the manifest is: under another name, synced, renamed, and the directory synced. So there is always one
whole file, the old or the new. Without it nothing can be read: it belongs into every copy of the database.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from flin.engine.checksum import crc32
from flin.engine.disk.cipher import KEY_BYTES, NONCE_BYTES, TAG_BYTES, aead, derived, maybe_opened
from flin.engine.disk.file_name import KEYS, NEW_KEYS
from flin.engine.disk.fs import FileSystem, append_all, join
from flin.errors import CorruptionError, EncryptionError, FormatVersionError, LimitError, WrongKeyError

EncryptionKey: TypeAlias = bytes | Callable[[], bytes]
"""32 bytes, or what gives them when the database is opened."""

MAGIC: Final = b"FlinKEYS"
FORMAT_VERSION: Final = 1
SALT_BYTES: Final = 16
MAX_NUMBER: Final = 0xFFFF
"""A segment has two bytes for the number of its data key (wal/sealed.py)."""

_HEADER: Final = struct.Struct(f"<8sI{SALT_BYTES}s{NONCE_BYTES}sI")
_KEY: Final = struct.Struct(f"<I{KEY_BYTES}s")
_CRC: Final = struct.Struct("<I")
_PURPOSE: Final = b"flin keys"


@dataclass(frozen=True, slots=True)
class DataKeys:
    """The data keys by number, ascending: the last one seals new files, the others open what they have sealed."""

    by_number: dict[int, bytes]

    @property
    def current(self) -> int:
        """The number of the newest one."""
        return next(reversed(self.by_number))

    def with_another(self, key: bytes) -> DataKeys:
        """These and a newer one. LimitError after 65,535."""
        number = self.current + 1 if self.by_number else 1
        if number > MAX_NUMBER:
            raise LimitError("the number of a data key", number, MAX_NUMBER)
        return DataKeys({**self.by_number, number: key})

    def only(self, used: set[int]) -> DataKeys:
        """Those of them that are used, and the newest."""
        wanted = used | {self.current}
        return DataKeys({number: key for number, key in self.by_number.items() if number in wanted})


def key_of(key: EncryptionKey) -> bytes:
    """The user's key. TypeError or ValueError unless it is one of 32 bytes."""
    given = key() if callable(key) else key
    if not isinstance(given, bytes):
        raise TypeError(f"encryption_key must be bytes, or a function that returns them, not {type(given).__name__}")
    if len(given) != KEY_BYTES:
        raise ValueError(
            f"encryption_key must have {KEY_BYTES} bytes, not {len(given)}: secrets.token_bytes({KEY_BYTES}) makes one"
        )
    return given


def encode(keys: DataKeys, key: bytes, random_bytes: Callable[[int], bytes]) -> bytes:
    """The bytes of the file."""
    text = b"".join(_KEY.pack(number, data_key) for number, data_key in keys.by_number.items())
    salt, nonce = random_bytes(SALT_BYTES), random_bytes(NONCE_BYTES)
    header = _HEADER.pack(MAGIC, FORMAT_VERSION, salt, nonce, len(text) + TAG_BYTES)
    body = header + aead(derived(key, salt, _PURPOSE)).encrypt(nonce, text, header)
    return body + _CRC.pack(crc32(body))


def decode(data: bytes, key: bytes, path: str) -> DataKeys:
    """The data keys. CorruptionError, FormatVersionError; WrongKeyError if another key has sealed them."""
    if len(data) < _HEADER.size + TAG_BYTES + _CRC.size:
        raise CorruptionError(path, len(data), "the file of the keys is too short")
    magic, version, salt, nonce, size = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptionError(path, 0, "not a file of keys")
    if version > FORMAT_VERSION:
        raise FormatVersionError(path, f"keys of format {version}; this Flin reads up to {FORMAT_VERSION}")
    end = _HEADER.size + size
    if version != FORMAT_VERSION or len(data) != end + _CRC.size or _CRC.unpack_from(data, end)[0] != crc32(data[:end]):
        raise CorruptionError(path, end, "the checksum or the length of the file of keys does not match")
    header, sealed = data[: _HEADER.size], data[_HEADER.size : end]
    text = maybe_opened(aead(derived(key, salt, _PURPOSE)), nonce, sealed, header)
    if text is None:
        raise WrongKeyError(path)
    if not text or len(text) % _KEY.size:
        raise CorruptionError(path, _HEADER.size, "the list of keys has no whole keys")
    found = dict(_KEY.iter_unpack(text))
    if list(found) != sorted(found) or len(found) != len(text) // _KEY.size or not min(found) >= 1:
        raise CorruptionError(path, _HEADER.size, "the numbers of the keys do not ascend")
    if max(found) > MAX_NUMBER:
        raise CorruptionError(path, _HEADER.size, "a key has an impossible number")
    return DataKeys(found)


def read(fs: FileSystem, directory: str, key: bytes) -> DataKeys:
    """The data keys of a directory that has the file. Raises what `decode` raises, and OSError."""
    path = join(directory, KEYS)
    if not fs.is_file(path):
        raise CorruptionError(path, 0, "not a regular file")
    file = fs.open(path)
    try:
        return decode(file.pread(file.size(), 0), key, path)
    finally:
        file.close()


def write(fs: FileSystem, directory: str, keys: DataKeys, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
    """Write the file: durable on return. After an OSError the old one is in place, or the new one."""
    temporary = join(directory, NEW_KEYS)
    if fs.is_file(temporary):  # of a write that failed
        fs.remove(temporary)
    file = fs.create(temporary)
    try:
        append_all(file, encode(keys, key, random_bytes))
        file.sync()
    finally:
        file.close()
    fs.rename(temporary, join(directory, KEYS))
    fs.sync_directory(directory)


def missing_keys(directory: str) -> EncryptionError:
    """The error for a directory whose files are sealed, and whose keys are not there."""
    text = f"{directory} is encrypted, and its file {KEYS} is missing: put it back from a copy of the database"
    return EncryptionError(text)
