"""`flin export`: writes every key of a closed database into a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from flin.address import is_address
from flin.cli import exit_code
from flin.cli.closed import hint_if_locked
from flin.cli.each_group import held, places_of
from flin.cli.overlay import open_unchanged
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key
from flin.cli.peer import add_tls_options, linked, source_address
from flin.cli.ticker import Ticker
from flin.cluster.resize.places import Place
from flin.engine.options import wall_clock_ms

if TYPE_CHECKING:
    from flin.transfer.record import Item

STANDARD: Final = "-"
FORMATS: Final = ("ndjson", "jsonl", "compact", "rdb", "resp")
"""Those of flin/transfer/files.py, which the parser of all commands does not load."""

SUMMARY = "write every key of a closed database into a file"
DETAILS = """\
A line of JSON for each key, in order, with its value and its expiry; of a database that a server wrote, of each of its
databases. Keys and values are text where they are UTF-8, base64 otherwise. A hash, list, set, sorted set or stream is
what DUMP gives, in base64: RESTORE takes it, here and in Redis. --format compact is smaller and faster, with checksums.
--format rdb is a file that redis-server 7.0 and later load; --format resp are commands for `redis-cli --pipe`. These
two have the libraries of functions as well.

DIR may be the URL of a running server, of Redis or of Flin: its keys are read by SCAN and DUMP while it goes on
working, so that one that is written meanwhile may be there as it was before or after.

DIR is not changed. Of a directory of groups the keys of all are written into one file. FILE is written beside itself
and renamed at the end, so that it is whole or not there; - is the standard output. Keys that have expired are left
out."""
EXAMPLES = """\
  flin export data data.ndjson
  flin export data - | jq -r .key
  flin export data - --format compact | ssh other-host flin import - data
  flin export data dump.rdb --format rdb
  flin export data - --format resp | redis-cli --pipe
  flin export redis://localhost:6379/0 users.jsonl --match 'user:*'"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "export", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument(
        "directory", metavar="DIR", help="the database's directory, or a directory of groups; or the URL of a server"
    )
    parser.add_argument("file", metavar="FILE", help="the file to write; - for the standard output")
    add_key_option(parser)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="default: ndjson")
    server = parser.add_argument_group("of a server")
    server.add_argument("--match", metavar="PATTERN", help="only keys of this pattern, as SCAN takes it")
    add_tls_options(server)


def run(arguments: argparse.Namespace) -> int:
    from flin.transfer.files import write_items  # the server's parts, of no use to other commands

    if is_address(arguments.directory):
        return _run_of_server(arguments)
    if arguments.match is not None:
        raise UsageError("--match is for the keys of a running server")
    places = places_of(arguments.directory)
    exported = _Exported(places, maybe_key(arguments.encryption_key_file))
    with hint_if_locked(), held(places), Ticker("exporting", exported.text), output(arguments.file) as file:
        count = write_items(exported.items(), file, arguments.format)
    print(f"{count:,} keys were exported", file=sys.stderr)
    return exit_code.OK


def _run_of_server(arguments: argparse.Namespace) -> int:
    from flin.transfer.files import write_items
    from flin.transfer.server_source import ServerSource

    address = source_address(arguments.directory)
    match = None if arguments.match is None else os.fsencode(arguments.match)
    count = 0

    def counted(items: Iterator[Item]) -> Iterator[Item]:
        nonlocal count
        for count, item in enumerate(items, 1):  # noqa: B007 - the ticker shows it
            yield item

    with linked(address, arguments) as link:
        source = ServerSource(link, wall_clock_ms(), match)
        with Ticker("exporting", lambda: f"{count:,} keys"), output(arguments.file) as file:
            written = write_items(counted(source.items()), file, arguments.format)
    print(f"{written:,} keys were exported", file=sys.stderr)
    return exit_code.OK


class _Exported:
    def __init__(self, places: list[Place], key: bytes | None) -> None:
        self._places = places
        self._key = key
        self._count = 0

    def text(self) -> str:
        return f"{self._count:,} keys"

    def items(self) -> Iterator[Item]:
        """Libraries first: each group has all of them."""
        from flin.transfer.exporting import libraries, records

        with open_unchanged(self._places[0].directory, key=self._key) as database, database.snapshot() as snapshot:
            yield from libraries(snapshot)
        for place in self._places:
            with open_unchanged(place.directory, key=self._key) as database, database.snapshot() as snapshot:
                for record in records(snapshot):
                    self._count += 1
                    yield record


@contextmanager
def output(path: str) -> Iterator[IO[bytes]]:
    """A file that has its name once all of it is durable; or the standard output."""
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if is_address(path):
        raise UsageError(f"{path} is a server, and an export is a file: export into -, and pipe it; or see flin import")
    if os.path.isdir(path):
        raise UsageError(f"{path} is a directory: name a file")
    from flin.transfer.files import written_whole

    with written_whole(path) as file:
        yield file
