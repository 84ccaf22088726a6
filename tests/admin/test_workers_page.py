"""One page for all workers, in processes of their own: whatever one of them does, the page tells."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import flin.engine
from flin.testing.process import wait_until
from tests.admin.paged import TOKEN, Reply, request
from tests.cluster.served import Served, key_of

pytestmark = pytest.mark.slow


def test_the_page_of_two_workers(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    served = Served(tmp_path, "--http", "127.0.0.1:0", "--http-token-file", "token")
    try:
        _ask_all(served, tmp_path)
    finally:
        assert served.end() == 0


def _ask_all(served: Served, folder: Path) -> None:
    port = int(served.program.found(r"the page and metrics are at http://127.0.0.1:(\d+)/"))
    headers = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}

    def get(path: str) -> Reply:
        return request(port, "GET", path, None, headers)

    def post(path: str, body: bytes = b"{}") -> Reply:
        return request(port, "POST", path, body, headers)

    assert get("/ready").text == "ready\n"
    keys = [key_of(range(8192)), key_of(range(8192, 16384))]
    for number, key in enumerate(keys):
        served.client(number).set(key, "value")
    metrics = get("/metrics").text
    for group in "01":
        assert f'flin_commands_total{{command="set",group="{group}"}} 1.0' in metrics.replace(
            f'{{group="{group}",command="set"}}', f'{{command="set",group="{group}"}}'
        )
        assert f'flin_tick_seconds_count{{group="{group}"}}' in metrics
    assert {*get("/stats").json["groups"]} == {"0", "1"}
    made = post("/admin/checkpoint", b'{"name": "copy"}')
    assert made.status == 200, made.text
    assert made.json["path"] == str(folder / "db.checkpoints" / "copy")
    for group, key in zip(("group-00", "group-01"), keys, strict=True):
        with flin.engine.open(str(folder / "db.checkpoints" / "copy" / group)) as copy:
            assert dict(copy.scan()) == {key.encode(): b"value"}
    profile = post("/debug/profile?seconds=0.2").text
    assert "group 0, MainThread;" in profile
    assert "group 1, MainThread;" in profile
    os.kill(served.workers()[1], signal.SIGSTOP)  # it hangs
    hung = get("/ready")
    assert (hung.status, hung.text.startswith("group 1: it has not answered")) == (503, True)
    pid = served.workers()[1]
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: "worker 1 is not there" in get("/ready").text or served.workers().get(1) not in (None, pid), "it"
    )
    wait_until(lambda: get("/ready").status == 200, "the worker that is started again")
    assert 'flin_up{group="1"} 1.0' in get("/metrics").text
