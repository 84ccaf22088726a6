"""Commands over the bits of strings. Bit 0 is the highest bit of the first byte, as in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from flin.engine.entry import make_entry
from flin.errors import CommandError
from flin.net.command.command import FIRST_KEY, Keys
from flin.net.command.registry import command
from flin.net.commands.bit_field import Overflow, ValueType, parse_type
from flin.net.commands.strings import string_at
from flin.net.wire.numbers import maybe_int64, parse_int64
from flin.net.wire.replies import ZERO, Value, syntax_error

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

GROUP: Final = "bitmap"

_WRONG_OFFSET: Final = "ERR bit offset is not an integer or out of range"
_WRONG_BIT: Final = "ERR bit is not an integer or out of range"

UINT64_MAX: Final = (1 << 64) - 1

CHUNK_BYTES: Final = 1 << 20
"""Long strings become numbers a piece at a time, so that the copies of a piece stay small."""


def _offset(context: Context, text: bytes, bits: int = 0) -> int:
    """A bit's offset; after `#` it is counted in fields of `bits` bits."""
    counted = bits > 0 and text[:1] == b"#"
    number = maybe_int64(text[1:] if counted else text)
    if number is not None and counted:
        number *= bits
    if number is None or number < 0 or number >> 3 >= context.services.config.longest_bulk_bytes:
        raise CommandError(_WRONG_OFFSET)
    return number


@command("setbit", 4, "write denyoom", FIRST_KEY)
def setbit(context: Context, args: list[bytes]) -> Value:
    """Sets or clears a bit of the string at a key and returns what it was; zeros fill a gap before it."""
    offset = _offset(context, args[2])
    bit = maybe_int64(args[3])
    if bit not in (0, 1):
        raise CommandError(_WRONG_BIT)
    value, expires_at_ms = string_at(context.keyspace, args[1])
    position, mask = offset >> 3, 0x80 >> (offset & 7)
    byte = value[position] if value is not None and position < len(value) else None
    was = 1 if byte is not None and byte & mask else 0
    if byte is None or was != bit:
        changed = bytearray(value or b"")
        changed.extend(bytes(max(0, position + 1 - len(changed))))
        changed[position] ^= mask if was != bit else 0
        context.keyspace.put(args[1], make_entry(bytes(changed), expires_at_ms))
    return was


@command("getbit", 3, "readonly fast", FIRST_KEY)
def getbit(context: Context, args: list[bytes]) -> Value:
    """Returns a bit of the string at a key; 0 beyond its end."""
    offset = _offset(context, args[2])
    value = context.keyspace.value(args[1]) or b""
    position = offset >> 3
    return value[position] >> (7 - (offset & 7)) & 1 if position < len(value) else 0


@command("bitcount", -2, "readonly", FIRST_KEY)
def bitcount(context: Context, args: list[bytes]) -> Value:
    """Counts the bits that are set in the string at a key, or in a part of it that is given in bytes or bits."""
    value = context.keyspace.value(args[1])
    if value is None:
        return ZERO
    if len(args) == 2:
        return _count(value, 0, 8 * len(value) - 1)
    if len(args) not in (4, 5):
        raise syntax_error()
    start, stop = parse_int64(args[2]), parse_int64(args[3])
    if start < 0 and stop < 0 and start > stop:
        return ZERO
    unit = _unit(args[4]) if len(args) == 5 else 8
    first, last = _bounds(start, stop, len(value), unit)
    return _count(value, first, last)


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


def _count(value: bytes, first: int, last: int) -> int:
    if first > last:
        return 0
    begin, end = first >> 3, (last >> 3) + 1
    outside = (value[begin] >> (8 - (first & 7))).bit_count() + (value[end - 1] & (0x7F >> (last & 7))).bit_count()
    return sum(int.from_bytes(chunk).bit_count() for chunk in _chunks(value, begin, end)) - outside


def _chunks(value: bytes, begin: int, end: int) -> Iterator[bytes]:
    for start in range(begin, end, CHUNK_BYTES):
        yield value[start : min(end, start + CHUNK_BYTES)]


