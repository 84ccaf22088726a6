"""Celery's tasks: broker and results in one server."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

app = Celery("tasks", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    # What a dead worker held comes back after two seconds, which is looked for each second.
    broker_transport_options={"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_pool="threads",
    worker_concurrency=4,
    result_expires=1000,
)


@app.task
def add(one: int, other: int) -> int:
    return one + other


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def at_the_third_try(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    tries: int = self.request.retries + 1
    return tries


@app.task
def fails() -> None:
    raise ValueError("as it should")


@app.task
def until_a_file_is_there(path: str, started: str) -> str:
    with open(started, "a") as file:
        file.write("x")
    while not os.path.exists(path):
        time.sleep(0.01)
    return "there"
