"""Commands over many keys: in slices, and yet of one moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flin.engine.entry import Entry
from flin.engine.table.cold_read import ColdRead
from flin.errors import StorageError
from flin.net.data.many_keys import MAX_UNSLICED_KEYS, ROUNDS, SLICE_KEYS
from flin.net.serve.dispatch import resume, run_gated
from flin.net.serve.wait import Wait, WaitForSlices
from tests.net.fake_store import FakeStore
from tests.net.raw_client import RawClient
from tests.net.serving import HandlerClient, ServerThread

NUMBER = SLICE_KEYS * 3 + 1
KEYS = [b"k%05d" % number for number in range(NUMBER)]


@pytest.fixture
def client() -> HandlerClient:
    client = HandlerClient()
    client.store.entries.update(dict.fromkeys(KEYS, b"v"))
    return client


def run_with(client: HandlerClient, request: list[bytes], between: Callable[[int], object]) -> tuple[bytes, int]:
    """Run a request, with `between(n)` before its nth slice except the first. Returns the reply and the number of
    slices."""
    client.out.clear()
    wait: Wait | None = run_gated(client, request)
    slices = 0
    while wait is not None:
        assert isinstance(wait, WaitForSlices)
        slices += 1
        between(slices)
        if wait.load is not None:
            wait.load()
        wait = resume(client, wait)
    return b"".join(client.out), slices


def nothing(slices: int) -> None:
    pass


@pytest.mark.parametrize("name", [b"DEL", b"UNLINK"])
def test_del_in_slices_deletes_at_one_moment(client: HandlerClient, name: bytes) -> None:
    def between(slices: int) -> None:
        client.pending.commit()
        assert len(client.store.entries) == NUMBER, "nothing is gone before all of it is"

    assert run_with(client, [name, *KEYS, *KEYS], between) == (b":%d\r\n" % NUMBER, 4)
    commits = len(client.store.commits)
    client.pending.commit()
    assert (client.store.entries, len(client.store.commits)) == ({}, commits + 1), "one frame"


def test_what_others_write_meanwhile_counts(client: HandlerClient) -> None:
    other = client.another()
    del client.store.entries[KEYS[1]]

    def between(slices: int) -> None:
        if slices == 3:
            other.call(b"DEL", KEYS[0])
            other.call(b"SET", KEYS[1], b"new")
            other.call(b"SET", b"elsewhere", b"x")
            other.call(b"DEL", KEYS[2], commit=False)

    reply, _ = run_with(client, [b"DEL", *KEYS], between)
    assert reply == b":%d\r\n" % (NUMBER - 2)
    client.pending.commit()
    assert client.store.entries == {b"elsewhere": b"x"}


def test_what_expires_or_is_flushed_meanwhile_is_gone() -> None:
    now_ms = [1_000_000]
    client = HandlerClient(clock=lambda: now_ms[0])
    client.store.entries.update(dict.fromkeys(KEYS, (b"v", 1000500, 0)))
    client.store.entries[KEYS[0]] = b"v"

    def between(slices: int) -> None:
        now_ms[0] += 200
        client.pending.refresh_clock()

    assert run_with(client, [b"EXISTS", *KEYS], between)[0] == b":1\r\n"
    other = client.another()
    client.store.entries.update(dict.fromkeys(KEYS, b"v"))
    flushed = run_with(client, [b"EXISTS", *KEYS], lambda slices: slices == 2 and other.call(b"FLUSHALL"))
    assert flushed[0] == b":0\r\n"


def test_it_ends_even_if_all_keys_change_all_the_time(client: HandlerClient) -> None:
    other = client.another()
    turns: list[bytes] = []

    def between(slices: int) -> None:
        turns.append(b"%d" % slices)
        other.call(b"MSET", *[word for key in KEYS for word in (key, turns[-1])])

    reply, slices = run_with(client, [b"MGET", *KEYS], between)
    assert slices == 4 * ROUNDS
    assert reply == b"*%d\r\n" % NUMBER + b"$%d\r\n%b\r\n" % (len(turns[-1]), turns[-1]) * NUMBER, "all of one moment"


def test_a_batch_that_fails_is_read_again(client: HandlerClient) -> None:
    """The slice saw a pending write that was refused."""
    client.pending.points[KEYS[0]] = b"never"

    def between(slices: int) -> None:
        if slices == 2:
            client.store.failure = StorageError("write", "wal", "no space")
            client.pending.commit()

    reply, _ = run_with(client, [b"MGET", *KEYS], between)
    assert b"never" not in reply
    assert reply.startswith(b"*%d\r\n$1\r\nv\r\n" % NUMBER)


def test_cold_keys_are_read_by_a_thread(client: HandlerClient) -> None:
    client.store.make_cold(*KEYS[:2], KEYS[-1])
    reply, slices = run_with(client, [b"EXISTS", *KEYS], nothing)
    assert (reply, slices) == (b":%d\r\n" % NUMBER, 6), "two more turns: for the loads"


def test_msetnx_looks_at_all_keys_first(client: HandlerClient) -> None:
    other = client.another()
    fresh = [b"new%05d" % number for number in range(NUMBER)]
    pairs = [word for key in fresh for word in (key, b"x")]
    taken = run_with(client, [b"MSETNX", *pairs], lambda slices: other.call(b"SET", fresh[0], b"1"))
    assert taken[0] == b":0\r\n"
    other.call(b"DEL", fresh[0])
    assert run_with(client, [b"MSETNX", *pairs], nothing)[0] == b":1\r\n"
    client.pending.commit()
    assert len(client.store.entries) == 2 * NUMBER


@pytest.mark.parametrize("database", [b"0", b"3"])
def test_many_keys_as_few(database: bytes) -> None:
    """The replies and the touched watchers are the same as with few keys."""
    client = HandlerClient()
    client.call(b"SELECT", database)
    watching = client.another()
    watching.call(b"SELECT", database)
    watching.call(b"WATCH", KEYS[5])
    pairs = [word for key in KEYS for word in (key, b"x" * 1200)]
    assert client.call(b"MSET", *pairs) == b"+OK\r\n"
    assert watching.context.session.is_dirty
    watching.call(b"UNWATCH")
    watching.call(b"WATCH", KEYS[6])
    assert client.call(b"GET", KEYS[7]) == client.call(b"GET", KEYS[7]) == b"$1200\r\n%b\r\n" % (b"x" * 1200)
    assert client.call(b"TOUCH", *KEYS, b"none") == b":%d\r\n" % NUMBER
    assert client.call(b"UNLINK", *KEYS, b"none") == b":%d\r\n" % NUMBER
    assert watching.context.session.is_dirty
    assert client.call(b"GET", KEYS[7]) == b"$-1\r\n"
    assert client.call(b"DBSIZE") == b":0\r\n"


def test_watch_in_slices(client: HandlerClient) -> None:
    other = client.another()
    reply, slices = run_with(client, [b"WATCH", *KEYS], nothing)
    assert (reply, slices) == (b"+OK\r\n", 4)
    assert len(client.context.session.watched) == NUMBER
    other.call(b"SET", KEYS[-1], b"x")
    assert client.context.session.is_dirty
    client.call(b"UNWATCH")
    run_with(client, [b"WATCH", *KEYS], lambda slices: slices == 3 and other.call(b"DEL", KEYS[0]))
    client.call(b"MULTI")
    assert client.call(b"EXEC") == b"*0\r\n", "it watches what is there when it ends"
    assert not client.context.keyspace.observers


class ForgetfulStore(FakeStore):
    """Only the last ten keys that were read are in memory: fewer than a command of many keys reads."""

    def __init__(self) -> None:
        super().__init__()
        self.recent: list[bytes] = []
        self.reads = 0

    def read(self, key: bytes, *, values: bool = True) -> Entry | None:
        self.reads += 1
        assert self.reads < 20 * NUMBER, "it begins again and again"
        self.recent = [*self.recent[-9:], key]
        return super().read(key)

    def read_nowait(self, key: bytes, *, values: bool = True) -> Entry | None:
        if key not in self.recent:
            raise ColdRead(lambda: self.recent.append(key))
        return super().read_nowait(key)


@pytest.mark.parametrize("number", [MAX_UNSLICED_KEYS - 1, MAX_UNSLICED_KEYS + 1, SLICE_KEYS, NUMBER])
@pytest.mark.parametrize("name", [b"MGET", b"EXISTS", b"DEL", b"WATCH"])
def test_a_cache_that_is_too_small_for_the_keys(name: bytes, number: int) -> None:
    """After a few attempts it reads on the loop; else it would never end."""
    keys = KEYS[:number]
    client = HandlerClient(ForgetfulStore())
    client.store.entries.update(dict.fromkeys(keys, b"v"))
    expected = {b"MGET": b"*%d\r\n" % number + b"$1\r\nv\r\n" * number, b"WATCH": b"+OK\r\n"}
    assert client.call(name, *keys) == expected.get(name, b":%d\r\n" % number)


@pytest.mark.parametrize("name", [b"DEL", b"EXISTS", b"WATCH", b"MSETNX"])
def test_values_are_not_kept_where_none_is_shown(client: HandlerClient, name: bytes) -> None:
    """Those of many keys together may be larger than the memory."""
    freed: list[int] = []

    class Value(bytes):
        def __del__(self) -> None:
            freed.append(1)

    kept: list[int] = []
    read: list[bytes] = []

    def read_nowait(key: bytes, *, values: bool = True) -> Entry:
        read.append(key)
        return (Value(b"v"), 0, 0)

    client.services.databases.keyspaces[0].read = read_nowait
    words = [word for key in KEYS for word in (key, b"x")] if name == b"MSETNX" else KEYS
    run_with(client, [name, *words], lambda slices: kept.append(len(read) - len(freed)))
    assert len(read) >= NUMBER
    assert max(kept) <= 1


@pytest.mark.parametrize("number", [1, MAX_UNSLICED_KEYS + 1, NUMBER])
def test_the_pieces_of_a_collection_that_is_not_in_memory_are_noted(client: HandlerClient, number: int) -> None:
    """Else the reaper would find them after an hour."""
    client.call(b"HSET", b"k", *(b"%d" % word for word in range(400)))
    objects = client.services.databases.keyspaces[0].objects
    objects.forget_all()
    objects.gone.clear()
    assert client.call(b"DEL", *KEYS[1:number], b"k") == b":%d\r\n" % number
    assert len(objects.gone) == 1


@pytest.mark.parametrize("number", [MAX_UNSLICED_KEYS - 1, NUMBER])
def test_a_reply_may_be_as_large_as_the_share_allows(number: int) -> None:
    """Larger ones are refused before they are in memory, whether or not the client would read fast enough."""
    client = HandlerClient(memory_limit=64 << 20)
    most_bytes = client.services.config.largest_reply_bytes
    reads: list[bytes] = []
    size = most_bytes // number + 1

    def read_nowait(key: bytes, *, values: bool = True) -> bytes:
        reads.append(key)
        return bytes(size)

    client.services.databases.keyspaces[0].read = read_nowait
    reply = client.call(b"MGET", *KEYS[:number])
    assert reply == b"-ERR the size of the reply in bytes is %d, the maximum is %d\r\n" % (size * number, most_bytes)
    size = most_bytes // number - 20
    assert client.call(b"MGET", *KEYS[:number]).startswith(b"*%d\r\n$%d\r\n" % (number, size))


def test_in_a_transaction_it_is_one_step(client: HandlerClient) -> None:
    client.call(b"MULTI")
    client.call(b"DEL", *KEYS)
    client.call(b"EXISTS", *KEYS)
    assert client.call(b"EXEC") == b"*2\r\n:%d\r\n:0\r\n" % NUMBER


def test_few_keys_need_no_slices(client: HandlerClient) -> None:
    assert run_with(client, [b"DEL", *KEYS[: MAX_UNSLICED_KEYS - 1]], nothing) == (
        b":%d\r\n" % (MAX_UNSLICED_KEYS - 1),
        0,
    )


def test_a_request_may_have_more_than_a_million_arguments() -> None:
    """Their bytes are bounded, not their number."""
    with ServerThread() as server, RawClient(server.port) as connection:
        connection.send_raw(b"*1100001\r\n$3\r\nDEL\r\n" + b"$1\r\nk\r\n" * 1_100_000)
        assert connection.read().data == b":0\r\n"
        connection.send_raw(b"*1100001\r\n$4\r\nMSET\r\n" + b"$1\r\nk\r\n$1\r\nv\r\n" * 550_000)
        assert connection.read().data == b"+OK\r\n"
        assert connection.call(b"GET", b"k").payload == b"v"
