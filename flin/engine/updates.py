"""The calls that read a key and write it as one, which an engine and a transaction share.

A write batch has none of them: others could change what it has read before it commits, and their changes would be lost.
"""

from __future__ import annotations

from operator import index
from typing import Final

from flin.engine.buffers import BytesLike, as_bytes
from flin.engine.entry import TOMBSTONE, Entry, Live, is_alive, make_entry
from flin.engine.writable_view import Ttl, WritableView
from flin.errors import ConflictError

MAX_INTEGER: Final = 2**63 - 1
"""Counters are signed 64-bit numbers, as Redis keeps them, so that both faces of a database agree."""


class Updates(WritableView):
    """Each call is atomic: nobody writes the key between its read and its write."""

    def incr(self, key: BytesLike, delta: int = 1, *, ttl: Ttl | None = None) -> int:
        """Add to the number that the key holds as decimal text (0 if absent), and return the sum.

        `ttl` is for a key that this call creates; the expiry of one that is there stays. So a counter of requests
        begins anew when its time is over: `db.incr(b"hits:ada", ttl=60) <= 100` allows a hundred in a minute.

        ConflictError if the value is not a 64-bit integer, or the sum would not be one, or the key holds a collection.
        """
        try:
            delta = index(delta)
        except TypeError:
            raise TypeError(f"delta must be a whole number, not {delta!r}") from None
        expires_at_ms = 0 if ttl is None else self._expires_at_ms(ttl)
        total = 0

        def add(entry: Live | None) -> Entry:
            nonlocal total
            value = entry if type(entry) is bytes else self._string_at(entry, self._now_ms())
            total = (0 if value is None else _integer(value)) + delta
            if not -MAX_INTEGER - 1 <= total <= MAX_INTEGER:
                raise ConflictError(f"the sum {total} does not fit 64 bits")
            text = b"%d" % total
            if value is None:
                return make_entry(text, expires_at_ms)
            return make_entry(text, entry[1]) if isinstance(entry, tuple) else text

        self._update(key, add)
        return total

    def put_if_absent(self, key: BytesLike, value: BytesLike, *, ttl: Ttl | None = None) -> bool:
        """Set the key if it is absent. True if it was set. ConflictError if it holds a collection."""
        return self.compare_and_set(key, None, value, ttl=ttl)

    def compare_and_set(
        self, key: BytesLike, expected: BytesLike | None, new: BytesLike | None, *, ttl: Ttl | None = None
    ) -> bool:
        """If the key holds `expected` (None: if it is absent), set it to `new` (None: delete it). True if it did.
        ConflictError if it holds a collection."""
        now_ms = self._now_ms()
        wanted = None if expected is None else as_bytes("a value", expected)
        expires_at_ms = 0 if ttl is None else self._expires_at_ms(ttl)
        entry_then: Entry = TOMBSTONE if new is None else make_entry(as_bytes("a value", new), expires_at_ms)
        held = False

        def swap(entry: Live | None) -> Entry | None:
            nonlocal held
            held = self._string_at(entry, now_ms) == wanted
            return entry_then if held else None

        self._update(key, swap)
        return held

    def expire(self, key: BytesLike, ttl: Ttl) -> bool:
        """Let the key expire in `ttl` (seconds or a timedelta), whatever it holds. False if it is absent."""
        return self._set_expiry(key, self._expires_at_ms(ttl))

    def persist(self, key: BytesLike) -> bool:
        """Remove the expiry of the key. False if it is absent or has none."""
        return self._set_expiry(key, 0)

    def _set_expiry(self, key: BytesLike, expires_at_ms: int) -> bool:
        now_ms = self._now_ms()
        done = False

        def change(entry: Live | None) -> Entry | None:
            nonlocal done
            if entry is None or not is_alive(entry, now_ms):
                return None
            value, before, tag = entry if isinstance(entry, tuple) else (entry, 0, 0)
            done = bool(expires_at_ms or before)
            return make_entry(value, expires_at_ms, tag) if done else None

        self._update(key, change)
        return done


def _integer(value: bytes) -> int:
    """Parse decimal text as Redis does: an optional minus, digits, no leading zero, no blank; else ConflictError."""
    digits = value[1:] if value[:1] == b"-" else value
    canonical = digits.isdigit() and (digits[:1] != b"0" or value == b"0") and len(digits) <= 19
    number = int(value) if canonical else None
    if number is None or not -MAX_INTEGER - 1 <= number <= MAX_INTEGER:
        raise ConflictError(f"{value[:40]!r} is not a 64-bit integer")
    return number
