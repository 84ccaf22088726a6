"""`flin stats`: prints the figures of a database that no process has open."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from flin.cli import beside, exit_code
from flin.cli.closed import hint_if_locked
from flin.cli.compact import disk_use
from flin.cli.each_group import each_group, places_of
from flin.cli.overlay import open_unchanged
from flin.cli.parsing import Commands, add_command, add_key_option, maybe_key
from flin.cli.ticker import Ticker
from flin.cluster.resize.places import Place
from flin.engine import Engine

SUMMARY = "print the figures of a database, changing nothing"
DETAILS = f"""\
Prints keys, files and bytes, tables and runs, value files, and what recovery found in the WAL. It opens the
directory as an engine would and replays its WAL into memory, but changes no file. Of a directory of groups it prints
each one's.
{beside.DETAILS}"""
EXAMPLES = """\
  flin stats data
  flin stats data --json | jq .keys
  flin stats redis://localhost:6380"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "stats", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the database's directory, or the URL of a server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_key_option(parser)
    beside.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    if beside.is_server(arguments):
        figures = beside.figures_of_server(arguments)
        print(json.dumps(figures, indent=2) if arguments.json else "\n".join(lines_of(figures)))
        return exit_code.OK
    with hint_if_locked(beside.HINT):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = []
    key = maybe_key(arguments.encryption_key_file)

    def read(place: Place) -> int:
        with Ticker("reading"), open_unchanged(place.directory, key=key) as database:
            figures = figures_of(database)
        if not arguments.json:
            for line in lines_of(figures):
                print(line)
        if place.group is not None:
            figures = {"group": place.group.number, "slots": [place.group.first, place.group.last], **figures}
        found.append(figures)
        return exit_code.OK

    places = places_of(arguments.directory)
    code = each_group(places, read, heading=not arguments.json)
    figures = found[0] if places[0].group is None else whole(found)
    if arguments.json:
        print(json.dumps(figures, indent=2, default=str))
    elif places[0].group is not None and len(found) == len(places):
        print("all groups:")
        for line in lines_of({name: figure for name, figure in figures.items() if name != "groups"}):
            print(line)
    return code


def whole(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a directory of groups: sums, then those of each group."""
    return {name: sum(group[name] for group in groups) for name in ("keys", "files", "disk_bytes")} | {"groups": groups}


def figures_of(database: Engine) -> dict[str, Any]:
    """The figures of the directory. Those of caches and jobs belong to a running engine, and are left out."""
    files, disk_bytes = disk_use(database.path)
    figures = database.stats()
    at_rest = {name: figures[name] for name in ("path", "shards", "wal", "memtables", "tables", "value_files")}
    return {"keys": len(database), "files": files, "disk_bytes": disk_bytes, **at_rest}


def lines_of(figures: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """A line per figure; nested figures stand below the name."""
    width = max((len(str(name)) for name in figures), default=0)
    for name, figure in figures.items():
        if isinstance(figure, Mapping) and figure:
            yield f"{' ' * indent}{name}"
            yield from lines_of(figure, indent + 2)
        else:
            text = f"{figure:,}" if isinstance(figure, int) and not isinstance(figure, bool) else str(figure)
            yield f"{' ' * indent}{name!s:{width}}  {text}"
