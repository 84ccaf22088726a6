"""Steps: what is taken back has never been, in the batch and in everything that memory derives from it."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flin.errors import CommandError
from flin.net.command.registry import find_for
from flin.net.data.savepoint import Step
from flin.net.run.call import call
from flin.net.wire.replies import Value
from flin.net.wire.resp import encode2
from flin.objects import limits
from flin.objects.layout import NEXT_VERSION
from tests.net.commands.handling import Handling
from tests.net.commands.test_every_type import MADE
from tests.net.generator import KEYS, OPTIONS, PLAIN, Generator

CHANGES: Final[dict[str, list[list[bytes]]]] = {
    "string": [[b"APPEND", b"k", b"more"], [b"SET", b"k", b"other"], [b"RENAME", b"k", b"n"], [b"DEL", b"n"]],
    "long string": [[b"SETRANGE", b"k", b"9", b"x"], [b"SETBIT", b"k", b"70000", b"1"], [b"DEL", b"k"]],
    "hash": [[b"HSET", b"k", b"0.5", b"x", b"new", b"y"], [b"HDEL", b"k", b"2.5"], [b"HINCRBY", b"k", b"n", b"1"]],
    "list": [
        [b"LPUSH", b"k", b"new"],
        [b"RPOP", b"k", b"3"],
        [b"LINSERT", b"k", b"BEFORE", b"5.5", b"x"],
        [b"LINDEX", b"k", b"9"],  # makes the rank index
        [b"LREM", b"k", b"1", b"7.5"],
        [b"LTRIM", b"k", b"2", b"20"],
    ],
    "set": [[b"SADD", b"k", b"new"], [b"SREM", b"k", b"1.5"], [b"SRANDMEMBER", b"k"], [b"SPOP", b"k", b"2"]],
    "zset": [
        [b"ZADD", b"k", b"7", b"new", b"-3", b"1.5"],
        [b"ZRANK", b"k", b"new"],
        [b"ZPOPMIN", b"k", b"2"],
        [b"ZREMRANGEBYRANK", b"k", b"0", b"3"],
    ],
    "stream": [
        [b"XADD", b"k", b"900-1", b"f", b"v"],
        [b"XREAD", b"STREAMS", b"k", b"898"],
        [b"XGROUP", b"CREATE", b"k", b"g", b"0"],
        [b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"k", b">"],
        [b"XACK", b"k", b"g", b"900-1"],
        [b"XTRIM", b"k", b"MAXLEN", b"5"],
    ],
}
"""By type: what a step does to the key `k` that MADE has made."""


@pytest.fixture(params=["packed", "spread"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Handling:
    monkeypatch.setattr(limits, "MAX_PACKED_ELEMENTS", 2 if request.param == "spread" else 1000)
    monkeypatch.setattr(limits, "MAX_PACKED_BYTES", 1 << 20)
    return Handling()


def run(server: Handling, words: list[bytes]) -> Value:
    """As a script runs a command: its reply, or its error."""
    command = find_for(words)
    assert command is not None
    return call(server.context, command, words)


def begin(server: Handling) -> Step:
    step = Step(server.services.databases)
    step.will_write()
    return step


def batch(server: Handling) -> tuple[Any, ...]:
    """The pending batch, and what else is about to be done."""
    pending = server.pending
    return (
        dict(pending.points), list(pending.ranges), pending.large_bytes, pending.in_transaction, pending.effects,
        len(pending.unsettled), list(server.services.waiters.ready),
        [keyspace.namespace for keyspace in server.services.databases.keyspaces],
    )  # fmt: skip


def dump(server: Handling) -> dict[Any, Any]:
    """Everything that clients see, database by database."""
    found: dict[Any, Any] = {}
    databases = server.services.databases
    selected, was_in_transaction = server.context.keyspace, server.pending.in_transaction
    server.pending.in_transaction = True  # a walk over keys commits nothing
    for keyspace in databases.keyspaces[:3]:
        server.context.keyspace = keyspace
        keys = sorted(run(server, [b"KEYS", b"*"]))
        for key in keys:
            found[keyspace.database, key] = run(server, [b"PEXPIRETIME", key]), _value(server, key)
        found[keyspace.database] = keys, run(server, [b"DBSIZE"])
    server.context.keyspace, server.pending.in_transaction = selected, was_in_transaction
    return found


def _value(server: Handling, key: bytes) -> object:
    kind = run(server, [b"TYPE", key]).data
    if kind == b"+set\r\n":  # in no certain order
        return set(run(server, [b"SMEMBERS", key]))
    if kind == b"+hash\r\n":
        fields = run(server, [b"HKEYS", key])
        return dict(zip(fields, run(server, [b"HMGET", key, *fields]), strict=True))
    if kind == b"+stream\r\n":
        return _stream(server, key)
    return run(server, [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"] if kind == b"+zset\r\n" else [b"DUMP", key])


def _stream(server: Handling, key: bytes) -> object:
    """With its groups; consumers come in the order in which they were made or read."""
    groups = run(server, [b"XINFO", b"GROUPS", key])
    told = [b"XINFO", b"STREAM", key], [b"XRANGE", key, b"-", b"+"]
    found: list[object] = [groups, *(encode2(run(server, words)) for words in told)]
    for group in groups:
        name = group[b"name"]
        consumers = run(server, [b"XINFO", b"CONSUMERS", key, name])
        found += [sorted(map(repr, consumers)), run(server, [b"XPENDING", key, name, b"-", b"+", b"9999"])]
    return found


def forget(server: Handling) -> None:
    """Memory keeps nothing that it could read again."""
    server.pending.settle()
    server.services.databases.forget_objects()
    for keyspace in server.services.databases.keyspaces:
        keyspace.hot.clear()
        keyspace.objects._check()


@pytest.mark.parametrize("is_committed", [True, False])
@pytest.mark.parametrize("kind", MADE)
def test_each_type_is_taken_back(server: Handling, kind: str, is_committed: bool) -> None:
    """After each number of changes."""
    for words in MADE[kind]:
        server.call(*words)
    if is_committed:
        server.pending.commit()
    server.pending.settle()
    for number in range(1, len(CHANGES[kind]) + 1):
        seen, before = dump(server), batch(server)
        step = begin(server)
        for words in CHANGES[kind][:number]:
            assert not isinstance(run(server, words), CommandError), words
        assert dump(server) != seen
        step.take_back()
        assert batch(server) == before
        assert dump(server) == seen
        forget(server)
        assert dump(server) == seen
    step = begin(server)
    for words in CHANGES[kind]:
        run(server, words)
    kept = dump(server)
    step.keep()
    server.pending.commit()
    forget(server)
    assert dump(server) == kept != seen


def test_a_group_that_changes_alone(server: Handling) -> None:
    """XREADGROUP writes no entry of the stream's own key."""
    for words in [*MADE["stream"], [b"XGROUP", b"CREATE", b"k", b"g", b"0"]]:
        server.call(*words)
    server.pending.commit()
    for _ in range(2):
        step = begin(server)
        server.call(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"5", b"STREAMS", b"k", b">")
        assert server.call(b"XPENDING", b"k", b"g")[0] == 5
        step.take_back()
        assert server.call(b"XPENDING", b"k", b"g")[0] == 0


