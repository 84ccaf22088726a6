"""`flin serve --dir :memory:`: a server whose database has no files."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.test_cli import Capture, run


def test_it_serves_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flin", "serve", "--config", "", "--dir", ":memory:", "--port", "0"]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if " is ready on " in line)
        assert "WARNING: in memory only, all of it is gone when this process ends" in line
        port = re.search(r"port (\d+)", line)
        assert port is not None
        with redis.Redis(port=int(port[1]), decode_responses=True) as client:
            client.hset("hash", mapping={str(number): "x" * 100 for number in range(2000)})
            client.set("short", "1", px=1)
            assert client.execute_command("BGREWRITEAOF")
            assert (client.hlen("hash"), client.config_get("dir")) == (2000, {"dir": ":memory:"})
            assert client.info()["loading"] == 0
            for name in ("SAVE", "BGSAVE"):
                with pytest.raises(redis.ResponseError, match=r"in memory only \(flin serve --dir :memory:\)"):
                    client.execute_command(name)
        server.send_signal(signal.SIGTERM)
        errors, _ = server.communicate()
        assert (server.returncode, "ERROR" in errors, "Traceback" in errors) == (0, False, False)
        assert [*tmp_path.iterdir()] == []
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    "words",
    [("--workers", "2"), ("--backup-dir", "backups"), ("--encryption-key-file", "key")],
    ids=lambda words: words[0],
)
def test_what_it_cannot_have(words: tuple[str, str], capsys: Capture) -> None:
    code, _, errors = run(capsys, "serve", "--dir", ":memory:", *words)
    assert code == 2
    assert (
        errors
        == f"flin: {words[0]} is for a database in files, and --dir :memory: has none: leave one of the two out\n"
    )
