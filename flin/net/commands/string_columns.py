"""The batch forms of GET, MGET, SET and MSET (command.py: `Batch`): their requests as columns (wire/columns.py).

What lies in memory is answered by loops in C: from the cached replies, else from the pending batch and the memtables,
those of retired generations among them. A key that is not there, expires, or lies in tables is looked up by itself; it
does not hold up the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from types import GeneratorType
from typing import TYPE_CHECKING, Final, cast

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, CorruptionError, LimitError
from flin.net.batch.pending import BATCH_ENTRIES
from flin.net.commands.columns import bulk_of_each
from flin.net.data.reply_cache import MAX_CACHED_BYTES
from flin.net.wire.replies import OK, Reply

if TYPE_CHECKING:
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.context import Context

MGET_KEYS: Final = 256
MGET_BYTES: Final = 1 << 20
"""Many MGETs look up so many keys at once, and end behind so many bytes of replies: a request of some bytes may ask for
a hundred times as many."""


def get_many(context: Context, keys: Sequence[bytes]) -> list[bytes]:
    """The replies to many GETs, up to the first that waits for the disk, fails, is long, or lies on another node of the
    cluster: `run` counts those."""
    hot = context.keyspace.hot
    replies = [*map(hot.young.get, keys)]
    missing = replies.count(None)
    hot.hits += len(keys) - missing
    if missing:
        places = [place for place, reply in enumerate(replies) if reply is None]
        made = _replies_of(context, [keys[place] for place in places])
        if len(made) < missing:
            end = places[len(made)]
            hot.hits -= len(keys) - end - (missing - len(made))
            del replies[end:]
        for place, reply in zip(places, made):  # noqa: B905  the places may be more
            replies[place] = reply
    return cast("list[bytes]", replies)


def _replies_of(context: Context, keys: list[bytes]) -> list[bytes]:
    """What `get_many` gives, of keys without a young reply."""
    hot = context.keyspace.hot
    entries = context.keyspace.in_memory(keys)
    if not hot.old and set(map(type, entries)) == {bytes}:
        values = cast("list[bytes]", entries)
        if max(map(len, values)) <= MAX_CACHED_BYTES:
            return _replies_of_values(context.keyspace, keys, values)
    null = context.session.encode(None)
    replies: list[bytes | None] = []  # None: of a short value in memory
    for key, entry in zip(keys, entries, strict=True):
        reply = None
        if type(entry) is not bytes or len(entry) > MAX_CACHED_BYTES or key in hot.old:
            reply = _reply_of(context, key, null)
            if reply is None:
                break
        replies.append(reply)
    places = [place for place, reply in enumerate(replies) if reply is None]
    if places:
        values = [cast("bytes", entries[place]) for place in places]
        made = _replies_of_values(context.keyspace, [keys[place] for place in places], values)
        for place, reply in zip(places, made, strict=True):
            replies[place] = reply
    return cast("list[bytes]", replies)


def _reply_of(context: Context, key: bytes, null: bytes) -> bytes | None:
    """The reply to one GET; None: it waits, fails or is long, and who looks the key up then counts it. null: the reply
    for an absent key. On a node of a cluster a key that is here is its own, so only absent ones are looked at."""
    keyspace = context.keyspace
    counted = keyspace.hits, keyspace.misses
    try:
        value = keyspace.bulk_after_young_miss(key)
    except (ColdRead, CommandError, CorruptionError, LimitError):
        keyspace.hits, keyspace.misses = counted
        return None
    if value is None:
        gate = context.services.slot_gate
        if gate is None or gate.own.has(key):
            return null
        keyspace.hits, keyspace.misses = counted  # a cluster has it elsewhere
        return None
    if type(value) is Reply:
        return value.data
    if type(value) is GeneratorType or (type(value) is bytes and len(value) > MAX_CACHED_BYTES):
        keyspace.hits, keyspace.misses = counted
        return None
    return context.session.encode(value)


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
