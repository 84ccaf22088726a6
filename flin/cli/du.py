"""`flin du`: what the keys of a closed database take on disk, by prefix."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from flin.cli import exit_code
from flin.cli.each_group import held, places_of
from flin.cli.overlay import open_unchanged
from flin.cli.parsing import Commands, UsageError, add_command, add_key_option, maybe_key, positive
from flin.cli.ticker import Ticker
from flin.engine.engine import store_of
from flin.engine.key import PIECES_START, PIECES_STOP, USER_END, namespace_of, user_key
from flin.engine.prefix_sizes import Use, prefix_sizes
from flin.engine.table.block import common_size
from flin.engine.tree.store import Store
from flin.objects.layout import ANCHORS, PREFIX_BYTES, anchor_key, parse_anchor, parse_element

SUMMARY = "print what the keys of a closed database take on disk, by prefix"
DETAILS = """\
A prefix is what comes before a delimiter, with it: of user:17:name these are user: and user:17:. Prints the keys and
the bytes of each down to --depth, the largest first; what has no delimiter counts for what is above. Pieces of large
collections count for the key that owns them.

The figures are approximate: blocks whose keys must all have one prefix are counted by the tables' indexes, of others
the keys are read; bytes of a block that several share are divided by entries. Keys that were overwritten, deleted or
have expired count until merges have removed them: flin compact first, for what is left then. DIR is not changed. The
figures of a directory of groups are those of all groups together."""
EXAMPLES = """\
  flin du data
  flin du data --depth 2 --top 20
  flin du data --delimiter / --json | jq '.[] | select(.bytes > 1e9)'"""

GONE: Final = "(collections that are gone)"
INTERNAL: Final = "(internal)"


class Group(NamedTuple):
    database: int
    prefix: bytes | str
    """Text: what is no prefix of keys."""
    has_keys: bool
    """Pieces are not keys."""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "du", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the database's directory, or a directory of groups")
    parser.add_argument("--depth", type=positive, default=1, metavar="N", help="delimiters in a prefix (default: 1)")
    parser.add_argument("--delimiter", default=":", metavar="TEXT", help="what ends a part of a key (default: :)")
    parser.add_argument("--top", type=positive, metavar="N", help="print the N largest prefixes only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_key_option(parser)


def run(arguments: argparse.Namespace) -> int:
    delimiter = os.fsencode(arguments.delimiter)
    if not delimiter:
        raise UsageError("--delimiter is empty")
    places, key = places_of(arguments.directory), maybe_key(arguments.encryption_key_file)
    found: dict[tuple[int, bytes | str], Use] = {}
    with held(places), Ticker("reading"):
        for place in places:
            with open_unchanged(place.directory, key=key) as database:
                store = store_of(database)
                grouping = Grouping(store, delimiter, arguments.depth)
                for group, use in prefix_sizes(store.state, grouping.group_of, grouping.common_group).items():
                    for prefix in _with_above(group.prefix, delimiter):
                        total = found.setdefault((group.database, prefix), Use())
                        total.add(use.keys if group.has_keys else 0, use.size_bytes)
    named = [(round(use.size_bytes), database, shown(prefix), use) for (database, prefix), use in found.items()]
    named.sort(key=lambda row: (-row[0], row[1], row[2]))
    rows = [
        {"database": database, "prefix": prefix, "keys": round(use.keys), "bytes": size_bytes}
        for size_bytes, database, prefix, use in named[: arguments.top]
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        for line in lines_of(rows):
            print(line)
    return exit_code.OK


class Grouping:
    """The groups of the stored keys of a database: its prefixes with at most `depth` delimiters."""

    def __init__(self, store: Store, delimiter: bytes, depth: int) -> None:
        self._store = store
        self._delimiter = delimiter
        self._depth = depth
        self._owner_of = lru_cache(1 << 16)(self._find_owner)  # pieces of one collection stand together

    def group_of(self, stored: bytes) -> Group:
        if PIECES_START <= stored < PIECES_STOP:
            return self._owner_of(stored[:PREFIX_BYTES])
        if stored >= PIECES_STOP:
            return Group(0, INTERNAL, has_keys=False)
        key = stored[4:] if stored >= USER_END else user_key(stored)
        return Group(namespace_of(stored), self._prefix_of(key), has_keys=True)

    def common_group(self, low: bytes, high: bytes) -> Group | None:
        common = low[: common_size(low, high)]
        if low >= PIECES_START:
            is_one = len(common) >= PREFIX_BYTES or low >= PIECES_STOP
        else:
            is_one = high < USER_END or (common[:2] == USER_END and len(common) >= 4)
            is_one = is_one and common.count(self._delimiter) >= self._depth
        return self.group_of(low) if is_one else None

    def _prefix_of(self, key: bytes) -> bytes:
        """Up to the last delimiter that counts."""
        end = 0
        for _ in range(self._depth):
            at = key.find(self._delimiter, end)
            if at < 0:
                break
            end = at + len(self._delimiter)
        return key[:end]

    def _find_owner(self, prefix: bytes) -> Group:
        """The group of the key that owns the pieces or the anchor with this prefix."""
        owner = parse_anchor(prefix) if namespace_of(prefix) >= ANCHORS else parse_element(prefix)[0]
        entry = self._store.read(anchor_key(*owner))
        if type(entry) is not bytes:
            return Group(owner.database, GONE, has_keys=False)
        return Group(owner.database, self._prefix_of(entry), has_keys=False)


def _with_above(prefix: bytes | str, delimiter: bytes) -> Iterator[bytes | str]:
    """The prefix, and those that it begins with, down to the empty one: all of the database."""
    yield prefix
    while prefix:
        if isinstance(prefix, str):
            prefix = b""
        else:
            at = prefix[: -len(delimiter)].rfind(delimiter)
            prefix = prefix[: at + len(delimiter)] if at >= 0 else b""
        yield prefix


def shown(prefix: bytes | str) -> str:
    """What is not printable UTF-8 with escapes."""
    text = prefix if isinstance(prefix, str) else prefix.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def lines_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    has_databases = any(row["database"] for row in rows)
    yield f"{'bytes':>15}  {'keys':>13}  {'database  ' if has_databases else ''}prefix"
    for row in rows:
        database = f"{row['database']:>8}  " if has_databases else ""
        yield f"{row['bytes']:>15,}  {row['keys']:>13,}  {database}{row['prefix'] or '(all)'}"
