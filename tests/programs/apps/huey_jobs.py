"""Huey's tasks, with its own storage, whose schedule is asked for by a script."""

from __future__ import annotations

import os
import time

import huey as huey_of

kind = getattr(huey_of, os.environ.get("KIND", "RedisHuey"))
huey = kind("jobs", url=os.environ["URL"], notify_result=True)


@huey.task()
def add(one: int, other: int) -> int:
    return one + other


@huey.task(retries=3, retry_delay=1)
def at_the_second_try(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 2:
        raise ValueError("not yet")
    return os.path.getsize(path)


@huey.task()
def slowly(started: str, release: str) -> str:
    with open(started, "a") as file:
        file.write("x")
    while not os.path.exists(release):
        time.sleep(0.01)
    return "there"


@huey.lock_task("one at a time")
def locked() -> bool:
    return bool(huey.is_locked("one at a time"))
