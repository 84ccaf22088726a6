"""SAVE, BGSAVE and LASTSAVE of a server with a directory of backups, with one worker and with two."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

import flin.engine
from flin.cluster.workers.groups import read_groups
from flin.engine import Engine
from flin.engine.engine import store_of
from flin.testing.process import wait_until
from tests.cluster.served import Served
from tests.net.serving import ServerThread
from tests.program import running
from tests.test_cli import Capture, run


def _back_up(engine: Engine, path: Path) -> None:
    engine.backup(path, keep=2)


def test_a_backup_holds_what_came_before_in_the_same_pipeline(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    with (
        flin.engine.open(tmp_path / "db", runner="inline") as engine,
        ServerThread(store_of(engine), back_up=lambda: _back_up(engine, backups)) as server,
        redis.Redis(port=server.port) as client,
    ):
        began = client.lastsave()
        with client.pipeline(transaction=False) as pipe:
            pipe.set("a", "1")
            pipe.hset("h", mapping={"f": "v"})
            pipe.save()
            pipe.set("a", "2")
            assert pipe.execute() == [True, 1, True, True]
        assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"
        assert client.lastsave() >= began
        assert client.bgsave()
        wait_until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"], "the backup")
        assert client.info("persistence")["rdb_saves"] == 2
    for number, value in ((1, b"1"), (2, b"2")):
        flin.engine.restore(backups, tmp_path / f"restored{number}", number=number)
        with (
            flin.engine.open(tmp_path / f"restored{number}", runner="inline") as restored,
            ServerThread(store_of(restored)) as server,
            redis.Redis(port=server.port) as client,
        ):
            assert client.get("a") == value
            assert client.hgetall("h") == {b"f": b"v"}
            assert client.dbsize() == 2


def test_errors_are_said(tmp_path: Path) -> None:
    with (
        flin.engine.open(tmp_path / "db", runner="inline") as engine,
        ServerThread(store_of(engine), back_up=lambda: _back_up(engine, tmp_path / "db")) as server,
        redis.Redis(port=server.port) as client,
    ):
        client.set("a", "1")
        saved_at = client.lastsave()
        with pytest.raises(redis.ResponseError, match="own directory"):
            client.save()
        assert client.lastsave() == saved_at
        assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
        assert client.get("a") == b"1"


def test_each_worker_backs_up_its_group(tmp_path: Path, capsys: Capture) -> None:
    served = Served(tmp_path, "--backup-dir", "backups")
    try:
        for number in range(2):
            client = served.client(number)
            slot = 0 if number == 0 else 16000
            key = next(f"k{at}" for at in range(10_000) if (client.cluster("keyslot", f"k{at}") < 8192) == (slot == 0))
            client.set(key, "value")
            assert client.save()
    finally:
        assert served.end() == 0
    assert len(read_groups(tmp_path / "backups")) == 2
    code, output, errors = run(capsys, "backup", "--list", "--verify", tmp_path / "backups")
    assert (code, errors) == (0, "")
    assert output.count("backup 1 of ") == 2
    assert run(capsys, "restore", tmp_path / "backups", tmp_path / "restored")[0] == 0
    code, output, errors = run(capsys, "check", tmp_path / "restored")
    assert (code, errors) == (0, "")
    assert output.count("1 keys, all well") == 2
    assert run(capsys, "backup", tmp_path / "db", tmp_path / "backups")[0] == 0
    assert len(flin.engine.backups(tmp_path / "backups" / "group-00")) == 2


def test_of_an_encrypted_database(tmp_path: Path, capsys: Capture) -> None:
    """A whole server with a key: nothing in its backups can be read, and the key opens what is restored."""
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef" * 4)
    key_file.chmod(0o600)
    words = ["serve", "--port", "0", "--dir", "db", "--backup-dir", "backups", "--encryption-key-file", str(key_file)]
    with running(tmp_path, ["-m", "flin", *words, "--memory-limit", "64mb"]) as program:
        port = program.found(r"ready on .*?port (\d+)")
        with redis.Redis(port=int(port)) as client:
            client.set("secret key", "secret value")
            assert client.save()
            assert client.bgsave()
            wait_until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"], "the backup")
            assert client.info("persistence")["rdb_last_bgsave_status"] == "ok"
    files = [path for path in (tmp_path / "backups").rglob("*") if path.is_file()]
    assert not [path for path in files if b"secret" in path.read_bytes()]
    assert run(capsys, "restore", tmp_path / "backups", tmp_path / "new")[0] == 1
    assert run(capsys, "restore", tmp_path / "backups", tmp_path / "new", "--encryption-key-file", key_file)[0] == 0
    with flin.engine.open(tmp_path / "new", encryption_key=bytes.fromhex(key_file.read_text())) as db:
        assert db[b"secret key"] == b"secret value"
