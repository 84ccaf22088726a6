"""fastapi-cache2, in a FastAPI site under uvicorn."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.program import running
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = pytest.mark.slow


def test_fastapi_cache(served: Served) -> None:
    needs_package("fastapi_cache")
    uvicorn = ["-m", "uvicorn", "--port", "0", "tests.programs.apps.fastapi_site:app"]
    with running(served.folder, uvicorn, URL=served.url) as site:
        address = site.found(r"running on (http://[\d.:]+)")

        def ask(path: str) -> tuple[Any, str]:
            with urllib.request.urlopen(f"{address}/{path}", timeout=PATIENCE_SECONDS) as reply:
                return json.load(reply), reply.headers.get("X-FastAPI-Cache", "")

        assert ask("item/a") == ({"name": "a", "made": 1}, "MISS")
        assert ask("item/a") == ({"name": "a", "made": 1}, "HIT")
        assert ask("item/b") == ({"name": "b", "made": 2}, "MISS")
        served.kill_and_start()
        assert ask("item/c")[1] == "MISS", "its connection is found dead, and it goes on without the cache"
        assert ask("item/a") == ({"name": "a", "made": 1}, "HIT")
        with served.client() as client:
            assert {900 < client.ttl(key) <= 1000 for key in client.keys("site:*")} == {True}
