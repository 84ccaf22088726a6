"""`flin checkpoint`: makes a second database of a closed one, which shares its files."""

from __future__ import annotations

import argparse
import os

from flin.cli import exit_code
from flin.cli.closed import hint_if_locked, opened
from flin.cli.each_group import held, places_of
from flin.cli.parsing import Commands, add_command, add_key_option, maybe_key, new_directory
from flin.cluster.workers.group_copies import copy_groups
from flin.engine import Checkpoint

SUMMARY = "make a second database of a closed one, at once"
DETAILS = """\
Makes NEW, an empty or absent directory, a database that holds what DIR holds, or a directory of groups as DIR is. On
the same device their files are shared (hard links), so that it takes hardly any time or room: neither database ever
changes one. On another device they are copied. An interrupted one is refused by all who open it: remove it and begin
again.

A program makes one of an open database with db.checkpoint(path)."""
EXAMPLES = """\
  flin checkpoint data data.before-the-change"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "checkpoint", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the database's directory, or a directory of groups")
    parser.add_argument("target", metavar="NEW", help="the new directory, empty or absent")
    add_key_option(parser)


def run(arguments: argparse.Namespace) -> int:
    key = maybe_key(arguments.encryption_key_file)
    places = places_of(arguments.directory)
    target = new_directory(arguments.target, os.path.abspath(arguments.directory), "name another one")
    made: list[Checkpoint] = []

    def copy(directory: str, path: str) -> None:
        with opened(directory, key) as database:
            made.append(database.checkpoint(path))

    with hint_if_locked(), held(places):
        groups = [place.group for place in places if place.group is not None]
        if groups:
            copy_groups(groups, target, lambda group, path: copy(str(group.directory), path))
        else:
            copy(places[0].directory, target)
    files, copied = sum(each.files for each in made), sum(each.copied_bytes for each in made)
    print(f"{target} is a database now: {files:,} files; {copied:,} bytes were copied")
    return exit_code.OK
