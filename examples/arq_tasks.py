"""Jobs that arq runs: their queue and results are in `flin serve`.

flin serve --dir jobs --port 6380
cd examples && arq arq_tasks.WorkerSettings
python examples/arq_tasks.py
"""

import asyncio
import datetime
import os
from typing import Any

from arq import Retry, create_pool
from arq.connections import RedisSettings

settings = RedisSettings(port=int(os.environ.get("FLIN_PORT", "6380")))


async def add(context: dict[str, Any], one: int, other: int) -> int:
    return one + other


async def third_time(context: dict[str, Any]) -> int:
    """Works when it is tried for the third time."""
    tries: int = context["job_try"]
    if tries < 3:
        raise Retry(defer=0.1)
    return tries


class WorkerSettings:
    functions = (add, third_time)
    redis_settings = settings


async def main() -> None:
    pool = await create_pool(settings)
    jobs = [await pool.enqueue_job("add", number, number) for number in range(10)]
    later = await pool.enqueue_job("add", 20, 22, _defer_by=datetime.timedelta(seconds=1))
    tried = await pool.enqueue_job("third_time")
    print("done: ", [await job.result(timeout=60) for job in jobs if job])
    print("later:", later and await later.result(timeout=60))
    print("tries:", tried and await tried.result(timeout=60))
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(main())
