"""Codecs: how keys and values of Python's types become bytes, and back. Of keys they keep the order.

The keys, each as an element of a tuple, too, where it must end by itself:

    bytes      as they are; in a tuple 00 becomes 00 02, and 00 01 ends them
    str        UTF-8, whose order is that of code points, as Python's own; in a tuple as bytes
    int        80 + n, then n bytes, big-endian, as few as possible; below zero 80 - n, then n bytes of 256**n - 1 more
    float      IEEE 754, big-endian; the sign bit is flipped, below zero all are; -0.0 is 0.0, NaN has no place
    datetime   microseconds since 1970, UTC, plus 2**63, 8 bytes big-endian
    UUID       its 16 bytes
    tuple      its elements, one after the other

    (b"a", 5) -> 61 00 01 81 05        -1 -> 7f fe        300 -> 82 01 2c

The values: bytes as they are, str as UTF-8, int and float as decimal text (which `incr` and a server's clients read,
too), "json" as the shortest JSON. Nothing is ever pickled: to unpickle may run any code, and ties data to a program.

A program's own codec is any object with `encode` and `decode`. That of a key must keep the order for whoever scans, and
may have `encode_prefix` for whoever scans by prefix.
"""

from __future__ import annotations

import json
import struct
from abc import abstractmethod
from typing import Any, Final, Generic, Protocol, TypeVar, cast, get_args, get_origin, runtime_checkable

from flin.engine.buffers import as_bytes
from flin.errors import CodecError, LimitError

Value = TypeVar("Value")

MAX_INT_BYTES: Final = 126
"""So that the byte before them is 02 to FE: other ones stay free, and no key begins with FF, which is stored longer."""

_U64: Final = struct.Struct(">Q")
_DOUBLE: Final = struct.Struct(">d")
_SIGN: Final = 1 << 63
_ONES: Final = (1 << 64) - 1


@runtime_checkable
class Codec(Protocol[Value]):
    """Makes bytes of a value, and the value of its bytes. `decode` raises ValueError for what it cannot have made."""

    def encode(self, value: Value, /) -> bytes: ...

    def decode(self, data: bytes, /) -> Value: ...


class KeyCodec(Generic[Value]):
    """A codec that keeps the order. It can also be an element of a tuple, where it must find its own end."""

    kind: type

    @abstractmethod
    def encode(self, value: Value, /) -> bytes: ...

    def decode(self, data: bytes, /) -> Value:
        value, end = self.decode_element(data, 0)
        if end != len(data):
            raise _not_made(data, self.kind)
        return value

    def encode_element(self, value: Value) -> bytes:
        return self.encode(value)

    @abstractmethod
    def decode_element(self, data: bytes, at: int) -> tuple[Value, int]:
        """The element that begins there, and where it ends."""


class BytesKey(KeyCodec[bytes]):
    kind = bytes

    def encode(self, value: bytes, /) -> bytes:
        return as_bytes("a key", value)

    encode_prefix = encode

    def decode(self, data: bytes, /) -> bytes:
        return data

    def encode_element(self, value: bytes) -> bytes:
        return self.encode(value).replace(b"\0", b"\0\2") + b"\0\1"

    def decode_element(self, data: bytes, at: int) -> tuple[bytes, int]:
        end = data.find(b"\0\1", at)
        if end < 0:
            raise _not_made(data, self.kind)
        return data[at:end].replace(b"\0\2", b"\0"), end + 2


class StrKey(KeyCodec[str]):
    kind = str

    def encode(self, value: str, /) -> bytes:
        data: bytes = _checked(value, str).encode()
        return data

    encode_prefix = encode

    def decode(self, data: bytes, /) -> str:
        return _text(data)

    def encode_element(self, value: str) -> bytes:
        return _BYTES.encode_element(self.encode(value))

    def decode_element(self, data: bytes, at: int) -> tuple[str, int]:
        found, end = _BYTES.decode_element(data, at)
        return _text(found), end


