"""Which data keys the files of an encrypted database need: the others are dropped when it is opened.

Only then are they dropped, since no job writes a file with an older one at that time. If the header of any file cannot
be read, all keys stay: repair may still need them.
"""

from __future__ import annotations

from collections.abc import Callable

from flin.engine.disk import data_keys
from flin.engine.disk.file_name import MANIFEST, maybe_parse
from flin.engine.disk.fs import FileSystem, join
from flin.engine.disk.sealed_files import HEADER_BYTES as SEALED_HEADER_BYTES
from flin.engine.disk.sealed_files import SealedFileSystem, decode_header, number_of_salt
from flin.engine.wal import frames as wal_frames
from flin.errors import CorruptionError, FormatVersionError, StorageError


def forget_unused(fs: SealedFileSystem, directory: str, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
    """Drop the data keys that no file is sealed with. OSError."""
    if len(fs.keys.by_number) == 1:
        return
    try:
        used = {_number_of(fs, join(directory, name)) for name in fs.names(directory) if _is_sealed(name)}
    except (CorruptionError, FormatVersionError):
        return
    kept = fs.keys.only(used)
    if kept != fs.keys:
        data_keys.write(fs.raw, directory, kept, key, random_bytes)
        fs.keys = kept


def has_older_key(fs: FileSystem, path: str) -> bool:
    """Whether a table is sealed with an older data key than new files are. StorageError, CorruptionError,
    FormatVersionError."""
    if not isinstance(fs, SealedFileSystem) or len(fs.keys.by_number) == 1:
        return False
    try:
        return _number_of(fs, path) != fs.keys.current
    except OSError as error:
        raise StorageError("read", path, error) from error


def _is_sealed(name: str) -> bool:
    parsed = maybe_parse(name)
    return name == MANIFEST or (parsed is not None and parsed.role not in ("condensed", "temporary"))


def _number_of(fs: SealedFileSystem, path: str) -> int:
    """The number of the data key that the file is sealed with. CorruptionError, FormatVersionError."""
    file = fs.raw.open(path)
    try:
        data = file.pread(wal_frames.HEADER_BYTES, 0)
    finally:
        file.close()
    if data.startswith(wal_frames.MAGIC):
        return number_of_salt(wal_frames.decode_header(data, path).salt)
    return decode_header(data[:SEALED_HEADER_BYTES], path)[0]
