"""Commands over the bits of strings. Bit 0 is the highest bit of the first byte, as in Redis.

Long strings are read in slices: each reply is about one moment, and BITOP stores what is of the moment when it stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY, Keys
from flin.net.command.registry import command
from flin.net.commands.bit_field import Overflow, ValueType, parse_type
from flin.net.data.long_bulk import SLICED_BYTES
from flin.net.data.text import (
    PART_BYTES,
    Text,
    part_of,
    part_pages,
    parts_of,
    shown_text,
    text_at,
    write_parts,
)
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import OUT_OF_MEMORY, ZERO, Slices, Value, syntax_error
from flin.objects.layout import CHUNK_BYTES
from flin.objects.long_string import Edit

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "bitmap"

_WRONG_OFFSET: Final = "ERR bit offset is not an integer or out of range"
_WRONG_BIT: Final = "ERR bit is not an integer or out of range"

UINT64_MAX: Final = (1 << 64) - 1

_CHUNK_BITS: Final = 8 * CHUNK_BYTES

_MAX_BITS: Final = 1 << 32
"""Offsets are below it, whatever proto-max-bulk-len is: a bit far away costs one chunk."""


def _offset(text: bytes, bits: int = 0) -> int:
    """A bit's offset; after `#` it is counted in fields of `bits` bits."""
    counted = bits > 0 and text[:1] == b"#"
    number = maybe_int64(text[1:] if counted else text)
    if number is not None and counted:
        number *= bits
    if number is None or number < 0 or number >= _MAX_BITS:
        raise CommandError(_WRONG_OFFSET)
    return number


@command("setbit", 4, "write denyoom", FIRST_KEY)
def setbit(context: Context, args: list[bytes]) -> Value:
    """Sets or clears a bit of the string at a key and returns what it was; zeros fill a gap before it."""
    offset = _offset(args[2])
    bit = maybe_int64(args[3])
    if bit not in (0, 1):
        raise CommandError(_WRONG_BIT)
    keyspace, key = context.keyspace, args[1]
    text, expires_at_ms = text_at(keyspace, key)
    position, shift = offset >> 3, 7 - (offset & 7)
    byte = b"" if text is None else part_of(text, position, position + 1)
    number = byte[0] if byte else 0
    was = number >> shift & 1
    if not byte or was != bit:
        changed = bytes((number ^ (was ^ bit) << shift,))
        write_parts(keyspace, key, text, expires_at_ms, [(position, changed)], position + 1)
        context.notify(b"setbit", key)
    return was


@command("getbit", 3, "readonly fast", FIRST_KEY)
def getbit(context: Context, args: list[bytes]) -> Value:
    """Returns a bit of the string at a key; 0 beyond its end."""
    offset = _offset(args[2])
    text = shown_text(context.keyspace, args[1])
    position = offset >> 3
    byte = b"" if text is None else part_of(text, position, position + 1)
    return byte[0] >> (7 - (offset & 7)) & 1 if byte else 0


@command("bitcount", -2, "readonly", FIRST_KEY)
def bitcount(context: Context, args: list[bytes]) -> Value:
    """Counts the bits that are set in the string at a key, or in a part of it that is given in bytes or bits."""
    text = shown_text(context.keyspace, args[1])
    if text is None:
        return ZERO
    if len(args) == 2:
        return _count(text, 0, 8 * len(text) - 1)
    if len(args) not in (4, 5):
        raise syntax_error()
    start, stop = parse_int64(args[2]), parse_int64(args[3])
    if start < 0 and stop < 0 and start > stop:
        return ZERO
    unit = _unit(args[4]) if len(args) == 5 else 8
    first, last = _bounds(start, stop, len(text), unit)
    return _count(text, first, last)


def _unit(text: bytes) -> int:
    """How many bits BYTE or BIT mean."""
    lowered = text.lower()
    if lowered not in (b"byte", b"bit"):
        raise syntax_error()
    return 8 if lowered == b"byte" else 1