class IntKey(KeyCodec[int]):
    kind = int

    def encode(self, value: int, /) -> bytes:
        _checked(value, int)
        size = (value.bit_length() + 7) >> 3
        if size > MAX_INT_BYTES:
            raise LimitError("the size of an int as a key, in bits,", value.bit_length(), MAX_INT_BYTES * 8)
        if value >= 0:
            return (0x80 + size).to_bytes() + value.to_bytes(size)
        return (0x80 - size).to_bytes() + (value + (1 << 8 * size) - 1).to_bytes(size)

    def decode_element(self, data: bytes, at: int) -> tuple[int, int]:
        head = data[at] if at < len(data) else 0
        end = at + 1 + abs(head - 0x80)
        digits = data[at + 1 : end]
        value = int.from_bytes(digits)
        if head < 0x80:
            value -= (1 << 8 * len(digits)) - 1
        if end > len(data) or data[at:end] != self.encode(value):  # longer than it need be
            raise _not_made(data, self.kind)
        return value, end


class FloatKey(KeyCodec[float]):
    kind = float

    def encode(self, value: float, /) -> bytes:
        if not isinstance(value, int):
            _checked(value, float)
        if value != value:
            raise CodecError("NaN cannot be a key: it has no place in the order")
        (bits,) = _U64.unpack(_DOUBLE.pack(value + 0.0))
        return _U64.pack(bits ^ (_ONES if bits & _SIGN else _SIGN))

    def decode_element(self, data: bytes, at: int) -> tuple[float, int]:
        (bits,) = _U64.unpack(_part(data, at, 8, self.kind))
        value: float = _DOUBLE.unpack(_U64.pack(bits ^ (_SIGN if bits & _SIGN else _ONES)))[0]
        if value != value:
            raise _not_made(data, self.kind)
        return value, at + 8


class UuidKey(KeyCodec[Any]):
    def __init__(self) -> None:
        from uuid import UUID

        self.kind = UUID

    def encode(self, value: Any, /) -> bytes:
        data: bytes = _checked(value, self.kind).bytes
        return data

    def decode_element(self, data: bytes, at: int) -> tuple[Any, int]:
        return self.kind(bytes=_part(data, at, 16, self.kind)), at + 16