def test_the_lease_of_versions(server: Handling) -> None:
    """Versions of a step that is taken back leave a gap, and the batch that takes the next one says so again."""
    members = [b"%d.5" % number for number in range(1100)]
    versions = []
    for _ in range(2):
        step = begin(server)
        server.call(b"SADD", b"k", *members)
        versions.append(next(key for key in server.pending.points if key.endswith(b"7.5"))[:-3])
        assert NEXT_VERSION in server.pending.points
        step.take_back()
        assert NEXT_VERSION not in server.pending.points
    assert versions[0] != versions[1]
    server.call(b"SADD", b"k", *members)
    server.pending.commit()
    assert NEXT_VERSION in server.store.entries


def test_the_lease_of_an_earlier_command_stays(server: Handling) -> None:
    server.call(b"SADD", b"a", *(b"%d.5" % number for number in range(1100)))
    step = begin(server)
    server.call(b"SADD", b"b", *(b"%d.5" % number for number in range(1100)))
    step.take_back()
    assert NEXT_VERSION in server.pending.points
    server.pending.commit()
    assert server.services.databases._lease._versions._committed == 1024


def test_cached_replies(server: Handling) -> None:
    """A reply that was cached before, or is cached within a step, is true after it."""
    server.call(b"SET", b"a", b"1")
    server.call(b"SET", b"b", b"1")
    server.pending.commit()
    assert server.wire(b"GET", b"a") == server.wire(b"GET", b"a") == b"$1\r\n1\r\n"
    step = begin(server)
    server.call(b"SET", b"a", b"2")
    for key in (b"a", b"b", b"a", b"b"):
        server.call(b"GET", key)
    server.call(b"FLUSHALL")
    for key in (b"a", b"b"):
        assert server.call(b"GET", key) is None
    server.call(b"SET", b"b", b"3")
    server.call(b"GET", b"b")
    step.take_back()
    for key in (b"a", b"b"):
        assert server.wire(b"GET", key) == b"$1\r\n1\r\n"