def _bounds(start: int, stop: int, length: int, unit: int) -> tuple[int, int]:
    """The first and the last bit of a range that may count from the end; the last is below the first if the range is
    empty."""
    total = length * 8 // unit
    first = max(0, start + total) if start < 0 else start
    last = min(total - 1, max(0, stop + total) if stop < 0 else stop)
    return (first * unit, (last + 1) * unit - 1) if first <= last else (0, -1)


def _count(text: Text, first: int, last: int) -> Value:
    if first > last:
        return 0
    begin, end = first >> 3, (last >> 3) + 1
    if type(text) is bytes and not first and last + 1 == 8 * len(text) <= 8 * PART_BYTES:
        return int.from_bytes(text).bit_count()
    head, tail = part_of(text, begin, begin + 1)[0], part_of(text, end - 1, end)[0]
    outside = (head >> (8 - (first & 7))).bit_count() + (tail & (0x7F >> (last & 7))).bit_count()
    if end - begin > SLICED_BYTES:
        return _count_in_slices(part_pages(text, begin, end), -outside)
    return _bits_of(parts_of(text, begin, end)) - outside


def _count_in_slices(pages: Iterator[Iterable[Edit]], count: int) -> Slices:
    for parts in pages:
        count += _bits_of(parts)
        yield
    return count


def _bits_of(parts: Iterable[Edit]) -> int:
    return sum(int.from_bytes(part).bit_count() for _, part in parts)


@command("bitpos", -3, "readonly", FIRST_KEY)
def bitpos(context: Context, args: list[bytes]) -> Value:
    """Finds the first bit that is set, or clear, in the string at a key or in a part of it."""
    bit = parse_int64(args[2])
    if bit not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    text = shown_text(context.keyspace, args[1])
    if text is None:
        return -1 if bit else 0
    if len(args) > 6:
        raise syntax_error()
    start = parse_int64(args[3]) if len(args) > 3 else 0
    unit = _unit(args[5]) if len(args) == 6 else 8
    stop = parse_int64(args[4]) if len(args) > 4 else len(text) - 1
    first, last = _bounds(start, stop, len(text), unit)
    if first > last:
        return -1
    # Without an end the string is taken to go on with zeros forever.
    search = _Search(bit, first, last, len(text) * 8 if not bit and len(args) < 5 else -1)
    begin, end = first >> 3, (last >> 3) + 1
    if end - begin > SLICED_BYTES:
        return _search_in_slices(search, part_pages(text, begin, end))
    search.go_on(parts_of(text, begin, end))
    return search.result()


def _search_in_slices(search: _Search, pages: Iterator[Iterable[Edit]]) -> Slices:
    for parts in pages:
        if search.go_on(parts):
            break
        yield
    return search.result()


class _Search:
    """For the first bit from one to another that is set, or clear; beyond: what there is if none of them is."""

    def __init__(self, bit: int, first: int, last: int, beyond: int) -> None:
        self._bit = bit
        self._first = first
        self._last = last
        self._beyond = beyond
        self._begin = self._at = first >> 3  # below the byte `_at` there is no such bit
        self._found: int | None = None

    def go_on(self, parts: Iterable[Edit]) -> bool:
        """Look into these, which are next; whether that is the end."""
        bit = self._bit
        for start, part in parts:
            if start > self._at and not bit:  # zeros that are left out
                return True
            if start == self._begin and self._first & 7:
                outside = 0xFF00 >> (self._first & 7) & 0xFF
                part = bytes((part[0] & ~outside if bit else part[0] | outside,)) + part[1:]
            rest = part.lstrip(b"\x00" if bit else b"\xff")
            self._at = start + len(part) - len(rest)
            if rest:
                self._found = self._at * 8 + 8 - (rest[0] ^ (0 if bit else 0xFF)).bit_length()
                return True
        return False

    def result(self) -> int:
        found = self._found
        if found is None and not self._bit:
            found = max(self._first, self._at * 8)  # zeros that are left out, or the end
        return self._beyond if found is None or found > self._last else found


