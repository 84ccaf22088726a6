"""The files of mutual TLS between nodes: who shows a certificate of the cluster's own authority may talk.

A directory holds `ca.crt` (the authority), `node.crt` and `node.key` (a certificate for servers and clients, and its
key). `make_certificates` makes an authority, too, whose key `ca.key` no node needs: it signs further certificates.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flin.errors import FlinError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY: Final = "ca.crt"
AUTHORITY_KEY: Final = "ca.key"
CERTIFICATE: Final = "node.crt"
KEY: Final = "node.key"

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
"""In every certificate: a node speaks to its own member of etcd by these."""

VALID_DAYS: Final = 3650
CLOCK_SKEW: Final = timedelta(hours=1)
"""A certificate counts from so long before it was made: another machine's clock may be behind."""


class CertificatesError(FlinError):
    """Files of certificates are missing, cannot be read, or do not belong together; the text says what to do."""


@dataclass(frozen=True)
class Certificates:
    """The three files of a node. Made by `read_certificates`."""

    directory: Path

    @property
    def authority(self) -> str:
        return str(self.directory / AUTHORITY)

    @property
    def certificate(self) -> str:
        return str(self.directory / CERTIFICATE)

    @property
    def key(self) -> str:
        return str(self.directory / KEY)

    def authority_bytes(self) -> bytes:
        return Path(self.authority).read_bytes()

    def certificate_bytes(self) -> bytes:
        return Path(self.certificate).read_bytes()

    def key_bytes(self) -> bytes:
        return Path(self.key).read_bytes()

    def server_context(self) -> ssl.SSLContext:
        """For a server that takes only clients of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.authority)
        context.load_cert_chain(self.certificate, self.key)
        return context


def read_certificates(directory: str | os.PathLike[str]) -> Certificates:
    """Raises CertificatesError, unless all three files are there and belong together."""
    found = Certificates(Path(directory))
    for path in (found.authority, found.certificate, found.key):
        if not os.access(path, os.R_OK):
            raise CertificatesError(
                f"{path} is missing, or may not be read; `flin cluster certificates DIR HOST…` makes files for tests"
            )
    try:
        found.server_context()
    except ssl.SSLError as error:
        raise CertificatesError(f"{AUTHORITY}, {CERTIFICATE} and {KEY} of {directory} do not fit: {error}") from error
    return found


def make_certificates(directory: str | os.PathLike[str], hosts: Sequence[str]) -> Certificates:
    """Make an authority and a certificate of it that is good for these hosts (names or addresses) and this machine.
    If the directory holds an authority with its key, that one signs. Raises CertificatesError, also if there is a
    certificate of a node already."""
    try:
        from cryptography import x509  # noqa: F401
    except ModuleNotFoundError:
        raise CertificatesError("certificates are made by cryptography: pip install 'flin[cluster]'") from None
    folder = Path(directory)
    if (folder / CERTIFICATE).exists() or (folder / KEY).exists():
        raise CertificatesError(f"{folder} holds a certificate of a node already: name another directory")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        authority, authority_key = _authority_in(folder)
        names = list(dict.fromkeys([*LOCAL_HOSTS, *hosts]))
        key = _new_key()
        certificate = _signed(authority.subject, authority_key, "Flin node", key, names)
        _write(folder / KEY, _key_pem(key), 0o600)
        _write(folder / CERTIFICATE, _pem(certificate), 0o644)
    except OSError as error:
        raise CertificatesError(f"cannot write certificates to {folder}: {error.strerror}") from error
    return read_certificates(folder)


def _authority_in(folder: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if (folder / AUTHORITY).exists():
        if not (folder / AUTHORITY_KEY).exists():
            raise CertificatesError(f"{folder} holds an authority without its key {AUTHORITY_KEY}, which has to sign")
        key = load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise CertificatesError(f"{folder / AUTHORITY_KEY} is no key that Flin has made")
        return x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes()), key
    key = _new_key()
    certificate = _signed(None, key, "Flin cluster", key, [])
    _write(folder / AUTHORITY_KEY, _key_pem(key), 0o600)
    _write(folder / AUTHORITY, _pem(certificate), 0o644)
    return certificate, key


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _signed(
    issuer: x509.Name | None,
    issuer_key: EllipticCurvePrivateKey,
    name: str,
    key: EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    """A certificate; without an issuer an authority's, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(_usage(issuer is None), critical=True)
    )
    if issuer is not None:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # a member of etcd is both to others
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False).add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
    return builder.sign(issuer_key, SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Never over a file that is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
