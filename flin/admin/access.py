"""Who may ask what: decided from a request's method, path, headers and address, and from nothing else.

- The name in `Host` must be known: else a page of another site, whose name was made to lead here, could read all.
- What changes something is a POST with a token and with JSON, which no form of another site can send.
- On an address that others reach, a GET needs the token too: figures show keys. `/health`, `/ready` and `/metrics` do
  not: probes and Prometheus ask them.

A browser is never told that another site may read anything (no CORS header).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flin.net.settings.http_address import parse_http_address
from flin.net.settings.options import ConfigError, ServerOptions

OPEN_PATHS: Final = ("/health", "/ready", "/metrics")

MIN_TOKEN_BYTES: Final = 16
"""128 bits, if they are random: nobody guesses that."""

READING: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a request before its body is read."""

    method: str
    path: str
    host: str
    """The header's text."""
    authorization: bytes
    content_type: str
    """Without parameters."""
    own_address: str
    """The address at which it has arrived."""


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Access:
    hosts: Collection[str]
    """In lower case."""
    token: bytes | None
    """None: nothing can be changed."""
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    """What stands for the token where a path begins so."""
    closed_paths: Collection[str] = ()
    """Even reading needs it there, on any address."""

    def refusal_of(self, asked: Asked) -> Refusal | None:
        """Why the request is refused; None: it is not."""
        name = host_name(asked.host)
        if name not in self.hosts and name != asked.own_address.lower():
            return Refusal(403, f"the host {asked.host[:200]!r} is not known here: name it in --http-hosts")
        is_reading = asked.method in READING
        is_open = asked.path in OPEN_PATHS or is_loopback(asked.own_address)
        if is_reading and is_open and asked.path not in self.closed_paths:
            return None
        secret = next((secret for prefix, secret in self.secrets.items() if asked.path.startswith(prefix)), self.token)
        if secret is None:
            return Refusal(403, "this needs a token, and the server has none: start it with --http-token-file")
        if not hmac.compare_digest(asked.authorization, b"Bearer " + secret):
            what = "token of --http-token-file" if secret is self.token else "cluster's secret"
            return Refusal(401, f"this needs the {what}: Authorization: Bearer TOKEN")
        if not is_reading and asked.content_type != "application/json":
            return Refusal(415, "send JSON: Content-Type: application/json")
        return None


def host_name(host: str) -> str:
    """The name of a Host header, without its port, in lower case.

    >>> host_name("Db1:8080"), host_name("[::1]:8080"), host_name("127.0.0.1")
    ('db1', '::1', '127.0.0.1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def access_of(options: ServerOptions) -> Access:
    """Raises ConfigError if the token cannot be had."""
    host, _ = parse_http_address(options.http)
    hosts = {host.lower(), "localhost", *options.http_hosts.lower().replace(",", " ").split()}
    return Access(frozenset(hosts), _token_in(options.http_token_file) if options.http_token_file else None)


def _token_in(path: str) -> bytes:
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"http_token_file {path}: {error.strerror}") from error
    if len(token) < MIN_TOKEN_BYTES or not token.isascii() or len(token.split()) != 1:
        raise ConfigError(
            f"http_token_file {path}: it must hold one word of at least {MIN_TOKEN_BYTES} ASCII characters, such as "
            "`openssl rand -hex 32` prints"
        )
    return token
