"""One parameter of CONFIG: how it is shown, read and changed, and how Redis words what is wrong with a value.

Whose parameter it is (config.py, which stands above) is a type variable here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from flin.net.wire.numbers import INT64_MAX, INT64_MIN

Owner = TypeVar("Owner")

IMMUTABLE: Final = "can't set immutable config"
PROTECTED: Final = "can't set protected config"
"""For paths: a client that reaches the port must not be able to write elsewhere."""

Parse = Callable[[bytes], Any]


def same_text(raw: bytes) -> bytes:
    return raw


@dataclass(frozen=True, slots=True)
class Parameter(Generic[Owner]):
    """`parse` raises ValueError as Redis words it. Without `apply` only the present value may be set."""

    show: Callable[[Owner], bytes]
    parse: Parse = same_text
    apply: Callable[[Owner, Any], None] | None = None
    check: Callable[[Any], None] | None = None
    """The further check of a value at the start: raises ValueError."""
    refusal: str | None = None
    """Redis refuses even the present value of some, with this text."""

    def step(self, config: Owner, raw: bytes) -> Callable[[], None]:
        """The step to take once every parameter of a CONFIG SET is known to be valid. Raises ValueError."""
        if self.refusal is not None:
            raise ValueError(self.refusal)
        value = self.parse(raw)
        apply = self.apply
        if apply is None:
            if value != self.parse(self.show(config)):
                raise ValueError(IMMUTABLE)
            return _nothing
        if self.check is not None:
            self.check(value)
        return lambda: apply(config, value)


def constant(text: bytes, parse: Parse = same_text, refusal: str | None = None) -> Parameter[Any]:
    return Parameter(lambda config: text, parse, refusal=refusal)


def shown(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"yes" if value else b"no"
    return str(value).encode("utf-8", "surrogateescape")


# How values are read.


def any_integer(raw: bytes) -> int:
    if re.fullmatch(rb"-?[0-9]{1,19}", raw) is None or not INT64_MIN <= int(raw) <= INT64_MAX:
        raise ValueError("argument couldn't be parsed into an integer")
    return int(raw)


def integer_from(low: float, high: float) -> Parse:
    return _between(any_integer, low, high)


def memory_from(low: int, high: int) -> Parse:
    """A number of bytes, perhaps with a unit."""
    return _between(memory_size, low, high)


def _between(read: Callable[[bytes], int], low: float, high: float) -> Parse:
    def parse(raw: bytes) -> int:
        value = read(raw)
        if not low <= value <= high:
            raise ValueError(f"argument must be between {low} and {high} inclusive")
        return value

    return parse


def yes_or_no(raw: bytes) -> bool:
    lowered = raw.lower()
    if lowered not in (b"yes", b"no"):
        raise ValueError("argument must be 'yes' or 'no'")
    return lowered == b"yes"


def choice_of(*choices: str) -> Parse:
    def parse(raw: bytes) -> bytes:
        lowered = raw.lower()
        if lowered not in [choice.encode() for choice in choices]:
            raise ValueError(f"argument(s) must be one of the following: {', '.join(choices)}")
        return lowered

    return parse


def memory_size(raw: bytes) -> int:
    size = parse_size(raw.decode("latin-1"))
    if size is None:
        raise ValueError("argument must be a memory value")
    return size


_UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1 << 10,
    "m": 1_000_000,
    "mb": 1 << 20,
    "g": 1_000_000_000,
    "gb": 1 << 30,
    "t": 1_000_000_000_000,
    "tb": 1 << 40,
}


def parse_size(text: str) -> int | None:
    """Bytes of `1gb`, `100mb`, `5k`, `12345` (units as in Redis); None if it is no size."""
    matched = re.fullmatch(r"([0-9]{1,20})([a-z]*)", text.strip().lower())
    if matched is None or matched[2] not in _UNITS:
        return None
    return int(matched[1]) * _UNITS[matched[2]]


def _nothing() -> None:
    pass
