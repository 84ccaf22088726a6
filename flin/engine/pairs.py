"""What `put_many` takes: any mapping or pairs of buffers, made into stored keys and values that are exactly bytes.

A class below bytes, or another buffer, may compare and hash as it likes, or not at all. So none of them is ever a key
of a dict here: their types are looked at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias

from flin.engine.view import BytesLike, as_bytes, as_stored

Pairs: TypeAlias = Mapping[bytes, bytes] | Iterable[tuple[BytesLike, BytesLike]]

_BYTES: Final = {bytes}
_key_of: Final = itemgetter(0)


def points_of(pairs: Pairs) -> dict[bytes, bytes]:
    """Stored keys and values; of a key that comes twice the last value counts. TypeError for what is no such pair."""
    points: dict[bytes, bytes]
    if type(pairs) is dict:
        points = dict(pairs)
        plain = set(map(type, points)) == _BYTES
        listed: Any = points.items()
    else:
        listed = list(_pairs_in(pairs))
        plain = _have_plain_keys(listed)
        points = dict(listed) if plain else {}
    # Plain bytes below FF are stored as they are: passes in C instead of a loop.
    if plain and max(points) < b"\xff" and set(map(type, points.values())) == _BYTES:
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


def _have_plain_keys(pairs: list[Any]) -> bool:
    try:
        return set(map(type, map(_key_of, pairs))) == _BYTES
    except (TypeError, LookupError):  # what has no first part, which the loop will say
        return False


def _pair(pair: Any) -> tuple[Any, Any]:
    try:
        key, value = pair
    except (TypeError, ValueError):
        raise TypeError(f"pass a mapping or pairs of a key and a value; {pair!r:.60} is no such pair") from None
    return key, value
