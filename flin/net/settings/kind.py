"""The kind of an option's value: how it is read from the places that may give it, checked, and shown.

    TOML           typed: 7000, true, "64mb", ["127.0.0.1", "::1"]
    text           the command line and the environment: the same, without quotes; yes and no for true and false
    CONFIG SET     bytes, as Redis reads them, with Redis's words for what is wrong

An option's value is what JSON can hold (and tuples of it), so that it can be sent to a worker. Most values are in force
as they are; some are read once more for that (`in_force`): classes of events, limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flin.engine.options import parse_bytes
from flin.net.settings.parameter import Parse, choice_of, integer_from, memory_from, same_text, shown, yes_or_no

Check = Callable[[Any], None]


def _anything(value: Any) -> None:
    pass


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """`of_toml`, `of_text`, `check` raise ValueError with the end of a sentence: "it must be …"."""

    metavar: str
    values: str
    """Which there are, for people."""
    of_toml: Callable[[Any], Any]
    of_text: Callable[[str], Any]
    check: Check = _anything
    raw: Parse = same_text
    """CONFIG SET's. It gives the value in force."""
    in_force: Callable[[Any], Any] = _as_it_is
    show: Callable[[Any], bytes] = shown
    """A value in force, as CONFIG GET shows it."""


# Numbers.


def number(low: int, high: int, metavar: str = "N") -> Kind:
    return Kind(metavar, _span(low, high), _int_of_toml, whole_number, _between(low, high), integer_from(low, high))


def duration(unit: str, low: int, high: int) -> Kind:
    """A number of the unit (s, ms, us); text may name another one: 30s, 5m, 2h, 250ms."""
    metavar = _METAVARS[unit]

    def of_text(text: str) -> int:
        return duration_of(text, unit)

    def of_toml(value: Any) -> int:
        return of_text(value) if isinstance(value, str) else _int_of_toml(value)

    values = f"{metavar.lower()} from {low}, or {_EXAMPLES[unit]}"
    return Kind(metavar, values, of_toml, of_text, _between(low, high), integer_from(low, high))


def size(low: int, high: int, check: Check | None = None) -> Kind:
    """A number of bytes; text may have a unit: 64mb, 64MiB, 4gb."""

    def of_text(text: str) -> int:
        try:
            return parse_bytes(text)
        except ValueError:
            raise ValueError("it must be a size: whole bytes, or a number with kb, mb, gb or tb (256mb)") from None

    def of_toml(value: Any) -> int:
        return of_text(value) if isinstance(value, str) else _int_of_toml(value)

    in_range = _between(low, high)

    def check_all(value: Any) -> None:
        in_range(value)
        if check is not None:
            check(value)

    values = f"{short_size(low)} to {short_size(high)}" if high < 1 << 50 else f"from {short_size(low)}"
    return Kind("SIZE", values, of_toml, of_text, check_all, memory_from(low, high))


def share(low: float, high: float) -> Kind:
    def of_text(text: str) -> float:
        if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{0,9}", text, re.ASCII) is None or not text.strip("."):
            raise ValueError("it must be a number such as 0.25")
        return float(text)

    def of_toml(value: Any) -> float:
        if type(value) not in (int, float):
            raise ValueError("it must be a number such as 0.25")
        return float(value)

    return Kind("SHARE", _span(low, high), of_toml, of_text, _between(low, high))


# Words.


