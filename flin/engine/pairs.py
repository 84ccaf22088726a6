"""The argument of `put_many`: a mapping, or pairs of buffers, made into stored keys and values that are exactly bytes.

A subclass of bytes, or another buffer, may compare and hash as it likes, or not at all. So none of them may become a
key of a dict: their types are checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias

from flin.engine.buffers import BytesLike, as_bytes, as_stored

Pairs: TypeAlias = Mapping[bytes, bytes] | Iterable[tuple[BytesLike, BytesLike]]

_BYTES: Final = {bytes}
_key_of: Final = itemgetter(0)


def points_of(pairs: Pairs) -> dict[bytes, bytes]:
    """Stored keys and values; if a key comes twice, its last value counts. TypeError for anything but such pairs."""
    points: dict[bytes, bytes] | None
    if type(pairs) is dict:
        points = dict(pairs)
        listed: Any = points.items()
    else:
        listed = list(_pairs_in(pairs))
        points = _maybe_joined(listed)
    # Plain bytes below FF are stored as they are: a few passes in C instead of a loop.
    if (
        points
        and set(map(type, points)) == _BYTES
        and max(points) < b"\xff"
        and set(map(type, points.values())) == _BYTES
    ):
        return points
    return {as_stored(key): as_bytes("a value", value) for key, value in map(_pair, listed)}


def _pairs_in(pairs: Any) -> Iterable[Any]:
    if isinstance(pairs, Mapping):
        return pairs.items()
    if hasattr(pairs, "keys"):  # as dict() and dict.update() take it
        return ((key, pairs[key]) for key in pairs.keys())  # noqa: SIM118
    try:
        found: Iterable[Any] = iter(pairs)
        return found
    except TypeError:
        raise TypeError(f"pass a mapping or pairs of a key and a value, not {type(pairs).__name__}") from None


def _maybe_joined(pairs: list[Any]) -> dict[bytes, bytes] | None:
    """The pairs as a dict; None if it may have confused different keys, or keys cannot be hashed.

    The dict is made first: to check the types of all keys before would cost 70 ns a pair if they are not in the
    processor's cache."""
    try:
        points = dict(pairs)
        if len(points) == len(pairs) or set(map(type, map(_key_of, pairs))) == _BYTES:
            return points
    except Exception:  # from a foreign __hash__ or __eq__, or for what is no pair: the loop will report it
        pass
    return None


def _pair(pair: Any) -> tuple[Any, Any]:
    try:
        key, value = pair
    except (TypeError, ValueError):
        raise TypeError(f"pass a mapping or pairs of a key and a value; {pair!r:.60} is no such pair") from None
    return key, value
