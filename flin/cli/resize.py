"""`flin resize`: copies a database to a new directory, for another number of workers."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import AbstractContextManager
from typing import Final

from flin.cli import exit_code
from flin.cli.each_group import held, name_of, places_of
from flin.cli.overlay import open_unchanged
from flin.cli.parsing import (
    Commands,
    UsageError,
    add_command,
    add_key_option,
    maybe_key,
    new_directory,
    positive,
    size,
)
from flin.cli.ticker import Ticker
from flin.cluster.resize.places import places_in
from flin.engine import Engine, Options
from flin.engine.disk.file_name import UNFINISHED
from flin.engine.disk.fs import OsFileSystem
from flin.errors import StorageError

SUMMARY = "copy a database to a new directory, for another number of workers"
DETAILS = """\
Copies every key to the group of its slot: values and collections as they are stored, expiries to the millisecond, the
libraries of functions into every group. DIR is a database or a directory of groups, and is not changed; no server may
have it open. NEW becomes a directory of N groups for `flin serve --workers N`, or with --workers 1 a plain database.
At the end everything is read again and compared.

With more than one worker there is database 0 only: keys in others are an error. Until all is done `flin serve` and the
other commands refuse NEW. If the copy is interrupted, remove NEW and begin again. Without free
space for a second copy of the data it is refused.

This is also how a database is encrypted, decrypted, or sealed anew with another key from end to end."""
EXAMPLES = """\
  flin resize data data.4 --workers 4 && flin serve --dir data.4 --workers 4
  flin resize data.4 data.1 --workers 1
  flin resize data.4 data.8 --workers 8 --memory-limit 2gb
  flin resize data data.encrypted --workers 1 --new-key-file key"""

MOST_WORKERS: Final = 256
"""Each has a database open at once, with helper processes of its own."""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "resize", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the directory to copy")
    parser.add_argument("target", metavar="NEW", help="the new directory, empty or absent")
    parser.add_argument("--workers", type=positive, metavar="N", required=True, help="how many groups NEW has")
    parser.add_argument(
        "--memory-limit",
        type=size,
        default="256mb",
        metavar="SIZE",
        help="bytes, or a size such as 256mb (default), for all groups together",
    )
    add_key_option(parser)
    parser.add_argument(
        "--new-key-file",
        metavar="FILE",
        help="the key that NEW is encrypted with (default: as DIR, with the same one)",
    )
    parser.add_argument("--decrypt", action="store_true", help="do not encrypt NEW")


def check_room(named: str, directories: list[str], target: str) -> None:
    """StorageError if the disk of the target has less room than the databases take. named: what they are called."""
    taken = sum(_bytes_in(directory) for directory in directories)
    existing = target
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free
    if free < taken:
        reason = f"{named} takes {taken:,} bytes, and {free:,} are free there: make room"
        raise StorageError(
            "resize into", target, f"{reason} (if much was deleted, `flin compact {named}` makes it smaller)"
        )


def _bytes_in(directory: str) -> int:
    """What its files take on the disk, which has blocks of 512 bytes for this purpose everywhere."""
    with os.scandir(directory) as entries:
        return sum(entry.stat().st_blocks * 512 for entry in entries if entry.is_file())


def run(arguments: argparse.Namespace) -> int:
    if arguments.workers > MOST_WORKERS:
        raise UsageError(f"--workers {arguments.workers}: {MOST_WORKERS} are the most")
    sources = places_of(arguments.directory)
    target = new_directory(arguments.target, os.path.abspath(arguments.directory), "name another one")
    check_room(arguments.directory, [place.directory for place in sources], target)
    from flin.cluster.resize.resizing import Resizing  # what the server is made of, which the other commands do without
    from flin.cluster.resize.staging import Staging

    key = maybe_key(arguments.encryption_key_file)
    if arguments.new_key_file and arguments.decrypt:
        raise UsageError("--new-key-file and --decrypt: NEW is encrypted, or it is not")
    new_key = None if arguments.decrypt else maybe_key(arguments.new_key_file) or key

    def opened(directory: str, memory_limit: int) -> AbstractContextManager[Engine]:
        is_source = any(place.directory == directory for place in sources)
        return open_unchanged(directory, memory_limit, key if is_source else new_key)

    staging = Staging(target, arguments.workers, OsFileSystem())
    resizing = Resizing(sources, staging, opened, arguments.memory_limit, Options(encryption_key=new_key))
    try:
        with held(sources), Ticker("resizing", lambda: resizing.progress):
            counts = resizing.run()
    except BaseException:
        if os.path.lexists(os.path.join(target, UNFINISHED)):
            print(f"flin: {target} is unfinished: remove it and begin again", file=sys.stderr)
        raise
    for place, count in zip(places_in(target), counts, strict=True):
        if place.group is not None:
            print(f"{name_of(place)}: {count:,} keys")
    print(f"{sum(counts):,} keys were copied to {target}")
    return exit_code.OK
