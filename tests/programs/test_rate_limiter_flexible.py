"""rate-limiter-flexible, over ioredis and over node-redis: what was consumed is remembered after a kill -9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.programs.served import Served

pytestmark = pytest.mark.slow


def test_limiters(served: Served, run_node: Callable[..., Any]) -> None:
    with run_node("limiter.cjs") as program:
        program.found("now kill the server")
        served.kill_and_start()
        program.say("it is back")
        said = program.wait().splitlines()
    assert said[0] == "ioredis 4 3 2 1 0 no no"
    assert said[1] == "nodeRedis 4 3 2 1 0 no no"
    assert said[2] == "bursty 3"
    assert said[4:] == [
        "ioredis after 7 true no",
        "ioredis grace 1 true",
        "nodeRedis after 7 true no",
        "nodeRedis grace 1 true",
    ]
