"""`flin compact`: makes a database as small as possible."""

from __future__ import annotations

import argparse
from pathlib import Path

from flin import engine
from flin.cli import beside, exit_code
from flin.cli.closed import hint_if_locked
from flin.cli.each_group import each_group, places_of
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key, size
from flin.cli.ticker import Ticker

SUMMARY = "make a database as small as possible"
DETAILS = f"""\
Flushes the WAL and merges all runs of each shard into one, which drops overwritten values and tombstones. While it
runs it needs free space for a second copy of the data, of a directory of groups for that of one group at a time. You
can interrupt it safely.

Of values that lie in value files the overwritten ones stay until half of their file is garbage, or two fifths of all
value files: the last lines of `flin dump DIR/MANIFEST` show how much of each is live.
{beside.DETAILS}"""
EXAMPLES = """\
  flin compact data
  flin compact data --memory-limit 1gb
  flin compact redis://localhost:6380"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "compact", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the database's directory, or the URL of a server")
    parser.add_argument(
        "--memory-limit", type=size, default="256mb", metavar="SIZE", help="bytes, or a size such as 256mb (default)"
    )
    add_key_option(parser)
    beside.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    if beside.is_server(arguments):
        return beside.compact_server(arguments)
    key = maybe_key(arguments.encryption_key_file)
    limit = arguments.memory_limit
    with hint_if_locked(beside.HINT):
        return each_group(places_of(arguments.directory), lambda place: compact(place.directory, limit, key))


def compact(directory: str, memory_limit: int, key: bytes | None = None) -> int:
    """The exit code."""
    before = disk_use(directory)
    try:
        database = engine.open(directory, create=False, memory_limit=memory_limit, encryption_key=key)
    except ValueError as error:
        raise UsageError(error) from error
    with Ticker("compacting", lambda: _text(disk_use(directory))), database:
        database.compact()
        keys = len(database)
    print(f"{keys:,} keys; before: {_text(before)}; now: {_text(disk_use(directory))}")
    return exit_code.OK


def disk_use(directory: str) -> tuple[int, int]:
    """The number of files and bytes. A file may be removed while they are counted."""
    files = total = 0
    for path in Path(directory).iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
        files += 1
    return files, total


def _text(use: tuple[int, int]) -> str:
    files, total = use
    return f"{files:,} files, {total:,} bytes"
