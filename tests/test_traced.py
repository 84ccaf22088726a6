"""ARCHITECTURE.md tells the steps of a SET and of a GET: a real one takes them, in that order."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import flin.engine
from flin.engine.disk.fs import OsReadableFile
from flin.net.run.tick import LONE_TICKS
from flin.testing.run import drop_retired
from tests.net.serving import ServerThread
from tests.source import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def steps_of(title: str) -> list[list[str]]:
    """The functions that each numbered step of a section names, as path:name."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    steps = re.split(r"^\d+\. ", section.strip().split("\n\n")[0], flags=re.MULTILINE)[1:]
    return [re.findall(r"`(flin/[a-z0-9_/]+\.py:[A-Za-z_0-9]+)`", step) for step in steps]


@contextmanager
def tracing(install: Callable[[Callable[[], None]], Any]) -> Iterator[list[str]]:
    """The functions of Flin that are called meanwhile in the thread in which `install` runs its argument."""
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/flin/"):
            path = Path(frame.f_code.co_filename).relative_to(ROOT)
            called.append(f"{path}:{frame.f_code.co_name}")

    install(lambda: sys.setprofile(note))
    try:
        yield called
    finally:
        install(lambda: sys.setprofile(None))


def follows(called: list[str], steps: list[list[str]]) -> bool:
    """Whether, for each step that names functions, one of them is called after one of the step before."""
    rest = iter(called)
    return all(any(name in step for name in rest) for step in steps if step)


def served(server: ServerThread, request: bytes, reply: bytes, *, times: int = 1) -> list[str]:
    """The functions that the server calls to answer a client that sends this `times` times."""
    with server.connect() as sock, tracing(server.call) as called:
        for _ in range(times):
            sock.sendall(request)
            data = b""
            while len(data) < len(reply):
                data += sock.recv(1 << 16)
            assert data == reply
    return called


def test_a_set(tmp_path: Path) -> None:
    steps = steps_of("The way of a SET")
    assert len(steps) == 10
    with flin.engine.open(tmp_path / "db", runner="inline", shards=1) as db, ServerThread(db._store) as server:
        one = served(server, b"SET k v\r\nSET l v\r\n", b"+OK\r\n" * 2)
        alone = served(server, b"SET k v\r\n", b"+OK\r\n")
        request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
        alike = served(server, request * 32, b"+OK\r\n" * 32, times=2)
        lone = served(server, request, b"+OK\r\n", times=LONE_TICKS + 2)
    assert follows(one, steps)
    assert {name for step in steps for name in step} <= {*one, *alone, *alike, *lone}


def test_a_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = steps_of("The way of a GET")
    assert len(steps) == 6
    with flin.engine.open(tmp_path / "db", runner="inline", shards=1, value_cache=False) as db:
        db.put(b"k", b"v")
        db.flush()
        for number in range(100):
            db.put(b"other%d" % number, b"v")
        db.flush()
        drop_retired(db)
        db.put(b"young", b"v")
        db.snapshot().close()  # from now on there is a frozen memtable
        with ServerThread(db._store) as server:
            warm = served(server, b"GET k\r\n", b"$1\r\nv\r\n", times=2)
            # Reads that the kernel's cache answers would not wait: behave as if it did not.
            monkeypatch.setattr(OsReadableFile, "pread_nowait", lambda self, size, offset: None)
            db._store.tables.block_cache.resize(0)
            cold = served(server, b"GET other7\r\n", b"$1\r\nv\r\n")
        with tracing(lambda act: act()) as embedded:
            assert db.get(b"other9") == b"v"
    assert follows(cold, steps)
    assert {name for step in steps for name in step} <= {*warm, *cold, *embedded}