@command("bitpos", -3, "readonly", FIRST_KEY)
def bitpos(context: Context, args: list[bytes]) -> Value:
    """Finds the first bit that is set, or clear, in the string at a key or in a part of it."""
    bit = parse_int64(args[2])
    if bit not in (0, 1):
        raise CommandError("ERR The bit argument must be 1 or 0.")
    value = context.keyspace.value(args[1])
    if value is None:
        return -1 if bit else 0
    if len(args) > 6:
        raise syntax_error()
    start = parse_int64(args[3]) if len(args) > 3 else 0
    unit = _unit(args[5]) if len(args) == 6 else 8
    stop = parse_int64(args[4]) if len(args) > 4 else len(value) - 1
    first, last = _bounds(start, stop, len(value), unit)
    if first > last:
        return -1
    found = _find(value, bit, first, last)
    # Without an end the string is taken to go on with zeros forever.
    return len(value) * 8 if found < 0 and not bit and len(args) < 5 else found


def _find(value: bytes, bit: int, first: int, last: int) -> int:
    """The first such bit from `first` to `last`; -1: there is none."""
    begin, end = first >> 3, (last >> 3) + 1
    edge = value[begin] ^ (0 if bit else 0xFF)
    edge &= 0xFF >> (first & 7)
    position = begin
    if not edge:
        rest = value[begin + 1 : end].lstrip(b"\x00" if bit else b"\xff")
        if not rest:
            return -1
        position = end - len(rest)
        edge = value[position] ^ (0 if bit else 0xFF)
    found = position * 8 + 8 - edge.bit_length()
    return found if found <= last else -1


@command("bitop", -4, "write denyoom", Keys(2, -1, 1))
def bitop(context: Context, args: list[bytes]) -> Value:
    """Joins strings bit by bit (AND, OR, XOR, NOT) into the string at a key; returns its length in bytes."""
    keyspace, name, destination = context.keyspace, args[1].lower(), args[2]
    if name not in (b"and", b"or", b"xor", b"not"):
        raise syntax_error()
    if name == b"not" and len(args) != 4:
        raise CommandError("ERR BITOP NOT must be called with a single source key.")
    values = [keyspace.value(key) or b"" for key in args[3:]]
    length = max(map(len, values))
    if length:
        keyspace.put(destination, _joined(name, values, length))
    elif keyspace.exists(destination):
        keyspace.delete(destination)
    return length


def _joined(name: bytes, values: list[bytes], length: int) -> bytes:
    return b"".join(
        _joined_chunk(name, [value[start : start + size].ljust(size, b"\0") for value in values], size)
        for start in range(0, length, CHUNK_BYTES)
        for size in [min(CHUNK_BYTES, length - start)]
    )


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
    steps = _steps(context, args)
    if all(step.name == b"get" for step in steps):
        return _read_fields(context.keyspace, args[1], steps)
    value, expires_at_ms = string_at(context.keyspace, args[1])
    ends = [step.offset + step.type.bits for step in steps if step.name != b"get"]
    longest = max(len(value or b""), (max(ends) + 7) >> 3)
    fields = bytearray((value or b"").ljust(longest, b"\0"))
    replies = [_run_step(fields, step) for step in steps]
    if value is None or fields != bytearray(value):
        context.keyspace.put(args[1], make_entry(bytes(fields), expires_at_ms))
    return replies


@command("bitfield_ro", -2, "readonly fast", FIRST_KEY)
def bitfield_ro(context: Context, args: list[bytes]) -> Value:
    """BITFIELD with GET alone."""
    steps = _steps(context, args)
    if any(step.name != b"get" for step in steps):
        raise CommandError("ERR BITFIELD_RO only supports the GET subcommand")
    return _read_fields(context.keyspace, args[1], steps)


def _steps(context: Context, args: list[bytes]) -> list[_Step]:
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
        offset = _offset(context, args[position + 2], type_.bits)
        number = parse_int64(args[position + 3]) if words == 3 else 0
        steps.append(_Step(name, type_, offset, number, overflow))
        position += 1 + words
    return steps


def _read_fields(keyspace: Keyspace, key: bytes, steps: list[_Step]) -> Value:
    value = keyspace.value(key) or b""
    return [step.type.read(value, step.offset) for step in steps]


def _run_step(fields: bytearray, step: _Step) -> int | None:
    """Returns the step's answer; None where OVERFLOW FAIL leaves the field as it is."""
    old = step.type.read(fields, step.offset)
    if step.name == b"get":
        return old
    if step.name == b"incrby":
        wanted = old + step.number
    else:  # Redis takes a negative number for an unsigned field as 64 bits without a sign
        wanted = step.number if step.type.is_signed else step.number & UINT64_MAX
    new = step.type.fit(wanted, step.overflow, is_sum=step.name == b"incrby")
    if new is None:
        return None
    step.type.write(fields, step.offset, new)
    return old if step.name == b"set" else new
