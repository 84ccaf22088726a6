"""Transactions in one thread, their steps interleaved with each other's and with other writes, beside a model.

The model knows what must come of each step: what a read gives (the data of the moment at which the transaction began,
with its own writes), and whether it or the commit is in conflict: exactly if somebody has written since what was read.
So a conflict without a reason is found as well as a missing one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from random import Random
from typing import Any, Final, TypeAlias

from flin.engine import ConflictError, Transaction
from flin.engine.engine import Engine, store_of
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import EngineSetup

KEYS: Final = (b"", b"a", b"a\0", b"b", b"c", b"d", b"\xff", b"\xff\x01")
SLOTS: Final = 3

REMEMBERED: Final = 60
"""Writes that are surely remembered with the smallest memory limit: half of 32 KiB, at some 180 bytes each."""

Change: TypeAlias = tuple[bytes, bytes]
"""[start, stop) of keys that were written."""


Value: TypeAlias = tuple[bytes, int]
"""A value and its expiry, or 0."""


def one(key: bytes) -> Change:
    return key, key + b"\0"


def meet(left: Change, right: Change) -> bool:
    return max(left[0], right[0]) < min(left[1], right[1])


class Open:
    """An open transaction and what the model knows of it."""

    def __init__(self, transaction: Transaction, base: dict[bytes, Value], now_ms: int) -> None:
        self.transaction = transaction
        self.base = base  # what was there at its beginning
        self.now_ms = now_ms
        self.own: dict[bytes, Value | None] = {}  # None: deleted
        self.covered: list[Change] = []  # ranges that it has deleted itself
        self.reads: list[Change] = []
        self.changes: list[Change] = []  # by others, since it began
        self.doomed = False

    @property
    def view(self) -> dict[bytes, bytes]:
        """What it must see, in order."""
        both = {**self.base, **self.own}
        return {key: value[0] for key, value in sorted(both.items()) if value is not None}

    def expiry(self, key: bytes) -> int:
        value = {**self.base, **self.own}.get(key)
        return 0 if value is None else value[1]

    def has_changed(self, read: Change) -> bool:
        return any(meet(read, change) for change in self.changes)


class Interleaving:
    """One engine, its model, and the transactions that are open."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = ManualClock()
        shards = random.choice((1, 1, 4))
        self.engine: Engine = EngineSetup("interval", shards).open(SimulatedDisk(), self.clock, random.random())
        self.model: dict[bytes, Value] = {}
        self.open: list[Open] = []
        self.written = 0
        self.committed = 0
        self.refused = 0

    def run(self, steps: int) -> None:
        kinds = [self.begin, self.read, self.read, self.scan, self.count, self.nearest]
        kinds += [self.write, self.write, self.erase, self.erase_range, self.change, self.finish, self.finish]
        kinds += [self.outside, self.outside, self.advance, self.sweep, self.flush, self.many]
        weights = [4, *(2,) * (len(kinds) - 2), 0.4]
        for step in self.random.choices(kinds, weights, k=steps):
            step()
        while self.open:
            self.finish()
        assert dict(self.engine.items()) == self.live(), "what was written differs"
        assert not store_of(self.engine)._recent.is_needed
        self.engine.close()

    # What the model says.

    def alive(self) -> dict[bytes, Value]:
        now_ms = self.clock.now_ms
        return {key: value for key, value in sorted(self.model.items()) if not value[1] or value[1] > now_ms}

    def live(self) -> dict[bytes, bytes]:
        return {key: value for key, (value, _) in self.alive().items()}

    def changed(self, change: Change, by: Open | None = None) -> None:
        for each in self.open:
            if each is not by:
                each.changes.append(change)

    def value(self) -> bytes:
        self.written += 1
        return b"%d" % self.written

    def key(self) -> bytes:
        return self.random.choice(KEYS)

    def bounds(self) -> Change:
        first, last = sorted(self.random.choices((*KEYS, b"\xff\xff"), k=2))
        return first, last

    def expect(self, each: Open, read: Change, call: Callable[[], object], expected: object) -> bool:
        """The call must give what is expected, or be in conflict if what it reads was written. Whether it gave it."""
        each.reads.append(read)
        try:
            found = call()
        except ConflictError as error:
            self._judge(each, error, each.has_changed(read))
            return False
        assert not each.has_changed(read), f"a transaction has read {read}, which was written since it began"
        assert found == expected, f"a transaction found {found!r}, the model says {expected!r}"
        return True

    def _judge(self, each: Open, error: ConflictError, is_due: bool) -> None:
        if "too old" in str(error):
            assert len(each.changes) > REMEMBERED, "few writes, but they are forgotten"
        else:
            assert is_due, f"a conflict without a reason: {error}"
        each.doomed = True
        self.refused += 1

    # Steps of transactions.

    def begin(self) -> None:
        if len(self.open) < SLOTS:
            self.open.append(Open(self.engine.transaction(), self.alive(), self.clock.now_ms))

    def some(self) -> Open | None:
        return self.random.choice(self.open) if self.open else None

    def read(self) -> None:
        if each := self.some():
            key = self.key()
            call, expected = self.random.choice(
                (
                    (each.transaction.get, each.view.get(key)),
                    (each.transaction.__contains__, key in each.view),
                    (lambda key: each.transaction.get_many([key]), [each.view.get(key)]),
                )
            )
            if key in each.own:
                assert call(key) == expected
            else:
                self.expect(each, one(key), lambda: call(key), expected)

    def scan(self) -> None:
        """Take some of a scan; what was taken is read, and all of it at the end."""
        if each := self.some():
            start, stop = self.bounds()
            reverse, keys_only = self.random.random() < 0.4, self.random.random() < 0.5
            limit = self.random.choice((None, None, 1, 2))
            items: list[Any] = [(key, value) for key, value in each.view.items() if start <= key < stop]
            items.sort(reverse=reverse)
            count = self.random.choice((0, 1, 2, 99))
            taken = items[: count if limit is None else min(count, limit)]
            wanted = len(taken) < count and (limit is None or len(taken) < limit)  # it comes to the end
            last = taken[-1][0] if taken else None
            if wanted:
                read = start, stop
            elif last is None:
                read = start, start
            else:
                read = (last, stop) if reverse else (start, last + b"\0")
            name = "scan_keys" if keys_only else "scan"
            expected = [key for key, _ in taken] if keys_only else taken
            scan = partial(getattr(each.transaction, name), start=start, stop=stop, reverse=reverse, limit=limit)
            self.expect(each, read, lambda: list(islice(scan(), count)), expected)

    def count(self) -> None:
        if each := self.some():
            self.expect(each, (b"", b"\xff\xff\xff"), lambda: len(each.transaction), len(each.view))

    def nearest(self) -> None:
        if each := self.some():
            key, keys = self.key(), list(each.view)
            above = next((other for other in keys if other > key), None)
            below = next((other for other in reversed(keys) if other < key), None)
            up, down = key + b"\0", (b"" if below is None else below, key)
            self.expect(
                each,
                (up, b"\xff\xff\xff" if above is None else above + b"\0"),
                lambda: each.transaction.next_key(key),
                above,
            )
            self.expect(each, down, lambda: each.transaction.prev_key(key), below)

    def write(self) -> None:
        if each := self.some():
            key = self.key()
            value, ttl = self.value(), self.random.choice((None, None, 1.0))
            each.own[key] = value, 0 if ttl is None else each.now_ms + 1000
            if self.random.random() < 0.5:
                each.transaction.put(key, value, ttl=ttl)
            else:
                each.transaction.put_many({key: value}, ttl=ttl)

    def erase(self) -> None:
        if each := self.some():
            key = self.key()
            each.transaction.delete(key)
            each.own[key] = None

    def erase_range(self) -> None:
        if each := self.some():
            start, stop = self.bounds()
            each.transaction.delete_range(start, stop)
            if start < stop:
                each.covered.append((start, stop))
                each.own |= {key: None for key in (*KEYS, *each.view) if start <= key < stop}

    def change(self) -> None:
        """Read and write in one call."""
        if each := self.some():
            key = self.key()
            before, is_own = each.view.get(key), key in each.own
            names = ("incr", "put_if_absent", "compare_and_set", "pop", "setdefault", "expire", "persist")
            name = self.random.choice(names)
            value, expiry = self.value(), 0
            arguments: tuple[Any, ...]
            answer: object
            after: bytes | None
            if name == "incr":
                after, answer, arguments = b"%d" % (int(before or 0) + 7), int(before or 0) + 7, (7,)
                expiry = each.expiry(key)
            elif name == "expire":
                after, answer, arguments, expiry = before, before is not None, (2,), each.now_ms + 2000
            elif name == "persist":
                after, answer, arguments = before, bool(each.expiry(key)), ()
            elif name == "put_if_absent":
                after, answer, arguments = (value if before is None else before), before is None, (value,)
            elif name == "compare_and_set":
                after, answer, arguments = value, True, (before, value)
            elif name == "pop":
                after, answer, arguments = None, before, (None,)
            else:
                after, answer, arguments = (value if before is None else before), (before or value), (value,)

            def call() -> object:
                return getattr(each.transaction, name)(key, *arguments)

            if is_own:
                assert call() == answer, name
            elif not self.expect(each, one(key), call, answer):
                return
            if after != before or answer is True or name == "incr":
                each.own[key] = None if after is None else (after, expiry)

    def finish(self) -> None:
        if not (each := self.some()):
            return
        self.open.remove(each)
        if self.random.random() < 0.15:
            each.transaction.discard()
            return
        writes = bool(each.own or each.covered)
        due = each.doomed or (writes and any(map(each.has_changed, each.reads)))
        try:
            each.transaction.commit()
        except ConflictError as error:
            self._judge(each, error, due)
            return
        assert not due, "a transaction has committed, though what it has read was written since it began"
        self.committed += 1
        for start, stop in each.covered:
            self.model = {key: entry for key, entry in self.model.items() if not start <= key < stop}
            self.changed((start, stop))
        for key, value in each.own.items():
            self.model.pop(key, None)
            if value is not None:
                self.model[key] = value
            if not any(start <= key < stop for start, stop in each.covered) or value is not None:
                self.changed(one(key))

    # Steps of others.

    def outside(self) -> None:
        key, value, kind = self.key(), self.value(), self.random.randrange(8)
        if kind == 0:
            self.engine.delete(key)
            self.model.pop(key, None)
        elif kind == 1:
            start, stop = self.bounds()
            self.engine.delete_range(start, stop)
            self.model = {key: entry for key, entry in self.model.items() if not start <= key < stop}
            if start < stop:
                self.changed((start, stop))
            return
        elif kind == 2:
            self.engine.put(key, value, ttl=1)
            self.model[key] = (value, self.clock.now_ms + 1000)
        elif kind == 3:
            self.engine.put_many({key: value, b"other": value})
            self.model |= {key: (value, 0), b"other": (value, 0)}
            self.changed(one(b"other"))
        elif kind == 4:
            with self.engine.write_batch() as batch:
                batch[key] = value
                batch.delete_range(b"y", b"z")
            self.model[key] = (value, 0)
            self.changed((b"y", b"z"))
        elif kind == 5:
            before = self.live().get(key)
            assert self.engine.compare_and_set(key, before, value)
            self.model[key] = (value, 0)
        elif kind == 6:
            if key not in self.live():
                assert self.engine.pop(key, None) is None, "nothing is written"
                return
            assert self.engine.pop(key) == self.model.pop(key)[0]
        else:
            self.engine.put(key, value)
            self.model[key] = (value, 0)
        self.changed(one(key))

    def many(self) -> None:
        """A write, and so many more that it is forgotten."""
        self.outside()
        for number in range(200):
            self.engine.put(b"many", b"%d" % number)
            self.changed(one(b"many"))
            self.model[b"many"] = (b"%d" % number, 0)

    def advance(self) -> None:
        self.clock.advance(self.random.choice((0.3, 1.0)))

    def sweep(self) -> None:
        """What it deletes is written for those who may still see it."""
        expired = self.model.keys() - self.live().keys()
        oldest_ms = min((each.now_ms for each in self.open), default=0)
        assert len(self.engine) == len(self.live())
        for key in expired:
            if self.model.pop(key)[1] > oldest_ms:
                self.changed(one(key))

    def flush(self) -> None:
        self.engine.flush()
