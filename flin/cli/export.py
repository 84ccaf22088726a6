"""`flin export`: writes every key of a closed database into a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from flin.cli import exit_code
from flin.cli.closed import hint_if_locked
from flin.cli.each_group import held, places_of
from flin.cli.overlay import open_unchanged
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key
from flin.cli.ticker import Ticker
from flin.cluster.places import Place

if TYPE_CHECKING:
    from flin.transfer.record import Record

STANDARD: Final = "-"
FORMATS: Final = ("ndjson", "compact")

SUMMARY = "write every key of a closed database into a file"
DETAILS = """\
A line of JSON for each key, in order, with its value and its expiry; of a database that a server wrote, of each of its
databases. Keys and values are text where they are UTF-8, base64 otherwise. A hash, list, set, sorted set or stream is
what DUMP gives, in base64: RESTORE takes it, here and in Redis. --format compact is smaller and faster, with checksums.

DIR is not changed. Of a directory of groups the keys of all are written into one file. FILE is written beside itself
and renamed at the end, so that it is whole or not there; - is the standard output. Keys that have expired and libraries
of functions are left out."""
EXAMPLES = """\
  flin export data data.ndjson
  flin export data - | jq -r .key
  flin export data - --format compact | ssh other-host flin import - data"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "export", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the database's directory, or a directory of groups")
    parser.add_argument("file", metavar="FILE", help="the file to write; - for the standard output")
    add_key_option(parser)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="default: ndjson")


def run(arguments: argparse.Namespace) -> int:
    from flin.transfer import compact, ndjson  # what the server is made of, which the other commands do without

    places = places_of(arguments.directory)
    exported = _Exported(places, maybe_key(arguments.encryption_key_file))
    write = compact.write if arguments.format == "compact" else ndjson.write
    with hint_if_locked(), held(places), Ticker("exporting", exported.text), output(arguments.file) as file:
        count = write(exported.records(), file)
    print(f"{count:,} keys were exported", file=sys.stderr)
    return exit_code.OK


class _Exported:
    def __init__(self, places: list[Place], key: bytes | None) -> None:
        self._places = places
        self._key = key
        self._count = 0

    def text(self) -> str:
        return f"{self._count:,} keys"

    def records(self) -> Iterator[Record]:
        from flin.transfer.exporting import records

        for place in self._places:
            with open_unchanged(place.directory, key=self._key) as database:
                for record in records(database):
                    self._count += 1
                    yield record


@contextmanager
def output(path: str) -> Iterator[IO[bytes]]:
    """A file that has its name once all of it is durable; or the standard output."""
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.isdir(path):
        raise UsageError(f"{path} is a directory: name a file")
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
