"""A lone client's short way: whatever changes between two of its requests, it is told what it is told on the ordinary
way (where `lone` is never reached)."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from flin.errors import StorageError
from flin.net.run import tick
from tests.net.fake_peer import Clients, Peer

NO_ROOM: Final = StorageError("write", "wal", "no space left on device")

ORDINARY: Final = (
    *(b"GET k", b"SET k v", b"GET k", b"INCR n", b"INCR k", b"LPUSH l x", b"GET l", b"RPUSH awaited x", b"GET big"),
    *(b"PUBLISH c m", b"PUBLISH d m", b"DEL n awaited"),
)

OWN: Final = (
    (b"MULTI",),
    (b"CLIENT REPLY SKIP",),
    (b"CLIENT REPLY OFF",),
    (b"CLIENT TRACKING ON",),
    (b"HELLO 3", b"SUBSCRIBE c"),
    (b"SUBSCRIBE c",),
    (b"BLPOP awaited 0",),
    (b"SET k v PX 3", b"GET n", b"GET n", b"GET k"),
    (b"SELECT 1",),
    (b"WATCH k",),
    (b"MONITOR",),
    (b"QUIT",),
    (b"EVAL return{redis.call('incr','n')} 0",),
)
"""What the lone client says itself."""

TO_IT: Final = (b"PUBLISH c m", b"RPUSH awaited x", b"FLUSHALL", b"CLIENT PAUSE 1000 WRITE")
"""What another client says, and what depends on what the lone one has said."""

OF_ANOTHER: Final = (
    *TO_IT,
    b"MONITOR",
    b"BLPOP awaited 0",
    b"LPUSH k x",
    b"PEXPIRE k 1",
    b"CLIENT PAUSE 1000",
    b"CLIENT KILL ID 1",
    b"CONFIG SET requirepass secret",
    b"CONFIG SET notify-keyspace-events KEA",
    b"CONFIG SET slowlog-log-slower-than 0",
    b"ACL SETUSER default -get",
    b"ACL SETUSER default resetkeys ~n",
    b"ACL SETUSER default off",
)


def told(own: tuple[bytes, ...], of_another: bytes, options: dict[str, Any]) -> list[Any]:
    """All that the two clients get, step by step, and what is stored at the end."""
    clients = Clients(databases=2, **options)
    lone, another = peers = [clients.connect(), clients.connect()]
    another.ask(b"SET k v", b"SET big %b" % (b"b" * 5000), b"HELLO 3", b"SUBSCRIBE d")
    found: list[Any] = []

    def say(peer: Peer, *requests: bytes) -> None:
        for request in requests:
            if not peer.is_closed:
                peer.say(request)
            clients.loop.run()
            clients.wall_ms += 2
            heard = [re.sub(rb"\+\d+\.\d+", b"+now", each.read_all()) for each in peers]  # MONITOR tells the time
            found.append((request, heard, [each.is_closed for each in peers]))

    say(lone, b"GET k", b"GET k")
    was_lone = clients.services.tick.lone is lone.connection
    say(lone, *own, *ORDINARY)
    say(another, of_another)
    say(lone, *ORDINARY)
    clients.store.make_cold(b"k")
    say(lone, b"GET k")
    clients.store.failure = NO_ROOM
    say(lone, b"SET k refused", b"GET k")
    clients.store.failure = None
    clients.loop.run_later()
    say(lone, b"SET k taken", b"GET k")
    clients.store.sync_failure = NO_ROOM  # matters in `always` alone
    say(lone, b"SET k unsynced", b"GET k", b"GET k")
    return [was_lone, *found, clients.store.entries]


def check(own: tuple[bytes, ...], of_another: bytes, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    monkeypatch.setattr(tick, "LONE_TICKS", 1)
    is_lone, *shortly = told(own, of_another, options)
    monkeypatch.setattr(tick, "LONE_TICKS", 1 << 30)
    is_ever_lone, *plainly = told(own, of_another, options)
    assert (is_lone, is_ever_lone) == (True, False)
    assert shortly == plainly


@pytest.mark.parametrize("own", OWN, ids=lambda own: b", ".join(own).decode())
def test_it_has_changed_something_itself(own: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for of_another in TO_IT:
        check(own, of_another, monkeypatch)


@pytest.mark.parametrize("of_another", OF_ANOTHER)
def test_another_client_has_changed_something(of_another: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    check((), of_another, monkeypatch)
    check((), of_another, monkeypatch, sync="always")
