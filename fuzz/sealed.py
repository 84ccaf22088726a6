"""Invariant: any bytes taken for a file of keys, a sealed file or a sealed frame give what was sealed, or a typed
error; a changed one gives the same or an error, never other contents, also if its checksums were put right.

The first byte chooses. Texts are also sealed as they are, so that the decoders behind the seals are reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flin.engine.checksum import crc32
from flin.engine.disk import data_keys
from flin.engine.disk.cipher import SealKey
from flin.engine.disk.data_keys import DataKeys
from flin.engine.disk.sealed_files import HEADER_BYTES as FILE_HEADER_BYTES
from flin.engine.disk.sealed_files import SealedFileSystem
from flin.engine.entry import TOMBSTONE, Entry
from flin.engine.memtable import Memtable
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader
from flin.engine.wal.large_values import LargeValues
from flin.engine.wal.sealed import FrameOpener, FrameSealer
from flin.errors import CorruptionError, FormatVersionError, WrongKeyError
from flin.testing import SimulatedDisk

_ALLOWED = (CorruptionError, FormatVersionError, WrongKeyError)
_KEY: Final = bytes(range(32))
_KEYS: Final = DataKeys({1: _KEY, 2: _KEY[::-1]})
_SALT: Final = b"\1\0fuzzed"
_HEADER: Final = SegmentHeader(bytes(16), 5, _SALT, 0, 1, 0, 0, 0)
_PATH: Final = "/db/00000001-0000.1.sst"
_TEXT: Final = bytes(range(256)) * 70
_POINTS: Final[dict[bytes, Entry]] = {b"a": b"1", b"b": b"x" * 60, b"c": (b"y" * 50, 9, 1), b"d": TOMBSTONE}


def _zeros(size: int) -> bytes:
    return bytes(size)


def one_input(data: bytes) -> None:
    """Raises nothing, whatever the data."""
    if data:
        _TARGETS[data[0] % len(_TARGETS)](data[1:])


def _keys(data: bytes) -> None:
    try:
        found = data_keys.decode(data, _KEY, "k")
    except _ALLOWED:
        return
    assert found == _KEYS, "only whoever has the key can seal keys"


def _changed_keys(data: bytes) -> None:
    good = data_keys.encode(_KEYS, _KEY, _zeros)
    changed = _changed(good, data)[:-4]
    try:
        found = data_keys.decode(changed + wal_frames.pack_crc(crc32(changed)), _KEY, "k")
    except _ALLOWED:
        return
    assert found == _KEYS


def _sealed_file(change: Callable[[bytes], bytes]) -> None:
    disk = SimulatedDisk()
    disk.make_directory("/db")
    fs = SealedFileSystem(disk, _KEYS, _zeros)
    file = fs.create(_PATH)
    file.append(_TEXT)
    file.sync()
    disk.write(_PATH, change(disk.read(_PATH)))
    for start, size in ((0, len(_TEXT)), (100, 50), (8190, 10), (len(_TEXT) - 5, 5)):
        try:
            found = fs.open(_PATH).pread(size, start)
        except _ALLOWED:
            continue
        assert found == _TEXT[start : start + size] or (not found and fs.file_size(_PATH) <= start)


def _any_file(data: bytes) -> None:
    _sealed_file(lambda good: good[:FILE_HEADER_BYTES] + data)


def _changed_file(data: bytes) -> None:
    _sealed_file(lambda good: _changed(good, data))


def _changed_frame(data: bytes) -> None:
    frame = FrameSealer(SealKey(_KEY), _SALT, 0, 40).commit(HEADER_BYTES, 1, 0, _POINTS, ((b"q", b"r"),))
    body = _changed(frame, data)[4:]
    found = _replayed(wal_frames.pack_crc(crc32(body)) + body)
    assert found is None or (found.entries, list(found.deleted)) == (_POINTS, [b"q", b"r"])


def _any_payload(data: bytes) -> None:
    """What a frame with the right seal holds: only a mistake would make it."""
    if len(data) < 2:
        return
    kind, count, text = data[0] | wal_frames.SEALED, data[1] % 5, data[2:]
    has_values = bool(kind & wal_frames.WITH_VALUES)
    size = len(text) + 28 + 4 * has_values
    head = wal_frames.FRAME_REST.pack(size, _SALT, HEADER_BYTES, 1, 0, count, kind) + bytes(12)
    sealed = SealKey(_KEY).cipher.encrypt(bytes(12), text, head)
    body = head + len(sealed).to_bytes(4, "little") * has_values + sealed
    _replayed(wal_frames.pack_crc(crc32(body)) + body)


def _replayed(frame: bytes) -> Memtable | None:
    """What the segment with this frame holds; None if it is refused, or ends before it."""
    segment, opener = wal_frames.encode_header(_HEADER) + frame, FrameOpener(SealKey(_KEY), "w")
    memtable, pointed = Memtable(), Memtable()
    try:
        done = wal_replay.replay(segment, _HEADER, "w", memtable, end=len(segment), opener=opener)
        large = LargeValues(5, 40)
        wal_replay.replay(segment, _HEADER, "w", pointed, end=len(segment), opener=opener, large=large)
    except _ALLOWED:
        return None
    assert pointed.entries.keys() == memtable.entries.keys()
    return memtable if done.operations else None


def _changed(good: bytes, data: bytes) -> bytes:
    """The bytes, changed at the places that the data names: two bytes are a place, the third what is added there."""
    changed = bytearray(good)
    for at in range(0, len(data) - 2, 3):
        place = int.from_bytes(data[at : at + 2], "big") % len(changed)
        if data[at + 2] == 255:
            del changed[place + 1 :]
        else:
            changed[place] = changed[place] + data[at + 2] & 255
    return bytes(changed)


_TARGETS: Final[list[Callable[[bytes], None]]] = [
    _keys,
    _changed_keys,
    _any_file,
    _changed_file,
    _changed_frame,
    _any_payload,
]
