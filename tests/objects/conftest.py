"""A real redis-server, which says what is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawClient]:
    """A client of one server for all tests: each uses keys of its own, or deletes them first."""
    with running_redis(tmp_path_factory.mktemp("redis")) as port, RawClient(port) as client:
        yield client
