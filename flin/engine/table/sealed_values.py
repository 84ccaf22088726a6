"""Value files of an encrypted database: a pointer names a sealed text (wal/sealed.py), which is opened once it is read.

The checksum that a pointer has is that of the sealed text: it is compared as in a plain file, and then the seal is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

from flin.engine.disk.cipher import NONCE_BYTES, SEAL_BYTES, SealKey, invalid_tag
from flin.engine.disk.file_name import maybe_value_number
from flin.engine.disk.open_files import OPEN_FILES, OpenFiles
from flin.engine.disk.sealed_files import SEGMENT_SALT, SealedFileSystem
from flin.engine.entry import Pointer
from flin.engine.table.value_files import OpenValueFile, Row, ValueFiles, row_of
from flin.errors import CorruptionError, StorageError

_pack_offset: Final = struct.Struct("<Q").pack


class SealedValueFile(OpenValueFile):
    """One value file. `value` and the like give sealed texts, `opened` what is in one."""

    def __init__(self, fs: SealedFileSystem, path: str, files: OpenFiles = OPEN_FILES, *, length: int) -> None:
        super().__init__(fs, path, files, length=length)
        self._sealed_fs: Final = fs
        self._key: SealKey | None = None

    def opened(self, offset: int, sealed: bytes) -> bytes:
        """The value whose sealed text lies at the offset. CorruptionError if the seal is broken."""
        text = (self._key or self._begin()).maybe_open(sealed, _pack_offset(offset))
        if text is None:
            raise self._broken(offset)
        return text

    def plain_value(self, row: Row) -> bytes:
        """The value that a pointer tells of. Its checksum is compared only if the seal is broken: to tell damage from
        what was changed."""
        number, offset, size, checksum = row
        size += SEAL_BYTES
        if offset + size > self._length:  # Written out: table.value_files.OpenValueFile.check_place
            self.check_place((number, offset, size, checksum))
        file = self._file  # Written out: disk.open_files.TableFile.pread
        try:
            if file is None:
                file = self._opened()
            self._used = True
            sealed = file.pread(size, offset)
        except OSError as error:
            raise self._error(error, offset) from error
        # Written out: disk.cipher.SealKey.maybe_open
        key = self._key or self._begin()
        if len(sealed) == size:
            try:
                return key.cipher.decrypt(sealed[:NONCE_BYTES], memoryview(sealed)[NONCE_BYTES:], _pack_offset(offset))
            except invalid_tag():
                pass
        self.check((number, offset, size, checksum), sealed)
        raise self._broken(offset)

    def _broken(self, offset: int) -> CorruptionError:
        return CorruptionError(self.path, offset, "the seal of a value is broken: it was changed or moved")

    def _begin(self) -> SealKey:
        try:
            salt = self.pread(SEGMENT_SALT.stop, 0)[SEGMENT_SALT]
        except OSError as error:
            raise StorageError("read", self.path, error) from error
        number = maybe_value_number(self.path.rpartition("/")[2])
        assert number is not None
        self._key = self._sealed_fs.segment_key(salt, number, self.path)
        return self._key


class SealedValueFiles(ValueFiles):
    """Resolves pointers to the values themselves. Its files are SealedValueFile."""

    def _value(self, pointer: Pointer, read: Any) -> bytes:
        row = row_of(pointer)
        if read is OpenValueFile.value:
            file = self._file(row)
            assert isinstance(file, SealedValueFile)
            return file.plain_value(row)
        row = _stored(row)
        return self._opened(row, read(self._file(row), row))

    def _values(self, rows: Sequence[Row], nowait: bool) -> list[bytes]:
        rows = list(map(_stored, rows))
        return [self._opened(row, sealed) for row, sealed in zip(rows, super()._values(rows, nowait), strict=True)]

    def _opened(self, row: Row, sealed: bytes) -> bytes:
        file = self._file(row)
        assert isinstance(file, SealedValueFile)
        return file.opened(row[1], sealed)


def value_file_of(fs: Any, path: str, files: OpenFiles = OPEN_FILES, *, length: int) -> OpenValueFile:
    """One value file of a database, encrypted or not."""
    made = SealedValueFile if isinstance(fs, SealedFileSystem) else OpenValueFile
    return made(fs, path, files, length=length)


def plain_value(file: OpenValueFile, row: Row) -> bytes:
    """The value at a row of the file, opened if it is sealed."""
    return file.plain_value(row) if isinstance(file, SealedValueFile) else file.value(row)


def _stored(row: Row) -> Row:
    """A pointer tells the length of the value: that of its sealed text."""
    number, offset, size, checksum = row
    return number, offset, size + SEAL_BYTES, checksum
