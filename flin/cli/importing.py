"""`flin import`: makes a database of an export, or adds one to a database."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from flin.address import is_address
from flin.cli import exit_code, following, moving
from flin.cli.closed import opened
from flin.cli.export import STANDARD
from flin.cli.parsing import (
    Commands,
    UsageError,
    add_command,
    add_key_option,
    database_directory,
    maybe_key,
    new_directory,
)
from flin.cli.peer import add_tls_options
from flin.cli.staged import staged
from flin.cli.ticker import Ticker
from flin.cluster.workers.groups import read_groups
from flin.errors import FlinError

if TYPE_CHECKING:
    from flin.transfer.importing import Import
    from flin.transfer.record import Item, Request

SUMMARY = "make a database of an export, of Redis's files, or of the keys of a running server"
DETAILS = """\
Reads what `flin export` has written, in any format, lines of JSON that another program wrote (docs/export.md), a
dump.rdb of Redis or its append-only files (name the directory) into DIR, an empty or absent directory. All of it is
imported or nothing: the first line, item or command that is none ends it, is named, and leaves DIR without a database.

With --merge DIR is a database that is there: keys of the file replace those of the same name, others stay. With --skip
keys that are there stay as they are. If that is interrupted, the keys before are there; import the file again, which
changes nothing but the rest.

An export that was cut, or changed since, is noticed by its last line. With --partial what comes before the first
damaged place is imported nevertheless.

SOURCE may be a running server: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss://… by TLS, unix:///PATH?db=N.
Its keys are read by SCAN and DUMP, of all databases if none is named, while it goes on working. The password may be in
REDISCLI_AUTH. An import that is interrupted goes on where it was when the same command is given again: a file beside
DIR says how far it is. At the end the number of keys and 1,000 values are compared. Then DIR may be such a URL, too:
that server gets the keys by RESTORE (docs/moving/redis.md).

With --follow a Redis is not asked key by key: it sends all of them and then each write, as to a replica. So programs
can be moved without a stop: when it has caught up, let them write to the new server, and end it."""
EXAMPLES = """\
  flin import data.ndjson data
  gunzip -c data.ndjson.gz | flin import - data
  flin import more.ndjson data --merge
  flin import /var/lib/redis/dump.rdb data
  flin import /var/lib/redis/appendonlydir data
  flin import redis://localhost:6379 data
  flin import redis://localhost:6379 redis://localhost:6380 --follow
  flin import rediss://mover:secret@old.example:6379/0 redis://localhost:6380 --match 'user:*' --replace"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "import", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument(
        "source", metavar="SOURCE", help="the file to read, - for the standard input; or the URL of a server"
    )
    parser.add_argument(
        "directory", metavar="DIR", help="the new database's directory, empty or absent; or the URL of a server"
    )
    add_key_option(parser)
    parser.add_argument(
        "--partial", action="store_true", help="import what comes before the place at which SOURCE is cut or damaged"
    )
    there = parser.add_mutually_exclusive_group()
    there.add_argument(
        "--merge", "--replace", action="store_true", help="add to the database in DIR; keys that are there are replaced"
    )
    there.add_argument("--skip", action="store_true", help="the same; keys that are there stay as they are")
    server = parser.add_argument_group("of a server")
    server.add_argument("--match", metavar="PATTERN", help="only keys of this pattern, as SCAN takes it")
    server.add_argument("--state", metavar="FILE", help="where an import stands (default: beside DIR, DIR.import)")
    server.add_argument(
        "--follow", action="store_true", help="then take each of its writes, as a replica does, until SIGINT or SIGTERM"
    )
    add_tls_options(server)


def run(arguments: argparse.Namespace) -> int:
    if is_address(arguments.source):
        return following.run(arguments) if arguments.follow else moving.run(arguments)
    if arguments.follow:
        raise UsageError("--follow is for a running server: name its URL")
    if arguments.match is not None or arguments.state is not None:
        raise UsageError("--match and --state are for the keys of a running server")
    paths = files_of(arguments.source)
    if is_address(arguments.directory):
        return moving.run_of_files(arguments, items_in(paths, is_partial=arguments.partial))
    key = maybe_key(arguments.encryption_key_file)
    if arguments.merge or arguments.skip:
        directory = database_directory(arguments.directory)
        if read_groups(directory):
            raise UsageError(f"{directory} is a directory of groups: import into a new one, then use flin resize")
        return add(paths, arguments, directory, directory, key)
    target = new_directory(arguments.directory, "/dev/null", "use --merge, or name another one")
    with staged(target) as inside:
        return add(paths, arguments, inside, target, key)


def add(paths: list[str], arguments: argparse.Namespace, directory: str, shown: str, key: bytes | None) -> int:
    from flin.transfer.importing import Import  # what the server is made of: others do without

    path: str = arguments.source
    with opened(directory, key, create=True) as database:
        adding = Import(database, path, skips=arguments.skip, is_new=directory != shown)
        try:
            with Ticker("importing", lambda: f"{adding.added:,} keys"):
                adding.add_all(items_in(paths, is_partial=arguments.partial))
        except FlinError:
            if directory == shown:
                print(f"flin: {adding.added:,} keys were imported before; import the file again", file=sys.stderr)
            raise
    print(f"{adding.added:,} keys were imported into {shown}{rest_of(adding)}")
    return exit_code.OK


def rest_of(adding: Import) -> str:
    """What else there was, for the line at the end."""
    rest = [
        f"; {count:,} {what}"
        for count, what in (
            (adding.libraries, "libraries of functions, too"),
            (adding.requests, "requests were run"),
            (adding.skipped, "were there already"),
            (adding.expired, "have expired"),
        )
        if count
    ]
    return "".join(rest)


def files_of(source: str) -> list[str]:
    """The files to read, one after the other: the one that is named, or those of an append-only directory."""
    if source == STANDARD:
        return [source]
    if not os.path.exists(source):
        hint = "; the URL of a server begins with redis://" if ":" in source else ""
        raise UsageError(f"there is no file {source!r}{hint}")
    if not os.path.isdir(source):
        return [source]
    from flin.transfer import append_only

    manifests = [name for name in os.listdir(source) if name.endswith(append_only.SUFFIX)]
    if len(manifests) != 1:
        raise UsageError(
            f"{source} is a directory without a manifest of Redis: name a file that flin export has written"
        )
    path = os.path.join(source, manifests[0])
    with open(path, "rb") as manifest:
        names = append_only.files_in(manifest.read(), path)
    return [os.path.join(source, name) for name in names]


def items_in(paths: list[str], *, is_partial: bool) -> Iterator[Item | Request]:
    """What the files hold; is_partial: what comes before the first damage, which is told, is all."""
    from flin.transfer.files import items_of, up_to_damage

    def all_of_them() -> Iterator[Item | Request]:
        for path in paths:
            with nullcontext(sys.stdin.buffer) if path == STANDARD else open(path, "rb") as file:
                yield from items_of(file, path)

    items = all_of_them()
    if not is_partial:
        return items
    return up_to_damage(items, lambda error: print(f"flin: {error}; imported up to there", file=sys.stderr))
