"""Client-side caching, a round at a time: when clients are told, and that nobody keeps what is old."""

from __future__ import annotations

import pytest

from flin.engine.key import stored_key
from flin.errors import StorageError
from flin.net.client.session import Closure
from flin.net.messages.tracking import PREFIX_BYTES
from flin.net.messages.tracking_table import KEY_BYTES
from flin.net.serve.reaping import Reaping
from tests.net.fake_peer import Clients, Peer

FULL = StorageError("write", "wal", "no space left")


def invalid(*keys: bytes) -> bytes:
    """One message for each key."""
    return b"".join(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys)


ALL_INVALID = b">2\r\n$10\r\ninvalidate\r\n_\r\n"


def tracking(clients: Clients, options: bytes = b"") -> Peer:
    peer = clients.connect()
    assert peer.ask(b"HELLO 3", b"CLIENT TRACKING ON " + options).endswith(b"+OK\r\n")
    return peer


@pytest.fixture
def clients() -> Clients:
    return Clients()


def test_replies_of_a_tick_go_first_and_a_key_is_told_of_once(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    reader.say(b"GET a")
    writer.say(b"SET a 1")
    reader.say(b"GET a", b"SET a 2", b"GET a")
    writer.say(b"SET a 3")
    clients.loop.run()
    assert reader.read_all() == b"_\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n" + invalid(b"a")
    assert writer.ask(b"SET a 4") == b"+OK\r\n" * 3
    assert reader.read_all() == b"", "it was told after its last read"


def test_who_reads_after_the_write_is_told_of_the_next_one(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    writer.say(b"SET a 1")
    reader.say(b"GET a")
    clients.loop.run()
    assert reader.read_all() == b"$1\r\n1\r\n"
    writer.ask(b"SET a 2")
    assert reader.read_all() == invalid(b"a")


def test_a_write_that_the_tick_loses_is_never_told_of(clients: Clients) -> None:
    reader, broadcast, writer = tracking(clients), tracking(clients, b"BCAST"), clients.connect()
    reader.ask(b"MGET a b")
    clients.store.failure = FULL
    writer.say(b"SET a 1", b"FLUSHALL")
    clients.loop.run()
    assert (reader.read_all(), broadcast.read_all()) == (b"", b"")
    clients.store.failure = None
    writer.ask(b"SET a 1", b"SET b 1")
    assert reader.read_all() == invalid(b"a", b"b"), "it was put back"


def test_noloop_knows_that_its_own_write_was_lost(clients: Clients) -> None:
    mine, other = tracking(clients, b"NOLOOP"), clients.connect()
    mine.ask(b"GET a")
    clients.store.failure = FULL
    assert mine.ask(b"SET a 1").startswith(b"-MISCONF")
    clients.store.failure = None
    other.ask(b"SET a 2")
    assert mine.read_all() == invalid(b"a"), "what it has cached was not old, until now"


def test_an_eviction_is_told_of_though_the_batch_of_its_moment_is_lost(clients: Clients) -> None:
    reader, other = tracking(clients), clients.connect()
    other.ask(b"CONFIG SET tracking-table-max-keys 1")
    reader.ask(b"GET a")
    clients.store.failure = FULL
    other.say(b"SET c 1")
    reader.say(b"GET b")
    clients.loop.run()
    assert reader.read_all() == b"_\r\n" + invalid(b"a")


def test_a_batch_that_was_written_is_told_of_though_the_next_one_of_the_tick_is_lost(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    reader.ask(b"MGET a b")
    commit = clients.store.commit

    def commit_once(*batch: object) -> int:
        clients.store.failure = FULL
        return commit(*batch)  # type: ignore[arg-type]

    writer.say([b"SET", b"a", b"x" * (1 << 20)])  # a batch of its own
    assert clients.services.pending.batches == 1
    clients.store.failure = FULL
    writer.say(b"SET b 1")
    clients.loop.run()
    assert reader.read_all() == invalid(b"a")


def test_noloop_knows_the_writer_of_pipelines(clients: Clients) -> None:
    mine, broadcast, other = tracking(clients, b"NOLOOP"), tracking(clients, b"BCAST NOLOOP"), clients.connect()
    keys = [b"k%d" % number for number in range(16)]
    writes = [b"SET %b 1" % key for key in keys]
    mine.ask(*[b"GET " + key for key in keys])
    mine.say(*writes)  # its own
    other.say(*writes)  # as columns: nobody reads them any more
    clients.loop.run()
    assert mine.read_all() == b"+OK\r\n" * 16
    assert broadcast.read_all().count(b"\r\nk") == 16
    mine.ask(*[b"GET " + key for key in keys])
    mine.say(b"PING")
    other.say(*writes)
    clients.loop.run()
    assert mine.read_all() == b"+PONG\r\n" + invalid(*keys)


def test_noloop_in_a_step_reads_on(clients: Clients) -> None:
    mine, other = tracking(clients, b"NOLOOP"), clients.connect()
    mine.ask(b"MULTI", b"SET a 1", b"GET a", b"EXEC")
    other.ask(b"SET a 2")
    assert mine.read_all() == invalid(b"a")


@pytest.mark.parametrize("words", [[b"GET a", b"SET a 1"], [b"SET a 1", b"GET a"], [b"SET a 1", b"GET a", b"SET a 2"]])
def test_what_a_step_reads_is_never_kept_when_it_is_old(clients: Clients, words: list[bytes]) -> None:
    reader, writer = tracking(clients), clients.connect()
    assert reader.ask(b"MULTI", *words, b"EXEC").endswith(invalid(b"a"))
    writer.ask(b"SET a 3")
    assert reader.read_all() == invalid(b"a")


def test_a_step_that_is_taken_back_tells_nobody() -> None:
    clients = Clients(memory_limit=16 << 20)
    reader, writer = tracking(clients), clients.connect()
    reader.ask(b"GET a")
    clients.services.config.largest_commit_bytes = 100
    assert b"EXECABORT" in writer.ask(b"MULTI", b"SET a 1", b"SET b " + b"x" * 200, b"EXEC")
    assert reader.read_all() == b""
    writer.ask(b"SET a 1")
    assert reader.read_all() == invalid(b"a")


def test_a_read_that_fails_is_tracked_as_its_options_say(clients: Clients) -> None:
    optin, optout, writer = tracking(clients, b"OPTIN"), tracking(clients, b"OPTOUT"), clients.connect()
    writer.ask(b"SET a 1")
    optin.ask(b"CLIENT CACHING YES", b"HGETALL a")
    optout.ask(b"CLIENT CACHING NO", b"HGETALL a")
    writer.ask(b"SET a 2")
    assert (optin.read_all(), optout.read_all()) == (invalid(b"a"), b"")


def test_who_reads_after_a_flush_is_told_of_the_next_write(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    reader.say(b"GET a")
    writer.say(b"FLUSHDB")
    reader.say(b"GET b")
    clients.loop.run()
    assert reader.read_all() == b"_\r\n_\r\n" + ALL_INVALID
    writer.ask(b"MSET a 1 b 1")
    assert reader.read_all() == invalid(b"b")


def test_what_a_script_reads_is_tracked_whatever_it_declares(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    for words in ([b"EVAL"], [b"EVAL_RO"]):
        reader.say([*words, b"redis.call('get', 'b') return 1", b"1", b"a"])
        clients.loop.run()
        writer.ask(b"SET a 1")
        writer.ask(b"SET b 1")
        assert reader.read_all() == b":1\r\n" + invalid(b"b")


def test_many_prefixes_are_checked_at_once_and_counted(clients: Clients) -> None:
    peer = clients.connect()
    many = [word for number in range(20_000) for word in (b"PREFIX", b"%08d" % number)]
    for more, reply in (([b"PREFIX", b"000"], b"-ERR Prefix "), ([], b"+OK")):
        peer.say([b"CLIENT", b"TRACKING", b"ON", b"BCAST", *many, *more])
        clients.loop.run()
        assert peer.read_all().startswith(reply)
    assert peer.connection.session.kept_bytes() == 20_000 * (8 + PREFIX_BYTES)


def test_swapdb_invalidates_everything(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    reader.ask(b"GET a")
    writer.ask(b"SWAPDB 1 2")
    assert reader.read_all() == ALL_INVALID
    assert len(clients.services.tracking.table) == 0


def test_a_key_that_expires_is_told_of_when_it_is_removed(clients: Clients) -> None:
    reader, broadcast = tracking(clients), tracking(clients, b"BCAST PREFIX a")
    reaping = Reaping(clients.services, clients.loop)  # type: ignore[arg-type]
    reader.ask(b"MGET a b \xff")
    reaping.note_expired(dict.fromkeys((b"a", b"c", stored_key(b"\xff")), (b"", 1, 0)))
    reaping.step()
    clients.loop.run()
    assert reader.read_all() == invalid(b"a", b"\xff")
    assert broadcast.read_all() == invalid(b"a")


def test_a_long_reply_is_not_kept_if_a_key_was_written_meanwhile(clients: Clients) -> None:
    reader, writer = tracking(clients), clients.connect()
    keys = [b"k%05d" % number for number in range(3000)]
    reader.say([b"MGET", *keys])
    assert reader.connection.context.services.tracking.table.has(keys[7], reader.connection.session.id)
    writer.say(b"SET k00007 1")
    clients.loop.run()
    data = reader.read_all()
    assert data.count(invalid(b"k00007")) == 2
    assert data.endswith(invalid(b"k00007")), "after the reply, too"


def test_the_oldest_keys_are_evicted_and_told_of(clients: Clients) -> None:
    reader, operator = tracking(clients), clients.connect()
    operator.ask(b"CONFIG SET tracking-table-max-keys 3")
    reads = [b"GET a", b"GET b", b"GET c", b"GET d", b"GET a"]
    assert reader.ask(*reads) == b"_\r\n" * 4 + invalid(b"a") + b"_\r\n" + invalid(b"b")
    reads = [b"MGET e f g h"]
    assert reader.ask(*reads) == b"*4\r\n" + b"_\r\n" * 4 + invalid(b"c", b"d", b"a", b"e"), "after its reply"
    assert b"tracking_total_keys:3\r\ntracking_total_items:3\r\n" in operator.ask(b"INFO stats")
    operator.ask(b"CONFIG SET tracking-table-max-keys 1")
    clients.pass_seconds(1)
    assert reader.read_all() == invalid(b"f", b"g")
    operator.ask(b"CONFIG SET tracking-table-max-keys 0")
    reader.ask(*[b"GET k%d" % number for number in range(100)])
    assert len(clients.services.tracking.table) == 101


def test_the_table_is_bounded_by_memory(clients: Clients) -> None:
    clients.services.config.tracking_table_bytes = 10 * (KEY_BYTES + 100)
    reader = tracking(clients)
    keys = [b"%0100d" % number for number in range(50)]
    data = reader.ask(*[b"GET " + key for key in keys])
    assert data.count(b"invalidate") == 40
    assert len(clients.services.tracking.table) == 10


def test_nothing_is_left_when_nobody_tracks(clients: Clients) -> None:
    services = clients.services
    peers = [tracking(clients), tracking(clients, b"BCAST PREFIX a PREFIX b"), tracking(clients, b"BCAST NOLOOP")]
    broadcast = peers[1].connection.session
    assert (broadcast.closed_by, broadcast.skips_gates) == (Closure.NONE, True), "its own requests cost nothing"
    for peer in peers:
        peer.ask(b"GET a")
    assert b"tracking_clients:3\r\n" in peers[0].ask(b"INFO clients")
    assert b"tracking_total_prefixes:3\r\n" in peers[0].ask(b"INFO stats")
    peers[0].ask(b"CLIENT TRACKING OFF")
    peers[1].ask(b"RESET")
    peers[2].transport.abort()
    tracked = services.tracking
    assert (len(tracked.table), tracked.prefixes, tracked.trackers) == (0, {}, {})
    assert not any(keyspace.observers for keyspace in services.databases.keyspaces)
    assert all(peer.connection.session.skips_gates for peer in peers[:2])
