"""redis-cli: at a terminal, and each of its modes that looks at a whole server."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.program import running
from tests.programs.served import Served
from tests.tool import needs_tool

pytestmark = pytest.mark.slow


def cli(served: Served, *words: str, said: str = "") -> str:
    command = [needs_tool("redis-cli"), "-p", str(served.port), *words]
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=served.folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Terminal:
    """redis-cli as its user sees it, after the prompt that ends each answer."""

    def __init__(self, file: int, prompt: str) -> None:
        self._file, self._prompt = file, prompt
        self._seen = ""

    def until(self, text: str) -> str:
        while text not in self._seen:
            assert select.select([self._file], [], [], 5)[0], f"{text!r} is not in {self._seen!r}"
            self._seen += re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", os.read(self._file, 1 << 16).decode())
        before, _, self._seen = self._seen.partition(text)
        return before

    def type(self, line: str, prompt: str = "") -> str:
        os.write(self._file, line.encode() + b"\r")
        self.until("\n")  # the line itself, which the terminal shows
        return self.until(prompt or self._prompt).replace("\r", "").strip()


@contextmanager
def terminal(served: Served, *words: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))  # without a size it would ask the terminal
    command = [needs_tool("redis-cli"), "-p", str(served.port), *words]
    environment = {**os.environ, "TERM": "xterm", "HOME": str(served.folder)}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        opened = Terminal(ours, f"127.0.0.1:{served.port}> ")
        opened.until(opened._prompt)
        yield opened
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_at_a_terminal(served: Served) -> None:
    served.may_fail.add("get")
    with terminal(served) as at:
        assert at.type("set greeting 'hello world' EX 1000") == "OK"
        assert at.type("get greeting") == '"hello world"'
        assert at.type("hset user name Ada age 36") == "(integer) 2"
        assert at.type("hgetall user") == '1) "name"\n2) "Ada"\n3) "age"\n4) "36"'
        assert at.type("get user").startswith("(error) WRONGTYPE")
        transaction = f"127.0.0.1:{served.port}(TX)> "
        assert at.type("multi", transaction) == "OK"
        assert at.type("incr n", transaction) == "QUEUED"
        assert at.type("exec") == "1) (integer) 1"
        assert at.type("help getrange").startswith("GETRANGE key start end\n")
        assert at.type("3 incr n").splitlines()[-1] == "(integer) 4"
        other = f"127.0.0.1:{served.port}[3]> "
        assert at.type("select 3", other) == "OK"
        assert at.type("dbsize", other) == "(integer) 0"
        assert at.type("hello 3", other).startswith('1# "server" =>')
        served.kill_and_start()
        assert at.type("lpush list a", "not connected> ") == "Error: Server closed the connection"
        assert at.type("lpush list a", other) == "(integer) 1", "it connects again, and selects its database"
        assert at.type("select 0") == "OK"
        assert at.type("get greeting") == '"hello world"'


def fill(served: Served) -> None:
    with served.client() as client, client.pipeline(transaction=False) as pipeline:
        for number in range(3000):
            pipeline.set(f"string:{number}", "x" * (number % 100))
        pipeline.set("string:long", "y" * 5000)
        pipeline.rpush("list:long", *range(300))
        pipeline.sadd("set:long", *range(200))
        pipeline.hset("hash:long", mapping={f"f{n}": n for n in range(150)})
        pipeline.zadd("zset:long", {f"m{n}": n for n in range(250)})
        pipeline.execute()
        for number in range(120):
            client.xadd("stream:long", {"n": number})


def test_bigkeys_and_memkeys(served: Served) -> None:
    fill(served)
    said = cli(served, "--bigkeys")
    assert "Sampled 3006 keys in the keyspace!" in said
    biggest = re.findall(r"Biggest +(\w+) found '\"(\S+)\"' has (\d+) ", said)
    lengths = {"string": 5000, "list": 300, "set": 200, "hash": 150, "zset": 250, "stream": 120}
    assert sorted(biggest) == sorted((kind, f"{kind}:long", str(length)) for kind, length in lengths.items())
    said = cli(served, "--memkeys")
    assert "Sampled 3006 keys in the keyspace!" in said
    biggest = re.findall(r"Biggest +(\w+) found '\"(\S+)\"' has (\d+) ", said)
    assert {kind: key for kind, key, _ in biggest} == {kind: f"{kind}:long" for kind in lengths}


def test_scan_and_pipe(served: Served) -> None:
    lines = "".join(f"SET piped:{number} {number}\r\n" for number in range(20_000))
    assert "errors: 0, replies: 20000" in cli(served, "--pipe", said=lines)
    served.kill_and_start()
    found = cli(served, "--scan", "--pattern", "piped:1*").split()
    assert sorted(found) == sorted(f"piped:{n}" for n in range(20_000) if str(n).startswith("1"))


def test_stat_and_latency(served: Served) -> None:
    fill(served)
    command = ["-p", str(served.port), "--stat", "-i", "0.05"]
    with running(served.folder, command, executable=needs_tool("redis-cli")) as stat:
        rows = stat.found(r"keys +mem +clients +blocked +requests +connections +\n((?:3006 .*\n){3})").splitlines()
        stat.kill()
    requests = [int(re.findall(r"(\d+) \(\+\d+\)", row)[0]) for row in rows]
    assert requests[0] < requests[1] < requests[2]
    samples = 0.0
    while samples <= 10:  # in the second that it takes: without a turn it has fewer
        least, most, average, samples = map(float, cli(served, "--latency", "--raw").split())
        assert least <= average <= most


def test_scripts(served: Served) -> None:
    script = served.folder / "add.lua"
    script.write_text("local sum = redis.call('INCRBY', KEYS[1], ARGV[1])\nreturn {KEYS[1], sum}\n")
    assert cli(served, "--eval", str(script), "counter", ",", "40") == "counter\n40\n"
    digest = cli(served, "SCRIPT", "LOAD", script.read_text()).strip()
    assert cli(served, "EVALSHA", digest, "1", "counter", "2") == "counter\n42\n"
    served.kill_and_start()
    assert cli(served, "--eval", str(script), "counter", ",", "1") == "counter\n43\n"


def test_messages_and_monitor(served: Served) -> None:
    port = ["-p", str(served.port)]
    with running(served.folder, [*port, "MONITOR"], executable=needs_tool("redis-cli")) as monitor:
        monitor.found("OK")
        with running(served.folder, [*port, "PSUBSCRIBE", "new*"], executable=needs_tool("redis-cli")) as reader:
            reader.found("psubscribe\nnew.*\n1\n")
            assert cli(served, "PUBLISH", "news", "hello") == "1\n"
            reader.found("pmessage\nnew.*\nnews\nhello\n")
            reader.kill()
        monitor.found(r'\[0 127.0.0.1:\d+\] "PUBLISH" "news" "hello"')
        monitor.kill()


def test_hotkeys(served: Served) -> None:
    """It asks for OBJECT FREQ, which only servers with another maxmemory-policy know: Redis says no, too."""
    served.may_fail.add("object|freq")
    command = [needs_tool("redis-cli"), "-p", str(served.port), "--hotkeys"]
    cli(served, "SET", "k", "v")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert "LFU maxmemory policy is not selected" in done.stdout + done.stderr


def test_functions(served: Served) -> None:
    library = "#!lua name=math\nredis.register_function('twice', function(_, given) return given[1] * 2 end)\n"
    assert cli(served, "-x", "FUNCTION", "LOAD", said=library) == "math\n"
    served.kill_and_start()
    assert cli(served, "FCALL", "twice", "0", "21") == "42\n", "functions are data"
    assert "library_name\nmath\n" in cli(served, "FUNCTION", "LIST")
