"""Values between Lua and the server, in both directions.

They cross flat, since a table costs Python three to five microseconds: a text, a number, a boolean or nothing alone,
all else as a kind and what belongs to it, which is never nothing:

    ARRAY, value…                    an array of texts and numbers, but no empty one
    STATUS, text                     `{ok=text}`
    ERROR, text                      what `redis.call` raises
    SHAPED, shape, count, value…     anything else: a text that tells the shape, and the values in it, in their order
    LONG, count, value…              an array of more values than cross at once
    MISUSE, text                     an error of the call itself, before a command was found

A shape is written in prefix form: `*2;$_` is an array of a value and a null. Its letters are in `_SINGLES` and
`_CONSTANTS`; besides `$` is a text or number, `=` a verbatim text with its format, `*n;` an array, `~n;` a set, and
`%n;` a map of n pairs; `-` is an error, and `!` one of a command, which was counted then. Values beyond
the first 4,000 are asked for in pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, KeysView, Sequence
from typing import Any, Final

from flin.errors import CommandError
from flin.net.wire.numbers import INT64_MIN
from flin.net.wire.replies import BigNumber, Map, NullArray, Reply, Value, Verbatim
from flin.net.wire.resp import format_float

ARRAY: Final = 1
STATUS: Final = 2
ERROR: Final = 3
SHAPED: Final = 4
LONG: Final = 5
MISUSE: Final = 6
ABORT: Final = 7

MOST_VALUES: Final = 4000
"""How many cross at once: more than 8,000 overflow Lua's C stack."""

_PLAIN: Final = {bytes, int}
_FEW: Final = 1 << 63
"""Doubles from here on are no 64-bit integer."""


def argument_of(value: object) -> bytes | None:
    """An argument of `redis.call` as bytes; None for what is neither text nor number."""
    if type(value) is bytes:
        return value
    if type(value) is int:
        return b"%d" % value if -(10**17) < value < 10**17 else _number_text(float(value))
    if type(value) is float:
        return _number_text(value)
    return None


def _number_text(number: float) -> bytes:
    """By `%.17g`, as C writes it."""
    if number != number:
        return b"-nan" if math.copysign(1.0, number) < 0 else b"nan"
    return b"%.17g" % number


# To Lua.


def to_lua(value: Value, *, resp3: bool) -> Any:
    """A command's reply as it crosses; api.lua makes a value of it. resp3: as the script chose."""
    kind = type(value)
    if kind is bytes or kind is int:
        return value
    if value is None:
        return None if resp3 else False
    if kind is Reply:
        return _of_reply(value.data, resp3)
    if kind is CommandError:
        return (ERROR, _text(value))
    if kind is str:
        return (STATUS, value.encode("latin-1", "replace"))
    if (kind is list or kind is tuple) and value and set(map(type, value)) <= _PLAIN:
        count = len(value)
        return (ARRAY, *value) if count <= MOST_VALUES else (LONG, count, *value[:MOST_VALUES])
    shape: list[bytes] = []
    values: list[bytes | int | float] = []
    _shape(value, resp3, shape, values)
    if len(shape) == 1 and shape[0] == b"$":
        return values[0]
    return (SHAPED, b"".join(shape), len(values), *values[:MOST_VALUES])


def values_of(value: Value, *, resp3: bool) -> Sequence[Any]:
    """All values of a reply that was LONG or SHAPED, for the pages after the first."""
    if (type(value) is list or type(value) is tuple) and set(map(type, value)) <= _PLAIN:
        return value
    values: list[bytes | int | float] = []
    _shape(value, resp3, [], values)
    return values


def _text(error: CommandError) -> bytes:
    return str(error).encode("latin-1", "replace")


def _of_reply(data: bytes, resp3: bool) -> Any:
    """The commonest forms; the rest is read as a whole reply."""
    first = data[:1]
    if first == b"$" and data[1:2] != b"-":
        return data[data.index(b"\r\n") + 2 : -2]
    if first == b"+":
        return (STATUS, data[1:-2])
    if first == b":":
        return int(data[1:-2])
    if first == b"-":
        return (ERROR, data[1:-2])
    value, _ = _read_reply(data, 0)
    return to_lua(value, resp3=resp3)


def _read_reply(data: bytes, start: int) -> tuple[Value, int]:
    """The value of a finished reply, in either protocol, and where it ends."""
    end = data.index(b"\r\n", start)
    kind, line, end = data[start : start + 1], data[start + 1 : end], end + 2
    if kind in b"$=":
        length = int(line)
        if length < 0:
            return None, end
        text = data[end : end + length]
        return (text if kind == b"$" else Verbatim(text[4:], text[:3])), end + length + 2
    if kind in b"*~%":
        if int(line) < 0:
            return None, end
        elements: list[Any] = []
        for _ in range(int(line) * 2 if kind == b"%" else int(line)):
            element, end = _read_reply(data, end)
            elements.append(element)
        return _SHAPES[kind](elements), end
    return _LINES[kind](line), end