def test_databases_are_exchanged_back(server: Handling) -> None:
    databases = server.services.databases
    server.context.keyspace = databases.keyspaces[1]
    server.call(b"SET", b"a", b"one")
    server.call(b"HSET", b"h", b"f", b"v", b"g", b"v", b"i", b"v")
    server.pending.settle()
    seen, before = dump(server), batch(server)
    step = begin(server)
    server.call(b"SWAPDB", b"1", b"2")
    server.context.keyspace = databases.keyspaces[2]
    server.call(b"HSET", b"h", b"f", b"w")
    server.call(b"SWAPDB", b"2", b"3")
    step.take_back()
    assert (batch(server), dump(server)) == (before, seen)


class Watcher:
    def __init__(self) -> None:
        self.touched = False

    def touch(self) -> None:
        self.touched = True


def watched(server: Handling, *keys: bytes) -> list[Watcher]:
    watchers = [Watcher() for _ in keys]
    for key, watcher in zip(keys, watchers, strict=True):
        server.context.keyspace.watches.add(key, watcher)
    return watchers


def test_watchers_are_touched_once_it_is_kept(server: Handling) -> None:
    one, other = watched(server, b"a", b"b")
    step = begin(server)
    server.call(b"SET", b"a", b"1")
    step.take_back()
    assert not one.touched
    step = begin(server)
    server.call(b"SET", b"a", b"1")
    assert not one.touched
    step.keep()
    assert (one.touched, other.touched) == (True, False)


def test_who_leaves_or_comes_within_a_step(server: Handling) -> None:
    (one,) = watched(server, b"a")
    observers = server.context.keyspace.observers
    step = Step(server.services.databases)
    step.will_write(alone=True)
    server.call(b"SET", b"a", b"1")
    server.context.keyspace.watches.discard(b"a", one)
    (late,) = watched(server, b"b")
    server.call(b"SET", b"b", b"1")
    step.keep()
    assert (one.touched, late.touched) == (False, True)
    assert list(observers) == [server.context.keyspace.watches]


@pytest.mark.parametrize("flush", [b"FLUSHDB", b"FLUSHALL"])
def test_a_flush_touches_whoever_watches_a_key_that_was_there(server: Handling, flush: bytes) -> None:
    server.call(b"SET", b"stored", b"1")
    server.pending.commit()
    server.call(b"SET", b"pending", b"1")
    stored, pending, made, absent = watched(server, b"stored", b"pending", b"made", b"absent")
    step = begin(server)
    server.call(b"SET", b"made", b"1")
    server.call(flush)
    step.keep()
    assert [one.touched for one in (stored, pending, made, absent)] == [True, True, True, False]


def test_an_exchange_touches_whoever_watches_a_key_of_either(server: Handling) -> None:
    databases = server.services.databases
    server.context.keyspace = databases.keyspaces[1]
    server.call(b"SET", b"first", b"1")
    server.context.keyspace = databases.keyspaces[2]
    server.call(b"SET", b"second", b"1")
    first, second, absent = watched(server, b"first", b"second", b"absent")
    step = begin(server)
    server.call(b"SWAPDB", b"1", b"2")
    step.keep()
    assert [one.touched for one in (first, second, absent)] == [True, True, False]


def test_effects_come_when_it_is_kept(server: Handling) -> None:
    seen: list[str] = []
    pending = server.pending
    step = Step(server.services.databases)
    pending.after_step(lambda: seen.append("taken back"))
    step.take_back()
    outer = begin(server)
    pending.after_step(lambda: seen.append("first"))
    inner = begin(server)
    pending.after_step(lambda: seen.append("of an inner one that is taken back"))
    inner.take_back()
    inner = begin(server)
    pending.after_step(lambda: seen.append("second"))
    inner.keep()
    assert seen == []
    outer.keep()
    pending.after_step(lambda: seen.append("at once"))
    assert seen == ["first", "second", "at once"]


