"""`flin.testing.served`: a real server for anybody's tests, which leaves nothing behind however the tests end."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from flin.testing import ServedError, served
from flin.testing.process import is_alive, wait_until
from tests.program import Program
from tests.source import ROOT
from tests.tool import needs_package


def test_a_server_of_its_own() -> None:
    with served() as server:
        folder, pid = server.directory.parent, server.pid
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("sync") == {"sync": "never"}
            client.set("a", "1", px=1_000_000)
            assert client.eval("return redis.call('incr', KEYS[1])", 1, "a") == 2
            url = server.url
            server.kill()
            assert not is_alive(pid)
            with pytest.raises(ServedError, match="does not run"):
                print(server.pid)
            server.restart()
            assert (server.url, client.get("a")) == (url, b"2")
            server.stop()
            server.stop()
            server.restart()
            assert client.get("a") == b"2"
        assert server.logs.count("is ready on") == 3
    assert not folder.exists()


def test_a_unix_socket_and_options(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data, socket=True, requirepass="a b&/@", protected_mode=False, bind=["127.0.0.1"], user=None) as server:
        assert (server.port, server.directory) == (0, data)
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("sync") == {"sync": "interval"}
            assert client.config_get("protected-mode") == {"protected-mode": "no"}
            client.set("a", "1")
    assert server.socket is not None
    assert not server.socket.exists()
    with (
        served(str(data), requirepass="a b&/@", memory_limit="64mb") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        assert client.get("a") == b"1"


def test_tasks() -> None:
    async def use(url: str) -> object:
        async with redis.asyncio.from_url(url) as client:
            await asyncio.gather(*(client.incr("n") for _ in range(20)))
            return await client.get("n")

    with served() as server:
        assert asyncio.run(use(server.url)) == b"20"


def test_what_it_says_when_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ServedError, match="no option --nonsense"), served(nonsense=1):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ServedError, match="before it was ready"), served(tmp_path / "file"):
        pass


def test_ports_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was asked for is an error; instead of one that was drawn, the next is taken."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        with pytest.raises(ServedError, match=f"cannot listen on 127.0.0.1 port {taken}"), served(port=taken):
            pass
        choose, drawn = random.choice, [taken]
        monkeypatch.setattr(random, "choice", lambda ports: drawn.pop() if drawn else choose(ports))
        with served() as server:
            assert server.port != taken


def test_it_tells_that_the_server_died() -> None:
    with pytest.raises(ServedError, match="ended with -9"), served() as server:
        os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(ZeroDivisionError), served() as server:  # a test's own error comes before it
        os.kill(server.pid, signal.SIGKILL // (server.port - server.port))
    at_once = Retry(NoBackoff(), 0)  # instead of redis-py's own, which waits for seconds
    with served() as server, redis.Redis.from_url(server.url, retry=at_once) as client:
        client.shutdown()


TEST_PROGRAM = """
import os, sys
from flin.testing import served
with served() as server:
    if sys.argv[1] == "fork" and not os.fork():
        sys.stdin.read()  # holds a copy of the pipe
        os._exit(0)
    print(f"it runs: {server.pid} {server.directory.parent} .", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_it_ends_with_the_tests(tmp_path: Path, how: str) -> None:
    (tmp_path / "program.py").write_text(TEST_PROGRAM)
    program = Program(tmp_path, ["program.py", how])
    try:
        pid, _, folder = program.found(r"it runs: (.*) \.").partition(" ")
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(int(pid)), "the server ends")
        wait_until(lambda: not Path(folder).exists(), "its folder is removed")
    finally:
        program.kill()


def test_it_needs_no_pytest() -> None:
    needless = {"pytest", "redis", "hypothesis", "asyncio"}
    program = f"import sys; import flin.testing; print(sorted({needless} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_the_page(tmp_path: Path) -> None:
    """Its files, as a program's own tests; all but Django's."""
    assert sorted(FILES) == ["conftest.py", "shop.py", "test_cache.py", "test_shop.py"]
    for name in sorted(set(FILES) - {"test_cache.py"}):
        (tmp_path / name).write_text(FILES[name])
    assert "4 passed" in run_pytest(tmp_path)


def run_pytest(folder: Path, **environment: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--rootdir",
        str(folder),
    ]
    everything = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_djangos_cache(tmp_path: Path) -> None:
    needs_package("django")
    (tmp_path / "test_cache.py").write_text(FILES["test_cache.py"])
    (tmp_path / "settings.py").touch()
    assert "1 passed" in run_pytest(tmp_path, DJANGO_SETTINGS_MODULE="settings")
