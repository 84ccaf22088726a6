"""PFADD, PFCOUNT, PFMERGE: how many different elements were added, estimated. The value is a string, as in Redis.

PFCOUNT of one key keeps the count that it computed in the string, as Redis does: a write, which touches who watches the
key. While the engine takes no writes it answers all the same, and keeps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flin.engine.entry import Live, make_entry
from flin.errors import CommandError, ConflictError, CorruptionError
from flin.net.command.command import ALL_KEYS, FIRST_KEY, Keys
from flin.net.command.registry import command
from flin.net.data.many_keys import read_many
from flin.net.data.text import string_at
from flin.net.wire.replies import OK, ONE, WRONG_TYPE, ZERO, Slices, Value, last_of, shown
from flin.objects.hyperloglog import HyperLogLog, count_of_all, is_hyperloglog, maybe_cached_count

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "hyperloglog"

_NO_HYPERLOGLOG: Final = "WRONGTYPE Key is not a valid HyperLogLog string value."
_CORRUPT: Final = "INVALIDOBJ Corrupted HLL object detected"

SLICE_KEYS: Final = 8
"""Strings that are joined in one slice: at up to 300 microseconds each, other clients wait some 2 ms."""


def _decoded(value: bytes) -> HyperLogLog:
    try:
        return HyperLogLog.decode(value)
    except ConflictError:
        raise CommandError(_NO_HYPERLOGLOG) from None
    except CorruptionError:
        raise CommandError(_CORRUPT) from None


def _decoded_entry(entry: Live) -> HyperLogLog:
    if type(entry) is tuple and entry[2]:  # the tag, which is 0 for a string
        raise CommandError(WRONG_TYPE)
    value = entry if type(entry) is bytes else entry[0]
    assert type(value) is bytes
    return _decoded(value)


@command("pfadd", -2, "write denyoom fast timed", FIRST_KEY)
def pfadd(context: Context, args: list[bytes]) -> Value:
    """Adds elements to a HyperLogLog, made if there is none; returns whether its estimate may have changed."""
    keyspace, key = context.keyspace, args[1]
    value, expires_at_ms = string_at(keyspace, key)
    found = HyperLogLog() if value is None else _decoded(value)
    if value is None:
        found.make_stale()
    changed = found.add(args[2:], context.services.config.hll_sparse_max_bytes)
    if value is not None and not changed:
        return ZERO
    keyspace.put(key, make_entry(found.encode(), expires_at_ms))
    context.notify(b"pfadd", key)
    return ONE


@command("pfcount", -2, "readonly may_replicate", ALL_KEYS)
def pfcount(context: Context, args: list[bytes]) -> Value:
    """Estimates how many different elements a HyperLogLog has, or several together."""
    if len(args) > 2:
        return _count_all(context, args[1:])
    keyspace, key = context.keyspace, args[1]
    value, expires_at_ms = string_at(keyspace, key)
    keyspace.count_look_ups(value is not None, 1)
    if value is None:
        return ZERO
    if not is_hyperloglog(value):
        raise CommandError(_NO_HYPERLOGLOG)
    cached = maybe_cached_count(value)
    if cached is not None:
        return cached
    found = _decoded(value)
    count = found.count()
    if context.services.clients.takes_writes():
        keyspace.put(key, make_entry(found.encode(), expires_at_ms))
    return count


def _count_all(context: Context, keys: list[bytes]) -> Slices:
    """PFCOUNT of several keys, in the state in which the last of them is read."""
    entries = yield from _read_all(context, keys)
    if len(entries) <= SLICE_KEYS:
        return count_of_all([_decoded_entry(entry) for entry in entries]) if entries else 0
    union = HyperLogLog()
    union.make_dense()
    for start in range(0, len(entries), SLICE_KEYS):
        union.merge([_decoded_entry(entry) for entry in entries[start : start + SLICE_KEYS]])
        yield
    return union.count()


def _read_all(context: Context, keys: list[bytes]) -> Slices:
    """The entries that are there, in order. LimitError beyond the bytes of the largest reply, which bounds memory."""
    entries = yield from read_many(context.keyspace, keys, context.services.config.largest_reply_bytes)
    found = [entry for entry in entries if entry is not None]
    context.keyspace.count_look_ups(len(found), len(keys))
    return found


@command("pfmerge", -2, "write denyoom", ALL_KEYS)
def pfmerge(context: Context, args: list[bytes]) -> Value:
    """Adds the elements of HyperLogLogs to the one at the first key, made if there is none."""
    return _merge_all(context, args[1:])


def _merge_all(context: Context, keys: list[bytes]) -> Slices:
    """Many are joined in slices. If another client writes to one of them meanwhile, once more in one step."""
    keyspace = context.keyspace
    if len(keys) <= SLICE_KEYS or keyspace.is_in_transaction:
        others = [_decoded_entry(entry) for entry in (yield from _read_all(context, keys))]
        return _put_merged(context, keys[0], others, not all(other.is_sparse for other in others))
    with keyspace.journal(commits=True) as journal:
        joined = yield from _joined((yield from _read_all(context, keys)))
        if keyspace.changed(journal, keys):
            with keyspace.waiting():
                joined = last_of(_joined(last_of(_read_all(context, keys))))
    return _put_merged(context, keys[0], *joined)


def _joined(entries: list[Live]) -> Slices:
    """All of them together as one, and whether one of them is dense."""
    union, has_dense = HyperLogLog(), False
    union.make_dense()
    for start in range(0, len(entries), SLICE_KEYS):
        found = [_decoded_entry(entry) for entry in entries[start : start + SLICE_KEYS]]
        has_dense = has_dense or not all(one.is_sparse for one in found)
        union.merge(found)
        yield
    return [union], has_dense


def _put_merged(context: Context, key: bytes, others: list[HyperLogLog], has_dense: bool) -> Value:
    keyspace = context.keyspace
    value, expires_at_ms = string_at(keyspace, key)
    merged = HyperLogLog() if value is None else _decoded(value)
    merged.merge(others, context.services.config.hll_sparse_max_bytes, becomes_dense=has_dense)
    keyspace.put(key, make_entry(merged.encode(), expires_at_ms))
    context.notify(b"pfadd", key)
    return OK


@command("pfdebug", 3, "write denyoom admin", Keys(2, 2, 1))
def pfdebug(context: Context, args: list[bytes]) -> Value:
    """Shows a HyperLogLog's registers (GETREG), runs (DECODE) or encoding (ENCODING), or makes it dense (TODENSE)."""
    key, what = args[2], args[1].lower()
    value, expires_at_ms = string_at(context.keyspace, key)
    if value is None:
        raise CommandError("ERR The specified key does not exist")
    found = _decoded(value)
    was_sparse = found.is_sparse
    if what == b"encoding":
        return "sparse" if was_sparse else "dense"
    if what == b"decode":
        if not was_sparse:
            raise CommandError("ERR HLL encoding is not sparse")
        return found.described_runs()
    if what not in (b"getreg", b"todense"):
        raise CommandError(f"ERR Unknown PFDEBUG subcommand '{shown(args[1])}'")
    if was_sparse:
        found.make_dense()
        context.keyspace.put(key, make_entry(found.encode(), expires_at_ms))
    return list(found.registers()) if what == b"getreg" else int(was_sparse)


