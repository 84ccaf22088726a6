"""Requests in files: read, run on a database, and refused with their offset; and Redis's append-only directories."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import flin.engine
from flin.cli.main import main
from flin.engine.engine import store_of
from flin.errors import ImportDataError
from flin.net.serve.dispatch import OUTPUT_BUDGET_BYTES
from flin.rdb import body, dump
from flin.rdb import file as rdb
from flin.rdb.crc64 import crc64
from flin.rdb.dump import stored
from flin.rdb.value import Stream, String
from flin.testing.process import wait_until
from flin.transfer import append_only, request_file
from flin.transfer.files import import_from
from flin.transfer.link import pack
from flin.transfer.record import Request
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread
from tests.rdb.server import JudgingClient
from tests.test_cli import Capture, run
from tests.transfer.redis_content import Content, content, fill, libraries


def _read(data: bytes, start: int = 0) -> list[Request]:
    return list(request_file.read(data, "f", start))


def test_requests() -> None:
    words = [[b"SET", b"k", b"\r\n*$"], [b"MULTI"], [b"DEL", b""], [b"EXEC"]]
    data = b"junk" + pack(words[:1]) + b"#TS:1764400000\r\n" + pack(words[1:])
    assert [request.words for request in _read(data, 4)] == words
    assert _read(data, 4)[1].place == f"offset {4 + len(pack(words[:1])) + 16}"
    assert _read(b"") == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SET k v\r\n", "offset 0: * and a number were expected, not b'SET k v'"),
        (b"*0\r\n", "no request has 0 words"),
        (b"*99999999\r\n", "no request has 99999999 words"),
        (b"*9999999999999\r\n", "a number were expected"),
        (b"*-1\r\n", "a number were expected"),
        (b"*1\r\n:5\r\n", "$ and a number were expected"),
        (b"*1\r\n$3\r\nSETX\r\n", "longer than it says"),
        (b"*" + b"1" * 200, "a line does not end"),
        (pack([[b"MULTI"], [b"SET", b"a", b"1"]]), "offset 0: a transaction has no EXEC"),
    ],
)
def test_what_is_none(data: bytes, reason: str) -> None:
    with pytest.raises(ImportDataError, match=re.escape(reason)):
        _read(data)


def test_every_cut_is_noticed() -> None:
    data = pack([[b"SET", b"key", b"value"], [b"DEL", b"x"]])
    wholes = {0, len(pack([[b"SET", b"key", b"value"]])), len(data)}
    for size in range(len(data) + 1):
        if size in wholes:
            _read(data[:size])
        else:
            with pytest.raises(ImportDataError, match="cut off"):
                _read(data[:size])


def test_a_manifest() -> None:
    text = (
        b"# comment\nfile a.3.base.rdb seq 3 type b\nfile a.2.incr.aof seq 2 type h\n"
        b'file "with space.4.aof" seq 4 type i\nfile a.5.incr.aof seq 5 type i\n'
    )
    assert append_only.files_in(text, "m") == ["a.3.base.rdb", "with space.4.aof", "a.5.incr.aof"]
    for bad in (b"file x seq 1", b"file ../x seq 1 type i", b"file x seq 1 type z", b"file x seq a type i", b'"\n'):
        with pytest.raises(ImportDataError, match="line 1"):
            append_only.files_in(bad, "m")
    with pytest.raises(ImportDataError, match="several bases"):
        append_only.files_in(b"file x seq 1 type b\nfile y seq 2 type b\n", "m")


def test_what_a_request_may_do(tmp_path: Path, capsys: Capture) -> None:
    file, new = tmp_path / "commands.resp", tmp_path / "new"
    for requests, reason in (
        ([[b"SET", b"a", b"1"], [b"NOSUCH"]], "NOSUCH is answered with: ERR unknown command"),
        ([[b"SET", b"a", b"1"], [b"INCRBY", b"a", b"x"]], "INCRBY is answered with: ERR value is not an integer"),
        ([[b"BLPOP", b"list", b"0"]], "BLPOP waits for another client"),
    ):
        file.write_bytes(pack(requests))
        code, _, errors = run(capsys, "import", file, new)
        assert (code, new.exists()) == (1, False)
        assert f"{file}, offset " in errors
        assert reason in errors
    many = [[b"RPUSH", b"list", *(b"%d" % n for n in range(200))] for _ in range(20)]
    file.write_bytes(pack([[b"SELECT", b"3"], *many, [b"MULTI"], [b"SET", b"a", b"1"], [b"EXEC"], [b"SELECT", b"0"]]))
    code, output, _ = run(capsys, "import", file, new)
    assert (code, output) == (0, f"0 keys were imported into {new}; 25 requests were run\n")
    with flin.engine.open(new, runner="inline") as db:
        assert db.verify() == []
    code, _, errors = run(capsys, "import", tmp_path, tmp_path / "other")
    assert code == 2
    assert "without a manifest" in errors


def test_a_request_with_a_long_reply(tmp_path: Path) -> None:
    """The end of a client's turn: as it is that of EXEC after some ten thousand writes of a script."""
    file = tmp_path / "requests"
    file.write_bytes(pack([[b"SET", b"a", b"x" * OUTPUT_BUDGET_BYTES], [b"GETSET", b"a", b"1"], [b"INCR", b"a"]]))
    assert main(["import", str(file), str(tmp_path / "data")]) == 0
    with flin.engine.open(tmp_path / "data", create=False) as db:
        assert db[b"a"] == b"2"


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_the_append_only_directory_of_a_redis(tmp_path: Path, preamble: str) -> None:
    options = {"appendonly": "yes", "aof-use-rdb-preamble": preamble, "aof-timestamp-enabled": "yes"}
    with running_redis(tmp_path, **options) as port, RawClient(port) as client:
        fill(port)
        assert not client.call(b"BGREWRITEAOF").is_error
        wait_until(lambda: b"aof_rewrite_in_progress:0" in client.call(b"INFO").payload, "the rewrite ends")
        assert b"aof_last_bgrewrite_status:ok" in client.call(b"INFO").payload
        client.pipeline(
            [
                [b"SELECT", b"9"],
                *([b"HSET", b"hash", b"%d" % number, b"x" * 30] for number in range(200)),
                [b"EVAL", b"redis.call('SET', 'by script', '1') redis.call('DEL', 'nothing')", b"0"],
                [b"MULTI"],
                [b"SADD", b"set", b"a", b"b"],
                [b"EXPIRE", b"set", b"100000"],
                [b"EXEC"],
                [b"SELECT", b"0"],
                [b"DEL", b"small list"],
                [b"APPEND", b"small string", b" and more"],
            ]
        )
    assert main(["import", str(tmp_path / "appendonlydir"), str(tmp_path / "data")]) == 0
    found = _shown_by(tmp_path / "data")
    with running_redis(tmp_path, **options) as port:  # it reads what it wrote: commands do not tell all of a stream
        shown = content(port), libraries(port)
    assert (_unseen(found[0]), found[1]) == (_unseen(shown[0]), shown[1])


