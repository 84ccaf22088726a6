"""Jobs that Huey runs: their queue, schedule and results are in `flin serve`.

flin serve --dir jobs --port 6380
cd examples && huey_consumer huey_tasks.huey --workers 2
cd examples && python -c "import huey_tasks; huey_tasks.main()"

Huey finds a job's function by its module, so the program that hands out the jobs imports this one and does not run it.
"""

import os

from huey import RedisHuey

huey = RedisHuey("jobs", port=int(os.environ.get("FLIN_PORT", "6380")))


@huey.task(retries=2, retry_delay=1)  # type: ignore[untyped-decorator]
def add(one: int, other: int) -> int:
    return one + other


def main() -> None:
    results = [add(number, number) for number in range(10)]
    later = add.schedule((20, 22), delay=1)
    print("done: ", [result.get(blocking=True, timeout=60) for result in results])
    print("later:", later.get(blocking=True, timeout=60))
