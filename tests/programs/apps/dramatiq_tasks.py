"""Dramatiq's actors, with results, in one server."""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=os.environ["URL"], heartbeat_timeout=1000, maintenance_chance=1_000_000)
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["URL"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def add(one: int, other: int) -> int:
    return one + other


@dramatiq.actor(store_results=True, max_retries=3, min_backoff=50, max_backoff=50)
def at_the_third_try(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ValueError("not yet")
    return os.path.getsize(path)


@dramatiq.actor(store_results=True)
def until_a_file_is_there(path: str, started: str) -> str:
    with open(started, "a") as file:
        file.write("x")
    while not os.path.exists(path):
        time.sleep(0.01)
    return "there"
