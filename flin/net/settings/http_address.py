"""The address of the HTTP page, as it is written: a host and a port."""

from __future__ import annotations


def parse_http_address(text: str) -> tuple[str, int]:
    """Host and port. ValueError if it is no such thing.

    >>> parse_http_address("127.0.0.1:8080"), parse_http_address("[::1]:0")
    (('127.0.0.1', 8080), ('::1', 0))
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError("it must be a host and a port, such as 127.0.0.1:8080 or [::1]:8080")
    return host, int(port)