# PFSELFTEST. The estimate's standard error is 1.04 / sqrt(registers), 0.81 %; six of them by chance are one in 10**9.

_TEST_ELEMENTS: Final = 50_000
_TEST_SLICE: Final = 500
_TEST_ERROR: Final = 6 * 0.0081


@command("pfselftest", 1, "admin")
def pfselftest(context: Context, args: list[bytes]) -> Value:
    """Tests the estimates and both encodings on elements of its own."""
    return _self_test()


def _self_test() -> Slices:
    dense, sparse = HyperLogLog(), HyperLogLog()
    dense.make_dense()
    for start in range(0, _TEST_ELEMENTS, _TEST_SLICE):
        elements = [b"%d" % number for number in range(start, start + _TEST_SLICE)]
        dense.add(elements)
        sparse.add(elements)
        _check_count(dense, start + _TEST_SLICE)
        _check_same([sparse, HyperLogLog.decode(sparse.encode()), HyperLogLog.decode(dense.encode())], dense)
        yield
    return OK


def _check_count(found: HyperLogLog, exact: int) -> None:
    error = abs(found.count() - exact)
    if error > math.ceil(_TEST_ERROR * exact):
        raise CommandError(f"TESTFAILED Too big error. card:{exact} abserr:{error}")


def _check_same(those: Iterable[HyperLogLog], dense: HyperLogLog) -> None:
    if any(one.registers() != dense.registers() for one in those):
        raise CommandError("TESTFAILED dense/sparse disagree")
