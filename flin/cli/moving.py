"""`flin import redis://…`: the keys of a running server into a directory, or into another server."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from flin.address import Address, is_address
from flin.cli import exit_code
from flin.cli.closed import opened
from flin.cli.parsing import UsageError, database_directory, maybe_key, new_directory
from flin.cli.peer import address_of, linked, source_address
from flin.cli.ticker import Ticker
from flin.cluster.resize.staging import Staging
from flin.cluster.workers.groups import read_groups
from flin.engine.disk.file_name import UNFINISHED
from flin.engine.disk.fs import OsFileSystem
from flin.engine.options import wall_clock_ms

if TYPE_CHECKING:
    from flin.transfer.moving import Comparison, Move, Target
    from flin.transfer.place import Place
    from flin.transfer.record import Item, Request
    from flin.transfer.server_source import ServerSource
    from flin.transfer.server_target import ServerTarget

SHOWN_KEYS: Final = 10


def run(arguments: argparse.Namespace) -> int:
    """From a server into a directory or a server."""
    from flin.transfer.moving import Move
    from flin.transfer.server_source import ServerSource

    address = source_address(arguments.source)
    place, is_resumed = _place(arguments, address)
    with ExitStack() as stack:
        link = stack.enter_context(linked(address, arguments))
        match = None if arguments.match is None else os.fsencode(arguments.match)
        source = ServerSource(link, wall_clock_ms(), match)
        if is_resumed and place.run_id != source.run_id:
            print("flin: the source was started anew since: all keys are read again", file=sys.stderr)
            place.restart()
        place.run_id = source.run_id
        started = time.monotonic()
        with _target(arguments, source, place, is_resumed=is_resumed) as target:
            move = Move(source, target, place)
            total, before = sum(source.databases.values()), place.keys
            try:
                with Ticker("importing", lambda: _progress(move.keys, before, total, started)):
                    move.run()
                    comparison = move.compare()
            except BaseException:
                print(
                    f"flin: {place.keys:,} keys are in the target: the same command goes on from there", file=sys.stderr
                )
                raise
            counts = target.added, target.skipped
        place.remove()
    seconds = time.monotonic() - started
    skipped = f"; {counts[1]:,} were there already" if counts[1] else ""
    print(f"{counts[0]:,} keys were imported into {arguments.directory} in {seconds:.1f} s{skipped}")
    return _judged(comparison, move, counts_must_agree=not (arguments.match or arguments.merge or arguments.skip))


def _progress(keys: int, before: int, total: int, started: float) -> str:
    """before: what an interrupted import had moved."""
    rate = (keys - before) / max(0.001, time.monotonic() - started)
    return f"{keys:,} of about {total:,} keys, {rate:,.0f} a second"


def _judged(comparison: Comparison, move: Move, *, counts_must_agree: bool) -> int:
    """Say what was compared."""
    problems = [
        f"the database {database} of the {where}: {key!r}"
        for where, keys in (("target lacks", comparison.missing), ("target has other values", comparison.different))
        for database, key in keys
    ]
    print(
        f"compared: {comparison.source_keys:,} keys in the source, {comparison.target_keys:,} in the target; "
        f"of {comparison.compared + len(problems):,} values {comparison.compared:,} are the same"
    )
    off = comparison.source_keys - comparison.target_keys
    if counts_must_agree and abs(off) > move.expiring:
        problems.append(f"the number of keys differs by {abs(off):,}")
    if not problems:
        return exit_code.OK
    for problem in problems[:SHOWN_KEYS]:
        print(f"flin: {problem}", file=sys.stderr)
    print(
        "flin: if the source was written to meanwhile, this is how it looks: stop its writers, and import again with "
        "--replace",
        file=sys.stderr,
    )
    return exit_code.PROBLEMS


def _place(arguments: argparse.Namespace, address: Address) -> tuple[Place, bool]:
    """Where an interrupted import stands, or the beginning; whether there was one. UsageError if it was another one."""
    from flin.transfer.place import Place, maybe_place

    path = arguments.state or _state_path(arguments.directory, address)
    place = maybe_place(path)
    match = arguments.match or ""
    if place is None:
        return Place(path, str(address), match), False
    if (place.source, place.match) != (str(address), match):
        raise UsageError(
            f"{path} is of an interrupted import from {place.source}: let that one end, or remove the file"
        )
    return place, True


def _state_path(target: str, source: Address) -> str:
    """Beside a directory; for a server, in the current one."""
    if not is_address(target):
        return f"{os.path.abspath(target)}.import"
    name = f"flin-{source}-to-{address_of(target)}.import"
    return "".join(character if character.isalnum() or character in "-._" else "-" for character in name)


@contextmanager
def _target(arguments: argparse.Namespace, source: ServerSource, place: Place, *, is_resumed: bool) -> Iterator[Target]:
    if is_address(arguments.directory):
        with server_target(arguments, list(source.databases), is_resumed=is_resumed) as target:
            place.save()
            yield target
        return
    from flin.transfer.directory_target import DirectoryTarget

    key = maybe_key(arguments.encryption_key_file)
    shown = str(source_address(arguments.source))
    if arguments.merge or arguments.skip:
        directory = database_directory(arguments.directory)
        if read_groups(directory):
            raise UsageError(f"{directory} is a directory of groups: import into a new one, then use flin resize")
        with opened(directory, key) as database:
            _begin(place, directory)
            yield DirectoryTarget(database, shown, skips=arguments.skip)
        return
    path = os.path.abspath(arguments.directory)
    inside = os.path.join(path, UNFINISHED)
    is_there = is_resumed and os.path.isdir(inside)
    if not is_there:
        path = new_directory(arguments.directory, "/dev/null", "use --replace or --skip, or name another one")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        place.save()  # from here on, what an interruption leaves is gone on with
    staging = Staging(path, 1, OsFileSystem())
    if not is_there:
        staging.begin()
    _begin(place, inside)
    with opened(inside, key, create=True) as database:
        yield DirectoryTarget(database, shown, skips=False, is_new=not is_there)
    staging.finish()


def _begin(place: Place, directory: str) -> None:
    """From the first key on, unless it is the directory that was begun."""
    told = os.stat(directory)
    identity = f"{told.st_dev}:{told.st_ino}"
    if place.target != identity:
        place.restart()
        place.target = identity
    place.save()


def run_of_files(arguments: argparse.Namespace, items: Iterator[Item | Request]) -> int:
    """From files into a server."""
    with server_target(arguments, None) as target:
        with Ticker("importing", lambda: f"{target.added:,} keys"):
            target.add_all(items)
        skipped = f"; {target.skipped:,} were there already" if target.skipped else ""
        print(f"{target.added:,} keys were imported into {address_of(arguments.directory)}{skipped}")
    return exit_code.OK


@contextmanager
def server_target(
    arguments: argparse.Namespace, databases: list[int] | None, *, is_resumed: bool = False
) -> Iterator[ServerTarget]:
    """UsageError if it has keys in these databases (None: in any), and nothing says what becomes of them."""
    from flin.transfer.server_target import ServerTarget

    address = address_of(arguments.directory)
    if address.database is not None:
        raise UsageError("keys keep the number of their database: leave it out of the target's URL")
    with linked(address, arguments) as link:
        target = ServerTarget(link, wall_clock_ms(), skips=arguments.skip)
        if not (arguments.merge or arguments.skip or is_resumed):
            for database in target.databases if databases is None else databases:
                if count := target.count(database):
                    raise UsageError(
                        f"the database {database} of {address} has {count:,} keys: say --replace or --skip, for those "
                        "of the same name"
                    )
        yield target
