"""The model test over all of the API: what test_model.py does, and every other call, with crashes, copies, readers.

    python -m tests.engine.whole_api 500 50        so many examples of so many steps; pytest runs a few

Each call of each face (engine, part, typed view, and of these batches, transactions, snapshots, readers, tasks) is made
of the plainest oracle, too (oracle.py), and both must answer the same.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

import flin.engine
from flin.engine import aio
from flin.engine.codec import key_codec
from flin.engine.engine import Engine
from flin.errors import ConflictError
from flin.testing import CrashModel, SimulatedDisk, after_crash
from flin.testing.crash_model import POWER_CUTS
from flin.testing.mirror import Mirror
from flin.testing.run import KEY
from flin.transfer import export_to, import_from
from tests.engine.oracle import Call, Entries, Oracle, do
from tests.engine.test_model import EngineMachine, bounds, keys, ttls, values

DB: Final = "/data/db"


@dataclass(frozen=True)
class Face:
    """A part of the database, and the types of its keys and values."""

    prefixes: tuple[bytes, ...]  # one below the other
    key: Any
    value: Any
    keys: st.SearchStrategy[Any] = field(repr=False)
    values: st.SearchStrategy[Any] = field(repr=False)

    def of(self, below: Any) -> Any:
        """This face of an engine, a batch, a snapshot …"""
        for prefix in self.prefixes:
            below = below.prefixed(prefix)
        return below if self.key is bytes and self.value is bytes else below.typed(key=self.key, value=self.value)

    def oracle(self, entries: Entries, now_ms: int) -> Oracle:
        return Oracle(entries, now_ms, b"".join(self.prefixes), self.key, self.value)


words = st.sampled_from(["", "a", "ab", "b", "\0", "é", "\U0001f600", "z" * 50])
numbers = st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63), 300]))
any_key, any_value = st.deferred(lambda: keys), st.deferred(lambda: values)  # whose representation is short
FACES: Final = (
    Face((), bytes, bytes, any_key, any_value),
    Face((b"k",), bytes, bytes, st.integers(0, 60).map(lambda number: b"%02d" % number), any_value),
    Face((b"\xff", b"\x01"), bytes, bytes, any_key, any_value),
    Face((b"T:",), str, int, words, numbers),
    Face((b"U", b":"), tuple[str, int], "json", st.tuples(words, st.integers(-2, 300)), st.none() | numbers | words),
    Face((b"V:",), int, float, numbers, st.sampled_from([0.0, -0.5, 1e300])),
)


def reads(face: Face) -> st.SearchStrategy[Call]:
    key, some = face.keys, st.none() | face.keys
    scans = {
        "start": some,
        "stop": some,
        "include_start": st.booleans(),
        "include_stop": st.booleans(),
        "reverse": st.booleans(),
        "limit": st.sampled_from([None, 0, 1, 3]),
    }
    if hasattr(key_codec(face.key), "encode_prefix"):
        scans["prefix"] = some
    return st.one_of(
        _calls("get", key),
        _calls("get", key, st.just("default")),
        _calls("get_many", st.lists(key, max_size=4)),
        *(_calls(name, key) for name in ("__getitem__", "__contains__", "ttl", "next_key", "prev_key")),
        _calls("__getitem__", st.builds(slice, some, some)),
        *(_calls(name, **scans) for name in ("scan", "scan_keys")),
        *(_calls(name) for name in ("first", "last", "__len__", "__iter__", "__reversed__", "keys", "items", "values")),
    )


def writes(face: Face) -> st.SearchStrategy[Call]:
    key, value, some = face.keys, face.values, st.none() | face.keys
    pairs = st.lists(st.tuples(key, value), max_size=4)
    prefixed = hasattr(key_codec(face.key), "encode_prefix")
    return st.one_of(
        _calls("put", key, value, ttl=ttls),
        _calls("put_many", pairs, ttl=ttls),
        _calls("update", pairs),
        _calls("__setitem__", key, value),
        *(_calls(name, key) for name in ("delete", "__delitem__", "pop")),
        _calls("__delitem__", st.builds(slice, some, some)),
        _calls("delete_many", st.lists(key, max_size=4)),
        _calls("delete_range", key, key),
        *([_calls("delete_prefix", key)] if prefixed else []),
        _calls("pop", key, st.just("default")),
        _calls("popitem"),
        _calls("setdefault", key, value),
        _calls("clear") if face.prefixes else _calls("first"),  # of all it is test_model.py's
    )


def updates(face: Face) -> st.SearchStrategy[Call]:
    key, value, ttl = face.keys, face.values, st.sampled_from([0.5, 5.0])
    counts = face.value in (bytes, int)
    return st.one_of(
        *([_calls("incr", key, st.integers(-9, 9), ttl=ttls)] if counts else []),
        _calls("put_if_absent", key, value, ttl=ttls),
        _calls("compare_and_set", key, st.none() | value, st.none() | value, ttl=ttls),
        _calls("expire", key, ttl),
        _calls("persist", key),
    )


def _calls(name: str, *arguments: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), st.tuples(*arguments), st.fixed_dictionaries(named))


@st.composite
def _some(draw: Any, *kinds: Callable[[Face], st.SearchStrategy[Call]]) -> tuple[Face, list[Call]]:
    """A face, and some calls of it."""
    face = draw(st.sampled_from(FACES))
    return face, draw(st.lists(st.one_of(*(kind(face) for kind in kinds)), min_size=1, max_size=6))


class WholeMachine(EngineMachine):
    """All that test_model.py does, and the rest of the API."""

    def __init__(self) -> None:
        super().__init__()
        self.key: bytes | None = None
        self.made = 0  # copies, each in a directory of its own
        self.reader: Engine | None = None
        self.mirrors: list[Mirror] = []
        self.computed = Counter[int]()

    @initialize(shards=st.sampled_from([1, 1, 4]), threshold=st.sampled_from([0, 8]), encrypted=st.booleans())
    def open(self, shards: int = 1, threshold: int = 0, encrypted: bool = False) -> None:
        if not self.opened:
            self.options: dict[str, Any] = {"shards": shards, "value_threshold": threshold}
            self.key = KEY if encrypted else None
            self.mirrors = [Mirror(False), Mirror(False)]
        self.engine = flin.engine.open(DB, **self._how())
        self.parts = [self.engine, self.engine.prefixed(b"k")]
        self.memoized = self.engine.prefixed(b"M:").memoize(name="double", ttl=5)(self._double)

    def _how(self) -> dict[str, Any]:
        self.opened += 1
        seeded = Random(self.opened).randbytes
        how = {"fs": self.disk, "clock_ms": self.clock, "random_bytes": seeded, "runner": "inline", "sync": "interval"}
        return how | {"memory_limit": 1 << 20, "encryption_key": self.key} | self.options

    # The faces.

    @rule(calls=_some(reads, writes, updates))
    def call(self, calls: tuple[Face, list[Call]]) -> None:
        face, some = calls
        real, oracle = face.of(self.engine), face.oracle(self.model, self.clock.now_ms)
        for each in some:
            do(real, oracle, each)
        assert bool(real) == bool(oracle)

    @rule(calls=_some(reads, writes), end=st.sampled_from(["commit", "commit", "discard", "exception"]))
    def call_batch(self, calls: tuple[Face, list[Call]], end: str) -> None:
        self._within(self.engine.write_batch, *calls, end)

    @rule(calls=_some(reads, writes, updates), end=st.sampled_from(["commit", "commit", "discard", "exception"]))
    def call_transaction(self, calls: tuple[Face, list[Call]], end: str) -> None:
        self._within(self.engine.transaction, *calls, end)

    def _within(self, begin: Callable[[], Any], face: Face, some: list[Call], end: str) -> None:
        entries = dict(self.model)
        oracle = face.oracle(entries, self.clock.now_ms)
        try:
            with begin() as outer:
                real = face.of(outer)
                for each in some:
                    do(real, oracle, each)
                assert real.writes == outer.writes
                if end == "exception":
                    raise InterruptedError
                getattr(real, end)()
        except InterruptedError:
            return
        if end == "commit":
            self.model = entries

    @rule(calls=_some(reads, writes, updates), conflicts=st.booleans())
    def call_function(self, calls: tuple[Face, list[Call]], conflicts: bool) -> None:
        """A function that is a transaction, and runs again after a conflict."""
        face, some = calls
        entries = dict(self.model)
        tries: list[bool] = []

        def function(t: Any) -> int:
            entries.clear()
            entries.update(self.model)
            for each in some:
                do(t, face.oracle(entries, self.clock.now_ms), each)
            if conflicts and not tries:
                tries.append("a" in t.typed(key=str, value=str) if hasattr(t, "typed") else bool(t))
                self.put_in(face)
                raise ConflictError if t.conflict else InterruptedError
            return 7

        wrapped = face.of(self.engine).transactional(retries=1)(function)
        try:
            assert wrapped() == 7
        except InterruptedError:
            return
        self.model = entries

    def put_in(self, face: Face) -> None:
        """Somebody else writes in the middle of a transaction."""
        key = b"".join(face.prefixes) + b"elsewhere"
        self.engine.put(key, b"0")
        self.engine.delete(key)

    @rule(calls=_some(reads), then=_some(writes))
    def call_snapshot(self, calls: tuple[Face, list[Call]], then: tuple[Face, list[Call]]) -> None:
        entries, now_ms = dict(self.model), self.clock.now_ms
        with self.engine.snapshot() as snapshot:
            self.call(then)
            for each in calls[1]:
                do(calls[0].of(snapshot), calls[0].oracle(entries, now_ms), each)

    @rule(calls=_some(reads))
    def call_reader(self, calls: tuple[Face, list[Call]]) -> None:
        """In another program, opened now or refreshed."""
        if self.reader is None:
            how: dict[str, Any] = {
                "fs": self.disk.for_another_program(),
                "clock_ms": self.clock,
                "encryption_key": self.key,
            }
            self.reader = flin.engine.open(DB, read_only=True, memory_limit="1mb", **how)
        self.reader.refresh()
        face, some = calls
        for each in some:
            do(face.of(self.reader), face.oracle(self.model, self.clock.now_ms), each)

    @rule(calls=st.lists(st.one_of(reads(FACES[0]), writes(FACES[0]), updates(FACES[0])), max_size=8))
    def call_tasks(self, calls: list[Call]) -> None:
        """flin.engine.aio, opened in the engine's place: directly, in a batch, and in a transaction."""
        self._close()
        asyncio.run(self._tasks(calls))
        self.open()

    async def _tasks(self, calls: list[Call]) -> None:
        oracle = FACES[0].oracle(self.model, self.clock.now_ms)
        async with await aio.open(DB, **self._how()) as db:
            for each in calls:
                await _do_awaited(db, oracle, each)
            entries = dict(self.model)
            later = FACES[0].oracle(entries, self.clock.now_ms)
            async with db.transaction() as t:
                for each in calls:
                    if hasattr(t, each[0]):
                        await _do_awaited(t, later, each)
            self.model = entries
            feed = db.watch(b"k")
            async with db.write_batch() as batch, db.snapshot() as view:
                batch.put(b"k00", b"tasks")
                assert await view.count() == len(later)
                assert [pair async for pair in view.scan()] == later.items()
            assert (await anext(feed))[:2] == (b"k00", b"tasks")
            feed.close()
            self.model[b"k00"] = b"tasks", 0
            assert await db.run(len) == len(self.live())
            assert await db.verify() == []
            await db.compact()

    # Other calls.

    @rule(start=bounds, stop=bounds)
    def compact_range(self, start: bytes | None, stop: bytes | None) -> None:
        self.engine.compact(start, stop)
        self.engine.prefixed(b"k").compact(b"1", stop)
        whole = self.engine.approximate_size()
        assert 0 <= self.engine.approximate_size(start, stop) <= whole
        assert 0 <= self.engine.prefixed(b"k").approximate_size() <= whole

    @rule()
    def watch(self) -> None:
        """The copies of two who watch: one everything, one a part."""
        for mirror, part in zip(self.mirrors, self.parts, strict=True):
            mirror.follow(part, keeps_all=False)
            mirror.check(part, self.clock.now_ms)

    @rule(number=st.integers(0, 3), clears=st.booleans())
    def memoize(self, number: int, clears: bool) -> None:
        before, key = self.computed[number], b"M:" + self.memoized.cache_key(number)
        is_kept = key in self.live()
        assert self.memoized(number) == 2 * number
        assert self.computed[number] == before + (not is_kept)
        if not is_kept:
            self.model[key] = b"%d" % (2 * number), self.clock.now_ms + 5000
        assert key in self.engine
        if clears:
            self.memoized.cache_clear()
            Oracle(self.model, 0, key[: key.index(b"double") - 2]).clear()

    def _double(self, number: int) -> int:
        self.computed[number] += 1
        return 2 * number

    @rule(form=st.sampled_from(["ndjson", "compact", "rdb"]), skip=st.booleans(), more=st.dictionaries(keys, values))
    def export_and_import(self, form: Any, skip: bool, more: dict[bytes, bytes]) -> None:
        file, other = io.BytesIO(), io.BytesIO()
        live = self.live()
        assert export_to(self.engine, file, form=form) == len(live)
        with flin.engine.open("/other", fs=SimulatedDisk(), runner="inline", clock_ms=self.clock) as db:
            import_from(db, io.BytesIO(file.getvalue()))
            assert {key: (value, db.ttl(key)) for key, value in db.scan()} == self._with_ttls()
            db.clear()
            db.update(more)
            export_to(db, other, form=form)
        other.seek(0)
        done = import_from(self.engine, other, skip=skip)
        assert done.skipped == (len(more.keys() & live.keys()) if skip else 0)
        self.model |= {key: (value, 0) for key, value in more.items() if not (skip and key in live)}

    def _with_ttls(self) -> dict[bytes, tuple[bytes, float | None]]:
        oracle = Oracle(self.model, self.clock.now_ms)
        return {key: (value, oracle.ttl(key)) for key, value in self.live().items()}

    @rule(keep=st.sampled_from([None, 1, 2]), verify=st.booleans())
    def copy(self, keep: int | None, verify: bool) -> None:
        """A checkpoint, and a backup that is restored: both are databases with what there is."""
        self.made += 1
        places = [f"/data/checkpoint-{self.made}", f"/data/restored-{self.made}"]
        self.engine.checkpoint(places[0])
        backup = self.engine.backup("/data/backups", keep=keep, verify=verify)
        found = flin.engine.backups("/data/backups", fs=self.disk)
        assert found[-1].number == backup.number
        assert keep is None or len(found) <= keep
        assert flin.engine.verify_backup("/data/backups", backup.number, fs=self.disk) == []
        flin.engine.restore("/data/backups", places[1], encryption_key=self.key, fs=self.disk)
        for place in places:
            how = self._how()
            with flin.engine.open(place, **how) as copied:
                assert {key: (value, copied.ttl(key)) for key, value in copied.scan()} == self._with_ttls()
                copied.put(b"written into a copy", b"1")
            self.disk.remove_directory(place)

    @precondition(lambda self: self.key is not None)
    @rule(number=st.integers(0, 255))
    def rotate(self, number: int) -> None:
        new = bytes([number]) * 32
        self.engine.rotate(new)
        self.key = new
        self._close_reader()  # it has the old one

    # Its ends.

    @rule(power=st.sampled_from([None, *POWER_CUTS]), seed=st.integers(0, 1 << 16))
    def crash(self, power: CrashModel | None, seed: int) -> None:
        """The process is killed, which loses nothing; or the power fails after a sync, which loses nothing either."""
        if power is not None:
            self.engine.sync()
        clone = after_crash(self.disk, power or CrashModel.KILLED, Random(seed).randrange)
        self._close()
        self.disk = clone
        self.open()
        assert dict(self.engine.scan()) == self.live()

    @rule(flush=st.booleans())
    def reopen(self, flush: bool = True) -> None:
        self._close(flush=flush)
        self.open()
        stats, is_new = self.engine.stats(), self.engine.refresh()
        assert (self.engine.path, self.engine.closed, is_new, "wal" in stats) == (DB, False, False, True)

    def _close(self, *, flush: bool = True) -> None:
        self._close_views()
        self._close_reader()
        for mirror in self.mirrors:
            mirror.close()
        self.engine.close(flush=flush)

    def _close_reader(self) -> None:
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.close()

    def teardown(self) -> None:
        self._close_reader()
        for mirror in self.mirrors:
            mirror.close()
        if self.engine is not None and not self.engine.closed:  # else a rule has failed
            super().teardown()


async def _do_awaited(real: Any, oracle: Oracle, call: Call) -> None:
    """As `do`, of a face whose calls are awaited: it has other names for what Python has operators for."""
    name, arguments, named = call
    name = {"__contains__": "contains", "__len__": "count"}.get(name, name)
    if name.startswith("__") or not hasattr(real, name) or (name == "pop" and len(arguments) == 1):
        return
    answer: Any
    try:
        found = getattr(real, name)(*arguments, **named)
        if isinstance(found, Awaitable):
            answer = await found
        else:
            answer = None if found is None else [item async for item in found]
    except (KeyError, ConflictError) as error:
        answer = KeyError if isinstance(error, KeyError) else ConflictError

    class Answered:
        def __getattr__(self, _: str) -> Callable[..., Any]:
            return self.answer

        def answer(self, *_: object, **__: object) -> Any:
            if isinstance(answer, type):
                raise answer
            return answer

    do(Answered(), oracle, call)


def run(examples: int, steps: int) -> None:
    found = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(WholeMachine, settings=settings(found, deadline=None))


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]))
    print(f"{sys.argv[1]} examples of {sys.argv[2]} steps: every answer was right, on Python {sys.version.split()[0]}")
