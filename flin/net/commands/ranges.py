"""FLIN.RANGE and FLIN.DELRANGE: keys in order, from one to another, which Redis has no command for.

A range begins with a key (inclusive) and ends before another; an empty key is no bound. FLIN.RANGE gives a page: the
state of one moment, read in slices. Its cursor is a key, so the server keeps nothing between two pages, however long
a client takes. The values of collections are null: their own commands read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flin.engine.entry import Live
from flin.errors import CommandError
from flin.net.command.arguments import option_name
from flin.net.command.key_specs import READS, WRITES
from flin.net.command.registry import command
from flin.net.data.long_bulk import SLICED_BYTES, bulk_in_slices
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Reply, Slices, Value, syntax_error
from flin.objects.layout import LONG_STRING
from flin.objects.long_string import LongString

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "flin"

DEFAULT_LIMIT: Final = 1000

PAGE_BYTES: Final = 1 << 20
"""A page ends with the element that makes it this long: so it is sent in one turn, and held by few clients at once."""

NO_RANGE: Final = "NOPERM this user has no permissions to access all keys of the range used as arguments"


@dataclass(slots=True)
class _Page:
    """The arguments, and what was found."""

    start: bytes
    stop: bytes
    is_reverse: bool = False
    shows_values: bool = True
    left: int = DEFAULT_LIMIT
    size_bytes: int = 0
    found: list[Value] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return self.left == 0 or self.size_bytes >= PAGE_BYTES

    def reply(self, last: bytes | None) -> Value:
        """last: of the page, if keys may come after it."""
        return [None if last is None else last if self.is_reverse else last + b"\0", self.found]

    def add(self, key: bytes, value: Value) -> None:
        self.left -= 1
        self.size_bytes += len(key)
        self.found.append(key)
        if self.shows_values:
            self.found.append(value)
            self.size_bytes += len(value.data if type(value) is Reply else value or b"")

    def at(self, key: bytes) -> list[bytes]:
        """The request that begins with this key."""
        bounds = [self.start, key + b"\0", b"REV"] if self.is_reverse else [key, self.stop]
        return [b"flin.range", *bounds, b"LIMIT", b"%d" % self.left]


@command("flin.range", -3, "readonly", categories="keyspace")
def flin_range(context: Context, args: list[bytes]) -> Slices:
    """Returns a page of keys with their values, in order, and the key to go on with."""
    page = _parse(args)
    check_range(context, page.start, page.stop, READS)
    keyspace = context.keyspace
    last: bytes | None = None
    has_paused = False
    pages = keyspace.range_pages(page.start, page.stop, reverse=page.is_reverse, values=page.shows_values)
    for names, entries in pages:
        for key, entry in zip(names, entries, strict=True):
            if page.is_full:
                return page.reply(last)
            value: Value = None
            if page.shows_values:
                if has_paused and type(entry) is tuple and entry[2] == LONG_STRING:
                    # Its chunks are those of now, not of the page's moment.
                    return page.reply(last) if last is not None else (yield from flin_range(context, page.at(key)))
                value = yield from _value_of(context, key, entry)
            page.add(key, value)
            last = key
        yield
        has_paused = True
    return page.reply(None)


def _value_of(context: Context, key: bytes, entry: Live) -> Slices:
    """What is shown of an entry."""
    if type(entry) is not tuple:
        return entry
    value, _, tag = entry
    if not tag:
        return value
    if tag != LONG_STRING:
        return None
    text = context.keyspace.objects.find(key, LongString)
    assert text is not None
    return (yield from bulk_in_slices(text, 0, len(text))) if len(text) > SLICED_BYTES else text.whole()


@command("flin.delrange", 3, "write", categories="keyspace dangerous")
def flin_delrange(context: Context, args: list[bytes]) -> Value:
    """Deletes all keys of a range, however many, by one range delete."""
    check_range(context, args[1], args[2], WRITES)
    context.keyspace.delete_range(args[1], args[2])
    return OK


def check_range(context: Context, start: bytes, stop: bytes, wanted: int) -> None:
    """CommandError NOPERM unless the user may do this with every key of the range."""
    user = context.session.user
    if not (user.is_unrestricted or user.allows_range(start, stop, wanted)):
        raise CommandError(NO_RANGE)


def _parse(args: list[bytes]) -> _Page:
    page = _Page(args[1], args[2])
    words = iter(args[3:])
    for word in words:
        name = option_name(word)
        if name == b"REV":
            page.is_reverse = True
        elif name == b"KEYS":
            page.shows_values = False
        elif name == b"LIMIT" and (number := next(words, None)) is not None:
            page.left = parse_int64(number)
            if page.left < 1:
                raise CommandError("ERR LIMIT must be greater than 0")
        else:
            raise syntax_error()
    return page
