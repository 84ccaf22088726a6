"""`flin check`: reads and verifies everything, names every problem, changes nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from flin.cli import beside, exit_code
from flin.cli.closed import hint_if_locked
from flin.cli.each_group import each_group, places_of
from flin.cli.overlay import OverlayFileSystem, open_unchanged
from flin.cli.parsing import Commands, add_command, add_key_option, maybe_key
from flin.cli.ticker import Ticker
from flin.cluster.resize.places import Place
from flin.cluster.resize.strays import Strays
from flin.cluster.workers.groups import Group
from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest
from flin.engine.catalog.version import ValueFile
from flin.engine.disk.file_name import MANIFEST, maybe_parse
from flin.engine.disk.fs import FileSystem, ReadableFile
from flin.engine.disk.sealed_files import unlocked
from flin.engine.engine import store_of
from flin.engine.entry import Page
from flin.engine.sstable import Table
from flin.engine.table import footer as table_footer
from flin.engine.table.meta import TableMeta
from flin.engine.verify import CollectionsCheck, verify_store
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.sealed import maybe_opener
from flin.errors import CorruptionError, EncryptionError, FlinError, LockedError, StorageError
from flin.objects.owners import Owners

SUMMARY = "read and verify a whole database, changing nothing"
DETAILS = f"""\
Replays the WAL, reads every block of every table and every value that lies in a value file, and checks checksums,
order, filters, counts, the manifest, and that each piece of a collection has its owner and each owner all of its
pieces.
Each problem is one line on stdout that names the file. If the database cannot be opened, each file is verified by
itself, so that you see all damage and not only the first. No other process may have the directory open.

Of a directory of groups each is checked in turn, also whether its keys are of its own slots. A replica of a cluster is
checked with what its write-ahead log holds, though its node will throw that away.
{beside.DETAILS}"""
EXAMPLES = """\
  flin check data
  flin check data && cp -a data backup
  flin check redis://localhost:6380"""

NO_FILE: Final = "not a regular file"


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "check", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the database's directory, or the URL of a server")
    add_key_option(parser)
    beside.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    if beside.is_server(arguments):
        return beside.check_server(arguments)
    key = maybe_key(arguments.encryption_key_file)
    with hint_if_locked(beside.HINT):
        return each_group(places_of(arguments.directory), lambda place: _check_place(place, key))


def _check_place(place: Place, key: bytes | None) -> int:
    with Ticker("checking"):
        problems, summary = check(place.directory, place.group, key)
    for problem in problems:
        print(problem)
    print(summary if not problems else f"{len(problems)} problem{'s'[: len(problems) != 1]} in {place.directory}")
    return exit_code.PROBLEMS if problems else exit_code.OK


def check(directory: str, group: Group | None = None, key: bytes | None = None) -> tuple[list[str], str]:
    """The problems, or a summary if there are none. LockedError if an engine has the directory open; EncryptionError.
    group: whose database it is; its keys must be its own."""
    try:
        with open_unchanged(directory, key=key) as database:
            owners = Owners()
            problems = [str(problem) for problem in verify_store(store_of(database), _collections(owners, group))]
            summary = f"{directory}: {len(database):,} keys, all well{_dead(owners.dead)}"
    except (LockedError, EncryptionError):
        raise
    except FlinError as error:
        # Each file by itself, and the engine's error about the whole.
        found = [str(problem) for problem in survey(unlocked(OverlayFileSystem(), directory, key), directory)]
        return list(dict.fromkeys([str(error), *found])), ""
    return problems, summary


def _collections(owners: Owners, group: Group | None) -> CollectionsCheck:
    if group is None:
        return owners.check
    strays = Strays(group)

    def check_both(pages: Iterable[Page]) -> list[str]:
        return owners.check(strays.passing(pages)) + strays.problems()

    return check_both


def _dead(number: int) -> str:
    collections = f"{number:,} deleted collection{'s'[: number != 1]}"
    return f"; the next server removes what is left of {collections}" if number else ""


def survey(fs: FileSystem, directory: str) -> Iterator[FlinError]:
    """The problems of each file by itself."""
    manifest: Manifest | None = None
    try:
        manifest = manifest_format.read(fs, directory)
        if manifest is None:
            yield CorruptionError(os.path.join(directory, MANIFEST), 0, "there is no manifest")
    except FlinError as error:
        yield error
    except OSError as error:
        yield StorageError("read", os.path.join(directory, MANIFEST), error)
    yield from _survey_tables(fs, directory, manifest)
    value_files = {} if manifest is None else {each.file: each for each in manifest.version.value_files}
    for name in sorted({*fs.names(directory), *value_files}):
        parsed = maybe_parse(name)
        if parsed is None or parsed.role not in ("wal", "value"):
            continue
        live = parsed.role == "wal" and (manifest is None or parsed.number >= manifest.wal_floor)
        if name in value_files:
            yield from _survey_value_file(fs, os.path.join(directory, name), value_files[name])
        elif live or manifest is None:
            yield from _survey_segment(fs, os.path.join(directory, name))


def _survey_tables(fs: FileSystem, directory: str, manifest: Manifest | None) -> Iterator[FlinError]:
    metas: dict[str, list[TableMeta]] = {}
    if manifest is not None:
        for runs in manifest.version.shards:
            for run in runs:
                for table in run:
                    metas.setdefault(table.file, []).append(table)
    else:
        tables = [name for name in fs.names(directory) if (parsed := maybe_parse(name)) and parsed.role == "table"]
        metas = {name: [] for name in tables}
    for name, tables_of_file in metas.items():
        yield from _survey_table(fs, os.path.join(directory, name), tables_of_file)


def _survey_table(fs: FileSystem, path: str, metas: list[TableMeta]) -> Iterator[FlinError]:
    """The problems of a table file. If the manifest says nothing of it, it is read as it describes itself."""
    missing = "the manifest names this file, and there is no such regular file" if metas else NO_FILE
    try:
        with _opened(fs, path, missing) as file:
            for meta in metas or table_footer.read_metas(file):
                yield from Table(file, meta, None).verify()
    except FlinError as error:
        yield error


def _survey_segment(
    fs: FileSystem, path: str, length: int | None = None, missing: str = NO_FILE
) -> Iterator[FlinError]:
    """The problems of a segment, up to the length if it is known. A torn tail shows here, too: only the whole WAL can
    tell whether it was promised."""
    try:
        with _opened(fs, path, missing) as file:
            data = file.map()
            if length is not None and len(data) < length:
                yield CorruptionError(
                    path, len(data), f"the file is {len(data)} bytes long, the manifest says {length}"
                )
            header = wal_frames.decode_header(data, path)
            end = len(data) if length is None else min(length, len(data))
            opener = maybe_opener(fs, header, path)
            for _ in wal_replay.read_frames(data, header, path, end=end, opener=opener):
                pass
    except FlinError as error:
        yield error


def _survey_value_file(fs: FileSystem, path: str, named: ValueFile) -> Iterator[FlinError]:
    """The problems of the whole file, also where no table points to."""
    missing = "the manifest names this file, and there is no such regular file"
    yield from _survey_segment(fs, path, named.length, missing)


@contextmanager
def _opened(fs: FileSystem, path: str, missing: str = NO_FILE) -> Iterator[ReadableFile]:
    """The open file. CorruptionError, with the text `missing`, if there is none; StorageError if it is refused."""
    if not fs.is_file(path):
        raise CorruptionError(path, 0, missing)
    try:
        file = fs.open(path)
    except OSError as error:
        raise StorageError("open", path, error) from error
    try:
        yield file
    finally:
        file.close()
