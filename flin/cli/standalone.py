"""`flin standalone`: makes plain databases of the replicas in a node's directory, after the end of its cluster."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from flin.cli import exit_code
from flin.cli.parsing import Commands, UsageError, add_command
from flin.engine.disk.file_name import REPLICA, is_group_name
from flin.engine.replica import make_standalone

SUMMARY = "make plain databases of a node's replicas, after a disaster"
DETAILS = """\
DIR is the directory of a replica, or of a node with several. For the end of a cluster whose log in etcd is lost: as
long as a majority of its nodes can start, start them instead.

What the files hold is kept, which is not quite what clients were told: the last writes may be missing that came by
the log, and there may be some that were never answered. Take the node with the most keys, as `flin check` counts
them. There is no way back into a cluster but `flin import`.

Each replica becomes a database of its own, with the keys of its group's slots: `flin export` writes them into files,
and `flin import` gathers them in one database, or in another cluster."""
EXAMPLES = """\
  flin standalone flin-data/node1
  flin standalone flin-data/node1/group-03 && flin export flin-data/node1/group-03 three.ndjson"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "standalone", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the directory of a replica, or of a node")


def run(arguments: argparse.Namespace) -> int:
    for directory in replicas_in(arguments.directory):
        make_standalone(directory)
        print(f"{directory} is a database now")
    return exit_code.OK


def replicas_in(text: str) -> list[str]:
    """The directories of the replicas; UsageError if there is none."""
    path = Path(os.path.abspath(text))
    if not path.is_dir():
        raise UsageError(f"there is no directory {text!r}: name that of a node, or of one of its groups")
    below = sorted(each for each in path.iterdir() if is_group_name(each.name))
    found = [each for each in (path, *below) if (each / REPLICA).exists()]
    if not found:
        raise UsageError(f"{text} holds no replica: name the directory of a node, or of one of its groups")
    return [str(each) for each in found]
