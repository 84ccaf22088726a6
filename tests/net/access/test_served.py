"""Users as programs meet them: redis-cli, redis-py, and `flin serve` with a file of users."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.net.serving import ServerThread
from tests.source import ROOT
from tests.tool import needs_tool

USERS = "user default on nopass ~* &* +@all\nuser alice on >secret ~a* +@all\n"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "users.acl"
    path.write_text(USERS)
    with ServerThread(aclfile=str(path)) as server:
        yield server.port


def test_redis_cli(port: int) -> None:
    program = needs_tool("redis-cli")

    def told(*words: str) -> str:
        command = [program, "-p", str(port), "--no-auth-warning", "--user", "alice", "--pass", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()

    assert told("secret", "SET", "a", "1") == "OK"
    assert told("secret", "ACL", "WHOAMI") == "alice"
    assert told("secret", "SET", "b", "1") == (
        "NOPERM this user has no permissions to access one of the keys used as arguments"
    )
    assert (
        "AUTH failed: WRONGPASS"
        in subprocess.run(
            [program, "-p", str(port), "--user", "alice", "--pass", "wrong", "PING"],
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    )


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(port: int, protocol: int) -> None:
    with redis.Redis(port=port, username="alice", password="secret", protocol=protocol) as client:
        assert client.set("a", 1)
        assert client.acl_whoami() in ("alice", b"alice")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("b")
    with redis.Redis(port=port) as admin:
        assert admin.acl_setuser("bob", enabled=True, nopass=True, commands=["+get"], keys=["b*"])
        found = admin.acl_getuser("bob")
        assert found is not None
        assert set(found["commands"]) - {"-@all"} == {"+get"}
        assert found["keys"] == ["~b*"]
        assert [entry["username"] for entry in admin.acl_log()] == ["alice"]
        assert admin.acl_save()
        assert admin.acl_load()
        assert admin.acl_users() == ["alice", "bob", "default"]
    at_once = Retry(NoBackoff(), 0)  # redis-py would ask ten times, for four seconds
    with (
        redis.Redis(port=port, username="alice", password="wrong", retry=at_once) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_flin_serve_does_not_start_with_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    path.write_text(USERS + "user bob on +nonsense\n")
    (tmp_path / "flin.toml").write_text(f'[server]\naclfile = "{path}"\nport = 0\ndir = "{tmp_path / "db"}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "flin", "serve", "--config", str(tmp_path / "flin.toml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"aclfile: {path}:3: Error in applying operation '+nonsense': Unknown command" in done.stderr