_SHAPES: Final[dict[bytes, Callable[[list[Any]], Value]]] = {
    b"*": lambda elements: elements,
    b"~": lambda elements: Map([(element, None) for element in elements], is_set=True),
    b"%": lambda elements: Map([*zip(elements[::2], elements[1::2], strict=True)], is_set=False),
}
_LINES: Final[dict[bytes, Callable[[bytes], Value]]] = {
    b":": int,
    b"+": lambda line: line.decode("latin-1"),
    b"-": lambda line: CommandError(line.decode("latin-1")),
    b"_": lambda line: None,
    b"#": lambda line: line == b"t",
    b",": float,
    b"(": BigNumber,
}


def _shape(value: Value, resp3: bool, shape: list[bytes], values: list[Any]) -> None:
    kind = type(value)
    if kind is bytes or kind is int:
        shape.append(b"$")
        values.append(value)
    elif value is None or kind is NullArray:
        shape.append(b"_" if resp3 else b"F")
    elif kind is list or kind is tuple:
        shape.append(b"*%d;" % len(value))
        for element in value:
            _shape(element, resp3, shape, values)
    elif kind is Reply:
        _shape(_read_reply(value.data, 0)[0], resp3, shape, values)
    elif kind is str:
        shape.append(b"+")
        values.append(value.encode("latin-1", "replace"))
    elif isinstance(value, CommandError):
        shape.append(b"-")
        values.append(_text(value))
    elif resp3:
        _shape3(value, shape, values)
    else:
        _shape(_as_resp2(value), False, shape, values)


def _as_resp2(value: Value) -> Value:
    if isinstance(value, Map):
        return [part for pair in value.pairs for part in (pair[:1] if value.is_set else pair)]
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, (set, frozenset, KeysView)):
        return list(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, (Verbatim, BigNumber)):
        return value.text
    raise TypeError(f"no reply: {type(value).__name__}")


def _shape3(value: Value, shape: list[bytes], values: list[Any]) -> None:
    if isinstance(value, Map) and value.is_set:
        shape.append(b"~%d;" % len(value.pairs))
        for element, _ in value.pairs:
            _shape(element, True, shape, values)
    elif isinstance(value, dict | Map):
        pairs = value.pairs if isinstance(value, Map) else value.items()
        shape.append(b"%%%d;" % len(pairs))
        for pair in pairs:
            for part in pair:
                _shape(part, True, shape, values)
    elif isinstance(value, (set, frozenset, KeysView)):
        shape.append(b"~%d;" % len(value))
        for element in value:
            _shape(element, True, shape, values)
    elif isinstance(value, bool):
        shape.append(b"T" if value else b"F")
    elif isinstance(value, float):
        shape.append(b",")
        values.append(value)
    elif isinstance(value, Verbatim):
        shape.append(b"=")
        values += [value.format, value.text]
    elif isinstance(value, BigNumber):
        shape.append(b"(")
        values.append(value.text)
    else:
        raise TypeError(f"no reply: {type(value).__name__}")


# From Lua.


def from_lua(
    described: Any, more: Callable[[int], tuple[Any, ...]], note_error: Callable[[str], None] = lambda text: None
) -> Value:
    """What a script returned, from what results.lua tells of it. more: the values from this one on, a page.
    note_error: given the text of each error in it, or nothing for one that was counted."""
    if type(described) is not tuple:
        return _plain(described)
    _, shape, count, *values = described
    while len(values) < count:
        values += more(len(values))
    return _Described(shape, values, note_error).value()


def _plain(value: Any) -> Value:
    return integer_of(value) if type(value) is float else value


def integer_of(number: float) -> int:
    """Toward zero, as C does it: what is no 64-bit integer becomes the smallest."""
    return int(number) if -_FEW <= number < _FEW else INT64_MIN


def _line(text: bytes) -> bytes:
    return text.replace(b"\r", b" ").replace(b"\n", b" ")


class _Described:
    """Reads a shape from its begin to its end."""

    def __init__(self, shape: bytes, values: list[Any], note_error: Callable[[str], None]) -> None:
        self._shape = shape
        self._note_error = note_error
        self._at = 0
        self._next: Callable[[], Any] = iter(values).__next__

    def value(self) -> Value:
        kind = self._shape[self._at : self._at + 1]
        self._at += 1
        if kind == b"$":
            return _plain(self._next())
        if kind in (b"*", b"~", b"%"):
            end = self._shape.index(b";", self._at)
            count = int(self._shape[self._at : end])
            self._at = end + 1
            if kind == b"%":
                return Map([(self.value(), self.value()) for _ in range(count)], is_set=False)
            elements = [self.value() for _ in range(count)]
            return elements if kind == b"*" else Map([(element, None) for element in elements], is_set=True)
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in (b"-", b"!"):
            text = self._next().decode("latin-1")
            self._note_error(text if kind == b"-" else "")
            return CommandError(text)
        if kind == b"=":
            shown = self._next()
            return Verbatim(self._next(), (shown + b"   ")[:3])
        return _SINGLES[kind](self._next())


_CONSTANTS: Final[dict[bytes, Value]] = {b"_": None, b"T": True, b"F": False, b"1": 1}
_SINGLES: Final[dict[bytes, Callable[[Any], Value]]] = {
    b"+": lambda text: Reply(b"+" + _line(text) + b"\r\n"),
    b",": float,
    b"(": lambda text: BigNumber(_line(text)),
}
