"""The string at a key for commands that read or change a part of it, whatever form it has (objects/long_string.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from flin.engine.entry import Live, make_entry
from flin.errors import CommandError
from flin.net.wire.replies import WRONG_TYPE
from flin.objects.layout import LONG_STRING
from flin.objects.long_string import Edit, LongString

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace

Text: TypeAlias = bytes | LongString

MAX_PLAIN_BYTES: Final = 1024
"""Up to this length a changed string is put as it is: to copy it costs less than an object."""

PART_BYTES: Final = 1 << 20
"""Long strings become numbers a piece at a time, so that the copies of a piece stay small."""


def string_at(keyspace: Keyspace, key: bytes) -> tuple[bytes | None, int]:
    """The string at the key (None: absent) and when it expires in ms (0: never). WRONGTYPE for another type; LimitError
    if it is put together and longer than a reply may be."""
    entry = keyspace.entry(key)
    if entry is None or isinstance(entry, bytes):
        return entry, 0
    value, expires_at_ms, tag = entry
    return keyspace.put_together(key, tag) if tag else value, expires_at_ms


def string_or_none(keyspace: Keyspace, key: bytes, entry: Live | None) -> bytes | None:
    """The string of the key's entry; None for another type. LimitError as `string_at`."""
    if entry is None or isinstance(entry, bytes):
        return entry
    assert type(entry) is tuple
    value, _, tag = entry
    if tag == LONG_STRING:
        return keyspace.put_together(key, tag)
    return None if tag else value


def text_at(keyspace: Keyspace, key: bytes) -> tuple[Text | None, int]:
    """The string at the key (None: absent) and when it expires in ms (0: never). WRONGTYPE for another type."""
    if keyspace.live:
        live = keyspace.live.get(key)
        if type(live) is LongString and not live.expires_at_ms:
            return live, 0
    entry = keyspace.entry(key)
    if entry is None or type(entry) is bytes:
        return entry, 0
    assert type(entry) is tuple
    return text_of(keyspace, key, entry), entry[1]


def shown_text(keyspace: Keyspace, key: bytes) -> Text | None:
    """`text_at` for a command that shows it: counted as `look_up` does."""
    entry = keyspace.look_up(key)
    return None if entry is None else text_of(keyspace, key, entry)


def text_of(keyspace: Keyspace, key: bytes, entry: Live) -> Text:
    """The string of the key's entry. WRONGTYPE for another type."""
    if type(entry) is bytes:
        return entry
    assert type(entry) is tuple
    value, _, tag = entry
    if not tag:
        return value
    if tag != LONG_STRING:
        raise CommandError(WRONG_TYPE)
    found = keyspace.objects.find(key, LongString)
    assert found is not None
    return found


def part_of(text: Text, begin: int, end: int) -> bytes:
    """The bytes from one to below another, as far as there are any."""
    if type(text) is bytes:
        return text[begin:end]
    assert type(text) is LongString
    end = min(end, len(text))
    return text.between(begin, end) if begin < end else b""


def parts_of(text: Text, begin: int, end: int) -> Iterator[Edit]:
    """What is there from a byte to below another, which is not beyond the end; zeros in between may be left out."""
    if type(text) is LongString:
        return text.parts(begin, end)
    assert type(text) is bytes
    return ((start, text[start : min(end, start + PART_BYTES)]) for start in range(begin, end, PART_BYTES))


def part_pages(text: Text, begin: int, end: int) -> Iterator[Iterable[Edit]]:
    """`parts_of` as of this call, some at a time; other commands may run between two pages."""
    if type(text) is LongString:
        return text.part_pages(begin, end)
    return ([part] for part in parts_of(text, begin, end))


def write_parts(
    keyspace: Keyspace, key: bytes, text: Text | None, expires_at_ms: int, edits: Sequence[Edit], length: int
) -> int:
    """Overwrite parts of the string that `text_at` has found; it has at least this length then, which no edit goes
    beyond. Returns its length."""
    if type(text) is not LongString:
        value = text or b""
        assert type(value) is bytes
        if len(value) > length:
            length = len(value)
        if length <= MAX_PLAIN_BYTES:
            for offset, part in edits:
                value = value[:offset].ljust(offset, b"\0") + part + value[offset + len(part) :]
            keyspace.put(key, make_entry(value.ljust(length, b"\0"), expires_at_ms))
            return length
        text = LongString(keyspace.objects, key, value, expires_at_ms)
    text.write(edits, length)
    return len(text)
