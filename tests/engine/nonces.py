"""A cipher that watches over its nonces: no key may seal two different texts under one."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import aead as package


class Nonces:
    """All that was sealed since `watch`."""

    def __init__(self) -> None:
        self.seen: dict[tuple[bytes, bytes], tuple[bytes, bytes | None]] = {}
        self.repeated: list[tuple[bytes, bytes]] = []

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        original, nonces = package.AESGCM, self

        class Watched:
            def __init__(self, key: bytes) -> None:
                self._key = key
                self._cipher = original(key)
                self.decrypt = self._cipher.decrypt

            def encrypt(self, nonce: bytes, data: Any, about: bytes | None) -> bytes:
                text = bytes(data), about
                if nonces.seen.setdefault((self._key, nonce), text) != text:
                    nonces.repeated.append((self._key, nonce))
                return self._cipher.encrypt(nonce, data, about)

        patch.setattr(package, "AESGCM", Watched)
