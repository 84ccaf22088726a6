"""ioredis and node-redis, as programs use them, before and after a kill -9 of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.programs.served import Served

pytestmark = pytest.mark.slow


def test_clients(served: Served, run_node: Callable[..., Any]) -> None:
    with run_node("clients.cjs") as program:
        program.found("now kill the server")
        served.kill_and_start()
        program.say("it is back")
        said = program.wait().splitlines()
    assert said == [
        "ioredis 500 500 42", 'node-redis {"a":"1","b":"2"} 1', "heard 100000",
        "now kill the server",
        "ioredis 500 500 84", 'node-redis {"a":"1","b":"2"} 2', "heard 100000",
    ]  # fmt: skip
