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
from flin.rdb.value import Stream
from flin.testing.process import wait_until
from flin.transfer import append_only, request_file
from flin.transfer.link import pack
from flin.transfer.record import Request
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread
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
        assert (code, list(new.iterdir())) == (1, [])
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
