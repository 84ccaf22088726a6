"""The engine against a dict, over its whole public API, with reopen, flush and compact in between; 1 to 64 shards."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flin.engine.background import value_garbage, value_segments
from flin.engine.key import prefix_stop
from flin.errors import ConflictError
from flin.testing import ManualClock, SimulatedDisk
from flin.testing.run import EngineSetup
from tests.engine.test_pairs import KINDS

Form: TypeAlias = Callable[[bytes], Any]

# Few short keys, so that they meet; some of every kind that the engine treats in its own way.
KEYS = [b"", b"\0", b"a", b"a\0", b"aa", b"ab", b"abc", b"b", b"{a}1", b"{a}2", b"c{x}", b"n1", b"n2", b"\xfe", b"\xff",
        b"\xff\0", b"\xff\x01", b"\xff\xff", b"z" * 300]  # fmt: skip
keys = st.one_of(st.sampled_from(KEYS), st.integers(0, 60).map(lambda number: b"k%02d" % number), st.binary(max_size=3))
values = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"0", b"7", b"-3", b"9223372036854775807", b" 1", b"x" * 5000]),
)
bounds = st.one_of(st.none(), keys)
ttls = st.sampled_from([None, None, 0.5, 1.0, 100.0])
forms = st.sampled_from([bytes, *KINDS])  # what a program may pass for bytes


class EngineMachine(RuleBasedStateMachine):
    """Every rule does the same to the engine and to a dict, and compares their answers."""

    shards = 1
    runner = "inline"
    value_threshold = 0
    encrypted = False

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        self.clock = ManualClock()
        self.model: dict[bytes, tuple[bytes, int]] = {}  # value, expires_at_ms or 0
        self.views: list[tuple[Any, dict[bytes, bytes]]] = []
        self.opened = 0
        self.engine: Any = None

    @initialize()
    def open(self) -> None:
        self.opened += 1
        setup = EngineSetup(
            "interval", self.shards, runner=self.runner, value_threshold=self.value_threshold, encrypted=self.encrypted
        )
        self.engine = setup.open(self.disk, self.clock, self.opened)

    def live(self) -> dict[bytes, bytes]:
        now_ms = self.clock.now_ms
        return {key: value for key, (value, at) in sorted(self.model.items()) if not at or at > now_ms}

    def expires(self, ttl: float | None) -> int:
        return 0 if ttl is None else self.clock.now_ms + round(ttl * 1000)

    def kept_expiry(self, key: bytes) -> int:
        return self.model[key][1] if key in self.live() else 0

    # One key.

    @rule(key=keys, default=st.sampled_from([None, b"default"]))
    def get(self, key: bytes, default: bytes | None) -> None:
        live = self.live()
        assert self.engine.get(key, default) == live.get(key, default)
        assert (key in self.engine) == (key in live)
        if key in live:
            assert self.engine[key] == live[key]
        else:
            with pytest.raises(KeyError):
                self.engine[key]

    @rule(key=keys, value=values, ttl=ttls, sync=st.sampled_from([None, None, True, False]))
    def put(self, key: bytes, value: bytes, ttl: float | None, sync: bool | None) -> None:
        self.engine.put(key, value, ttl=ttl, sync=sync)
        self.model[key] = (value, self.expires(ttl))

    @rule(key=keys, value=values, form=forms)
    def set_item(self, key: bytes, value: bytes, form: Form) -> None:
        self.engine[form(key)] = form(value)
        self.model[key] = (value, 0)

    @rule(key=keys, form=forms)
    def delete(self, key: bytes, form: Form) -> None:
        self.engine.delete(form(key))
        self.model.pop(key, None)

    @rule(key=keys)
    def delete_item(self, key: bytes) -> None:
        if key in self.live():
            del self.engine[key]
        else:
            with pytest.raises(KeyError):
                del self.engine[key]
        self.model.pop(key, None)

    @rule(key=keys, default=st.sampled_from([None, b"default"]))
    def pop(self, key: bytes, default: bytes | None) -> None:
        assert self.engine.pop(key, default=default) == self.live().get(key, default)
        self.model.pop(key, None)

    @rule(count=st.sampled_from([1, 3, 80]))
    def pop_items(self, count: int) -> None:
        """Like from a queue: if many tombstones come first, their stretch is remembered."""
        for key, value in list(self.live().items())[:count]:
            assert self.engine.popitem() == (key, value)
            self.model.pop(key)

    @rule(key=keys, value=values, form=forms)
    def set_default(self, key: bytes, value: bytes, form: Form) -> None:
        live = self.live()
        found = self.engine.setdefault(form(key), form(value))
        assert (type(found), found) == (bytes, live.get(key, value))
        if key not in live:
            self.model[key] = (value, 0)

    # Many keys.

    @rule(wanted=st.lists(keys, max_size=6))
    def get_many(self, wanted: list[bytes]) -> None:
        live = self.live()
        assert self.engine.get_many(wanted) == [live.get(key) for key in wanted]

    @rule(pairs=st.lists(st.tuples(keys, values), max_size=8), ttl=ttls)
    def put_many(self, pairs: list[tuple[bytes, bytes]], ttl: float | None) -> None:
        self.engine.put_many(pairs, ttl=ttl)
        self.model |= {key: (value, self.expires(ttl)) for key, value in pairs}

    @rule(number=st.integers(0, 99), size=st.integers(20, 300))
    def put_block(self, number: int, size: int) -> None:
        """Put enough keys at once to fill pages and blocks."""
        pairs = {b"m%02d%03d" % (number, index): b"v%d" % index * (index % 7) for index in range(size)}
        self.engine.put_many(pairs.items())
        self.model |= {key: (value, 0) for key, value in pairs.items()}

    @rule(gone=st.lists(keys, max_size=6))
    def delete_many(self, gone: list[bytes]) -> None:
        self.engine.delete_many(gone)
        for key in gone:
            self.model.pop(key, None)

    @rule(pairs=st.dictionaries(keys, values, max_size=4), form=forms)
    def update(self, pairs: dict[bytes, bytes], form: Form) -> None:
        self.engine.update((form(key), form(value)) for key, value in pairs.items())
        self.engine |= pairs
        self.model |= {key: (value, 0) for key, value in pairs.items()}

    @rule(start=keys, stop=keys, form=forms)
    def delete_range(self, start: bytes, stop: bytes, form: Form) -> None:
        self.engine.delete_range(form(start), form(stop))
        self.model = {key: entry for key, entry in self.model.items() if not start <= key < stop}

    @rule(prefix=st.one_of(keys, st.sampled_from([b"k", b"m", b"k1"])))
    def delete_prefix(self, prefix: bytes) -> None:
        self.engine.delete_prefix(prefix)
        self.model = {key: entry for key, entry in self.model.items() if not key.startswith(prefix)}

    @precondition(lambda self: len(self.model) > 20)
    @rule()
    def clear(self) -> None:
        self.engine.clear()
        self.model.clear()

    @rule(
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("put"), keys, values),
                st.tuples(st.just("delete"), keys),
                st.tuples(st.just("delete_range"), keys, keys),
            ),
            max_size=6,
        ),
        fails=st.booleans(),
        read=keys,
        form=forms,
    )
    def write_batch(self, steps: list[tuple[Any, ...]], fails: bool, read: bytes, form: Form) -> None:
        before, live = dict(self.model), self.live()
        try:
            with self.engine.write_batch() as batch:
                for name, *arguments in steps:
                    getattr(batch, name)(*map(form, arguments))
                    if name == "put":
                        live[arguments[0]] = arguments[1]
                        self.model[arguments[0]] = (arguments[1], 0)
                    else:
                        self._forget(live, name, arguments)
                        self._forget(self.model, name, arguments)
                    assert batch.get(form(read)) == live.get(read)
                assert dict(batch) == live, "a batch is a mapping, too"
                assert list(reversed(batch.keys())) == sorted(live, reverse=True)
                assert len(batch) == len(live)
                assert self.engine.get(read) == {
                    key: value for key, (value, at) in before.items() if not at or at > self.clock.now_ms
                }.get(read)
                if fails:
                    raise _Abandoned
        except _Abandoned:
            self.model = before

    @staticmethod
    def _forget(entries: dict[bytes, Any], name: str, arguments: list[bytes]) -> None:
        gone = [arguments[0]] if name == "delete" else [k for k in entries if arguments[0] <= k < arguments[1]]
        for key in gone:
            entries.pop(key, None)

    # Read, then write, as one.

    @rule(
        reads=st.lists(st.one_of(keys, st.tuples(keys, keys)), max_size=3),
        pairs=st.lists(st.tuples(keys, st.one_of(st.none(), values)), max_size=4),
        meanwhile=st.one_of(st.none(), st.tuples(keys, values)),
        form=forms,
    )
    def transaction(
        self,
        reads: list[bytes | tuple[bytes, bytes]],
        pairs: list[tuple[bytes, bytes | None]],
        meanwhile: tuple[bytes, bytes] | None,
        form: Form,
    ) -> None:
        live = self.live()
        transaction = self.engine.transaction()
        for key, value in pairs:
            if value is None:
                assert transaction.pop(form(key), None) == live.pop(key, None)
            else:
                assert transaction.setdefault(form(key), form(value)) == live.setdefault(key, value)
        for read in reads:
            if isinstance(read, tuple):
                start, stop = read
                expected = [pair for pair in sorted(live.items()) if start <= pair[0] < stop]
                assert list(transaction.scan(start=form(start), stop=form(stop))) == expected
            else:
                assert transaction.get(form(read)) == live.get(read)
        changed = {key: live.get(key) for key, _ in pairs if self.live().get(key) != live.get(key)}
        if meanwhile is not None:
            self.put(*meanwhile, ttl=None, sync=None)
            touched = [read if isinstance(read, tuple) else (read, read + b"\0") for read in (*reads, *dict(pairs))]
            if transaction.writes and any(start <= meanwhile[0] < stop for start, stop in touched):
                with pytest.raises(ConflictError):
                    transaction.commit()
                return
        transaction.commit()
        for key, now in changed.items():
            self.model.pop(key, None)
            self.model |= {} if now is None else {key: (now, 0)}

    @rule(key=keys, delta=st.integers(-10, 10))
    def incr(self, key: bytes, delta: int) -> None:
        old = self.live().get(key, b"0")
        try:
            number = int(old)
            good = b"%d" % number == old and -(2**63) <= number + delta < 2**63
        except ValueError:
            good = False
        if good:
            expiry = self.kept_expiry(key)
            assert self.engine.incr(key, delta) == number + delta
            self.model[key] = (b"%d" % (number + delta), expiry)
        else:
            with pytest.raises(ConflictError):
                self.engine.incr(key, delta)

    @rule(key=keys, value=values)
    def put_if_absent(self, key: bytes, value: bytes) -> None:
        absent = key not in self.live()
        assert self.engine.put_if_absent(key, value) is absent
        if absent:
            self.model[key] = (value, 0)

    @rule(
        key=keys,
        expected=st.one_of(st.none(), values),
        new=st.one_of(st.none(), values),
        right=st.booleans(),
        form=forms,
    )
    def compare_and_set(self, key: bytes, expected: bytes | None, new: bytes | None, right: bool, form: Form) -> None:
        old = self.live().get(key)
        expected = old if right else expected
        given = [None if value is None else form(value) for value in (expected, new)]
        assert self.engine.compare_and_set(form(key), *given) is (old == expected)
        if old == expected:
            self.model.pop(key, None)
            self.model |= {} if new is None else {key: (new, 0)}

    # Time.

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(key=keys)
    def ttl(self, key: bytes) -> None:
        found = self.engine.ttl(key)
        expiry = self.kept_expiry(key)
        if expiry:
            assert math.isclose(found, (expiry - self.clock.now_ms) / 1000)
        else:
            assert found is None

    @rule(key=keys, ttl=st.sampled_from([0.5, 5.0]))
    def expire(self, key: bytes, ttl: float) -> None:
        live = self.live()
        assert self.engine.expire(key, ttl) is (key in live)
        if key in live:
            self.model[key] = (live[key], self.expires(ttl))

    @rule(key=keys)
    def persist(self, key: bytes) -> None:
        had = bool(self.kept_expiry(key))
        assert self.engine.persist(key) is had
        if had:
            self.model[key] = (self.model[key][0], 0)

    # Order.

    @rule(
        prefix=st.one_of(st.none(), keys, st.sampled_from([b"k", b"m", b"k1"])),
        start=bounds,
        stop=bounds,
        include_start=st.booleans(),
        include_stop=st.booleans(),
        reverse=st.booleans(),
        limit=st.sampled_from([None, None, 0, 1, 3, 50]),
    )
    def scan(self, prefix: Any, start: Any, stop: Any, limit: Any, **how: bool) -> None:
        found = _select(self.live(), prefix, start, stop, limit, **how)
        arguments = {"prefix": prefix, "start": start, "stop": stop, "limit": limit}
        given = {name: value for name, value in arguments.items() if value is not None} | how
        assert list(self.engine.scan(**given)) == found
        assert list(self.engine.scan_keys(**given)) == [key for key, _ in found]

    @rule(start=bounds, stop=bounds, seeks=st.lists(keys, min_size=1, max_size=3), reverse=st.booleans())
    def part(self, start: Any, stop: Any, seeks: list[bytes], reverse: bool) -> None:
        """A slice, and an iterator that is moved in it."""
        found = _select(self.live(), None, start, stop, None)
        part, iterator = self.engine[start:stop], self.engine.iterator(start=start, stop=stop, reverse=reverse)
        assert (list(part.items()), len(part)) == (found, len(found))
        for key in seeks:
            assert part.get(key) == dict(found).get(key)
            iterator.seek(key)
            place = bisect_left(found, (key,))
            above, below = found[place : place + 1], found[max(place - 1, 0) : place]
            forward, back = (below, above) if reverse else (above, below)
            assert [next(iterator)] == forward if forward else next(iterator, None) is None
            iterator.seek(key)
            assert not back or [iterator.prev()] == back

    @rule(start=bounds, stop=bounds)
    def delete_slice(self, start: Any, stop: Any) -> None:
        del self.engine[start:stop]
        gone = {key for key, _ in _select(dict.fromkeys(self.model, b""), None, start, stop, None)}
        self.model = {key: entry for key, entry in self.model.items() if key not in gone}

    @rule(prefix=st.sampled_from([b"k", b"k1", b"m0", b"\xff"]), key=keys, value=values, cut=keys)
    def prefixed(self, prefix: bytes, key: bytes, value: bytes, cut: bytes) -> None:
        """A part below a prefix: it writes and deletes in that part only."""
        part = self.engine.prefixed(prefix)
        part[key] = value
        self.model[prefix + key] = (value, 0)
        assert part.get(key) == value
        stop = cut + b"\xff\xff"
        part.delete_range(cut, stop)
        gone = {name for name in self.model if name.startswith(prefix) and cut <= name[len(prefix) :] < stop}
        self.model = {name: entry for name, entry in self.model.items() if name not in gone}
        below = [(name[len(prefix) :], value) for name, value in self.live().items() if name.startswith(prefix)]
        assert list(part.items()) == below
        assert list(part.scan(limit=5)) == below[:5]
        assert list(reversed(part.items())) == below[::-1]
        assert len(part) == len(below)

    @rule(key=keys)
    def nearest(self, key: bytes) -> None:
        ordered = list(self.live())
        above, below = bisect_right(ordered, key), bisect_left(ordered, key)
        assert self.engine.next_key(key) == (ordered[above] if above < len(ordered) else None)
        assert self.engine.prev_key(key) == (ordered[below - 1] if below else None)

    @rule()
    def ends(self) -> None:
        ordered = list(self.live())
        assert self.engine.first() == (ordered[0] if ordered else None)
        assert self.engine.last() == (ordered[-1] if ordered else None)

    @rule()
    def mapping(self) -> None:
        live = self.live()
        assert list(self.engine) == list(self.engine.keys()) == list(live)
        assert list(self.engine.items()) == list(live.items())
        assert list(self.engine.values()) == list(live.values())
        assert list(reversed(self.engine.items())) == list(reversed(live.items()))

    @rule(step=st.integers(1, 5), count=st.integers(0, 5))
    def write_during_a_scan(self, step: int, count: int) -> None:
        """A scan shows the state as of its call, whatever is written while it runs."""
        expected = list(self.live().items())
        found = []
        for number, item in enumerate(self.engine.scan()):
            found.append(item)
            if number % step == 0 and number // step < count:
                key = b"k%02d" % (number % 60)
                self.engine.put(key, b"meanwhile")
                self.model[key] = (b"meanwhile", 0)
                if number // step == 1:
                    self.engine.flush()
        assert found == expected

    # Snapshots and maintenance.

    @precondition(lambda self: len(self.views) < 3)
    @rule()
    def snapshot(self) -> None:
        self.views.append((self.engine.snapshot(), self.live()))

    @precondition(lambda self: bool(self.views))
    @rule(key=keys, close=st.booleans(), reverse=st.booleans())
    def read_snapshot(self, key: bytes, close: bool, reverse: bool) -> None:
        view, expected = self.views[0]
        assert view.get(key) == expected.get(key)
        assert (key in view) == (key in expected)
        assert list(view.scan(reverse=reverse)) == sorted(expected.items(), reverse=reverse)
        assert dict(view) == expected
        assert len(view) == len(expected), "an expired key does not count, swept or not"
        if close:
            self.views.pop(0)[0].close()

    @rule()
    def flush(self) -> None:
        self.engine.flush()

    @rule()
    def compact(self) -> None:
        self.engine.compact()

    @rule()
    def verify(self) -> None:
        assert list(self.engine.verify()) == []

    @rule()
    def reopen(self) -> None:
        self._close_views()
        self.engine.close()
        self.engine.close()  # idempotent
        self.open()

    @rule()
    def count(self) -> None:
        assert len(self.engine) == len(self.live()), "counting sweeps what has expired first"

    @invariant()
    def sometimes_all(self) -> None:
        if self.engine is not None and len(self.model) < 10:
            assert dict(self.engine.scan()) == self.live()

    def _close_views(self) -> None:
        while self.views:
            self.views.pop()[0].close()

    def teardown(self) -> None:
        if self.engine is not None:
            self._close_views()
            assert list(self.engine.scan()) == list(self.live().items())
            assert list(self.engine.verify()) == []
            self.engine.close()
            assert self.disk.open_locks() == []


class _Abandoned(Exception):
    """An exception of a program inside a write batch."""


def _select(
    live: dict[bytes, bytes],
    prefix: bytes | None,
    start: bytes | None,
    stop: bytes | None,
    limit: int | None,
    *,
    include_start: bool = True,
    include_stop: bool = False,
    reverse: bool = False,
) -> list[tuple[bytes, bytes]]:
    """The result that a scan must give, computed in the plainest way."""

    def wanted(key: bytes) -> bool:
        above = start is None or key > start or (include_start and key == start)
        below = stop is None or key < stop or (include_stop and key == stop)
        return above and below and (prefix is None or key.startswith(prefix))

    found = sorted(((key, value) for key, value in live.items() if wanted(key)), reverse=reverse)
    return found if limit is None else found[:limit]


def _machine(
    shards: int, runner: str = "inline", value_threshold: int = 0, encrypted: bool = False
) -> type[EngineMachine]:
    settings = {"shards": shards, "runner": runner, "value_threshold": value_threshold, "encrypted": encrypted}
    return type(f"EngineMachine{shards}", (EngineMachine,), settings)


@pytest.mark.parametrize("shards", [1, 4, 16, 64])
def test_engine_is_a_dict(shards: int) -> None:
    few = settings(max_examples=8 if shards == 1 else 4, stateful_step_count=40)
    run_state_machine_as_test(_machine(shards), settings=few)


@pytest.mark.parametrize("shards", [1, 4])
def test_engine_is_a_dict_while_threads_flush_and_merge(shards: int) -> None:
    few = settings(max_examples=6, stateful_step_count=40)
    run_state_machine_as_test(_machine(shards, "thread"), settings=few)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly every value that was flushed is read by a pointer: each segment becomes a value file, none is worn."""
    for module, name in (
        (value_segments, "LEAST_SHARE"),
        (value_garbage, "LEAST_SHARE"),
        (value_garbage, "MOST_SHARE"),
    ):
        monkeypatch.setattr(module, name, 0.0)