def test_what_expires_is_there_for_the_requests_after_it(tmp_path: Path, capsys: Capture) -> None:
    """All of it expired long ago, but what was prolonged in time. Redis loads the same files, and shows the same."""
    past, later = b"%d" % 1_700_000_000_000, b"%d" % 4_000_000_000_000
    base = rdb.head() + rdb.fact(b"aof-base", b"1") + rdb.database(0)
    for key in (b"base kept", b"base prolonged", b"base gone"):
        base += rdb.entry_head(0, key, int(past)) + body.encode(String(b"1"))[1:]
    base += rdb.end()
    requests = [
        [b"SELECT", b"0"],
        [b"PERSIST", b"base kept"],
        [b"PEXPIREAT", b"base prolonged", later],
        [b"SET", b"kept", b"1", b"PXAT", past],
        [b"INCR", b"kept"],
        [b"PERSIST", b"kept"],
        [b"SET", b"gone", b"1", b"PXAT", past],
        [b"HSET", b"hash", b"f", b"1"],
        [b"PEXPIREAT", b"hash", past],
        [b"HSET", b"hash", b"g", b"2"],
        [b"PEXPIREAT", b"hash", later],
        [b"RPUSH", b"list gone", b"1"],
        [b"PEXPIREAT", b"list gone", past],
        [b"SET", b"deleted", b"1", b"PXAT", past],
        [b"DEL", b"deleted"],
        [b"RESTORE", b"restored", past, dump.encode(String(b"1")), b"ABSTTL"],
        [b"PERSIST", b"restored"],
    ]
    directory = tmp_path / "appendonlydir"
    directory.mkdir()
    (directory / "appendonly.aof.1.base.rdb").write_bytes(base + stored(crc64(base)))
    (directory / "appendonly.aof.1.incr.aof").write_bytes(pack(requests))
    (directory / "appendonly.aof.manifest").write_text(
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    )
    (tmp_path / "one.aof").write_bytes(base + stored(crc64(base)) + pack(requests))  # as Redis before 7 writes it
    shown = []
    for source, name in ((directory, "data"), (tmp_path / "one.aof", "of one")):
        assert main(["import", str(source), str(tmp_path / name)]) == 0
        shown.append(_living_in(tmp_path / name))
    with flin.engine.open(tmp_path / "open") as db:
        import_from(db, tmp_path / "one.aof")
        assert not store_of(db).holds_sweep
        assert not store_of(db).keeps_expired
        db.compact()
    shown.append(_living_in(tmp_path / "open"))
    with running_redis(tmp_path, appendonly="yes") as port:
        shown.append(_living(port))
    assert set(shown[0]) == {b"base kept", b"base prolonged", b"kept", b"hash", b"restored"}
    assert all(each == shown[0] for each in shown)


