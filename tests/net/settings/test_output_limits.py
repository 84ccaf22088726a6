"""client-output-buffer-limit: what CONFIG takes and shows, as Redis does."""

from __future__ import annotations

from pathlib import Path

import pytest

from flin.net.settings.output_limits import DEFAULT_LIMITS, OutputLimit, parse_limits, show_limits
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

TEXTS = (
    b"pubsub 64mb 16mb 90",
    b"normal 100 50 1 PUBSUB 0 0 0",
    b"replica 1gb 1mb 5",
    b"slave 1k 1k 5",
    b"normal 1 2",
    b"other 1 2 3",
    b"normal 1x 2 3",
    b"normal 1 -2 3",
    b"normal 1 2 -3",
    b"normal 1 2 x",
    b"",
    b"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
)


def test_config_takes_and_shows_them_as_redis_does(tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis_port, ServerThread() as server:
        redis, flin = RawClient(redis_port), RawClient(server.port)
        for text in TEXTS:
            for request in (
                (b"CONFIG", b"SET", b"client-output-buffer-limit", text),
                (b"CONFIG", b"GET", b"client-output-buffer-limit"),
            ):
                assert flin.call(*request).data == redis.call(*request).data, text
        redis.close()
        flin.close()


def test_what_is_shown_can_be_read_again() -> None:
    limits = parse_limits(DEFAULT_LIMITS.encode())
    assert parse_limits(show_limits(limits)) == limits
    assert limits[b"pubsub"] == OutputLimit(32 << 20, 8 << 20, 60)


def test_a_class_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="Invalid client class"):
        parse_limits(b"master 1 2 3")
