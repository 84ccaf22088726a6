"""Operations on an engine, in any order.

Invariant: whatever sequence of writes, reads, flushes, compactions, snapshots, reopenings and kills the bytes spell,
the engine agrees with a dict at each step, snapshots do not change, and verification finds nothing.

Each operation is a byte, followed by the bytes of its arguments; few keys, so that they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import flin.engine
from flin.errors import ConflictError
from flin.testing import ManualClock, SimulatedDisk, killed

KEYS: Final = [b"", b"a", b"a\0", b"ab", b"b", b"c", b"k1", b"k2", b"k3", b"n", b"{a}1", b"\xfe", b"\xff", b"\xff\x01",
               b"\xff\xff", b"z"]  # fmt: skip
MOST_SNAPSHOTS: Final = 4


class Cursor:
    """The bytes of an input, taken one by one; zeros after their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def more(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def key(self) -> bytes:
        byte = self.byte()
        return KEYS[byte % 16] if byte < 240 else KEYS[byte % 16] + b"%d" % self.byte()

    def value(self) -> bytes:
        byte = self.byte()
        return b"%d" % byte if byte < 200 else bytes([byte]) * (byte * 20)


class Session:
    """One engine, its dict, and the snapshots that were taken."""

    def __init__(self, data: bytes) -> None:
        self.input = Cursor(data)
        self.disk = SimulatedDisk()
        self.clock = ManualClock()
        self.model: dict[bytes, tuple[bytes, int]] = {}
        self.views: list[tuple[Any, dict[bytes, bytes]]] = []
        self.shards = (1, 1, 4, 16)[self.input.byte() % 4]
        self.opened = 0
        self.open()

    def open(self) -> None:
        self.opened += 1
        salt = self.opened.to_bytes(2, "big")
        self.db: Any = flin.engine.open(
            "/db", fs=self.disk, runner="inline", clock_ms=self.clock, memory_limit="1mb", shards=self.shards,
            random_bytes=lambda size: (salt * size)[:size],
        )  # fmt: skip

    def live(self) -> dict[bytes, bytes]:
        now = self.clock.now_ms
        return {key: value for key, (value, at) in sorted(self.model.items()) if not at or at > now}

    def run(self) -> None:
        while self.input.more():
            OPERATIONS[self.input.byte() % len(OPERATIONS)](self)
        self.check()
        for view, expected in self.views:
            assert dict(view.scan()) == expected
            view.close()
        assert self.db.verify() == []
        self.db.close()

    def check(self) -> None:
        live = self.live()
        assert list(self.db.scan()) == list(live.items())
        assert list(self.db.scan_keys(reverse=True)) == list(live)[::-1]
        assert len(self.db) == len(live)

    # Operations.

    def get(self) -> None:
        key = self.input.key()
        assert self.db.get(key) == self.live().get(key)

    def put(self) -> None:
        key, value = self.input.key(), self.input.value()
        self.db.put(key, value)
        self.model[key] = (value, 0)

    def put_for_a_while(self) -> None:
        key, value, seconds = self.input.key(), self.input.value(), 1 + self.input.byte() % 8
        self.db.put(key, value, ttl=seconds)
        self.model[key] = (value, self.clock.now_ms + seconds * 1000)

    def delete(self) -> None:
        key = self.input.key()
        self.db.delete(key)
        self.model.pop(key, None)

    def delete_range(self) -> None:
        start, stop = self.input.key(), self.input.key()
        self.db.delete_range(start, stop)
        self.model = {key: entry for key, entry in self.model.items() if not start <= key < stop}

    def delete_prefix(self) -> None:
        prefix = self.input.key()
        self.db.delete_prefix(prefix)
        self.model = {key: entry for key, entry in self.model.items() if not key.startswith(prefix)}

    def incr(self) -> None:
        key = self.input.key()
        value = self.live().get(key, b"0")
        try:
            total = self.db.incr(key)
        except ConflictError:
            assert not value.isdigit()
            return
        assert total == int(value) + 1
        expiry = self.model[key][1] if key in self.live() else 0
        self.model[key] = (b"%d" % total, expiry)

    def batch(self) -> None:
        commits = self.input.byte() % 4 > 0
        before = dict(self.model)
        with self.db.write_batch() as batch:
            for _ in range(self.input.byte() % 6):
                key, how = self.input.key(), self.input.byte() % 4
                if how == 0:
                    batch.delete(key)
                    self.model.pop(key, None)
                elif how == 1:
                    stop = self.input.key()
                    batch.delete_range(key, stop)
                    self.model = {one: entry for one, entry in self.model.items() if not key <= one < stop}
                else:
                    batch.put(key, b"batched")
                    self.model[key] = (b"batched", 0)
            assert dict(batch.scan()) == self.live()
            if not commits:
                batch.discard()
                self.model = before

    def scan(self) -> None:
        low, high, how = self.input.key(), self.input.key(), self.input.byte()
        limit = self.input.byte() % 8 if how & 4 else None
        found = [
            key
            for key in sorted(self.live(), reverse=bool(how & 1))
            if low <= key and (key < high or (how & 2 and key == high))
        ]
        scan = self.db.scan_keys(start=low, stop=high, include_stop=bool(how & 2), reverse=bool(how & 1), limit=limit)
        assert list(scan) == found[:limit]

    def snapshot(self) -> None:
        if len(self.views) == MOST_SNAPSHOTS:
            view, expected = self.views.pop(self.input.byte() % MOST_SNAPSHOTS)
            assert dict(view.scan()) == expected
            view.close()
        self.views.append((self.db.snapshot(), self.live()))

    def flush(self) -> None:
        self.db.flush()

    def compact(self) -> None:
        self.db.compact()

    def advance(self) -> None:
        self.clock.advance(self.input.byte() % 16 / 2)

    def reopen(self) -> None:
        self._close_views()
        self.db.close(flush=bool(self.input.byte() % 2))
        self.open()
        self.check()

    def kill(self) -> None:
        """The process dies: the kernel has everything that was answered."""
        self._close_views()
        died, self.disk = self.db, killed(self.disk)
        self.open()
        self.check()
        died.close(flush=False)

    def _close_views(self) -> None:
        for view, expected in self.views:
            assert dict(view.scan()) == expected
            view.close()
        self.views.clear()


OPERATIONS: Final[list[Callable[[Session], None]]] = [
    Session.put,
    Session.put,
    Session.put,
    Session.put,
    Session.get,
    Session.delete,
    Session.put_for_a_while,
    Session.delete_range,
    Session.delete_prefix,
    Session.incr,
    Session.batch,
    Session.scan,
    Session.snapshot,
    Session.flush,
    Session.compact,
    Session.advance,
    Session.reopen,
    Session.kill,
    Session.check,
]


def one_input(data: bytes) -> None:
    Session(data).run()