def yes_no() -> Kind:
    def of_toml(value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError("it must be true or false")
        return value

    def of_text(text: str) -> bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError("it must be yes or no")
        return _BOOLEANS[text.lower()]

    return Kind("yes|no", "yes, no", of_toml, of_text, raw=yes_or_no)


def choice(*choices: str) -> Kind:
    def of_toml(value: Any) -> str:
        if type(value) is bool and "yes" in choices:
            return "yes" if value else "no"
        return _str_of_toml(value)

    def check(value: Any) -> None:
        if value not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")

    raw = choice_of(*choices)
    return Kind("|".join(choices), ", ".join(choices), of_toml, str, check, raw, lambda value: raw(value.encode()))


def text(
    metavar: str,
    values: str = "",
    check: Check = _anything,
    *,
    raw: Parse = same_text,
    show: Callable[[Any], bytes] = shown,
) -> Kind:
    """Any text that the check lets through. raw: reads it once more, for what is in force."""

    def in_force(value: str) -> Any:
        return raw(value.encode("utf-8", "surrogateescape"))

    return Kind(metavar, values, _str_of_toml, str, check, raw, in_force, show)


def matching(metavar: str, pattern: str, what: str) -> Kind:
    """Text of this form. what: in words, for the error."""

    def check(value: Any) -> None:
        if re.fullmatch(pattern, value, re.ASCII) is None:
            raise ValueError(f"it must be {what}")

    return text(metavar, what, check)


def words(metavar: str, choices: tuple[str, ...]) -> Kind:
    """Some of the choices, with blanks between them."""

    def check(value: Any) -> None:
        for word in value.split():
            if word not in choices:
                raise ValueError(f"but there are only {' and '.join(choices)}")

    return text(metavar, ", ".join(choices), check)


def path(metavar: str) -> Kind:
    def check(value: Any) -> None:
        if "\0" in value:
            raise ValueError("which is no path")

    return text(metavar, "a path", check)


def parsed(metavar: str, values: str, raw: Parse, show: Callable[[Any], bytes]) -> Kind:
    """Text in Redis's form, which CONFIG SET's own reader checks."""

    def check(value: Any) -> None:
        raw(value.encode("utf-8", "surrogateescape"))

    return text(metavar, values, check, raw=raw, show=show)


def addresses() -> Kind:
    def of_toml(value: Any) -> tuple[str, ...]:
        found = value.split() if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(type(word) is str and word for word in found):
            raise ValueError("it must be an address or a list of them")
        return tuple(found)

    def check(value: Any) -> None:
        if not value:
            raise ValueError("which names no address")

    return Kind("ADDRESS", "addresses", of_toml, of_toml, check, show=lambda value: " ".join(value).encode())


# How text is read.


def whole_number(text: str) -> int:
    """Digits and a sign only; int() would also accept 1_0 and blanks."""
    if re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) is None:
        raise ValueError("it must be a whole number")
    return int(text)


def duration_of(text: str, unit: str) -> int:
    """So many of the unit; without one the number is of this unit.

    >>> duration_of("5m", "s"), duration_of("30", "s"), duration_of("2s", "ms")
    (300, 30, 2000)
    """
    matched = re.fullmatch(r"(-?[0-9]{1,18})([a-z]*)", text, re.ASCII)
    if matched is None or (matched[2] or unit) not in _MICROSECONDS:
        raise ValueError(f"it must be a time: a whole number, perhaps with {', '.join(_MICROSECONDS)}")
    whole, left = divmod(int(matched[1]) * _MICROSECONDS[matched[2] or unit], _MICROSECONDS[unit])
    if left:
        raise ValueError(f"it must be a whole number of {_METAVARS[unit].lower()}")
    return whole


def short_size(size_bytes: int) -> str:
    """
    >>> short_size(64 << 20), short_size(1000), short_size(0)
    ('64mb', '1000', '0')
    """
    for unit, name in ((1 << 40, "tb"), (1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")):
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return str(size_bytes)


_BOOLEANS: Final = {"yes": True, "no": False, "true": True, "false": False}
_METAVARS: Final = {"us": "MICROSECONDS", "ms": "MILLISECONDS", "s": "SECONDS"}
_EXAMPLES: Final = {"us": "20ms", "ms": "5s", "s": "5m"}
_MICROSECONDS: Final = {
    "us": 1,
    "ms": 1000,
    "s": 1_000_000,
    "m": 60 * 1_000_000,
    "h": 3600 * 1_000_000,
    "d": 86_400 * 1_000_000,
}


def _int_of_toml(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("it must be a whole number")
    return value


def _str_of_toml(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("it must be text in quotes")
    return value


def _between(low: float, high: float) -> Check:
    def check(value: Any) -> None:
        if value is not None and not low <= value <= high:  # a NaN is not, either
            raise ValueError(f"it must be from {low} to {high}")

    return check


def _span(low: float, high: float) -> str:
    return f"{low} to {high}" if high < 1 << 31 else f"from {low}"
