"""A user whose rules change, at Flin and at redis-server: the replies, the rules as they are shown, what they allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.net.raw_client import Raw, RawClient

NOT_IN_REDIS = {"client|no-touch", "client|setinfo"}
"""Of Redis 7.2: see the table of differences."""

OWN = ("+flin.", "-flin.")
"""So begin rules about Flin's own commands."""

NAME = b"tried"


def plain(reply: Raw) -> Any:
    """Lists of bytes; an error as a string."""
    if reply.is_error:
        return reply.data.decode("latin-1")
    if reply.is_null:
        return None
    return [plain(item) for item in reply.items] if reply.kind in (b"*", b"%", b"~") else reply.payload


def shape(details: list[Any]) -> dict[str, Any]:
    """A reply of ACL GETUSER, so that two can be compared: Redis names single commands in the order of a hash table."""
    found = {key.decode(): value for key, value in zip(details[::2], details[1::2], strict=True)}
    words = found["commands"].decode("latin-1").split()
    categories = [word for word in words if "@" in word]
    not_there = {sign + name for sign in "+-" for name in NOT_IN_REDIS}
    names = [word for word in words if not word.startswith(OWN)]
    found["commands"] = (categories, sorted(set(names) - set(categories) - not_there))
    found["keys"] = found["keys"].replace(b"%RW~*", b"~*")  # Redis shows what it would read as "all keys"
    if "selectors" in found:
        found["selectors"] = [shape(selector) for selector in found["selectors"]]
    return found


def differences(
    flin: RawClient, redis: RawClient, rules: list[bytes], requests: Iterable[list[bytes]]
) -> Iterator[tuple[str, str]]:
    """Give the user these rules, and ask what it is and whether it may run the requests. Pairs: the kind of an outcome
    (set, error, allowed, command, key, channel, refused), and the difference or ""."""
    ours, theirs = _both(flin, redis, b"SETUSER", NAME, *rules)
    yield "error" if isinstance(theirs, str) else "set", _told(ours, theirs, rules)
    mine, other = _both(flin, redis, b"GETUSER", NAME)
    if mine is None or other is None:
        yield "nobody", _told(mine, other, rules)
        return
    yield "shown", _told(shape(mine), shape(other), rules)
    for request in requests:
        ours, theirs = _both(flin, redis, b"DRYRUN", NAME, *request)
        yield _kind_of(theirs), _told(ours, theirs, (request, other))


def _both(flin: RawClient, redis: RawClient, *words: bytes) -> tuple[Any, Any]:
    return plain(flin.call(b"ACL", *words)), plain(redis.call(b"ACL", *words))


def _told(ours: Any, theirs: Any, about: Any) -> str:
    return "" if ours == theirs else f"Flin {ours}\n    Redis {theirs}\n    {about}"


def _kind_of(answer: bytes | str) -> str:
    """What ACL DRYRUN found."""
    if isinstance(answer, str):
        return "refused"
    return "allowed" if answer == b"OK" else answer.split()[-1].strip(b"'").decode("latin-1")
