"""A running server that a command reads from or writes to: its URL, and the options of the connection."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flin.address import Address, parse
from flin.cli.parsing import UsageError

if TYPE_CHECKING:
    from flin.transfer.link import Link

PASSWORD_VARIABLE: Final = "REDISCLI_AUTH"


def add_tls_options(group: argparse._ArgumentGroup) -> None:
    """Those of redis-cli."""
    group.add_argument("--cacert", metavar="FILE", help="authorities of the server's certificate, PEM")
    group.add_argument("--cert", metavar="FILE", help="the certificate to show, PEM")
    group.add_argument("--key", metavar="FILE", help="its key, PEM")
    group.add_argument("--insecure", action="store_true", help="do not look at the server's certificate")


def address_of(text: str) -> Address:
    """UsageError for a URL that is none."""
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"the URL of a server is wrong: {error}") from None


def source_address(text: str) -> Address:
    """With the password of the environment, if the URL has none, as redis-cli does it."""
    address = address_of(text)
    return address if address.password else replace(address, password=os.environ.get(PASSWORD_VARIABLE, ""))


@contextmanager
def linked(address: Address, arguments: argparse.Namespace, *, silence_seconds: float | None = None) -> Iterator[Link]:
    """A connection for the block; silence_seconds: how long a reply may take. PeerError."""
    from flin.transfer.link import SILENCE_SECONDS, Link, TlsOptions

    tls = TlsOptions(arguments.cacert, arguments.cert, arguments.key, arguments.insecure)
    with closing(Link(address, tls, silence_seconds=silence_seconds or SILENCE_SECONDS)) as link:
        yield link
