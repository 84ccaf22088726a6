"""The live entries of many keys of a database, for requests that run together: in loops, wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import TYPE_CHECKING, Final, cast

from flin.engine.entry import Live, is_alive
from flin.engine.table.cold_read import ColdRead
from flin.errors import FlinError

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.data.keyspace import Keyspace

_STRINGS: Final = {bytes}
_NOTHING: Final = {NoneType}


def live_entries(
    keyspace: Keyspace, pending: Pending, keys: Sequence[bytes], *, values: bool = True
) -> list[Live | None]:
    """What `Keyspace.entry` gives for each key (without `values`: what `outline` gives), up to the first whose lookup
    would wait for the disk, or fails: then there are fewer."""
    held = keyspace.in_memory(keys)
    kinds = set(map(type, held))
    if kinds == _STRINGS:
        return cast("list[Live | None]", held)
    if kinds == _NOTHING and _are_asked(keyspace, pending, keys):  # what follows, where memory says nothing
        said = keyspace.in_tables(keys, values=values)
        now_ms = pending.now_ms
        return [entry if type(entry) is bytes or is_alive(entry, now_ms) else None for entry in said]  # type: ignore[misc]  # no tombstone
    found: list[Live | None] = [entry if type(entry) is bytes else None for entry in held]  # a tombstone says: none
    end = len(keys)
    unsaid = [place for place, entry in enumerate(held) if entry is None]
    alone = [place for place, entry in enumerate(held) if type(entry) is tuple]  # in memory it may have expired
    asked = [keys[place] for place in unsaid]
    if unsaid and not _are_asked(keyspace, pending, asked):
        alone = sorted([*alone, *unsaid])
    elif unsaid:
        said = keyspace.in_tables(asked, values=values)
        now_ms = pending.now_ms
        for place, entry in zip(unsaid, said):  # noqa: B905  fewer may be said
            found[place] = entry if is_alive(entry, now_ms) else None  # type: ignore[assignment]  # no tombstone
        if len(said) < len(asked):
            end = unsaid[len(said)]
    look_up = keyspace.entry if values else keyspace.outline
    for place in alone:
        if place > end:
            break
        try:
            found[place] = look_up(keys[place])
        except (ColdRead, FlinError):
            end = place
            break
    del found[end:]
    return found


def _are_asked(keyspace: Keyspace, pending: Pending, keys: Sequence[bytes]) -> bool:
    """Whether the pending batch says nothing of these keys, either, and they are stored as they are; else `in_memory`
    may not have looked."""
    is_plain = not (keyspace.namespace or pending.ranges or keyspace.is_blocking)
    return is_plain and max(keys) < b"\xff" and not keyspace.has_pending(keys)
