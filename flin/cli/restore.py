"""`flin restore`: makes a database of a backup."""

from __future__ import annotations

import argparse
import os

from flin import engine
from flin.cli import exit_code
from flin.cli.backup import backup_places, line_of
from flin.cli.parsing import Commands, add_command, add_key_option, maybe_key, new_directory, positive
from flin.cluster.workers.group_copies import copy_groups

SUMMARY = "make a database of a backup"
DETAILS = """\
Copies a backup (the newest, or --number N as `flin backup --list` shows it) into NEW, an empty or absent directory, and
compares checksums. BACKUP stays as it is. Of the backups of a directory of groups every group is restored; groups may
have been backed up at different moments, each by its own BGSAVE.

What an interrupted restore leaves is refused by all who open it: remove it and begin again."""
EXAMPLES = """\
  flin restore /srv/backups data.again && flin serve --dir data.again
  flin restore /srv/backups data.of-sunday --number 12"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "restore", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("backup", metavar="BACKUP", help="the directory of backups")
    parser.add_argument("target", metavar="NEW", help="the new directory, empty or absent")
    parser.add_argument("--number", type=positive, metavar="N", help="which backup (default: the newest)")
    add_key_option(parser)


def run(arguments: argparse.Namespace) -> int:
    key = maybe_key(arguments.encryption_key_file)
    places = backup_places(arguments.backup)
    target = new_directory(arguments.target, os.path.abspath(arguments.backup), "name another one")

    def restore(directory: str, path: str) -> None:
        restored = engine.restore(directory, path, number=arguments.number, encryption_key=key)
        print(f"{line_of(restored)}: restored into {path}", flush=True)

    groups = [place.group for place in places if place.group is not None]
    if groups:
        copy_groups(groups, target, lambda group, path: restore(str(group.directory), path))
    else:
        restore(places[0].directory, target)
    return exit_code.OK
