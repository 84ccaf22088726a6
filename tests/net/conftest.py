"""A real redis-server, which says what is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.redis_server import running_redis


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_redis(tmp_path_factory.mktemp("redis")) as port:
        yield port
