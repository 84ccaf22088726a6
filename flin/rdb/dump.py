"""The payload of DUMP and RESTORE: a value, and a footer that proves it.

    value       its type byte and its form (body.py)
    version     u16   of the RDB format
    checksum    u64   CRC-64 of all before it

Little-endian. A server that must not pause joins the parts and computes the checksum itself, in slices: `VERSION_BYTES`
and `stored` to write, `check` with the checksum and `decode_checked` to read.
"""

from __future__ import annotations

import struct
from typing import Final

from flin.errors import PayloadFooterError
from flin.rdb import body
from flin.rdb.crc64 import crc64
from flin.rdb.value import Value

VERSION: Final = 10
"""The version of Redis 7.0. Older ones are read, too."""

VERSION_BYTES: Final = VERSION.to_bytes(2, "little")
"""What follows the value in a payload that Flin writes; then comes the checksum of all."""

CRC_BYTES: Final = 8
_FOOTER: Final = struct.Struct("<HQ")
FOOTER_BYTES: Final = _FOOTER.size


def encode(value: Value) -> bytes:
    """The payload of a value. Raises LimitError for an entry of a stream that is longer than 4 GiB."""
    covered = body.encode(value) + VERSION_BYTES
    return covered + stored(crc64(covered))


def stored(crc: int) -> bytes:
    """The checksum as the bytes at the end of a payload."""
    return crc.to_bytes(CRC_BYTES, "little")


def decode(payload: bytes, most_bytes: int) -> Value:
    """The value. Raises PayloadFooterError if its version is newer than Flin's or its checksum wrong, PayloadError if
    it is no value of Redis 7.0, LimitError if more than `most_bytes` would be decompressed, or the value
    would take more in memory."""
    check(payload, crc64(memoryview(payload)[:-CRC_BYTES]))
    return decode_checked(payload, most_bytes)


def decode_foreign(payload: bytes, most_bytes: int) -> Value:
    """As `decode`, of a payload that a server of another version has sent: its version is not looked at, its type is.
    Raises PayloadError and LimitError."""
    covered = payload[:-CRC_BYTES]
    if len(payload) < _FOOTER.size or stored(crc64(covered)) != payload[-CRC_BYTES:]:
        raise PayloadFooterError("payload", len(covered), "its checksum is another")
    return body.decode_later(payload[: -_FOOTER.size], most_bytes)


def check(payload: bytes, crc: int) -> None:
    """Check the footer; `crc` is the checksum of `payload[:-CRC_BYTES]`. Raises PayloadFooterError."""
    at = len(payload) - _FOOTER.size
    if at < 0:
        raise PayloadFooterError("payload", 0, f"{len(payload)} bytes hold no footer")
    version, expected = _FOOTER.unpack_from(payload, at)
    if version > VERSION:
        raise PayloadFooterError("payload", at, f"version {version} is newer than {VERSION}")
    if crc != expected:
        raise PayloadFooterError("payload", at + 2, f"the checksum is {expected:016x}, not {crc:016x}")


def decode_checked(payload: bytes, most_bytes: int) -> Value:
    """The value of a payload whose footer was checked. Raises PayloadError and LimitError."""
    return body.decode(payload[: -_FOOTER.size], most_bytes)