@command("bitop", -4, "write denyoom", Keys(2, -1, 1))
def bitop(context: Context, args: list[bytes]) -> Value:
    """Joins strings bit by bit (AND, OR, XOR, NOT) into the string at a key; returns its length in bytes."""
    keyspace, name, destination = context.keyspace, args[1].lower(), args[2]
    if name not in (b"and", b"or", b"xor", b"not"):
        raise syntax_error()
    if name == b"not" and len(args) != 4:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")
    texts = _sources(context, args)
    if max(map(len, texts)) * len(texts) > SLICED_BYTES and not keyspace.is_in_transaction:
        return _join_in_slices(context, args, texts)
    return _put_joined(context, destination, _joined(name, texts))


def _sources(context: Context, args: list[bytes]) -> list[Text]:
    """CommandError OOM if what they give is too long."""
    texts = [shown_text(context.keyspace, key) or b"" for key in args[3:]]
    if max(map(len, texts)) > context.services.config.options.memory_limit // 4:
        raise CommandError(OUT_OF_MEMORY)
    return texts


def _join_in_slices(context: Context, args: list[bytes], texts: list[Text]) -> Slices:
    """If others write to a source meanwhile, once more in one step: what is stored is of the moment when it is."""
    keyspace, name = context.keyspace, args[1].lower()
    with keyspace.journal(commits=True) as journal:
        parts, found = _joined(name, texts), []
        while True:
            with keyspace.waiting():
                part = next(parts, None)
            if part is None:
                break
            found.append(part)
            yield
        if keyspace.changed(journal, args[3:]):
            with keyspace.waiting():
                found = list(_joined(name, _sources(context, args)))
    return _put_joined(context, args[2], found)


def _put_joined(context: Context, destination: bytes, parts: Iterable[bytes]) -> int:
    keyspace, joined = context.keyspace, b"".join(parts)
    if joined:
        keyspace.put(destination, joined)
        context.notify(b"set", destination)
    elif keyspace.exists(destination):
        keyspace.delete(destination)
        context.notify(b"del", destination)
    return len(joined)


_JOINED_BYTES: Final = 1 << 18
"""What is joined in one slice: 4 ms for each source."""


def _joined(name: bytes, texts: list[Text]) -> Iterator[bytes]:
    length = max(map(len, texts))
    for start in range(0, length, _JOINED_BYTES):
        size = min(_JOINED_BYTES, length - start)
        yield _joined_chunk(name, [part_of(text, start, start + size).ljust(size, b"\0") for text in texts], size)


def _joined_chunk(name: bytes, chunks: list[bytes], size: int) -> bytes:
    number = int.from_bytes(chunks[0])
    if name == b"not":
        number ^= (1 << 8 * size) - 1
    for chunk in chunks[1:]:
        other = int.from_bytes(chunk)
        number = number & other if name == b"and" else number | other if name == b"or" else number ^ other
    return number.to_bytes(size)


# BITFIELD: see bit_field.py for the arithmetic.


class _Step:
    """One operation of a BITFIELD."""

    __slots__ = ("name", "number", "offset", "overflow", "type")

    def __init__(self, name: bytes, type_: ValueType, offset: int, number: int, overflow: Overflow) -> None:
        self.name = name
        self.type = type_
        self.offset = offset
        self.number = number
        self.overflow = overflow


_WORDS_BEHIND: Final = {b"get": 2, b"set": 3, b"incrby": 3}
_OVERFLOWS: Final = {b"wrap": Overflow.WRAP, b"sat": Overflow.SAT, b"fail": Overflow.FAIL}


