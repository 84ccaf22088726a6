"""The batch forms of GET, MGET, SET and MSET (command.py: `Batch`): their requests as columns (wire/columns.py).

What lies in memory is answered by loops in C: from the cached replies, else from the pending batch and the memtables,
those of retired generations among them. What lies in tables, or nowhere, is looked up in one loop
(data/live_entries.py). What must run by itself ends the batch: a lookup that waits for the disk, another type.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, cast

from flin.net.batch.pending import BATCH_ENTRIES
from flin.net.commands.columns import bulk_of_each
from flin.net.data.live_entries import live_entries
from flin.net.data.reply_cache import MAX_CACHED_BYTES
from flin.net.wire.replies import OK

if TYPE_CHECKING:
    from flin.engine.entry import Live
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

_STRINGS: Final = {bytes}

MGET_KEYS: Final = 256
MGET_BYTES: Final = 1 << 20
"""Many MGETs look up so many keys at once, and end behind so many bytes of replies: a request of some bytes may ask for
a hundred times as many."""


def get_many(context: Context, keys: Sequence[bytes]) -> list[bytes]:
    """The replies to many GETs, up to the first that waits for the disk, fails, is long, or lies on another node of the
    cluster: `run` counts those."""
    hot = context.keyspace.hot
    replies = [*map(hot.young.get, keys)]
    if None not in replies:
        hot.hits += len(keys)
        return cast("list[bytes]", replies)
    places = [place for place, reply in enumerate(replies) if reply is None]
    if hot.old:
        places = hot.find_old_many(places, keys, replies)
    made = _replies_from_store(context, [keys[place] for place in places]) if places else []
    if len(made) < len(places):
        del replies[places[len(made)] :]
    hot.hits += len(replies) - len(made)
    for place, reply in zip(places, made):  # noqa: B905  the places may be more
        replies[place] = reply
    return cast("list[bytes]", replies)


def _replies_from_store(context: Context, keys: list[bytes]) -> list[bytes]:
    """What `get_many` gives, of keys without a cached reply."""
    keyspace, gate = context.keyspace, context.services.slot_gate
    entries = live_entries(keyspace, context.services.pending, keys)
    if set(map(type, entries)) == _STRINGS:
        values = cast("list[bytes]", entries)
        if max(map(len, values)) <= MAX_CACHED_BYTES:
            return _replies_of_values(keyspace, keys[: len(values)], values)
    null = context.session.encode(None)
    replies: list[bytes | None] = []  # None: of a short value without expiry
    absent = 0
    for key, entry in zip(keys, entries):  # noqa: B905  the keys may be more
        value = entry if type(entry) is bytes else _expiring_string(entry)
        if value is None:
            if entry is not None or not (gate is None or gate.own.has(key)):  # another type; a cluster has it elsewhere
                break
            absent += 1
            replies.append(null)
        elif len(value) > MAX_CACHED_BYTES:
            break
        else:
            replies.append(None if value is entry else context.session.encode(value))
    places = [place for place, reply in enumerate(replies) if reply is None]
    others = len(replies) - len(places)
    keyspace.hot.misses += others
    keyspace.count_look_ups(others - absent, others)
    if places:
        values = [cast("bytes", entries[place]) for place in places]
        made = _replies_of_values(keyspace, [keys[place] for place in places], values)
        for place, reply in zip(places, made, strict=True):
            replies[place] = reply
    return cast("list[bytes]", replies)


def _expiring_string(entry: Live | None) -> bytes | None:
    """The value of a string that expires; None of anything else."""
    if type(entry) is tuple and not entry[2]:  # its tag, which is 0 for a string
        return entry[0]
    return None


def _replies_of_values(keyspace: Keyspace, keys: list[bytes], values: list[bytes]) -> list[bytes]:
    """The replies to GETs of keys at which memory holds these short values."""
    replies = bulk_of_each(values)
    hot = keyspace.hot
    hot.misses += len(keys)
    keyspace.hits += len(keys)
    if keyspace.has_pending(keys):
        for key, value in zip(keys, values, strict=True):
            if not keyspace.has_pending((key,)):
                hot.fill(key, value)
    else:
        hot.fill_many(keys, replies)
    return replies


def mget_many(context: Context, *columns: tuple[bytes, ...]) -> list[bytes]:
    """Requests for strings, up to one that names another type, or waits for the disk."""
    width = len(columns)
    keys = tuple(chain.from_iterable(zip(*columns, strict=True)))
    head = b"*%d\r\n" % width
    replies: list[bytes] = []
    room, step = MGET_BYTES, max(MGET_KEYS // width, 1) * width
    for start in range(0, len(keys), step):
        asked = keys[start : start + step]
        found = get_many(context, asked)
        made = [b"".join((head, *found[end - width : end])) for end in range(width, len(found) + 1, width)]
        replies += made
        room -= sum(map(len, made))
        if len(found) < len(asked):
            _uncount(context.keyspace, found[len(made) * width :])
            break
        if room < 0:
            break
    return replies


def _uncount(keyspace: Keyspace, replies: list[bytes]) -> None:
    """The keys of these replies are looked up once more."""
    hits = len(replies) - sum(reply[1:2] == b"-" or reply[:1] == b"_" for reply in replies)
    keyspace.count_look_ups(-hits, -len(replies))


def set_many(context: Context, keys: tuple[bytes, ...], values: tuple[bytes, ...]) -> list[bytes]:
    context.keyspace.put_values(keys, values)
    return [OK.data] * len(keys)


def mset_many(context: Context, *columns: tuple[bytes, ...]) -> list[bytes]:
    """As many as make one full batch."""
    if len(columns) % 2:
        return []
    most = max(1, BATCH_ENTRIES // (len(columns) // 2))
    columns = tuple(column[:most] for column in columns)
    keys, values = (tuple(chain.from_iterable(zip(*columns[first::2], strict=True))) for first in (0, 1))
    context.keyspace.put_values(keys, values)
    return [OK.data] * len(columns[0])
