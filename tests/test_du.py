"""`flin du`: what prefixes take on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flin.engine
from flin.engine.engine import store_of
from tests.net.raw_client import RawClient
from tests.net.serving import ServerThread
from tests.test_cli import Capture, fingerprint, run


def du(capsys: Capture, directory: Path, *options: str) -> dict[tuple[int, str], tuple[int, int]]:
    """Keys and bytes, by database and prefix."""
    code, output, _ = run(capsys, "du", directory, "--json", *options)
    assert code == 0
    return {(row["database"], row["prefix"]): (row["keys"], row["bytes"]) for row in json.loads(output)}


@pytest.fixture(params=["tables", "log"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with flin.engine.open(tmp_path / "data", runner="inline") as db:
        db.put_many({b"user:%05d:name" % number: b"x" * 50 for number in range(10_000)})
        db.put_many({b"user:%05d:tags" % number: b"" for number in range(0, 10_000, 10)})
        db.put_many({b"image:%02d" % number: b"\x00" * 20_000 for number in range(30)})
        db.put_many({b"plain%d" % number: b"" for number in range(7)})
        db.put(b"\xff:odd", b"1")
        if request.param == "tables":
            db.compact()
            db.close()
        else:
            db.close(flush=False)
    return tmp_path / "data"


def test_prefixes(database: Path, capsys: Capture) -> None:
    before = fingerprint(database)
    found = du(capsys, database)
    counts = {prefix: keys for (_, prefix), (keys, _) in found.items()}
    all_keys, user_keys = pytest.approx(11_038, rel=0.02), pytest.approx(11_000, rel=0.02)
    assert counts == {"": all_keys, "user:": user_keys, "image:": 30, "\\xff:": 1}
    assert found[0, ""][1] == pytest.approx(sum(path.stat().st_size for path in database.iterdir()), rel=0.25)
    deeper = du(capsys, database, "--depth", "2")
    assert deeper[0, "user:00017:"][0] == 1
    assert deeper[0, "user:00020:"][0] == 2
    assert deeper[0, "user:"][0] == 11_000
    assert len(deeper) == 10_004
    assert fingerprint(database) == before


def test_other_delimiters_and_the_largest(database: Path, capsys: Capture) -> None:
    assert set(du(capsys, database, "--delimiter", "er:", "--depth", "3")) == {(0, ""), (0, "user:")}
    rows = list(du(capsys, database, "--depth", "2", "--top", "3"))
    assert len(rows) == 3
    assert rows[0] == (0, "")
    [(keys, _), *_] = du(capsys, database).values()
    code, output, _ = run(capsys, "du", database, "--top", "2")
    assert code == 0
    lines = output.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[1:] == [f"{keys:,}", "(all)"]
    assert run(capsys, "du", database, "--delimiter", "")[0] == 2


def test_collections_and_databases_of_a_server(tmp_path: Path, capsys: Capture) -> None:
    with flin.engine.open(tmp_path / "data", runner="inline") as engine:
        with ServerThread(store_of(engine)) as server, RawClient(server.port) as client:
            for field in range(2000):
                client.call(b"HSET", b"cart:1", b"field%d" % field, b"value" * 10)
                client.call(b"RPUSH", b"cart:2" if field % 2 else b"gone:2", b"value" * 10)
            client.call(b"DEL", b"gone:2")
            client.call(b"SELECT", b"3")
            client.call(b"SET", b"cart:1", b"v" * 100)
        engine.flush()
    found = du(capsys, tmp_path / "data")
    assert found[0, "cart:"][0] == 2
    assert found[0, "cart:"][1] > 10_000
    assert found[3, "cart:"][0] == 1
    _, output, _ = run(capsys, "du", tmp_path / "data")
    assert [line.split()[2:] for line in output.splitlines() if line.split()[2] == "3"] == [
        ["3", "(all)"],
        ["3", "cart:"],
    ]


def test_groups(database: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(capsys, "resize", database, tmp_path / "groups", "--workers", "2")[0] == 0
    assert du(capsys, tmp_path / "groups")[0, "user:"][0] == pytest.approx(11_000, rel=0.02)


def test_a_server_has_it_open(tmp_path: Path, capsys: Capture) -> None:
    with flin.engine.open(tmp_path / "data"):
        code, _, errors = run(capsys, "du", tmp_path / "data")
    assert code != 0
    assert "is already open in this process" in errors
