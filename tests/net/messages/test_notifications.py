"""Keyspace events: expired keys once, new and missed ones, nothing while nobody asks; with their writes, or not at
all."""

from __future__ import annotations

from typing import Any, cast

import pytest

from flin.engine.entry import make_entry
from flin.errors import StorageError
from flin.net.messages.notifications import CLASS_OF
from flin.net.serve.reaping import Reaping
from flin.net.settings.event_classes import EventClass, heard, parse_classes, show_classes
from flin.net.settings.options import ConfigError, ServerOptions
from tests.net.fake_peer import Clients, Peer


def listening(classes: bytes, **options: Any) -> tuple[Clients, Peer, Peer]:
    """A server, a client of it, and one that is told of every event by key."""
    clients = Clients(**options)
    client, listener = clients.connect(), clients.connect()
    assert client.ask(b"CONFIG SET notify-keyspace-events " + classes) == b"+OK\r\n"
    listener.ask(b"PSUBSCRIBE __keyspace@*")
    return clients, client, listener


def told(listener: Peer) -> list[str]:
    """The events as `key event`."""
    words = listener.read_all().split(b"\r\n")
    names = [word.partition(b"__:")[2] for word in words if word.startswith(b"__keyspace@") and b"*" not in word]
    events = [words[at + 2] for at, word in enumerate(words) if word.startswith(b"__keyspace@") and b"*" not in word]
    return [f"{name.decode()} {event.decode()}" for name, event in zip(names, events, strict=True)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"AKE", b"AKE"),
        (b"g$lshzxetdKE", b"AKE"),
        (b"tdeK", b"etdK"),
        (b"K$n", b"$nK"),
        (b"KEAmn", b"AKEm"),  # as in Redis
        (b"", b""),
    ],
)
def test_the_letters_are_shown_in_redis_s_order(text: bytes, shown: bytes) -> None:
    assert show_classes(parse_classes(text)) == shown


def test_what_reaches_nobody_is_off() -> None:
    assert heard(parse_classes(b"A")) is EventClass.NONE
    assert heard(parse_classes(b"KE")) is EventClass.NONE
    assert heard(parse_classes(b"K$")) == EventClass.KEYSPACE | EventClass.STRING


def test_the_option_at_the_start() -> None:
    clients = Clients(notify_keyspace_events="Kg")
    assert clients.connect().ask(b"CONFIG GET notify-keyspace-events").endswith(b"$2\r\ngK\r\n")
    assert clients.services.config.notified
    with pytest.raises(ConfigError, match="Invalid event class character"):
        ServerOptions(notify_keyspace_events="Kq").check()


def test_each_event_is_of_one_class() -> None:
    assert CLASS_OF[b"set"] == EventClass.STRING
    assert all(bin(found).count("1") == 1 for found in CLASS_OF.values())


def test_gates_are_closed_only_while_somebody_may_listen() -> None:
    _clients, client, listener = listening(b"KA")
    assert not client.connection.session.skips_gates
    client.send(b"SET a 1", b"MSET b 1 c 2", b"INCR n", b"GET a")
    assert told(listener) == ["a set", "b set", "c set", "n incrby"]
    client.ask(b"CONFIG SET notify-keyspace-events K")
    assert client.connection.session.skips_gates
    client.send(*[b"SET a 1"] * 16)
    assert told(listener) == []
    client.ask(b"CONFIG SET notify-keyspace-events KA")
    client.send(*[b"SET a 1"] * 16, *[b"INCR n"] * 16)
    assert told(listener) == ["a set"] * 16 + ["n incrby"] * 16, "pipelines run one by one"


def test_by_event_and_by_key_and_database() -> None:
    _clients, client, listener = listening(b"KEA")
    listener.ask(b"PSUBSCRIBE __keyevent@*")
    client.send(b"SELECT 3", b"SET a 1")
    told_of = listener.read_all()
    assert told_of.count(b"$19\r\n__keyspace@3__:a\r\n".replace(b"19", b"16") + b"$3\r\nset\r\n") == 1
    assert told_of.count(b"$18\r\n__keyevent@3__:set\r\n$1\r\na\r\n") == 1


def test_an_expired_key_is_told_of_once_by_the_read_that_meets_it() -> None:
    clients, client, listener = listening(b"KAm")
    client.ask(b"SET a 1 PX 100", b"HSET h f v", b"PEXPIRE h 100", b"SET b 1 PX 100")
    told(listener)
    clients.wall_ms += 200
    assert client.ask(b"GET a", b"GET a") == b"$-1\r\n$-1\r\n"
    assert told(listener) == ["a expired", "a keymiss", "a keymiss"]
    assert b"a" not in clients.store.entries
    client.ask(b"HSET h g v", b"SET b 2")
    assert told(listener) == ["h expired", "h hset", "b expired", "b set"]


def test_without_x_a_read_writes_nothing() -> None:
    clients, client, _listener = listening(b"K$g")
    client.ask(b"SET a 1 PX 100")
    clients.wall_ms += 200
    commits = len(clients.store.commits)
    assert client.ask(b"GET a") == b"$-1\r\n"
    assert len(clients.store.commits) == commits


def test_where_nothing_can_be_written_a_read_deletes_nothing() -> None:
    clients, client, listener = listening(b"KA")
    client.ask(b"SET a 1 PX 100")
    told(listener)
    clients.wall_ms += 200
    clients.store.read_only_reason = "full"
    assert client.ask(b"GET a") == b"$-1\r\n"
    assert told(listener) == []


