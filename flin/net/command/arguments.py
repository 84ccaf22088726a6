"""What commands share in reading their arguments: counts, expiry times, timeouts, the options of SET, GETEX and EXPIRE.

Options are read in one pass, each checked against those before it, as Redis does: `EX 10 EX 20` is fine and means 20,
`EX 10 PX 20` is a syntax error. Times are checked after the syntax.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flin.errors import CommandError
from flin.net.command.command import Keys
from flin.net.wire.long_double import thousandfold
from flin.net.wire.numbers import INT64_MAX, INT64_MIN, maybe_int64, parse_int64
from flin.net.wire.replies import NOT_AN_INTEGER, shown, syntax_error

_INT32_MIN: Final = -(1 << 31)
_INT32_MAX: Final = (1 << 31) - 1
_MS_PER_SECOND: Final = 1000


def parse_int32(text: bytes, error: str | None = None) -> int:
    """A 32-bit integer argument; larger ones get an error of their own in Redis, unless the command has one for all."""
    number = parse_int64(text, error or NOT_AN_INTEGER)
    if not _INT32_MIN <= number <= _INT32_MAX:
        raise CommandError(error or f"ERR value is out of range, value must between {_INT32_MIN} and {_INT32_MAX}")
    return number


def option_name(argument: bytes) -> bytes:
    """An option in the form that the tables below use."""
    return argument.upper()


# Numbers of elements and of keys.


def parse_count(text: bytes) -> int:
    """How many elements a pop takes: zero or more."""
    count = maybe_int64(text)
    if count is None or count < 0:
        raise CommandError("ERR value is out of range, must be positive")
    return count


def parse_number_of_keys(text: bytes) -> int:
    number = maybe_int64(text)
    if number is None or number < 1:
        raise CommandError("ERR numkeys should be greater than 0")
    return number


def keys_after_number(at: int, *, is_stored: bool = False) -> Keys:
    """The keys behind their number, which stands there; is_stored: the first argument is a key, too."""

    def find(arguments: list[bytes]) -> list[int]:
        number = maybe_int64(arguments[at])
        if number is None or not 0 < number < len(arguments) - at:
            return []
        return [*range(1, 1 + is_stored), *range(at + 1, at + 1 + number)]

    return Keys(1, 1, 1, find) if is_stored else Keys(find=find)


def parse_limit(text: bytes) -> int:
    """The number after LIMIT of SINTERCARD and ZINTERCARD; 0: none."""
    limit = maybe_int64(text)
    if limit is None or limit < 0:
        raise CommandError("ERR LIMIT can't be negative")
    return limit


def pop_arguments(arguments: list[bytes], start: int, ends: Mapping[bytes, bool]) -> tuple[list[bytes], bool, int]:
    """What LMPOP, ZMPOP and their kin are given: the keys, which end (as `ends` has it), and COUNT. start: where the
    number of keys stands."""
    where = start + 1 + parse_number_of_keys(arguments[start])
    if where >= len(arguments) or option_name(arguments[where]) not in ends:
        raise syntax_error()
    words = arguments[where + 1 :]
    if words and (len(words) < 2 or option_name(words[0]) != b"COUNT"):
        raise syntax_error()
    count = maybe_int64(words[1]) if words else 1
    if count is None or count < 1:
        raise CommandError("ERR count should be greater than 0")
    if len(words) > 2:
        raise syntax_error()
    return arguments[start + 1 : where], ends[option_name(arguments[where])], count


# Expiry times.


@dataclass(frozen=True, slots=True)
class ExpiryUnit:
    """How an expiry time is given: in seconds or milliseconds, from now on or since 1970."""

    ms: int
    absolute: bool


EX: Final = ExpiryUnit(_MS_PER_SECOND, absolute=False)
PX: Final = ExpiryUnit(1, absolute=False)
EXAT: Final = ExpiryUnit(_MS_PER_SECOND, absolute=True)
PXAT: Final = ExpiryUnit(1, absolute=True)
_UNITS: Final = {b"EX": EX, b"PX": PX, b"EXAT": EXAT, b"PXAT": PXAT}


def invalid_expiry(command: str) -> CommandError:
    return CommandError(f"ERR invalid expire time in '{command}' command")


def positive_expiry(text: bytes, unit: ExpiryUnit, now_ms: int, command: str) -> int:
    """The absolute time in ms that SET, SETEX, PSETEX and GETEX mean: it must be above zero and fit 64 bits."""
    number = parse_int64(text)
    expires_at_ms = number * unit.ms + (0 if unit.absolute else now_ms)
    if number <= 0 or expires_at_ms > INT64_MAX:
        raise invalid_expiry(command)
    return expires_at_ms


def any_expiry(text: bytes, unit: ExpiryUnit, now_ms: int, command: str) -> int:
    """The absolute time in ms that EXPIRE and its kin mean: it may lie in the past, but must fit 64 bits."""
    number = parse_int64(text)
    ms = number * unit.ms
    expires_at_ms = ms + (0 if unit.absolute else now_ms)
    if not INT64_MIN <= ms <= INT64_MAX or expires_at_ms > INT64_MAX:
        raise invalid_expiry(command)
    return expires_at_ms


# Timeouts of blocking commands.


def timeout_seconds(text: bytes) -> float:
    """How long BLPOP and its kin wait, in seconds, rounded up to a millisecond; 0: for ever."""
    ms = thousandfold(text)
    if ms is None:
        raise CommandError("ERR timeout is not a float or out of range")
    # What exceeds 64 bits has turned negative before Redis looks at it.
    return _not_negative(math.ceil(ms) if abs(ms) <= INT64_MAX else -1)


def timeout_seconds_of_ms(text: bytes) -> float:
    """How long XREAD and XREADGROUP wait, in seconds; 0: for ever. They get milliseconds."""
    return _not_negative(parse_int64(text, "ERR timeout is not an integer or out of range"))


def _not_negative(ms: int) -> float:
    if ms < 0:
        raise CommandError("ERR timeout is negative")
    return ms / _MS_PER_SECOND


# Options of SET and GETEX.


@dataclass(slots=True)
class StringOptions:
    """The options after SET's value or GETEX's key."""

    if_absent: bool = False
    if_present: bool = False
    get: bool = False
    keep_ttl: bool = False
    persist: bool = False
    expiry: bytes | None = None
    """The time as given: Redis checks it after the syntax, in GETEX even after the key."""
    unit: ExpiryUnit = EX


def set_options(arguments: list[bytes], start: int) -> StringOptions:
    """NX | XX, GET, KEEPTTL | EX | PX | EXAT | PXAT, in any order."""
    options = StringOptions()
    position = start
    while position < len(arguments):
        name = option_name(arguments[position])
        if name == b"NX" and not options.if_present:
            options.if_absent = True
        elif name == b"XX" and not options.if_absent:
            options.if_present = True
        elif name == b"GET":
            options.get = True
        elif name == b"KEEPTTL" and options.expiry is None:
            options.keep_ttl = True
        elif not options.keep_ttl and _take_expiry(options, name, arguments, position):
            position += 1
        else:
            raise syntax_error()
        position += 1
    return options


def getex_options(arguments: list[bytes], start: int) -> StringOptions:
    """PERSIST | EX | PX | EXAT | PXAT."""
    options = StringOptions()
    position = start
    while position < len(arguments):
        name = option_name(arguments[position])
        if name == b"PERSIST" and options.expiry is None:
            options.persist = True
        elif not options.persist and _take_expiry(options, name, arguments, position):
            position += 1
        else:
            raise syntax_error()
        position += 1
    return options


def _take_expiry(options: StringOptions, name: bytes, arguments: list[bytes], position: int) -> bool:
    """Whether an expiry option with its time stands at the position and is compatible: the same unit again replaces the
    time."""
    unit = _UNITS.get(name)
    if unit is None or position + 1 >= len(arguments) or (options.expiry is not None and options.unit is not unit):
        return False
    options.unit, options.expiry = unit, arguments[position + 1]
    return True


# Options of EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT.


@dataclass(slots=True)
class ExpireOptions:
    if_without: bool = False  # NX
    if_with: bool = False  # XX
    if_later: bool = False  # GT
    if_earlier: bool = False  # LT

    def allow(self, current_ms: int, new_ms: int) -> bool:
        """Whether the new time may replace the current one (0: none, which counts as never)."""
        if (self.if_without and current_ms) or (self.if_with and not current_ms):
            return False
        if self.if_later and (not current_ms or new_ms <= current_ms):
            return False
        return not (self.if_earlier and current_ms and new_ms >= current_ms)


def expire_options(arguments: list[bytes], start: int) -> ExpireOptions:
    """NX, XX, GT, LT: each name first, their combination afterwards."""
    options = ExpireOptions()
    for argument in arguments[start:]:
        name = option_name(argument)
        if name == b"NX":
            options.if_without = True
        elif name == b"XX":
            options.if_with = True
        elif name == b"GT":
            options.if_later = True
        elif name == b"LT":
            options.if_earlier = True
        else:
            raise CommandError(f"ERR Unsupported option {shown(argument)}")
    if options.if_without and (options.if_with or options.if_later or options.if_earlier):
        raise CommandError("ERR NX and XX, GT or LT options at the same time are not compatible")
    if options.if_later and options.if_earlier:
        raise CommandError("ERR GT and LT options at the same time are not compatible")
    return options


# Options of LCS.


@dataclass(slots=True)
class LcsOptions:
    length: bool = False  # LEN
    indices: bool = False  # IDX
    with_lengths: bool = False  # WITHMATCHLEN
    least: int = 0  # MINMATCHLEN


def lcs_options(arguments: list[bytes], start: int) -> LcsOptions:
    """LEN, IDX, WITHMATCHLEN, MINMATCHLEN number, in any order."""
    options = LcsOptions()
    position = start
    while position < len(arguments):
        name = option_name(arguments[position])
        if name == b"LEN":
            options.length = True
        elif name == b"IDX":
            options.indices = True
        elif name == b"WITHMATCHLEN":
            options.with_lengths = True
        elif name == b"MINMATCHLEN" and position + 1 < len(arguments):
            position += 1
            options.least = parse_int64(arguments[position])
        else:
            raise syntax_error()
        position += 1
    if options.indices and options.length:
        raise CommandError("ERR If you want both the length and indexes, please just use IDX.")
    return options
