"""The certificates of TLS: from the files that the options name to a context, or a clear error."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final

from flin.net.settings.options import ConfigError

if TYPE_CHECKING:
    from flin.net.settings.options import ServerOptions

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_NO_PEM: Final = "one of the two is no PEM, or the key has another password than tls_key_file_pass"
_VERIFY: Final = {"yes": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "no": ssl.CERT_NONE}


def tls_context(options: ServerOptions) -> ssl.SSLContext:
    """Read all files anew. Raises ConfigError, which names the option."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = [_VERSIONS[word] for word in options.tls_protocols.split()] or [*_VERSIONS.values()]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    # A client that renegotiates makes the server work, and nothing needs it.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if options.tls_ciphers:
        try:
            context.set_ciphers(options.tls_ciphers)
        except ssl.SSLError as error:
            raise ConfigError(f"tls_ciphers is {options.tls_ciphers!r}, none of which OpenSSL has") from error
    _load_chain(context, options)
    context.verify_mode = _VERIFY[options.tls_auth_clients]
    if options.tls_ca_cert_file or options.tls_ca_cert_dir:
        _load_authorities(context, options)
    return context


def _load_chain(context: ssl.SSLContext, options: ServerOptions) -> None:
    for name in ("tls_cert_file", "tls_key_file"):
        _check_readable(name, getattr(options, name))
    try:
        # As a function: without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(options.tls_cert_file, options.tls_key_file, lambda: options.tls_key_file_pass)
    except (ssl.SSLError, ValueError) as error:
        files = f"tls_cert_file {options.tls_cert_file} with tls_key_file {options.tls_key_file}"
        raise ConfigError(f"{files}: {_reason(error) or _NO_PEM}") from error


def _load_authorities(context: ssl.SSLContext, options: ServerOptions) -> None:
    file, directory = options.tls_ca_cert_file, options.tls_ca_cert_dir
    if file:
        _check_readable("tls_ca_cert_file", file)
    if directory and not os.path.isdir(directory):
        raise ConfigError(f"tls_ca_cert_dir {directory} is no directory")
    try:
        context.load_verify_locations(file or None, directory or None)
    except ssl.SSLError as error:
        raise ConfigError(f"tls_ca_cert_file {file}: {_reason(error) or error}") from error


def _check_readable(name: str, path: str) -> None:
    """OpenSSL's own errors do not say which of the files it could not read."""
    try:
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{name} {path}: {reason}") from error


def _reason(error: Exception) -> str:
    """In OpenSSL's words; empty: it has none but its own module's name."""
    reason = getattr(error, "reason", None)
    if reason:
        return str(reason).lower().replace("_", " ")
    return "" if isinstance(error, ssl.SSLError) else str(error)