def test_the_sweep_tells_what_no_command_has_told() -> None:
    clients, client, listener = listening(b"KA")
    reaping = Reaping(clients.services, cast(Any, None))
    moment = clients.wall_ms + 100
    client.ask(b"SET a 1 PXAT %d" % moment, b"SET b 1 PXAT %d" % moment)
    told(listener)
    clients.wall_ms += 200
    client.ask(b"GET a")
    assert told(listener) == ["a expired"]
    swept = {key: make_entry(b"1", moment) for key in (b"a", b"b")}  # at the same time, in its thread
    reaping.note_expired(swept)
    reaping.step()
    clients.loop.run()
    assert told(listener) == ["b expired"]
    reaping.step()
    reaping.step()
    reaping.note_expired({b"a": make_entry(b"1", moment)})  # a later life with the same end
    reaping.step()
    clients.loop.run()
    assert told(listener) == ["a expired"]


def test_a_refused_batch_takes_its_events_and_the_sweep_tells_then() -> None:
    clients, client, listener = listening(b"KA")
    reaping = Reaping(clients.services, cast(Any, None))
    moment = clients.wall_ms + 100
    client.ask(b"SET a 1 PXAT %d" % moment)
    told(listener)
    clients.wall_ms += 200
    clients.store.failure = StorageError("write", "wal", "no space left")
    client.ask(b"GET a", b"SET b 1")
    assert told(listener) == []
    clients.store.failure = None
    reaping.note_expired({b"a": make_entry(b"1", moment)})
    reaping.step()
    clients.loop.run()
    assert told(listener) == ["a expired"]


def test_a_transaction_tells_when_it_is_complete_and_nothing_if_it_is_taken_back() -> None:
    clients, client, listener = listening(b"KAn", memory_limit=16 << 20)
    limit = clients.services.config.largest_reply_bytes
    client.ask(b"SETRANGE big %d x" % (limit // 2))
    assert told(listener) == ["big new", "big setrange"]
    client.ask(b"MULTI", b"SET a 1", b"RPUSH l x", b"LPOP l", b"EXEC")
    assert told(listener) == ["a new", "a set", "l new", "l rpush", "l lpop", "l del"]
    assert b"-EXECABORT" in client.ask(b"MULTI", b"SET z 1", b"GET big", b"GET big", b"EXEC")
    assert told(listener) == []


def test_who_is_served_tells_of_what_it_takes() -> None:
    clients, client, listener = listening(b"KAn")
    waiter = clients.connect()
    waiter.send(b"BLMOVE l other LEFT RIGHT 0")
    client.ask(b"RPUSH l x")
    assert told(listener) == ["l new", "l rpush", "other new", "other rpush", "l lpop", "l del"]


def test_a_read_that_waits_for_the_disk_is_told_of_once() -> None:
    clients, client, listener = listening(b"KAm")
    clients.store.make_cold(b"a")
    assert client.ask(b"GET a") == b"$-1\r\n"
    assert told(listener) == ["a keymiss"]


def test_commands_over_many_keys_tell_of_each() -> None:
    _clients, client, listener = listening(b"KAnm")
    keys = [b"k%d" % number for number in range(600)]
    client.ask(b"MSETNX " + b" ".join(key + b" v" for key in keys))
    assert told(listener) == [f"k{number} {event}" for number in range(600) for event in ("new", "set")]
    client.ask(b"DEL " + b" ".join(keys))
    assert told(listener) == [f"k{number} del" for number in range(600)]
    client.ask(b"MGET " + b" ".join(keys))
    assert told(listener) == [f"k{number} keymiss" for number in range(600)]


def test_what_a_command_in_slices_misses_comes_before_its_events() -> None:
    _clients, client, listener = listening(b"KAm")
    client.ask(b"PFMERGE all one two")
    assert told(listener) == ["all keymiss", "one keymiss", "two keymiss", "all pfadd"]
    client.ask(b"SET b x", b"BITOP OR d a b c")
    assert told(listener) == ["b set", "a keymiss", "c keymiss", "d set"]


def test_nobody_subscribed_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(notify_keyspace_events="KEA")
    monkeypatch.setattr(type(clients.services.pubsub), "publish", None)
    assert clients.connect().ask(b"SET a 1", b"LPUSH l a") == b"+OK\r\n:1\r\n"


def test_a_script_tells_what_its_commands_do_and_nothing_if_it_is_taken_back() -> None:
    pytest.importorskip("lupa.luajit21")
    _clients, client, listener = listening(b"KAnm")
    script = b"redis.call('SET', KEYS[1], 1) redis.call('GET', 'none') return redis.call('INCR', KEYS[1])"
    client.say([b"EVAL", script, b"1", b"a"], [b"EVAL_RO", b"return 1", b"1", b"missing"])
    client._loop.run()
    assert client.read_all() == b":2\r\n:1\r\n"
    assert told(listener) == ["a new", "a set", "none keymiss", "a incrby"]
    client.say([b"EVAL", b"redis.call('SET', KEYS[1], 1) redis.call('NOTHING')", b"1", b"b"])
    client._loop.run()
    assert client.read_all().startswith(b"-ERR")
    assert told(listener) == ["b new", "b set"], "an error of its own keeps its writes, as in Redis"
