"""connect-redis: the sessions of an Express site, by node-redis."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.programs.served import Served

pytestmark = pytest.mark.slow


def test_sessions(served: Served, run_node: Callable[..., Any]) -> None:
    with run_node("connect-redis.cjs") as site:
        address = f"http://127.0.0.1:{site.found(r'listening on (.+)')}"
        one, other = (urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())) for _ in range(2))

        def ask(path: str, by: urllib.request.OpenerDirector = one) -> str:
            with by.open(f"{address}/{path}", timeout=PATIENCE_SECONDS) as reply:
                said: str = reply.read().decode()
                return said

        assert [ask("visits") for _ in range(3)] == ["1", "2", "3"]
        assert ask("visits", other) == "1"
        served.kill_and_start()
        assert (ask("visits"), ask("visits", other), ask("all")) == ("4", "2", "2 4")
        with served.client() as client:
            assert {900 < client.ttl(key) <= 1000 for key in client.scan_iter("site:*")} == {True}
        assert ask("leave", other) == "left"
        assert ask("all") == "4"
