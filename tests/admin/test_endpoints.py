"""What changes something, and what looks into the process: over real connections."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

import flin.engine
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.admin.paged import Paged


def test_flush_and_compact(tmp_path: Path) -> None:
    with Paged(tmp_path) as server:
        with redis.Redis(port=server.port) as client:
            client.set("key", "value")
        assert server.ask("POST", "/admin/flush", {}).json["groups"]["0"]["seconds"] >= 0
        assert server.engine.stats()["tables"]["entries"] == 1
        assert server.engine.stats()["memtables"]["open_entries"] == 0
        with redis.Redis(port=server.port) as client:
            client.delete("key")
        begun = server.ask("POST", "/admin/compact")
        assert (begun.status, begun.json) == (202, {"groups": {"0": {"started": True}}})
        wait_until(lambda: server.engine.stats()["tables"]["tables"] == 0, "the compaction")


def test_one_of_a_kind_at_a_time(server: Paged, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, end = threading.Event(), threading.Event()

    def flush() -> None:
        begun.set()
        end.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(server.engine, "flush", flush)
    first = threading.Thread(target=server.ask, args=("POST", "/admin/flush"))
    first.start()
    assert begun.wait(PATIENCE_SECONDS)
    busy = server.ask("POST", "/admin/flush")
    end.set()
    first.join()
    assert (busy.status, busy.json["groups"]) == (409, {"0": {"error": "a flush is under way already"}})


def test_a_checkpoint(tmp_path: Path) -> None:
    with Paged(tmp_path) as server:
        with redis.Redis(port=server.port) as client:
            client.set("key", "value")
        made = server.ask("POST", "/admin/checkpoint", {"name": "before-the-change"})
        assert made.status == 200, made.text
        assert made.json["path"] == str(tmp_path / "db.checkpoints" / "before-the-change")
        again = server.ask("POST", "/admin/checkpoint", {"name": "before-the-change"})
        assert (again.status, "before-the-change" in again.json["error"]) == (503, True)
        for name in ("", "..", "../db", "/tmp/x", ".hidden", "a/b", "a\0b", "x" * 101, 7, None):
            assert server.ask("POST", "/admin/checkpoint", {"name": name}).status == 400, name
    with flin.engine.open(made.json["path"]) as copy:
        assert dict(copy.scan()) == {b"key": b"value"}


def test_the_log_level(server: Paged) -> None:
    root = logging.getLogger("flin")
    before = root.level
    try:
        assert server.ask("POST", "/admin/log-level", {"level": "debug"}).json == {"groups": {"0": {"level": "debug"}}}
        assert root.level == logging.DEBUG
        for level in ("DEBUG", "trace", "", 10, None, ["debug"]):
            assert server.ask("POST", "/admin/log-level", {"level": level}).status == 400
    finally:
        root.setLevel(before)


def test_bodies_that_make_no_sense(server: Paged) -> None:
    for body in (b"{", b"[]", b"7", b"\xff", b"[" * 60_000, b'{"name": "a", "path": "/tmp"}', b"NaN"):
        reply = server.ask("POST", "/admin/checkpoint", body)
        assert (reply.status, list(reply.json)) == (400, ["error"]), body[:20]
    assert server.ask("POST", "/admin/flush", {"force": True}).status == 400
    assert server.ask("GET", "/admin/flush").status == 405
    assert server.ask("POST", "/nowhere").status == 404
    assert server.ask("PUT", "/stats", b"{}", Authorization="").status == 401


def test_a_profile(server: Paged) -> None:
    """Of all threads, the one that works here among them; not of the one that looks."""
    begun, end = threading.Event(), threading.Event()
    worker = threading.Thread(target=_work, args=(begun, end), name="a worker")
    worker.start()
    try:
        assert begun.wait(PATIENCE_SECONDS)
        lines = server.ask("POST", "/debug/profile?seconds=0.3").text.splitlines()
        file = server.ask("POST", "/debug/profile?seconds=0.1&format=speedscope").json
    finally:
        end.set()
        worker.join()
    mine = [line for line in lines if line.startswith("a worker;")]
    assert mine
    assert "tests.admin.test_endpoints._work" in mine[0]
    assert all(int(line.rpartition(" ")[2]) > 0 for line in lines)
    assert not [line for line in lines if "flin.admin.profile.sample" in line]
    assert {"a worker", "MainThread"} <= {profile["name"] for profile in file["profiles"]}
    frames = len(file["shared"]["frames"])
    for profile in file["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert all(0 <= number < frames for stack in profile["samples"] for number in stack)
        assert profile["endValue"] == pytest.approx(sum(profile["weights"]))


def _work(begun: threading.Event, end: threading.Event) -> None:
    begun.set()
    while not end.is_set():
        sum(range(1000))


def test_seconds(server: Paged) -> None:
    for text in ("0", "-1", "61", "1e9", "nan", "inf", "x", "", "１"):
        for path in ("/debug/profile", "/debug/heap"):
            assert server.ask("POST", f"{path}?force=yes&seconds={_quoted(text)}").status == 400
    assert server.ask("POST", "/debug/profile?seconds=0.1&format=pprof").status == 400


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def test_the_heap(server: Paged) -> None:
    refused = server.ask("POST", "/debug/heap?seconds=0.1")
    assert (refused.status, "force=yes" in refused.json["error"]) == (400, True)
    kept: list[bytes] = []
    end = threading.Event()
    worker = threading.Thread(target=_allocate, args=(end, kept))
    worker.start()
    traced: dict[str, Any] = {}

    def is_first() -> bool:
        """It may have had no turn meanwhile."""
        traced.update(server.ask("POST", "/debug/heap?seconds=0.2&force=yes").json["groups"]["0"])
        return bool(traced["lines"][0]["file"] == __file__)

    try:
        wait_until(is_first, "what the thread keeps is most of all")
    finally:
        end.set()
        worker.join()
    assert len(traced["lines"]) <= 50
    assert traced["bytes"] <= traced["peak_bytes"]


def _allocate(end: threading.Event, kept: list[bytes]) -> None:
    while not end.wait(0.01):
        kept.append(bytes(100_000))


def test_stacks(server: Paged) -> None:
    event = threading.Event()
    waiter = threading.Thread(target=_wait, args=(event,), name="a waiter")
    waiter.start()
    page = told = ""

    def waits() -> bool:
        nonlocal page, told
        page = server.ask("POST", "/debug/stacks").text
        told = page.partition("thread a waiter ")[2].partition("\n\n")[0]
        return "waits for a condition that another thread signals" in told.partition("\n")[0]

    try:
        wait_until(waits, "the page shows what it waits for")
    finally:
        event.set()
        waiter.join()
    assert "_wait: event.wait()" in told
    assert "thread MainThread" in page
    assert "all_threads" not in page, "the one that looks is left out"


def _wait(event: threading.Event) -> None:
    event.wait()


def test_status(server: Paged, monkeypatch: pytest.MonkeyPatch) -> None:
    page = server.ask("GET", "/status").text
    assert page.startswith("group 0: flin ")
    assert "NOT READY" not in page
    assert "keys " in page
    monkeypatch.setattr(type(server.store), "read_only_reason", "an fsync failed")
    told = "  NOT READY: nothing is written any more: an fsync failed"
    wait_until(lambda: told in server.ask("GET", "/status").text, "the watchman")
    monkeypatch.undo()
    wait_until(lambda: told not in server.ask("GET", "/status").text, "the watchman")


def test_keys_in_stats_are_text(server: Paged) -> None:
    """Whatever bytes they are."""
    with redis.Redis(port=server.port) as client:
        client.config_set("slowlog-log-slower-than", 0)
        client.client_setname("n")
        client.set(b"<b>\xff\x00\xe2\x80\xae", b"\xed\xa0\x80")
        client.config_set("slowlog-log-slower-than", -1)
        slow = server.ask("GET", "/stats").json["groups"]["0"]["server"]["slowlog"]
    arguments = [entry["arguments"] for entry in slow]
    assert ["SET", "<b>\\xff\x00\u202e", "\\xed\\xa0\\x80"] in arguments
    assert json.loads(json.dumps(arguments)) == arguments
