"""Scripts as clients send them: redis-py's register_script and Lock, in and out of pipelines; redis-cli --eval."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import LockError, NoScriptError, ResponseError

from flin.testing.process import PATIENCE_SECONDS
from tests.net.serving import ServerThread
from tests.tool import needs_tool

pytest.importorskip("lupa.luajit21", exc_type=ImportError)


@pytest.fixture
def port() -> Iterator[int]:
    with ServerThread() as server:
        yield server.port


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(port: int, protocol: int) -> None:
    with redis.Redis(port=port, protocol=protocol, decode_responses=True) as client:
        add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        assert [add(keys=["n"], args=[number]) for number in (1, 2, 3)] == [1, 3, 6]
        client.script_flush()
        assert add(keys=["n"], args=[4]) == 10, "it is sent again"
        with client.pipeline() as pipeline:
            pipeline.set("a", 1)
            add(keys=["a"], args=[5], client=pipeline)
            assert pipeline.execute() == [True, 6]
        assert client.script_exists(add.sha, "0" * 40) == [True, False]
        with pytest.raises(NoScriptError):
            client.evalsha("0" * 40, 0)
        with pytest.raises(ResponseError, match="user_script:1: no"):
            client.eval("error('no')", 0)


def test_its_lock(port: int) -> None:
    with redis.Redis(port=port) as client, redis.Redis(port=port) as other:
        lock = client.lock("held", timeout=100)
        assert lock.acquire()
        assert not other.lock("held").acquire(blocking=False)
        assert lock.extend(200)
        assert lock.reacquire()
        lock.release()
        assert other.lock("held").acquire(blocking=False)
        with pytest.raises(LockError):
            lock.release()


def test_redis_cli(port: int, tmp_path: Path) -> None:
    script = tmp_path / "sum.lua"
    script.write_text(
        "local sum = 0\nfor _, n in ipairs(ARGV) do sum = sum + n end\nredis.call('SET', KEYS[1], sum)\nreturn sum\n"
    )
    command = [needs_tool("redis-cli"), "-p", str(port), "--eval", str(script), "total", ",", "1", "2", "39"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    assert done.stdout.strip().removeprefix("(integer) ") == "42"
    with redis.Redis(port=port) as client:
        assert client.get("total") == b"42"