@command("bitfield", -2, "write denyoom", FIRST_KEY)
def bitfield(context: Context, args: list[bytes]) -> Value:
    """Reads, sets and adds to integers of any width and place in the string at a key."""
    steps = _steps(args)
    if all(step.name == b"get" for step in steps):
        return _read_fields(context.keyspace, args[1], steps)
    keyspace, key = context.keyspace, args[1]
    text, expires_at_ms = text_at(keyspace, key)
    window = _Window(text or b"", steps)
    before = bytes(window.fields)
    replies = [window.run(step) for step in steps]
    ends = [step.offset + step.type.bits for step in steps if step.name != b"get"]
    length = max(0 if text is None else len(text), (max(ends) + 7) >> 3)
    if text is None or length > len(text) or window.fields != before:
        write_parts(keyspace, key, text, expires_at_ms, window.edits(before, length), length)
        if any(reply is not None for step, reply in zip(steps, replies, strict=True) if step.name != b"get"):
            context.notify(b"setbit", key)
    return replies


@command("bitfield_ro", -2, "readonly fast", FIRST_KEY)
def bitfield_ro(context: Context, args: list[bytes]) -> Value:
    """BITFIELD with GET alone."""
    steps = _steps(args)
    if any(step.name != b"get" for step in steps):
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return _read_fields(context.keyspace, args[1], steps)


def _steps(args: list[bytes]) -> list[_Step]:
    """The operations, each with the OVERFLOW that stands before it."""
    steps: list[_Step] = []
    overflow = Overflow.WRAP
    position = 2
    while position < len(args):
        name = args[position].lower()
        remaining = len(args) - position - 1
        if name == b"overflow" and remaining:
            chosen = _OVERFLOWS.get(args[position + 1].lower())
            if chosen is None:
                raise CommandError("ERR Invalid OVERFLOW type specified")
            overflow = chosen
            position += 2
            continue
        words = _WORDS_BEHIND.get(name)
        if words is None or remaining < words:
            raise syntax_error()
        type_ = parse_type(args[position + 1])
        offset = _offset(args[position + 2], type_.bits)
        number = parse_int64(args[position + 3]) if words == 3 else 0
        steps.append(_Step(name, type_, offset, number, overflow))
        position += 1 + words
    return steps


def _read_fields(keyspace: Keyspace, key: bytes, steps: list[_Step]) -> Value:
    window = _Window(shown_text(keyspace, key) or b"", steps)
    return [window.run(step) for step in steps]


class _Window:
    """Those chunks of a string that the steps touch, one behind the other. A field that goes over the end of a chunk
    finds the next one behind it. So the string between two fields, 512 MiB perhaps, is left alone."""

    def __init__(self, text: Text, steps: list[_Step]) -> None:
        touched: set[int] = set()
        for step in steps:
            touched.update((step.offset // _CHUNK_BITS, (step.offset + step.type.bits - 1) // _CHUNK_BITS))
        self._numbers = sorted(touched)
        self._places = {number: place * _CHUNK_BITS for place, number in enumerate(self._numbers)}
        starts = [number * CHUNK_BYTES for number in self._numbers]
        chunks = [part_of(text, start, start + CHUNK_BYTES).ljust(CHUNK_BYTES, b"\0") for start in starts]
        self.fields = bytearray().join(chunks)

    def edits(self, before: bytes, length: int) -> list[Edit]:
        """The chunks that the steps have changed, in a string of this length."""
        edits = []
        for place, number in enumerate(self._numbers):
            chunk = slice(place * CHUNK_BYTES, (place + 1) * CHUNK_BYTES)
            if self.fields[chunk] != before[chunk]:
                start = number * CHUNK_BYTES
                edits.append((start, bytes(self.fields[chunk][: length - start])))
        return edits

    def run(self, step: _Step) -> int | None:
        """Returns the step's answer; None where OVERFLOW FAIL leaves the field as it is."""
        number, rest = divmod(step.offset, _CHUNK_BITS)
        offset = self._places[number] + rest
        old = step.type.read(self.fields, offset)
        if step.name == b"get":
            return old
        if step.name == b"incrby":
            wanted = old + step.number
        else:  # Redis takes a negative number for an unsigned field as 64 bits without a sign
            wanted = step.number if step.type.is_signed else step.number & UINT64_MAX
        new = step.type.fit(wanted, step.overflow, is_sum=step.name == b"incrby")
        if new is None:
            return None
        step.type.write(self.fields, offset, new)
        return old if step.name == b"set" else new
