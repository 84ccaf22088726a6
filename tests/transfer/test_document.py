"""docs/moving/redis.md: its commands are run as they are written, against a real Redis."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from flin.bench.server_process import free_port
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.program import running
from tests.source import ROOT
from tests.tool import needs_tool
from tests.transfer.redis_content import content, libraries

TEXT = (ROOT / "docs" / "moving" / "redis.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


def test_the_commands(tmp_path: Path) -> None:
    needs_tool("redis-cli")
    (tmp_path / "flin").write_text(f'#!/bin/sh\nexec {sys.executable} -m flin "$@"\n')
    (tmp_path / "flin").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        for name in ("6379", "6382", "6383"):
            (tmp_path / name).mkdir()
        ports = {name: stack.enter_context(running_redis(tmp_path / name)) for name in ("6379", "6382", "6383")}
        ports |= {name: free_port() for name in ("6380", "6381")}
        with RawClient(ports["6379"]) as client:
            client.pipeline([[b"HSET", b"user:%d" % number, b"name", b"Ada"] for number in range(200)])
            client.pipeline([[b"SELECT", b"3"], [b"SET", b"later", b"1", b"PXAT", b"4000000000000"]])
            client.call(b"FUNCTION", b"LOAD", b"#!lua name=l\nredis.register_function('f', function() return 1 end)")
        for command in COMMANDS:
            told = re.sub(r"63[78]\d", lambda found: str(ports[found[0]]), command)
            if told.startswith("flin serve"):
                words = ["-m", *told.split(), "--memory-limit", "64mb"]
                stack.enter_context(running(tmp_path, words)).found("ready on")
            else:
                done = subprocess.run(
                    told, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, (command, done.stdout, done.stderr)
        shown = content(ports["6379"]), libraries(ports["6379"])
        for name, port in ports.items():
            assert (content(port), libraries(port)) == shown, name
        (tmp_path / "again").mkdir()
        (tmp_path / "dump-again.rdb").rename(tmp_path / "again" / "dump.rdb")
        with running_redis(tmp_path / "again") as again:
            assert (content(again), libraries(again)) == shown


def test_there_are_as_many_as_there_were() -> None:
    assert len(COMMANDS) == 10


def test_the_options_are_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flin", "import", "--help"], capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"`(--[a-z]+)", TEXT.split("## Into")[0]))
    assert options >= {"--match", "--replace", "--skip", "--cacert", "--insecure"}
    assert [option for option in options if option not in done.stdout] == []