def _living_in(directory: Path) -> dict[bytes, object]:
    with flin.engine.open(directory, create=False) as db:
        assert db.verify() == []
        with ServerThread(store_of(db)) as server:
            return _living(server.port)


def _living(port: int) -> dict[bytes, object]:
    """Keys with their values and expiries, without those that have expired and are not deleted yet."""
    with JudgingClient(port) as client:
        wait_until(lambda: client.call(b"PING").payload == b"PONG", "the files are loaded")
        keys = client.ask(b"KEYS", b"*")
        return {key: (client.value(key), client.ask(b"PEXPIRETIME", key)) for key in keys}


def test_how_long_counts_from_now(tmp_path: Path) -> None:
    """Files that others wrote, for `redis-cli --pipe`, may say that; and so may scripts in files of before 7.0."""
    file, new = tmp_path / "commands.resp", tmp_path / "new"
    script = b"redis.call('SET', KEYS[1], '1') redis.call('EXPIRE', KEYS[1], '5000')"
    file.write_bytes(
        pack(
            [
                [b"SETEX", b"a", b"5000", b"1"],
                [b"SET", b"b", b"1"],
                [b"expire", b"b", b"5000"],
                [b"XADD", b"s", b"*", b"f", b"v"],
                [b"eval", script, b"1", b"c"],
            ]
        )
    )
    assert main(["import", str(file), str(new)]) == 0
    with flin.engine.open(new) as db:
        assert all(4000 < (db.ttl(key) or 0) <= 5000 for key in (b"a", b"b", b"c"))
    with flin.engine.open(new) as db, ServerThread(store_of(db)) as server, RawClient(server.port) as client:
        assert client.call(b"XRANGE", b"s", b"1700000000000", b"+").data.startswith(b"*1\r\n")


def _unseen(found: Content) -> Content:
    """Without the moments at which consumers were seen: commands do not tell them."""
    return {
        key: (
            replace(
                value, groups=[replace(group, consumers=dict.fromkeys(group.consumers, 0)) for group in value.groups]
            ),
            expiry,
        )
        if isinstance(value, Stream)
        else (value, expiry)
        for key, (value, expiry) in found.items()
    }


def _shown_by(directory: Path) -> tuple[Content, bytes]:
    with flin.engine.open(directory, create=False, runner="inline") as db:
        assert db.verify() == []
        with ServerThread(store_of(db)) as server:
            return content(server.port), libraries(server.port)


def test_a_file_into_a_server(tmp_path: Path, capsys: Capture) -> None:
    with running_redis(tmp_path) as port:
        fill(port)
        shown = content(port), libraries(port)
        assert main(["export", f"redis://127.0.0.1:{port}", str(tmp_path / "x.rdb"), "--format", "rdb"]) == 0
        code, _, errors = run(capsys, "import", tmp_path / "x.rdb", f"redis://127.0.0.1:{port}")
        assert code == 2
        assert "say --replace or --skip" in errors
        code, output, _ = run(capsys, "import", tmp_path / "x.rdb", f"redis://127.0.0.1:{port}", "--skip")
        assert (code, output.startswith("0 keys")) == (0, True)
        with ServerThread() as server:
            assert main(["import", str(tmp_path / "x.rdb"), f"redis://127.0.0.1:{server.port}"]) == 0
            assert (content(server.port), libraries(server.port)) == shown
            (tmp_path / "y.resp").write_bytes(pack([[b"GET", b"k"]]))
            code, _, errors = run(
                capsys, "import", tmp_path / "y.resp", f"redis://127.0.0.1:{server.port}", "--replace"
            )
            assert code == 1
            assert "redis-cli --pipe" in errors