class DatetimeKey(KeyCodec[Any]):
    """It gives UTC back, whatever the zone was."""

    def __init__(self) -> None:
        from datetime import UTC, datetime, timedelta

        self.kind = datetime
        self._epoch = datetime(1970, 1, 1, tzinfo=UTC)
        self._microsecond = timedelta(microseconds=1)

    def encode(self, value: Any, /) -> bytes:
        if _checked(value, self.kind).tzinfo is None:
            raise CodecError(f"{value} has no time zone: use datetime.now(UTC), or replace(tzinfo=…)")
        return _U64.pack((value - self._epoch) // self._microsecond + _SIGN)

    def decode_element(self, data: bytes, at: int) -> tuple[Any, int]:
        (number,) = _U64.unpack(_part(data, at, 8, self.kind))
        try:
            return self._epoch + (number - _SIGN) * self._microsecond, at + 8
        except OverflowError:
            raise _not_made(data, self.kind) from None


class TupleKey(KeyCodec[tuple[Any, ...]]):
    """Tuples of a shape: each element has its codec; or of any length, if they are all of one."""

    kind = tuple

    def __init__(self, elements: tuple[KeyCodec[Any], ...], *, repeats: bool) -> None:
        self._elements = elements
        self._repeats = repeats

    def encode(self, value: tuple[Any, ...], /) -> bytes:
        data = self.encode_prefix(value)
        if len(value) != len(self._elements) and not self._repeats:
            raise CodecError(f"{value!r:.60} must have {len(self._elements)} elements")
        return data

    def encode_prefix(self, value: tuple[Any, ...]) -> bytes:
        """The first elements: what every tuple that begins with them begins with."""
        _checked(value, tuple)
        codecs = self._elements * len(value) if self._repeats else self._elements
        if len(value) > len(codecs):
            raise CodecError(f"{value!r:.60} must have {len(codecs)} elements")
        return b"".join([codec.encode_element(element) for codec, element in zip(codecs, value, strict=False)])

    encode_bound = encode_prefix

    def decode_element(self, data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        found = []
        if self._repeats:
            while at < len(data):
                element, at = self._elements[0].decode_element(data, at)
                found.append(element)
        else:
            for codec in self._elements:
                element, at = codec.decode_element(data, at)
                found.append(element)
        return tuple(found), at


# Values.


class StrValue:
    def encode(self, value: str, /) -> bytes:
        data: bytes = _checked(value, str, "a value").encode()
        return data

    def decode(self, data: bytes, /) -> str:
        return _text(data)


class BytesValue:
    def encode(self, value: bytes, /) -> bytes:
        return as_bytes("a value", value)

    def decode(self, data: bytes, /) -> bytes:
        return data


class NumberValue(Generic[Value]):
    """int or float, as the text that Python makes of it."""

    def __init__(self, kind: type[Value]) -> None:
        self.kind: Any = kind

    def encode(self, value: Value, /) -> bytes:
        if not (self.kind is float and isinstance(value, int)):
            _checked(value, self.kind, "a value")
        return repr(self.kind(value)).encode()

    def decode(self, data: bytes, /) -> Value:
        try:
            return cast("Value", self.kind(data))
        except ValueError:
            raise _not_made(data, self.kind) from None


class JsonValue:
    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def decode(self, data: bytes, /) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            raise CodecError(f"{data!r:.60} is no JSON") from None


# By their types.

_BYTES: Final = BytesKey()
_KEYS: Final[dict[Any, KeyCodec[Any]]] = {codec.kind: codec for codec in (_BYTES, StrKey(), IntKey(), FloatKey())}
_LATE: Final = {"uuid.UUID": UuidKey, "datetime.datetime": DatetimeKey}
"""By name: their modules are imported by whoever uses them."""

INT_VALUE: Final = NumberValue(int)
_VALUES: Final[dict[Any, Codec[Any]]] = {
    bytes: BytesValue(),
    str: StrValue(),
    int: INT_VALUE,
    float: NumberValue(float),
    "json": JsonValue(),
}


def key_codec(key: Any) -> Codec[Any]:
    """The codec of a type of keys; an own codec is returned as it is."""
    if get_origin(key) is tuple:
        return _tuple_codec(key)
    found = _maybe_element(key)
    if found is not None:
        return found
    if isinstance(key, Codec) and not isinstance(key, type):
        return key
    hint = "tuple[str, int], say, instead of tuple alone" if key is tuple else "or an object with encode and decode"
    raise TypeError(f"keys cannot be of {key!r}: use bytes, str, int, float, datetime, UUID, tuple[…], {hint}")


def value_codec(value: Any) -> Codec[Any]:
    """The codec of a type of values, or of "json"; an own codec is returned as it is."""
    found = _VALUES.get(value) if isinstance(value, type | str) else None
    if found is None and isinstance(value, Codec) and not isinstance(value, type):
        found = value
    if found is None:
        raise TypeError(
            f'values cannot be of {value!r}: use bytes, str, int, float, "json", or an object with encode and decode'
        )
    return found


def _maybe_element(key: Any) -> KeyCodec[Any] | None:
    if not isinstance(key, type):
        return None
    late = _LATE.get(f"{key.__module__}.{key.__qualname__}")
    return _KEYS.get(key) or (late() if late else None)


def _tuple_codec(key: Any) -> TupleKey:
    kinds = get_args(key)
    repeats = len(kinds) == 2 and kinds[1] is ...
    elements = []
    for kind in kinds[:1] if repeats else kinds:
        inner = _tuple_codec(kind) if get_origin(kind) is tuple else _maybe_element(kind)
        if inner is None or (isinstance(inner, TupleKey) and inner._repeats):
            raise TypeError(f"an element of a tuple cannot be of {kind!r}: use bytes, str, int, float, datetime, UUID")
        elements.append(inner)
    if not elements:
        raise TypeError("a tuple without elements is no key")
    return TupleKey(tuple(elements), repeats=repeats)


def _checked(value: Any, kind: type, what: str = "a key") -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{what} must be {kind.__name__}, not {type(value).__name__}")
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _not_made(data, str) from None


def _part(data: bytes, at: int, size: int, kind: type) -> bytes:
    part = data[at : at + size]
    if len(part) < size:
        raise _not_made(data, kind)
    return part


def _not_made(data: bytes, kind: type) -> CodecError:
    return CodecError(f"{data!r:.60} was not made of {kind.__name__}")
