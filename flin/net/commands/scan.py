"""Walks over all keys: KEYS, SCAN, RANDOMKEY. Each works a page of keys at a time and lets others run in between.

Keys come in order, so a pattern that begins with literal bytes is answered from the keys with that prefix alone.
SCAN's guarantee is Redis's: a key that is there during the whole scan is returned at least once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flin.engine.entry import Live
from flin.engine.key import prefix_stop
from flin.errors import CommandError
from flin.net.command.arguments import option_name
from flin.net.command.registry import command
from flin.net.commands.keys import type_name
from flin.net.wire.glob import Glob, compile_glob
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import Slices, syntax_error

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "generic"

_SLICE_STEPS: Final = 1 << 20  # steps of a pattern's search, 5 ms at worst: glob.py has the same limit for one key
_DEFAULT_COUNT: Final = 10  # Redis's own
_EVERYTHING: Final = compile_glob(b"*")
END: Final = b"0"
"""The cursor at a scan's beginning and at its end."""

# As C's strtoul reads it; more than 20 digits after the zeros cannot fit 64 bits.
_CURSOR: Final = re.compile(rb"(?:(?P<sign>[+-]?)0*(?P<digits>[0-9]{1,20}))?")
_CURSOR_END: Final = 1 << 64


@command("keys", 2, "readonly", categories="dangerous")
def keys(context: Context, args: list[bytes]) -> Slices:
    """Returns all keys that match a pattern, in order."""
    glob = compile_glob(args[1])
    found: list[bytes] = []
    for names, _ in _walk(context.keyspace, glob, None):
        found.extend(filter(glob.matches, names))
        yield
    return found


@command("randomkey", 1, "readonly counts_keys")
def randomkey(context: Context, args: list[bytes]) -> Slices:
    """Returns one of the keys; each is equally likely."""
    keyspace = context.keyspace
    number = yield from keyspace.count()
    while number:
        target = random.randrange(number)
        number = 0
        for names, _ in keyspace.pages():
            if target < number + len(names):
                return names[target - number]
            number += len(names)
            yield
        # The count includes expired keys that are not swept yet. Now their number is known: try again.
    return None


@command("scan", -2, "readonly")
def scan(context: Context, args: list[bytes]) -> Slices:
    """Returns some keys and the cursor to go on with; 0 at the end."""
    cursors, database = context.services.cursors, context.keyspace.namespace
    cursor, options = parse_cursor(args[1]), scan_options(args, 2)
    last = cursors.find(cursor, database) if cursor else None
    found: list[bytes] = []
    left = options.count
    for names, entries in _walk(context.keyspace, options.glob, last):
        taken = names[:left]
        found.extend(name for name, entry in zip(taken, entries, strict=False) if options.accept(name, entry))
        if taken:
            last = taken[-1]
        if len(taken) < len(names):
            assert last is not None
            return [b"%d" % cursors.save(database, last, cursor), found]
        left -= len(taken)
        yield
    return [END, found]


@dataclass(slots=True)
class ScanOptions:
    """The options of SCAN and its kin."""

    count: int = _DEFAULT_COUNT
    glob: Glob = _EVERYTHING
    type: bytes | None = None

    def accept(self, key: bytes, entry: Live) -> bool:
        return self.glob.matches(key) and (self.type is None or type_name(entry) == self.type)


def scan_options(args: list[bytes], start: int, *, has_type: bool = True) -> ScanOptions:
    """COUNT number, MATCH pattern and, where keys are walked, TYPE name; in any order."""
    options = ScanOptions()
    for position in range(start, len(args), 2):
        name = option_name(args[position])
        if position + 1 == len(args):
            raise syntax_error()
        argument = args[position + 1]
        if name == b"COUNT":
            options.count = parse_int64(argument)
            if options.count < 1:
                raise syntax_error()
        elif name == b"MATCH":
            options.glob = compile_glob(argument)
        elif name == b"TYPE" and has_type:
            options.type = argument.lower()
        else:
            raise syntax_error()
    return options


def parse_cursor(text: bytes) -> int:
    """The number of a cursor, which may be unknown; 0 at a scan's beginning. CommandError for other text."""
    found = _CURSOR.fullmatch(text.partition(b"\0")[0])  # for Redis a text ends there
    cursor = int(found["digits"] or b"0") if found else _CURSOR_END
    if cursor >= _CURSOR_END:
        raise CommandError("ERR invalid cursor")
    # A negative cursor is a large number in Redis that no client was given. Here it is unknown, too.
    return -cursor if found and found["sign"] == b"-" else cursor


def _walk(keyspace: Keyspace, glob: Glob, after: bytes | None) -> Iterator[tuple[list[bytes], list[Live]]]:
    """Pages of the keys above `after` that may match, in order."""
    only = glob.literal
    if only is not None:
        entry = keyspace.outline(only) if after is None or after < only else None
        return iter([] if entry is None else [([only], [entry])])
    prefix = glob.prefix
    if not prefix or (after is not None and after >= prefix):
        pages = keyspace.pages(after, stop=prefix_stop(prefix))
    else:
        pages = _from_prefix(keyspace, prefix)
    return _portions(pages, glob.searched) if glob.searched else pages


def _portions(
    pages: Iterator[tuple[list[bytes], list[Live]]], searched: int
) -> Iterator[tuple[list[bytes], list[Live]]]:
    """Cut the pages smaller, so that a slice with a costly pattern is no longer than others."""
    for names, entries in pages:
        longest = max(map(len, names), default=0) + 1
        size = max(1, _SLICE_STEPS // (longest * searched))
        for start in range(0, len(names), size):
            yield names[start : start + size], entries[start : start + size]


def _from_prefix(keyspace: Keyspace, prefix: bytes) -> Iterator[tuple[list[bytes], list[Live]]]:
    """The key that is the prefix itself, then those above it."""
    entry = keyspace.outline(prefix)
    pages = keyspace.pages(prefix, stop=prefix_stop(prefix))
    if entry is not None:
        yield [prefix], [entry]
    yield from pages
