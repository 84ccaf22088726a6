"""redis-py does not give up before the tests do."""

from __future__ import annotations

import redis
import redis.asyncio

from flin.testing.process import PATIENCE_SECONDS


def test_clients_wait() -> None:
    made: list[object] = []
    for library in (redis, redis.asyncio):
        made += [library.Redis(port=1), library.from_url("redis://h"), library.from_url("unix:///h")]
    seconds = [each.connection_pool.make_connection().socket_timeout for each in made]  # type: ignore[attr-defined]
    assert {*seconds} <= {None, PATIENCE_SECONDS}, "None: redis-py 6"
    assert redis.Redis(socket_timeout=3).get_connection_kwargs()["socket_timeout"] == 3