def test_a_step_within_a_step(server: Handling) -> None:
    one, other = watched(server, b"a", b"b")
    outer = begin(server)
    server.call(b"HSET", b"a", b"f", b"1")
    inner = begin(server)
    server.call(b"HSET", b"a", b"f", b"2")
    server.call(b"SET", b"b", b"2")
    inner.take_back()
    assert server.call(b"HGET", b"a", b"f") == b"1"
    assert server.pending.in_transaction
    inner = begin(server)
    server.call(b"SET", b"c", b"2")
    inner.keep()
    assert not one.touched
    outer.keep()
    assert not server.pending.in_transaction
    assert (one.touched, other.touched) == (True, False)
    assert server.call(b"MGET", b"a", b"b", b"c") == [None, None, b"2"]


# Random commands of all types, cut everywhere.

_GROUPS: Final = {
    "bitmap", "generic", "geo", "hash", "hyperloglog", "list", "set", "sorted-set", "stream", "string", "server",
}  # fmt: skip
_UNLIKE: Final = {"spop", "migrate"}
"""Their effect differs from run to run."""


def _names() -> list[str]:
    found = []
    for name in PLAIN:
        command = find_for([part.encode() for part in name.split("|")])
        assert command is not None
        if command.group in _GROUPS and name not in _UNLIKE and (command.is_write or command.group != "server"):
            found.append(name)
    return found


def some(seed: int, number: int) -> list[list[bytes]]:
    source = Generator(seed)
    names = _names()
    requests: list[list[bytes]] = []
    while len(requests) < number:
        name = source.pick(names)
        kind: Any = "options" if name in OPTIONS and source.random.random() < 0.4 else "plain"
        requests += [request.words for request in source.burst(name, kind)]
    return requests[:number]


def is_runnable(words: list[bytes]) -> bool:
    """Without CONFIG SET (hll-sparse-max-bytes …): a step that is taken back leaves settings as they are."""
    command = find_for(words)
    if command is None or words[0].lower() == b"config":
        return False
    return command.minimum <= len(words) <= command.maximum and command.group in _GROUPS


def twins(patch: pytest.MonkeyPatch, largest_packed: int, requests: list[list[bytes]]) -> tuple[Handling, Handling]:
    patch.setattr(limits, "MAX_PACKED_ELEMENTS", largest_packed)
    twins = Handling(), Handling()
    for twin in twins:
        for number, words in enumerate(requests):
            random.seed(number)
            run(twin, words)
            if number == len(requests) // 2:
                twin.pending.commit()
        twin.pending.settle()
    return twins


def _shown(value: Value) -> bytes:
    return encode2(value)


def cut_everywhere(seed: int, largest_packed: int) -> None:
    """A step that is cut after any of its commands is as none; then it runs to the same end as one that never was."""
    assert len(KEYS) > 8
    requests = [words for words in some(seed, 60) if is_runnable(words)]
    first, script = requests[:-8], requests[-8:]
    with pytest.MonkeyPatch.context() as patch:
        ours, theirs = twins(patch, largest_packed, first)
        seen = dump(theirs)
        assert dump(ours) == seen
        (watcher,) = watched(ours, KEYS[0])
        before = batch(ours)
        for number in range(1, len(script) + 1):
            step = begin(ours)
            for words in script[:number]:
                random.seed(7)
                run(ours, words)
            step.take_back()
            assert batch(ours) == before
            assert not watcher.touched
            if number % 3 == 0:
                assert dump(ours) == seen
        step = begin(ours)
        for words in script:
            random.seed(7)
            one = run(ours, words)
            random.seed(7)
            other = run(theirs, words)
            command = find_for(words)
            assert command is not None
            if command.is_write:  # others may show what has no order
                assert _shown(one) == _shown(other), words
        step.keep()
        for twin in (ours, theirs):
            assert dump(twin) == dump(theirs)
            twin.pending.commit()
            forget(twin)
        assert dump(ours) == dump(theirs)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 30), largest_packed=st.sampled_from([1, 4, 64]))
@example(seed=1, largest_packed=1)
def test_cut_everywhere(seed: int, largest_packed: int) -> None:
    cut_everywhere(seed, largest_packed)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 1 << 30), largest_packed=st.sampled_from([1, 4, 64]))
def test_cut_everywhere_often(seed: int, largest_packed: int) -> None:
    cut_everywhere(seed, largest_packed)
