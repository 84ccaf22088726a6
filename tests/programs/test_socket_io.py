"""socket.io's Redis adapter: two servers share their rooms by messages, also after a kill -9 of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.programs.served import Served

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["ioredis", "node-redis", "sharded"])
def test_rooms(served: Served, run_node: Callable[..., Any], kind: str) -> None:
    with run_node("socket-io.cjs", kind) as program:
        program.found("now kill the server")
        served.kill_and_start()
        program.say("it is back")
        assert program.wait() == "hello hello\nsockets 2\nnow kill the server\nagain again\n"
