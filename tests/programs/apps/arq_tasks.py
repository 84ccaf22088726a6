"""Jobs for arq's worker, and (run as a program) one who asks for them. arq wants an older redis-py."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import Retry, create_pool, cron
from arq.connections import RedisSettings
from arq.jobs import Job

settings = RedisSettings(port=int(os.environ["PORT"]), conn_retries=100, conn_retry_delay=1)


async def add(context: dict[str, Any], one: int, other: int) -> int:
    return one + other


async def at_the_third_try(context: dict[str, Any]) -> int:
    if context["job_try"] < 3:
        raise Retry(defer=0.1)
    tries: int = context["job_try"]
    return tries


async def forever(context: dict[str, Any]) -> None:
    await asyncio.Event().wait()


async def each_second(context: dict[str, Any]) -> None:
    await context["redis"].incr("seconds")


class WorkerSettings:
    functions = (add, at_the_third_try, forever)
    cron_jobs = (cron(each_second, second=set(range(60))),)
    redis_settings = settings
    allow_abort_jobs = True
    poll_delay = 0.1
    keep_result = 1000


@asynccontextmanager
async def opened_pool() -> AsyncIterator[Any]:
    pool = await create_pool(settings)
    yield pool
    await pool.aclose()


async def before() -> None:
    async with opened_pool() as pool:
        jobs = [await pool.enqueue_job("add", number, number) for number in range(20)]
        print("done", sum([await job.result(timeout=100) for job in jobs]))
        print("deferred", await (await pool.enqueue_job("add", 20, 22, _defer_by=1)).result(timeout=100))
        print("tries", await (await pool.enqueue_job("at_the_third_try")).result(timeout=100))
        job = await pool.enqueue_job("forever")
        while await job.status() != "in_progress":
            await asyncio.sleep(0.01)
        print("aborted", await job.abort(timeout=100))
        print("unique", await pool.enqueue_job("add", 1, 2, _job_id="one", _defer_by=2) is not None)
        print("unique", await pool.enqueue_job("add", 1, 2, _job_id="one") is not None)
        while int(await pool.get("seconds") or 0) < 1:
            await asyncio.sleep(0.01)
        print("kept", jobs[7].job_id)


async def after(kept: str) -> None:
    async with opened_pool() as pool:
        print("later", await Job("one", pool).result(timeout=100))
        print("kept", await Job(kept, pool).result(timeout=100))


if __name__ == "__main__":
    asyncio.run(before() if sys.argv[1] == "before" else after(sys.argv[2]))