@pytest.mark.parametrize("shards", [1, 4])
def test_engine_is_a_dict_whose_values_lie_in_value_files(shards: int, kept: None) -> None:
    few = settings(max_examples=8, stateful_step_count=40)
    run_state_machine_as_test(_machine(shards, value_threshold=8), settings=few)


def test_engine_is_a_dict_whose_values_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_segments, "LEAST_SHARE", 0.0)
    few = settings(max_examples=8, stateful_step_count=40)
    run_state_machine_as_test(_machine(1, value_threshold=8), settings=few)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["inline", "thread"])
def test_engine_is_a_dict_with_value_files_for_long(runner: str, kept: None) -> None:
    many = settings(max_examples=100, stateful_step_count=80)
    run_state_machine_as_test(_machine(1, runner, value_threshold=8), settings=many)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["inline", "thread"])
def test_engine_is_a_dict_whose_values_are_collected_for_long(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_segments, "LEAST_SHARE", 0.0)
    many = settings(max_examples=100, stateful_step_count=80)
    run_state_machine_as_test(_machine(1, runner, value_threshold=8), settings=many)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4, 16, 64])
def test_engine_is_a_dict_for_long(shards: int) -> None:
    examples = {64: 50, 16: 100}.get(shards, 150)  # many shards cost more, and make less of a difference
    run_state_machine_as_test(_machine(shards), settings=settings(max_examples=examples, stateful_step_count=80))


@pytest.mark.slow
@pytest.mark.parametrize("value_threshold", [0, 8])
def test_an_encrypted_engine_is_a_dict(value_threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_segments, "LEAST_SHARE", 0.0)
    many = settings(max_examples=60, stateful_step_count=50)
    run_state_machine_as_test(_machine(1, value_threshold=value_threshold, encrypted=True), settings=many)


def test_prefix_stop_is_what_the_model_needs() -> None:
    """The model deletes by startswith, the engine by a range: both mean the same."""
    for prefix in KEYS:
        stop = prefix_stop(prefix)
        for key in KEYS:
            assert key.startswith(prefix) == (key >= prefix and (stop is None or key < stop))
