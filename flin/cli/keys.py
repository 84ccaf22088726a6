"""`flin get`, `put`, `delete` and `scan`: single keys of a closed database, from a shell."""

from __future__ import annotations

import argparse
import heapq
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from operator import itemgetter
from typing import Any

from flin.cli import exit_code
from flin.cli.closed import hint_if_locked, opened
from flin.cli.each_group import held, places_of
from flin.cli.failure import fail
from flin.cli.overlay import open_unchanged
from flin.cli.parsing import Commands, Parser, UsageError, add_command, add_key_option, maybe_key, positive
from flin.cluster.resize.places import Place
from flin.engine import Engine
from flin.engine.slot import slot_of

STANDARD = "-"

_BYTES = """\
Keys and values are taken and shown as they are, byte for byte; with --hex or --base64 both are written so. DIR may be a
directory of groups."""


def add_parser(commands: Commands) -> None:
    get = add_command(
        commands, "get", _get, "print the value of a key of a closed database",
        f"Prints the value, and nothing after it. Exit code 1 if there is no such key. DIR is not changed.\n\n{_BYTES}",
        "  flin get data user:1\n  flin get data ff00 --hex",
    )  # fmt: skip
    put = add_command(
        commands, "put", _put, "set a key of a closed database",
        f"Sets one key, durably. - reads the value from the standard input, as it is.\n\n{_BYTES}",
        "  flin put data user:1 Ada\n  flin put data session:9 token --ttl 3600\n  flin put data page:1 - < page.html",
    )  # fmt: skip
    delete = add_command(
        commands, "delete", _delete, "delete keys of a closed database",
        f"Deletes the keys, whatever they hold, durably, and says how many were there.\n\n{_BYTES}",
        "  flin delete data user:1 user:2",
    )  # fmt: skip
    scan = add_command(
        commands, "scan", _scan, "print keys and values of a closed database, in order",
        "Prints a line for each key: the key, a tab, the value. If they may hold tabs or line ends, use --hex or "
        "--base64, or\nflin export. Collections are left out: flin export has them. DIR is not changed.\n\n" + _BYTES,
        "  flin scan data --prefix user: --limit 10\n  flin scan data --keys-only --reverse\n"
        "  flin scan data --start a --stop m --base64",
    )  # fmt: skip
    for parser in (get, put, delete, scan):
        parser.add_argument("directory", metavar="DIR", help="the database's directory, or a directory of groups")
        add_key_option(parser)
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--hex", action="store_true", help="keys and values are hexadecimal")
        form.add_argument("--base64", action="store_true", help="keys and values are base64")
    get.add_argument("key", metavar="KEY")
    put.add_argument("key", metavar="KEY")
    put.add_argument("value", metavar="VALUE", help="- for the standard input")
    put.add_argument("--ttl", type=_seconds, metavar="SECONDS", help="let it expire after so many seconds")
    delete.add_argument("keys", metavar="KEY", nargs="+")
    _add_bounds(scan)


def _add_bounds(scan: Parser) -> None:
    scan.add_argument("--prefix", metavar="KEY", help="keys that begin with this")
    scan.add_argument("--start", metavar="KEY", help="from this key on")
    scan.add_argument("--stop", metavar="KEY", help="up to this key, without it")
    scan.add_argument("--limit", type=positive, metavar="N", help="at most so many")
    scan.add_argument("--reverse", action="store_true", help="from the end")
    scan.add_argument("--keys-only", action="store_true", help="without values")


def _get(arguments: argparse.Namespace) -> int:
    key = _decoded(arguments, arguments.key)
    places = places_of(arguments.directory)
    with hint_if_locked(), held(places), _unchanged(_place_of(places, key), arguments) as database:
        value = database.get(key)
        kind = database.type(key)
    if value is None:
        reason = f"there is no key {key!r}" if kind is None else f"the key {key!r} holds a {kind}: see flin export"
        return fail(reason, exit_code.PROBLEMS)
    sys.stdout.buffer.write(_encoded(arguments, value))
    return exit_code.OK


def _put(arguments: argparse.Namespace) -> int:
    key = _decoded(arguments, arguments.key)
    value = sys.stdin.buffer.read() if arguments.value == STANDARD else _decoded(arguments, arguments.value)
    places = places_of(arguments.directory)
    with (
        hint_if_locked(),
        held(places),
        opened(_place_of(places, key).directory, maybe_key(arguments.encryption_key_file)) as database,
    ):
        database.put(key, value, ttl=arguments.ttl, sync=True)
    return exit_code.OK


def _delete(arguments: argparse.Namespace) -> int:
    keys = {_decoded(arguments, text) for text in arguments.keys}
    places = places_of(arguments.directory)
    found = 0
    with hint_if_locked(), held(places):
        for place in places:
            own = [key for key in keys if _place_of(places, key) is place]
            if own:
                with opened(place.directory, maybe_key(arguments.encryption_key_file)) as database:
                    found += sum(key in database or database.type(key) is not None for key in own)
                    database.delete_many(own, sync=True)
    print(f"{found} of {len(keys)} keys were there and are deleted")
    return exit_code.OK


def _scan(arguments: argparse.Namespace) -> int:
    bounds: dict[str, Any] = {
        name: _decoded(arguments, text)
        for name in ("prefix", "start", "stop")
        if (text := getattr(arguments, name)) is not None
    }
    places = places_of(arguments.directory)
    with hint_if_locked(), held(places), ExitStack() as stack:
        databases = [stack.enter_context(_unchanged(place, arguments)) for place in places]
        pages = [_pairs(database, bounds, arguments) for database in databases]
        merged = heapq.merge(*pages, key=itemgetter(0), reverse=arguments.reverse)
        for number, (key, value) in enumerate(merged):
            if number == arguments.limit:
                break
            shown = _encoded(arguments, key)
            line = shown if arguments.keys_only else shown + b"\t" + _encoded(arguments, value)
            sys.stdout.buffer.write(line + b"\n")
    return exit_code.OK


def _pairs(database: Engine, bounds: dict[str, Any], arguments: argparse.Namespace) -> Iterator[tuple[bytes, bytes]]:
    try:
        if arguments.keys_only:
            return (
                (key, b"") for key in database.scan_keys(**bounds, reverse=arguments.reverse, limit=arguments.limit)
            )
        return iter(database.scan(**bounds, reverse=arguments.reverse, limit=arguments.limit))
    except (TypeError, ValueError) as error:
        raise UsageError(error) from error


def _unchanged(place: Place, arguments: argparse.Namespace) -> AbstractContextManager[Engine]:
    return open_unchanged(place.directory, key=maybe_key(arguments.encryption_key_file))


def _place_of(places: list[Place], key: bytes) -> Place:
    """The group of the key's slot, or the only database."""
    if places[0].group is None:
        return places[0]
    slot = slot_of(key)
    return next(place for place in places if place.group is not None and place.group.first <= slot <= place.group.last)


def _decoded(arguments: argparse.Namespace, text: str) -> bytes:
    try:
        if arguments.hex:
            return bytes.fromhex(text)
        if arguments.base64:
            return b64decode(text, validate=True)
    except ValueError as error:
        raise UsageError(f"{text!r} is not {'hexadecimal' if arguments.hex else 'base64'}: {error}") from error
    return os.fsencode(text)


def _encoded(arguments: argparse.Namespace, data: bytes) -> bytes:
    if arguments.hex:
        return data.hex().encode()
    return b64encode(data) if arguments.base64 else data


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
