"""`flin stats`, `check` and `compact` of a database that a server has open: the server is asked, by its URL."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any, Final

from flin.address import is_address
from flin.cli import exit_code
from flin.cli.parsing import Parser
from flin.cli.peer import add_tls_options, linked, source_address
from flin.cli.ticker import Ticker

if TYPE_CHECKING:
    from flin.transfer.link import Link

DETAILS: Final = """
Instead of DIR the URL of a running server may be given, which is asked: redis://[[USER]:PASSWORD@]HOST[:PORT],
rediss://… by TLS, unix:///PATH. The password may be in REDISCLI_AUTH. Of several workers each has its own port."""

HINT: Final = "or ask the server that has it open: give its URL in place of DIR, such as redis://localhost:6380"

CHECK_SECONDS: Final = 7 * 86_400.0
"""How long a check may take: it reads everything."""

POLL_SECONDS: Final = 0.2


def add_options(parser: Parser) -> None:
    add_tls_options(parser.add_argument_group("a running server"))


def is_server(arguments: argparse.Namespace) -> bool:
    return is_address(arguments.directory)


def figures_of_server(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a closed directory would show, and what only a running engine knows. PeerError."""
    with linked(source_address(arguments.directory), arguments) as link:
        figures: dict[str, Any] = json.loads(link.ask(b"FLIN.STATS"))
        return {"keys": link.ask(b"DBSIZE"), **figures}


def check_server(arguments: argparse.Namespace) -> int:
    """The exit code. PeerError."""
    address = source_address(arguments.directory)
    with linked(address, arguments, silence_seconds=CHECK_SECONDS) as link, Ticker("checking"):
        problems = [problem.decode("utf-8", "backslashreplace") for problem in link.ask(b"FLIN.CHECK")]
        keys = link.ask(b"DBSIZE")
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problem{'s'[: len(problems) != 1]} in the database of {address}")
        return exit_code.PROBLEMS
    print(f"{address}: {keys:,} keys in this database of the server, all files well")
    return exit_code.OK


def compact_server(arguments: argparse.Namespace) -> int:
    """The exit code. PeerError."""
    address = source_address(arguments.directory)
    with linked(address, arguments) as link, Ticker("compacting"):
        before = _disk_bytes(link)
        link.ask(b"BGREWRITEAOF")
        while (persistence := _persistence(link))["aof_rewrite_in_progress"] != "0":
            time.sleep(POLL_SECONDS)
        after = _disk_bytes(link)
    if persistence["aof_last_bgrewrite_status"] != "ok":
        print(f"the compaction of {address} failed: the server's log says why")
        return exit_code.PROBLEMS
    print(f"tables and value files before: {before:,} bytes; now: {after:,} bytes")
    return exit_code.OK


def _persistence(link: Link) -> dict[str, str]:
    lines = link.ask(b"INFO", b"persistence").decode().splitlines()
    return dict(line.partition(":")[::2] for line in lines)


def _disk_bytes(link: Link) -> int:
    figures = json.loads(link.ask(b"FLIN.STATS"))
    return int(figures["tables"]["bytes"]) + int(figures["value_files"]["bytes"])
