"""The file that the key of an encrypted database is read from: 64 hexadecimal digits, or 32 bytes.

A file, because every user of the machine can see a command line. Its path may be a pipe (`<(vault read …)`), so it is
read once.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from flin.errors import EncryptionError

KEY_BYTES: Final = 32
MAX_BYTES: Final = 4096
"""More than a key and some blank lines: a wrong path must not read a disk into memory."""


def read_key(path: str) -> tuple[bytes, str]:
    """The key, and a warning if others than the owner can read the file, else nothing. EncryptionError."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise EncryptionError(f"the key file {path} cannot be read: {error.strerror}") from error
    key = _maybe_key(data)
    if key is None:
        text = "holds no key: it must have 64 hexadecimal digits or 32 bytes (openssl rand -hex 32 makes one)"
        raise EncryptionError(f"the key file {path} {text}")
    is_open = stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO)
    return key, f"{path} can be used by others than its owner: chmod 600 {path}" if is_open else ""


def _maybe_key(data: bytes) -> bytes | None:
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    if len(text) != 2 * KEY_BYTES or text.strip(b"0123456789abcdefABCDEF"):
        return None
    return bytes.fromhex(text.decode("ascii"))
