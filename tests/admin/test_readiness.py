"""What takes a server out of service, and what a person should look at."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from flin.admin.figures import server_figures
from flin.admin.readiness import reasons_of, warnings_of
from flin.testing.process import wait_until
from tests.admin.paged import Paged

GOOD: dict[str, Any] = {
    "server": {
        "state": {
            "lacks_lease": False,
            "is_stopping": False,
            "stall": {"stopped": False, "delay_seconds": 0.0, "reason": ""},
            "has_long_script": False,
            "corruption_errors": 0,
            "alarms": {},
            "low_disk": None,
        },
        "clients": {"connected": 1, "maximum": 100, "buffered_bytes": 0, "buffers_limit_bytes": 1000},
        "memory": {"resident_bytes": 60 << 20, "limit_bytes": 64 << 20, "startup_bytes": 30 << 20},
        "replica": {},
        "saving": {"is_last_save_good": True, "is_last_compaction_good": True},
    },
}


REPLICA: dict[str, Any] = {
    "role": "leader",
    "has_lease": True,
    "voting_nodes": 3,
    "epoch": 1,
    "index": 7,
    "lag_ms": 0,
    "skew_ms": 0,
}


def test_a_replica_that_is_well() -> None:
    assert warnings_of(_changed("server.replica", REPLICA)["server"]) == []


def _changed(path: str, value: Any) -> dict[str, Any]:
    figures = copy.deepcopy(GOOD)
    *names, last = path.split(".")
    place = figures
    for name in names:
        place = place[name]
    assert last in place
    place[last] = value
    return figures


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("server.state.is_stopping", True, "stopping"),
        ("server.state.alarms", {"clock": "the wall clock jumped", "helper": "a helper died"}, "clock helper"),
        ("server.state.has_long_script", True, "long-script"),
        ("server.state.lacks_lease", True, "lease"),
    ],
)
def test_reasons(path: str, value: Any, name: str) -> None:
    assert reasons_of(GOOD["server"]["state"]) == []
    figures = _changed(path, value)
    found = reasons_of(figures["server"]["state"])
    assert " ".join(each.name for each in found) == name
    assert warnings_of(figures["server"]) == []


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("server.state.low_disk", "99 MiB are free", "disk"),
        ("server.state.stall", {"stopped": True, "delay_seconds": 0.0, "reason": "48 runs"}, "stopped"),
        ("server.state.stall", {"stopped": False, "delay_seconds": 0.01, "reason": "24 runs"}, "slowed"),
        ("server.clients.connected", 91, "clients"),
        ("server.clients.buffered_bytes", 901, "buffers"),
        ("server.memory.resident_bytes", 111 << 20, "memory"),
        ("server.saving.is_last_save_good", False, "save"),
        ("server.saving.is_last_compaction_good", False, "compaction"),
        ("server.replica", {**REPLICA, "voting_nodes": 1}, "forming"),
        ("server.replica", {**REPLICA, "role": "follower", "has_lease": False, "lag_ms": 10_001}, "lag"),
        ("server.replica", {**REPLICA, "skew_ms": -501}, "skew"),
    ],
)
def test_warnings(path: str, value: Any, name: str) -> None:
    assert warnings_of(GOOD["server"]) == []
    figures = _changed(path, value)
    assert [each.name for each in warnings_of(figures["server"])] == [name]
    assert reasons_of(figures["server"]["state"]) == []


def test_ready_of_a_real_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Paged(tmp_path) as server:
        assert (server.ask("GET", "/ready").status, server.ask("GET", "/ready").text) == (200, "ready\n")
        monkeypatch.setattr(type(server.store), "read_only_reason", "an fsync failed")
        wait_until(lambda: server.ask("GET", "/ready").status == 503, "the watchman")
        assert "an fsync failed" in server.ask("GET", "/ready").text
        assert server.ask("GET", "/health").status == 200
        metrics = server.ask("GET", "/metrics").text
        assert 'flin_ready{group="0"} 0.0' in metrics
        assert 'flin_alarm{group="0",name="read-only"} 1.0' in metrics
        monkeypatch.undo()
        wait_until(lambda: server.ask("GET", "/ready").status == 200, "the watchman")


def test_ready_while_it_stops(tmp_path: Path) -> None:
    """Health stays good until the end: it is no reason to kill what is about to end."""
    with Paged(tmp_path) as server:

        def stop() -> list[str]:
            server.server.request_stop()
            figures = server_figures(server.server.services, is_stopping=server.server.is_stopping)
            return [each.name for each in reasons_of(figures["state"])]

        assert server.call(stop) == ["stopping"]
