"""DUMP and RESTORE: a key's value as bytes that Redis reads, and a value from such bytes.

The checksum covers every byte and takes 4 ns for each, so that of a long payload is computed in slices. A large
collection is read in slices, too, as of the beginning. RESTORE decodes and writes in one step, at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError, LimitError, PayloadError, PayloadFooterError
from flin.net.command.arguments import invalid_expiry, option_name
from flin.net.command.command import FIRST_KEY
from flin.net.command.registry import command
from flin.net.commands.keys import tag_of
from flin.net.data.rdb_values import body_pages, put, size_of
from flin.net.data.text import Text, part_of, part_pages, text_of
from flin.net.wire.numbers import INT64_MAX, parse_int64
from flin.net.wire.replies import OK, OUT_OF_MEMORY, Slices, syntax_error
from flin.objects.kinds import KINDS
from flin.objects.long_string import filled
from flin.rdb import body
from flin.rdb import dump as payloads
from flin.rdb.crc64 import CHUNK_BYTES, crc64
from flin.rdb.value import String

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "generic"

UNSLICED_BYTES: Final = 1 << 16
"""The checksum of so many bytes takes 0.3 ms."""

_BUSY: Final = "BUSYKEY Target key name already exists."
_BAD_FOOTER: Final = "ERR DUMP payload version or checksum are wrong"
_BAD_FORMAT: Final = "ERR Bad data format"
_MOST_FREQUENCY: Final = 255


@command("dump", 2, "readonly", FIRST_KEY)
def dump(context: Context, args: list[bytes]) -> Slices:
    """Returns the value of a key as bytes that RESTORE reads."""
    entry = context.keyspace.look_up(args[1])
    if entry is None:
        return None
    most_bytes = _most_bytes(context)
    kind = KINDS.get(tag_of(entry))
    if kind is None:
        text = text_of(context.keyspace, args[1], entry)
        if len(text) > most_bytes:
            raise CommandError(OUT_OF_MEMORY)
        pages = _text_pages(text)
    else:
        found = context.keyspace.objects.find(args[1], kind)
        assert found is not None
        pages = body_pages(found, most_bytes)
    return (yield from _payload(pages, most_bytes))


def _text_pages(text: Text) -> Iterator[bytes]:
    if len(text) <= UNSLICED_BYTES:
        return iter([body.encode(String(part_of(text, 0, len(text))))])
    parts = map(b"".join, filled(part_pages(text, 0, len(text)), 0, len(text)))
    return chain([body.head(body.STRING, len(text))], parts)


def _payload(pages: Iterator[bytes], most_bytes: int) -> Slices:
    """CommandError OOM if it is longer than most_bytes."""
    parts: list[bytes] = []
    size = crc = 0
    for part in chain(pages, [payloads.VERSION_BYTES]):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            raise CommandError(OUT_OF_MEMORY)
        crc = yield from _checksum(part, crc)
        if size > UNSLICED_BYTES:
            yield
    return b"".join((*parts, payloads.stored(crc)))


def _checksum(data: bytes | memoryview, crc: int = 0) -> Slices:
    """crc: that of what comes before the data."""
    if len(data) <= UNSLICED_BYTES:
        return crc64(data, crc)
    for start in range(0, len(data), CHUNK_BYTES):
        crc = crc64(data[start : start + CHUNK_BYTES], crc)
        yield
    return crc


def _most_bytes(context: Context) -> int:
    """The limit of what a command makes as a whole in memory."""
    return context.services.config.options.memory_limit // 4


# RESTORE.


@dataclass(slots=True)
class _Options:
    replace: bool = False
    is_absolute: bool = False  # ABSTTL
    has_idle_time: bool = False
    has_frequency: bool = False


@command("restore", -4, "write denyoom", FIRST_KEY, categories="dangerous")
def restore(context: Context, args: list[bytes]) -> Slices:
    """Sets a key to a value that DUMP has written, here or in Redis."""
    key, payload = args[1], args[3]
    options = _parse_options(args)
    _check_free(context, key, options)
    expires_at_ms = _expiry(context, args[2], options)
    crc = yield from _checksum(memoryview(payload)[: -payloads.CRC_BYTES])
    _put(context, key, payload, crc, options, expires_at_ms)
    return OK


def _parse_options(args: list[bytes]) -> _Options:
    """REPLACE, ABSTTL, IDLETIME seconds | FREQ number, in any order. No time or frequency of access is kept."""
    options = _Options()
    position = 4
    while position < len(args):
        name, has_more = option_name(args[position]), position + 1 < len(args)
        if name == b"REPLACE":
            options.replace = True
        elif name == b"ABSTTL":
            options.is_absolute = True
        elif name == b"IDLETIME" and has_more and not options.has_frequency:
            position += 1
            options.has_idle_time = True
            if parse_int64(args[position]) < 0:
                raise CommandError("ERR Invalid IDLETIME value, must be >= 0")
        elif name == b"FREQ" and has_more and not options.has_idle_time:
            position += 1
            options.has_frequency = True
            if not 0 <= parse_int64(args[position]) <= _MOST_FREQUENCY:
                raise CommandError(f"ERR Invalid FREQ value, must be >= 0 and <= {_MOST_FREQUENCY}")
        else:
            raise syntax_error()
        position += 1
    return options


def _check_free(context: Context, key: bytes, options: _Options) -> None:
    """Also reads the key, so that the step that replaces it does not wait for the disk."""
    if context.keyspace.exists(key) and not options.replace:
        raise CommandError(_BUSY)


def _expiry(context: Context, text: bytes, options: _Options) -> int:
    """In ms since 1970; 0: none."""
    ttl = parse_int64(text)
    if ttl < 0:
        raise CommandError("ERR Invalid TTL value, must be >= 0")
    if ttl and not options.is_absolute:
        ttl += context.now_ms
    if ttl > INT64_MAX:
        raise invalid_expiry("restore")
    return ttl


def _put(context: Context, key: bytes, payload: bytes, crc: int, options: _Options, expires_at_ms: int) -> None:
    most_bytes = _most_bytes(context)
    try:
        payloads.check(payload, crc)
        value = payloads.decode_checked(payload, most_bytes)
    except PayloadFooterError:
        raise CommandError(_BAD_FOOTER) from None
    except PayloadError:
        raise CommandError(_BAD_FORMAT) from None
    except LimitError:
        raise CommandError(OUT_OF_MEMORY) from None
    if size_of(value) > most_bytes:
        raise CommandError(OUT_OF_MEMORY)
    _check_free(context, key, options)  # others may have made it between the slices
    keyspace = context.keyspace
    replaced = keyspace.entry(key)
    if replaced is not None:
        keyspace.note_gone(replaced)
    if 0 < expires_at_ms <= keyspace.now_ms:
        if replaced is not None:
            keyspace.delete(key)
            context.notify(b"del", key)
        return
    put(keyspace, key, value, expires_at_ms)
    context.notify(b"new", key)
    context.notify(b"restore", key)
