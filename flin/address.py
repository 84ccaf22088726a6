"""Where a server is, from a URL as redis-cli and other clients take it. Pure.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
    rediss://…                                          by TLS
    unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]        (redis+unix://, redis+socket:// too)

User and password may be percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

DEFAULT_PORT: Final = 6379
_TCP: Final = ("redis", "rediss")
_UNIX: Final = ("unix", "redis+unix", "redis+socket")


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    path: str = ""
    """A Unix socket's; then host and port mean nothing."""
    is_tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    database: int | None = None
    """None: the URL names none."""

    def __str__(self) -> str:
        """The URL without the password."""
        user = f"{self.user}@" if self.user else ""
        if self.path:
            return f"unix://{user}{self.path}" + (f"?db={self.database}" if self.database is not None else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        database = f"/{self.database}" if self.database is not None else ""
        return f"{'rediss' if self.is_tls else 'redis'}://{user}{host}:{self.port}{database}"


def is_address(text: str) -> bool:
    """Whether it is meant as a URL, not as a file or directory."""
    return text.partition("://")[0] in (*_TCP, *_UNIX) and "://" in text


def parse(text: str) -> Address:
    """ValueError says what is wrong with the URL, without its password."""
    parts = urlsplit(text)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.fragment or query.keys() - {"db"}:
        raise ValueError("a server's URL has no other parameter than ?db=")
    if parts.scheme in _UNIX:
        path = unquote(parts.path)
        if not path or parts.hostname:
            raise ValueError("a Unix socket is named by its whole path: unix:///run/redis.sock")
        database = query.get("db", [""])[0]
        return Address("", 0, path, False, user, password, _database(database))
    if query:
        raise ValueError("the database comes after the port: redis://host:6379/3")
    if not parts.hostname:
        raise ValueError("it names no host: redis://host:6379")
    return Address(
        parts.hostname,
        _port(parts),
        is_tls=parts.scheme == "rediss",
        user=user,
        password=password,
        database=_database(parts.path.removeprefix("/")),
    )


def _port(parts: SplitResult) -> int:
    try:
        return DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        raise ValueError("its port is no number from 0 to 65535") from None


def _database(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is no number of a database")
    return int(text)
