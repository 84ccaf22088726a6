"""`flin repair`: saves what is left of a damaged database into a new one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from flin.cli import exit_code
from flin.cli.check import check
from flin.cli.each_group import each_group, places_of
from flin.cli.overlay import OverlayFileSystem
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key, new_directory, positive
from flin.cli.ticker import Ticker
from flin.cluster.resize.places import Place
from flin.cluster.workers.groups import salvaged_groups, write_groups
from flin.engine import Options
from flin.engine.disk.file_name import GROUPS, LOCK
from flin.engine.disk.sealed_files import unlocked
from flin.engine.repair.repair import Repair, RepairOptions
from flin.engine.repair.report import RepairReport
from flin.engine.tree.opening import sealed_if_asked
from flin.errors import CorruptionError

SUMMARY = "save what is left of a damaged database into a new one"
DETAILS = """\
Reads every file, keeps each data block and each WAL frame whose checksum is right (the newest version of a key
wins), writes the result to a new directory, and verifies it. The damaged directory is not changed, so you can try
again with other options. Run `flin check` first: a database that opens needs no repair, and Flin recovers from a
power cut by itself.

Each loss is one line: file, bytes, reason, and between which keys. If a newer value or a deletion is lost, an older
value may reappear; the warnings say so. Needs free space for a second copy of the data.

Of a directory of groups each is repaired in turn, into a new directory of the same groups. If its groups.json is lost
or damaged, the directories group-00, group-01 … say how many there are: all of them must be there."""
EXAMPLES = """\
  flin repair data --dry-run
  flin repair data --into data.repaired && mv data data.damaged && mv data.repaired data
  flin repair data --json | jq '.files[].losses'"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "repair", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the damaged database's directory")
    parser.add_argument("--into", metavar="NEW", help="the new directory, empty or absent (default: DIR.repaired)")
    parser.add_argument("--dry-run", action="store_true", help="only report; write nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--without-manifest", action="store_true", help="ignore a manifest that is old or another database's"
    )
    parser.add_argument("--shards", type=positive, metavar="N", help="the number of shards, if the manifest is lost")
    parser.add_argument("--force", action="store_true", help="treat files of a newer format as damaged")
    add_key_option(parser)


def run(arguments: argparse.Namespace) -> int:
    directory = os.path.abspath(arguments.directory)
    key = maybe_key(arguments.encryption_key_file)
    places, is_whole = _places(arguments.directory)
    target = None if arguments.dry_run else _target(arguments.into or f"{directory}.repaired", directory)
    found: list[dict[str, Any]] = []

    def repair_place(place: Place) -> int:
        into = target
        if place.group is not None and target is not None:
            into = os.path.join(target, os.path.basename(place.directory))
        report, problems = repair(arguments, place, into, key)
        number = {} if place.group is None else {"group": place.group.number}
        found.append({**number, **report.as_dict(), "problems": problems})
        if not arguments.json:
            for line in (*lines_of(report), *problems):
                print(line)
        return exit_code.OK if report.lossless and not problems else exit_code.PROBLEMS

    code = each_group(places, repair_place, heading=not arguments.json)
    if target is not None and places[0].group is not None and len(found) == len(places):
        # Last: without it the result does not open.
        write_groups(target, tuple(place.group for place in places if place.group is not None))
    if arguments.json:
        print(json.dumps(found[0] if places[0].group is None else {"groups": found}, indent=2))
    return code if is_whole else max(code, exit_code.PROBLEMS)


def _places(text: str) -> tuple[list[Place], bool]:
    """The databases in the directory, and whether it says itself which."""
    try:
        return places_of(text), True
    except (UsageError, CorruptionError):
        groups = salvaged_groups(text) if os.path.isdir(text) else ()
        if not groups:
            raise
    print(
        f"flin: {text} has no {GROUPS} that can be read: it is taken for one of {len(groups)} groups", file=sys.stderr
    )
    return [Place(os.path.abspath(group.directory), group) for group in groups], False


def _target(text: str, source: str) -> str:
    return new_directory(text, source, "name another one with --into")


def repair(
    arguments: argparse.Namespace, place: Place, target: str | None, key: bytes | None
) -> tuple[RepairReport, list[str]]:
    """The report, and the problems of the result. Without a target nothing is written."""
    source = unlocked(OverlayFileSystem(), place.directory, key)
    options = RepairOptions(not arguments.without_manifest, arguments.force, arguments.shards)
    try:
        writing = sealed_if_asked(Options(shards=arguments.shards, encryption_key=key))
    except ValueError as error:
        raise UsageError(error) from error
    work = Repair(source, place.directory, options, None if target is None else writing, target)
    try:
        with Ticker("repairing", lambda: f"{work.report.keys:,} keys"):
            report = work.run()
    except ValueError as error:
        raise UsageError(error) from error
    except BaseException:
        if target is not None:
            _remove_empty(target)
        raise
    if target is None:
        return report, []
    with Ticker("verifying"):
        return report, check(target, place.group, key)[0]


def lines_of(report: RepairReport) -> Iterator[str]:
    """A line per file, its losses below it; then the warnings, and the result."""
    for file in report.files:
        yield f"{file.file}: {file.kept()}" + (f" ({file.note})" if file.note else "")
        for loss in sorted(file.losses, key=lambda loss: loss.offset):
            yield f"  lost: {loss}"
    for warning in report.warnings:
        yield f"warning: {warning}"
    where = "dry run, nothing was written" if report.target is None else f"written to {report.target}"
    shards = f"{report.shards:,} shard{'s'[: report.shards != 1]}"
    verdict = "nothing was lost" if report.lossless else "see the losses above"
    expired = f", {report.expired:,} of them expired" if report.expired else ""
    yield f"{report.keys:,} keys in {shards}{expired}; {verdict}; {where}"


def _remove_empty(directory: str) -> None:
    """Remove what a failed repair has left: its lock file, and the directory if nothing else is in it."""
    with suppress(OSError):
        if os.listdir(directory) == [LOCK]:
            os.unlink(os.path.join(directory, LOCK))
        os.rmdir(directory)
