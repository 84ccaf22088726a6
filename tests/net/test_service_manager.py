"""A server under a service manager's protocol, which a socket of the test speaks in systemd's place."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest

from flin.cli.main import parser
from flin.net.service_manager import ServiceManager
from flin.testing.process import PATIENCE_SECONDS, children
from tests.program import running
from tests.source import ROOT

CONTRIB = ROOT / "contrib"


@contextmanager
def manager(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        heard.settimeout(PATIENCE_SECONDS)
        yield heard


def wait_for(heard: socket.socket, line: str) -> str:
    """The first message with this line; others come before it."""
    while True:
        message = heard.recv(4096).decode()
        if line in message.split("\n"):
            return message


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_and_its_workers(tmp_path: Path, workers: int) -> None:
    path = str(tmp_path / "notify")
    command = ["-m", "flin", "serve", "--port", "0", "--dir", "db", "--workers", str(workers)]
    with manager(path) as heard, running(tmp_path, command, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000") as program:
        status = re.search(r"STATUS=flin .* is ready on (.*)", wait_for(heard, "READY=1"))
        assert status is not None
        assert status[1] in program.printed()
        for _ in range(3):
            wait_for(heard, "WATCHDOG=1")
        for pid in children(program.pid):
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        os.kill(program.pid, signal.SIGTERM)
        wait_for(heard, "STOPPING=1")
        assert program.wait_for_code() == 0


def test_a_server_that_hangs_gives_no_sign(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    command = ["-m", "flin", "serve", "--port", "0", "--dir", "db"]
    with manager(path) as heard, running(tmp_path, command, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000") as program:
        wait_for(heard, "READY=1")
        wait_for(heard, "WATCHDOG=1")
        os.kill(program.pid, signal.SIGSTOP)
        heard.settimeout(0.5)
        with pytest.raises(TimeoutError):
            list(iter(lambda: heard.recv(4096), None))  # what was on its way, then nothing
        os.kill(program.pid, signal.SIGCONT)
        heard.settimeout(PATIENCE_SECONDS)
        wait_for(heard, "WATCHDOG=1")


@pytest.mark.parametrize(
    ("environ", "beat_seconds"),
    [
        ({}, 0.0),
        ({"NOTIFY_SOCKET": "@name"}, 0.0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "30000000"}, 15.0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 0.0),
    ],
)
def test_what_the_environment_says(environ: dict[str, str], beat_seconds: float) -> None:
    assert ServiceManager(environ).beat_seconds == beat_seconds
    assert environ == {}


def test_an_abstract_name_and_one_that_nobody_has(caplog: pytest.LogCaptureFixture) -> None:
    with manager(f"\0flin-test-{os.getpid()}") as heard:
        ServiceManager({"NOTIFY_SOCKET": f"@flin-test-{os.getpid()}"}).stopping()
        assert heard.recv(4096) == b"STOPPING=1\nSTATUS=stopping"
    assert not caplog.records
    lost = ServiceManager({"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1000000"})
    loop = asyncio.new_event_loop()
    lost.keep_watch(loop)
    loop.close()
    [record] = caplog.records
    assert "cannot be told WATCHDOG=1" in record.getMessage()


def test_the_units_start_what_there_is() -> None:
    commands = []
    for path in (CONTRIB / "systemd").glob("*.service"):
        unit = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
        unit.optionxform = str  # type: ignore[assignment, method-assign]
        unit.read(path)
        commands.append(unit["Service"]["ExecStart"].split())
    [words] = [words for words in commands if words[0].endswith("/flin")]
    assert parser().parse_args(words[1:]).command == "serve"
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", (CONTRIB / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    assert entry is not None
    arguments = re.findall(r'"([^"]*)"', entry[1])
    assert arguments[0] == "flin"
    assert parser().parse_args(arguments[1:]).command == "serve"
