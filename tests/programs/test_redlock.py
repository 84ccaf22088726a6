"""redlock, over ioredis: one at a time; a lock is still held after a kill -9 of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.programs.served import Served

pytestmark = pytest.mark.slow


def test_locks(served: Served, run_node: Callable[..., Any]) -> None:
    with run_node("redlock.cjs") as program:
        program.found("now kill the server")
        served.kill_and_start()
        program.say("it is back")
        said = program.wait().splitlines()
    assert said == [
        "counted 30 at most 1", "now kill the server", "second LockError", "left true", "again LockError",
    ]  # fmt: skip
