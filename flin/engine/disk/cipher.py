"""The ciphers of encryption at rest: AES-256-GCM, and the derivation of one key from another. Pure, over bytes.

A key and a nonce must never seal two different texts: whoever sees both could then forge and compare. So each file has
a key of its own, and each key has one counter (`SealKey`), which only one writer of one process ever takes from. A
nonce is stored where it was used, not computed from the place: an interrupted write leaves bytes at an offset that the
next one writes over.

`cryptography` is an extra package: `pip install 'flin[encryption]'`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Protocol

from flin.errors import EncryptionError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SEAL_BYTES: Final = NONCE_BYTES + TAG_BYTES
"""By so much a sealed text is longer, if its nonce is stored with it."""


class Aead(Protocol):
    """A cipher with one key, for any number of threads."""

    def encrypt(self, nonce: bytes, data: Any, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes | memoryview, data: Any, associated_data: bytes | None) -> bytes: ...


def derived(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869): the key of 32 bytes for a purpose."""
    return hmac.digest(hmac.digest(salt, key, "sha256"), purpose + b"\1", "sha256")


def aead(key: bytes) -> Aead:
    """The cipher. EncryptionError if the package is not installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise EncryptionError("encryption needs the package cryptography: pip install 'flin[encryption]'") from None
    return AESGCM(key)


def maybe_opened(cipher: Aead, nonce: bytes | memoryview, sealed: Any, about: bytes | None) -> bytes | None:
    """The text; None if the seal is broken."""
    try:
        return cipher.decrypt(nonce, sealed, about)
    except invalid_tag():
        return None


def invalid_tag() -> type[Exception]:
    """What the package raises for a broken seal. An `except` calls it only once something was raised."""
    from cryptography.exceptions import InvalidTag

    return InvalidTag


def fresh_bytes(size: int) -> bytes:
    """Random bytes for salts."""
    return secrets.token_bytes(size)


class SealKey:
    """The key of one file that seals many small texts: each is stored as nonce, sealed text and tag."""

    __slots__ = ("cipher", "next_nonce")

    def __init__(self, key: bytes) -> None:
        self.cipher: Final = aead(key)
        self.next_nonce: Final[Callable[[], int]] = count().__next__
        """One call of C: no signal comes in between, so no number is taken twice."""

    def seal(self, text: bytes, about: bytes) -> bytes:
        """The sealed text. `about`: what is not secret, but vouched for. (Written out in wal.sealed.)"""
        nonce = self.next_nonce().to_bytes(NONCE_BYTES, "little")
        return nonce + self.cipher.encrypt(nonce, text, about)

    def maybe_open(self, sealed: bytes | memoryview, about: bytes) -> bytes | None:
        """The text; None if the seal is broken. (Written out in table.sealed_values.)"""
        if len(sealed) < SEAL_BYTES:
            return None
        return maybe_opened(self.cipher, sealed[:NONCE_BYTES], memoryview(sealed)[NONCE_BYTES:], about)
