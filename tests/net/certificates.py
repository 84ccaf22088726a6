"""Certificates for tests of TLS: an authority, a server's and a client's certificate, and what nobody trusts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)


class Certificates:
    """PEM files in a directory; `renew` replaces the server's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca = self._file("ca.pem")
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key = self._file("server.pem"), self._file("server.key")
        self.renew()
        self.client_cert, self.client_key = self._file("client.pem"), self._file("client.key")
        self._write(self.authority.issue_cert("client@example.org"), self.client_cert, self.client_key)
        self.stranger_cert, self.stranger_key = self._file("stranger.pem"), self._file("stranger.key")
        self.stranger_ca = self._file("stranger-ca.pem")
        stranger = trustme.CA()
        stranger.cert_pem.write_to_path(str(self.stranger_ca))
        self._write(stranger.issue_cert("client@example.org"), self.stranger_cert, self.stranger_key)

    def _file(self, name: str) -> Path:
        return self.directory / name

    @staticmethod
    def _write(issued: trustme.LeafCert, cert: Path, key: Path) -> None:
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))

    def renew(self) -> None:
        """Another certificate for the server, in the same files."""
        self._write(self.authority.issue_cert("localhost", "127.0.0.1"), self.cert, self.key)

    def encrypt_key(self, password: str) -> None:
        key = load_pem_private_key(self.key.read_bytes(), None)
        encryption = BestAvailableEncryption(password.encode())
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    def options(self, **others: Any) -> dict[str, Any]:
        """For a server on a free TLS port; without client certificates unless told otherwise."""
        return {
            "tls_port": 0,
            "tls_cert_file": str(self.cert),
            "tls_key_file": str(self.key),
            "tls_auth_clients": "no",
            **others,
        }

    def words(self, **others: str) -> list[str]:
        """The same for the command line."""
        return [
            word
            for name, value in self.options(**others).items()
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    def client(self, *, with_certificate: bool = False, is_stranger: bool = False) -> ssl.SSLContext:
        """A client that trusts this authority. is_stranger: its own certificate is another authority's."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if is_stranger:
            context.load_cert_chain(self.stranger_cert, self.stranger_key)
        elif with_certificate:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context
