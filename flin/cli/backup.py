"""`flin backup`: adds a backup of a closed database to a directory of backups, and shows what is there."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime

from flin import engine
from flin.cli import exit_code
from flin.cli.closed import hint_if_locked, opened
from flin.cli.each_group import each_group, places_of
from flin.cli.failure import fail
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key, positive
from flin.cluster.resize.places import Place, places_in
from flin.cluster.workers.group_copies import begin_group_backups
from flin.cluster.workers.groups import read_groups
from flin.engine import Backup

SUMMARY = "add a backup of a closed database to a directory of backups"
DETAILS = """\
BACKUP is made if it is absent. It holds the backups of one database, each with a number from 1 on: the first copies all
of its files, each later one only those that are new, and each can be restored by itself (flin restore). Of a directory
of groups every group is backed up.

--keep N removes all backups but the newest N, with the files that only they had. --verify reads the backup again and
compares checksums. With --list nothing is backed up: it shows the backups, oldest first, and with --verify also reads
all of them.

DIR must be closed. `flin serve --backup-dir BACKUP` makes backups of a database that it serves by BGSAVE and SAVE, a
program with db.backup(path)."""
EXAMPLES = """\
  flin backup data /srv/backups --keep 14 --verify
  flin backup --list /srv/backups
  flin backup --list --verify /srv/backups
  flin restore /srv/backups data.again --number 12"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "backup", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument(
        "directory", metavar="DIR", help="the database's directory; with --list the directory of backups"
    )
    parser.add_argument("backup", metavar="BACKUP", nargs="?", help="the directory of backups")
    parser.add_argument("--keep", type=positive, metavar="N", help="remove all but the newest N backups")
    parser.add_argument("--verify", action="store_true", help="read the backup again and compare checksums")
    add_key_option(parser)
    parser.add_argument("--list", action="store_true", help="show the backups that are there")


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        if arguments.backup is not None or arguments.keep is not None:
            raise UsageError("--list takes only the directory of backups, and --verify")
        places = backup_places(arguments.directory)
        return each_group(places, lambda place: show(place.directory, verify=arguments.verify), locks=False)
    if arguments.backup is None:
        raise UsageError("name the directory of backups after that of the database (flin backup DIR BACKUP)")
    key = maybe_key(arguments.encryption_key_file)
    places = places_of(arguments.directory)
    target = os.path.abspath(arguments.backup)
    groups = [place.group for place in places if place.group is not None]
    if groups:
        begin_group_backups(target, groups)
    elif read_groups(target):
        raise UsageError(f"{target} has backups of a directory of groups, which {arguments.directory} is not")

    def back_up(place: Place) -> int:
        path = os.path.join(target, os.path.basename(place.directory)) if place.group else target
        with opened(place.directory, key) as database:
            print(line_of(database.backup(path, keep=arguments.keep, verify=arguments.verify)))
        return exit_code.OK

    with hint_if_locked():
        return each_group(places, back_up)


def backup_places(text: str) -> list[Place]:
    """The directories of backups in the one that an argument names; UsageError if there is none."""
    path = os.path.abspath(text)
    if not os.path.isdir(path):
        raise UsageError(f"there is no directory {text!r}: name that of the backups")
    return places_in(path)


def show(path: str, *, verify: bool) -> int:
    """The exit code."""
    found = engine.backups(path)
    for backup in found:
        print(line_of(backup))
    if not found:
        print("no backups")
    if not verify:
        return exit_code.OK
    problems = engine.verify_backup(path)
    for problem in problems:
        fail(problem, exit_code.PROBLEMS)
    if not problems:
        print(f"{path}: every backup was read, no problem")
    return exit_code.PROBLEMS if problems else exit_code.OK


def line_of(backup: Backup) -> str:
    """Example: backup 7 of 2026-03-01 04:00:00 UTC: 12 files, 48,201,334 bytes; 2 of them new, 1,204 bytes."""
    made_at = datetime.fromtimestamp(backup.made_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    new = f"{backup.files - backup.reused_files:,} of them new, {backup.copied_bytes:,} bytes"
    return f"backup {backup.number} of {made_at}: {backup.files:,} files, {backup.bytes:,} bytes; {new}"
