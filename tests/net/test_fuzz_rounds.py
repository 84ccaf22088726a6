"""The fuzzers of rounds: short runs that are the same every time, and that they find seeded bugs."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from flin.errors import StorageError
from flin.net.command.registry import find
from flin.net.run.tick import Tick
from flin.net.serve.connection import Connection
from flin.net.serve.round import Round
from flin.net.wire import columns
from fuzz.resp import check_chunks, random_chunks
from fuzz.rounds import check, random_scene
from tests.net.data.seeded_bug import Patch, check_caught
from tests.net.fake_peer import Clients

SCENES = 80
CHUNKS = 2000


def scenes() -> None:
    for seed in range(SCENES):
        check(random_scene(Random(seed)))


def chunks() -> None:
    taken = sum(check_chunks(random_chunks(Random(seed))) for seed in range(CHUNKS))
    assert taken > CHUNKS // 4, taken


def killed_writers() -> None:
    """Clients that are killed in a round write nothing behind it."""
    clients = Clients()
    killer, *others = peers = [clients.connect() for _ in range(6)]
    for peer in peers:
        peer.say(b"PING")
    clients.loop.run()
    killer.say(*[b"CLIENT KILL ID %d" % peer.connection.session.id for peer in others])
    for peer in others:
        peer.say(b"SET k v")
    clients.loop.run()
    assert not clients.store.entries


def unsynced_replies() -> None:
    """In `always` no reply leaves that shows what is not durable."""
    clients = Clients(sync="always")
    peers = [clients.connect() for _ in range(6)]
    for number, peer in enumerate(peers):
        peer.ask(b"SET %d old" % number)
        peer.say(b"PING")
    clients.loop.run()
    for request in (b"GET %d", b"SET %d new", b"GET %d"):
        for number, peer in enumerate(peers):
            peer.read_all()
            peer.say(request % number)
        clients.loop.run()
        replies = {peer.read_all() for peer in peers}
        if clients.store.sync_failure is None:
            assert replies == {b"$3\r\nold\r\n"}
            clients.store.sync_failure = StorageError("sync", "wal", "a test says so")
        else:
            assert {reply[:1] for reply in replies} == {b"-"}


def test_unsynced_replies() -> None:
    unsynced_replies()


def repeated_deletes() -> None:
    """The second of two DELs of one key in a round finds nothing."""
    clients = Clients()
    peers = [clients.connect() for _ in range(6)]
    for requests, replies in (([b"SET %d v"], b"+OK\r\n"), ([b"DEL %d", b"DEL %d"], b":1\r\n:0\r\n")):
        for number, peer in enumerate(peers):
            peer.say(*[request % number for request in requests])
        clients.loop.run()
        assert {peer.read_all() for peer in peers} == {replies}


def test_repeated_deletes() -> None:
    repeated_deletes()


def test_random_scenes() -> None:
    scenes()


def test_random_chunks() -> None:
    chunks()


def test_killed_writers() -> None:
    killed_writers()


def unsynced_replies_leave(patch: Patch) -> None:
    """in `always` replies wait for the sync"""
    patch.setattr(Round, "_may_leave", lambda self, command: True)


def chunks_complete_each_other(patch: Patch) -> None:
    """a request that is cut is not completed by another client's bytes"""
    patch.setattr(columns, "_line_feeds", lambda chunk, _: 2 * int(chunk[1:].partition(b"\r")[0]) + 1)


def refused_replies_leave(patch: Patch) -> None:
    """who has written in a batch that is refused is told so"""
    patch.setattr(Round, "batch_refused", Round.batch_committed)


def replies_are_swapped(patch: Patch) -> None:
    """each client gets its own reply"""

    def release(self: Round) -> int:
        self._committed = [(found[0][::-1], *found[1:]) for found in self._committed]
        return original(self)

    original = Round.release
    patch.setattr(Round, "release", release)


def replies_are_not_counted(patch: Patch) -> None:
    """CLIENT LIST shows the newest command"""
    patch.setattr(Connection, "deliver", lambda self, _, reply: self._write(reply))


def killed_clients_write(patch: Patch) -> None:
    """nothing of a client runs behind its end"""

    def stop(self: Any) -> None:
        before = self.session.skips_gates
        original(self)
        self.session.skips_gates = before

    original = Connection._stop
    patch.setattr(Connection, "_stop", stop)


def replies_leave_before_the_commit(patch: Patch) -> None:
    """a lone client, too, is told of a batch that is refused"""
    original = Tick.ends_at_once

    def ends_at_once(self: Tick) -> bool:
        points, self._pending.points = self._pending.points, {}
        try:
            return original(self)
        finally:
            self._pending.points = points

    patch.setattr(Tick, "ends_at_once", ends_at_once)


def keys_are_deleted_twice(patch: Patch) -> None:
    """of two DELs of one key in a column the second finds nothing"""

    def each(context: Any, keys: tuple[bytes, ...]) -> list[bytes]:
        replies = list(original(context, keys))
        gone = {key for key, reply in zip(keys, replies, strict=False) if reply == b":1\r\n"}
        return [b":1\r\n" if key in gone else reply for key, reply in zip(keys, replies, strict=False)]

    command = find(b"del")
    assert command is not None
    assert command.batch is not None
    original = command.batch
    patch.setattr(command, "batch", each)


@pytest.mark.parametrize(
    ("bug", "hunt"),
    [
        (chunks_complete_each_other, chunks),
        (refused_replies_leave, scenes),
        (replies_are_swapped, scenes),
        (replies_are_not_counted, scenes),
        (replies_leave_before_the_commit, scenes),
        (killed_clients_write, killed_writers),
        (keys_are_deleted_twice, repeated_deletes),
    ],
    ids=lambda each: each.__name__,
)
def test_bugs_are_caught(bug: Callable[[Patch], None], hunt: Callable[[], None], monkeypatch: Patch) -> None:
    check_caught(bug, hunt, monkeypatch)
