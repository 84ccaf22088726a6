"""SWAPDB and MOVE: numbers that mean other namespaces, through restarts, crashes and failures."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

import flin.engine
from flin.engine.key import namespace_prefix
from flin.errors import FormatVersionError, StorageError
from flin.net.batch.namespaces import MAX_DATABASES, STORED_KEY, encode, recall
from flin.testing import CrashModel, SimulatedDisk, after_crash
from tests.net.fake_store import FakeStore
from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    client = HandlerClient()
    for line in ("SELECT 1", "SET a one", "SET both 1", "SELECT 2", "SET b two", "SET both 2", "SELECT 0"):
        ask(client, line)
    return client


def ask(client: HandlerClient, line: str, *, commit: bool = True) -> str:
    words = [word.encode() for word in line.split(" ")]
    return client.call(*words, commit=commit).decode().replace("\r\n", "|")


def in_database(client: HandlerClient, number: int, line: str) -> str:
    ask(client, f"SELECT {number}")
    return ask(client, line)


def test_two_databases_are_exchanged_for_all(client: HandlerClient) -> None:
    other = client.another()
    ask(other, "SELECT 1")
    assert ask(other, "GET both") == ask(other, "GET both") == "$1|1|", "a cached reply"
    assert ask(client, "SWAPDB 1 2") == "+OK|"
    assert ask(other, "GET both") == "$1|2|"
    assert ask(other, "MGET a b") == "*2|$-1|$3|two|"
    assert ask(other, "DBSIZE") == ":2|"
    assert ask(other, "KEYS *") == "*2|$1|b|$4|both|"
    assert in_database(client, 2, "GET a") == "$3|one|"
    ask(client, "FLUSHDB")
    assert ask(other, "DBSIZE") == ":2|"
    assert "db1:keys=2," in ask(client, "INFO keyspace")
    assert ask(client, "SWAPDB 2 1") == "+OK|"
    assert ask(other, "DBSIZE") == ":0|"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("SWAPDB 3 3", "+OK|"),
        ("SWAPDB 0 0", "+OK|"),
        ("SWAPDB a 1", "-ERR invalid first DB index|"),
        ("SWAPDB 1 99999999999", "-ERR invalid second DB index|"),
        ("SWAPDB 1 16", "-ERR DB index is out of range|"),
        ("SWAPDB 0 1", "-ERR database 0 cannot be swapped: its keys are those of flin.engine.open|"),
        ("MOVE a 0", "-ERR source and destination objects are the same|"),
        ("MOVE a 16", "-ERR DB index is out of range|"),
        ("MOVE a x", "-ERR value is not an integer or out of range|"),
        ("MOVE nothing 1", ":0|"),
    ],
)
def test_replies(client: HandlerClient, line: str, reply: str) -> None:
    assert ask(client, line) == reply
    assert STORED_KEY not in client.store.entries


def test_a_key_moves_with_its_expiry(client: HandlerClient) -> None:
    ask(client, "SET k v EX 1000")
    watching = client.another()
    ask(watching, "WATCH k")
    assert ask(client, "MOVE k 1") == ":1|"
    assert watching.context.session.is_dirty
    assert ask(client, "GET k") == "$-1|"
    assert in_database(client, 1, "GET k") == "$1|v|"
    assert int(ask(client, "TTL k")[1:-1]) > 900
    ask(client, "SWAPDB 1 2")
    assert ask(client, "MOVE both 2") == ":0|", "it is there too"
    assert ask(client, "MOVE b 2") == ":1|"
    assert in_database(client, 2, "MGET a b k") == "*3|$3|one|$3|two|$1|v|"


@pytest.mark.parametrize(("key", "touched"), [("a", True), ("b", True), ("both", True), ("nothing", False)])
def test_watchers_of_a_key_of_either_are_touched(client: HandlerClient, key: str, touched: bool) -> None:
    watching = client.another()
    ask(watching, "SELECT 1")
    ask(watching, f"WATCH {key}")
    ask(client, "SWAPDB 2 1")
    assert watching.context.session.is_dirty == touched


def test_a_transaction_sees_the_exchange(client: HandlerClient) -> None:
    for line in ("MULTI", "SELECT 1", "SET c 1", "SWAPDB 1 2", "GET c", "GET b", "SET d 2", "SELECT 2", "KEYS *"):
        ask(client, line)
    assert ask(client, "EXEC").endswith("|$-1|$3|two|+OK|+OK|*3|$1|a|$4|both|$1|c|")
    assert ask(client, "SCAN 0").count("$1|") == 3


def test_a_scan_does_not_go_on_in_the_other_database(client: HandlerClient) -> None:
    ask(client, "SELECT 1")
    for number in range(30):
        ask(client, f"SET z{number:02} 1")
    cursor = ask(client, "SCAN 0 COUNT 20").split("|")[2]
    ask(client, "SWAPDB 1 2")
    reply = ask(client, f"SCAN {cursor} COUNT 20")
    assert "$1|b|$4|both|" in reply, "from its first key, or keys would be missed"


def test_a_failed_commit_exchanges_nothing(client: HandlerClient) -> None:
    before = dict(client.store.entries)
    ask(client, "SWAPDB 1 3", commit=False)
    ask(client, "SELECT 3", commit=False)
    assert ask(client, "GET a", commit=False) == "$3|one|"
    client.store.failure = StorageError("write", "wal", "no space")
    client.pending.commit()
    client.store.failure = None
    assert client.store.entries == before
    assert ask(client, "GET a") == "$-1|"
    assert in_database(client, 1, "GET a") == "$3|one|"


def test_what_a_transaction_takes_back_exchanges_nothing() -> None:
    """It is too large; an earlier exchange of the same tick stays."""
    client = HandlerClient(memory_limit=16 << 20)
    for line in ("SELECT 1", "SET a one", "SELECT 2", "SET a two"):
        ask(client, line)
    for line in ("SWAPDB 1 2", "MULTI", "SWAPDB 1 2"):
        ask(client, line, commit=False)
    for number in range(40):
        client.call(b"SET", b"k%d" % number, bytes(500_000), commit=False)
    assert ask(client, "EXEC", commit=False).startswith("-EXECABORT ")
    for commit in (False, True, True):
        assert ask(client, "SELECT 1", commit=False) == "+OK|"
        assert ask(client, "GET a", commit=commit) == "$3|two|"
    assert recall(client.store)[1:3] == [2, 1]


def test_a_restart_and_flushall_keep_the_numbers(client: HandlerClient) -> None:
    ask(client, "SWAPDB 1 2")
    ask(client, "SWAPDB 2 15")
    assert recall(client.store) == [0, 2, 15, *range(3, 15), 1]
    again = HandlerClient(client.store)
    assert in_database(again, 15, "GET a") == "$3|one|"
    assert in_database(again, 1, "GET b") == "$3|two|"
    ask(again, "FLUSHALL")
    assert ask(again, "DBSIZE") == ":0|"
    in_database(again, 15, "SET new 1")
    fewer = HandlerClient(client.store, databases=2)
    assert in_database(fewer, 1, "DBSIZE") == ":0|"
    assert in_database(HandlerClient(client.store), 15, "GET new") == "$1|1|"


def test_slices_that_an_exchange_meets_read_again(client: HandlerClient) -> None:
    from tests.net.data.test_many_keys import KEYS, run_with

    client.store.entries.update({namespace_prefix(1) + key: b"v" for key in KEYS})
    ask(client, "SELECT 1")
    other = client.another()
    reply, _ = run_with(client, [b"EXISTS", *KEYS], lambda slices: slices == 3 and ask(other, "SWAPDB 1 2"))
    assert reply == b":0\r\n"


@pytest.mark.parametrize(
    "entry", [b"", b"\x02" + bytes(32), encode([0, *[1] * 15]), encode([1, 0, *range(2, 16)]), (b"x", 5, 0)]
)
def test_an_entry_of_another_format_is_refused(entry: bytes) -> None:
    store = FakeStore()
    store.entries[STORED_KEY] = entry
    with pytest.raises(FormatVersionError):
        recall(store)
    assert recall(FakeStore()) == list(range(MAX_DATABASES))


def test_a_killed_server_finds_either_order_whole(tmp_path: Path) -> None:
    """The directory as it is after each commit: what a kill leaves."""
    path = tmp_path / "db"
    with flin.engine.open(str(path), runner="inline") as engine:
        client = HandlerClient(engine._store)
        for number, line in enumerate(["SELECT 1", "SET a one", "SWAPDB 1 2", "SET b two", "SWAPDB 1 2"]):
            ask(client, line)
            shutil.copytree(path, tmp_path / f"copy{number}")
    expected = ["*2|$-1|$-1|", "*2|$3|one|$-1|", "*2|$-1|$-1|", "*2|$-1|$3|two|", "*2|$3|one|$-1|"]
    for number, reply in enumerate(expected):
        with flin.engine.open(str(tmp_path / f"copy{number}"), runner="inline") as engine:
            assert in_database(HandlerClient(engine._store), 1, "MGET a b") == reply


NUMBERS = (1, 2, 3)


def contents(client: HandlerClient) -> list[str]:
    """The contents of each database."""
    return [in_database(client, number, "KEYS *") + in_database(client, number, "MGET a b c") for number in NUMBERS]


@pytest.mark.parametrize("crash_model", CrashModel)
@pytest.mark.parametrize("seed", range(1))
def test_a_power_cut_finds_the_databases_of_one_moment(crash_model: CrashModel, seed: int) -> None:
    """Whole frames only: an exchange with the writes of its tick, or neither; nothing before a sync is lost."""
    chance = random.Random(seed)
    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, runner="inline", sync="never") as engine:
        client = HandlerClient(engine._store)
        shown = [contents(client)]
        synced = 0
        for _ in range(40):
            for _ in range(chance.randrange(1, 4)):  # commands of one tick
                number, key, other = chance.choice(NUMBERS), chance.choice("abc"), chance.choice(NUMBERS)
                ask(client, f"SELECT {number}", commit=False)
                line = chance.choice(
                    [f"SET {key} {chance.random()}", f"DEL {key}", f"MOVE {key} {other}"] * 2
                    + [f"SWAPDB {number} {other}", f"SWAPDB 1 {other}", "FLUSHDB", "FLUSHALL"]
                )
                ask(client, line, commit=False)
            client.pending.commit()
            shown.append(contents(client))
            if chance.random() < 0.2:
                engine.sync()
                synced = len(shown) - 1
            if chance.random() < 0.1:
                engine.flush()
            cut = after_crash(disk, crash_model, chance.randrange)
            with flin.engine.open("/db", fs=cut, runner="inline") as recovered:
                assert contents(HandlerClient(recovered._store)) in shown[synced:]
