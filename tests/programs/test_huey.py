"""Huey: tasks, priorities, its schedule, delayed retries, results, locks; a consumer and a server that are killed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.program import Program, running
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(params=["RedisHuey", "PriorityRedisHuey"])  # over BRPOP, over BZPOPMIN
def tasks(served: Served, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    needs_package("huey")
    monkeypatch.setenv("URL", served.url)
    monkeypatch.setenv("KIND", request.param)
    name = "tests.programs.apps.huey_jobs"
    sys.modules.pop(name, None)
    module = importlib.import_module(name)  # with this server's address
    yield module
    module.huey.storage.conn.close()


@contextmanager
def consumer(served: Served) -> Iterator[Program]:
    command = ["-m", "huey.bin.huey_consumer", "tests.programs.apps.huey_jobs.huey", "--scheduler-interval", "1"]
    with running(served.folder, [*command, "--workers", "3"], URL=served.url) as program:
        program.found(r"Huey consumer started")
        yield program


def get(result: Any) -> Any:
    return result.get(blocking=True, timeout=PATIENCE_SECONDS)


def test_tasks(served: Served, tasks: Any) -> None:
    priority = "Priority" in type(tasks.huey).__name__
    early = [tasks.add(number, number, **({"priority": number} if priority else {})) for number in range(50)]
    assert tasks.huey.pending_count() == 50
    later, never = tasks.add.schedule((1, 2), delay=1), tasks.add.schedule((1, 3), delay=1000)
    with consumer(served):
        assert [get(result) for result in early] == [2 * number for number in range(50)]
        assert (get(later), tasks.huey.scheduled_count()) == (3, 1)
        never.revoke()
        assert never.is_revoked()
        tries = served.folder / "tries"
        tasks.at_the_second_try(str(tries))
        wait_until(lambda: tries.exists() and tries.read_text() == "xx", "it is tried again, a second later")
        chain = tasks.huey.enqueue(tasks.add.s(1, 2).then(tasks.add, 3).then(tasks.add, 4))
        assert [get(result) for result in chain] == [3, 6, 10]
        assert tasks.locked()
        assert not tasks.huey.is_locked("one at a time")
        served.kill_and_start()
        assert get(tasks.add(20, 22)) == 42
        assert tasks.huey.scheduled_count() == 1


def test_consumer_that_is_killed(served: Served, tasks: Any) -> None:
    """Huey hands each task out once; what is still in the queue and the schedule stays."""
    started, release = served.folder / "started", served.folder / "release"
    for _ in range(3):
        tasks.slowly(str(started), str(release))
    with consumer(served) as first:
        wait_until(lambda: started.exists() and started.read_text() == "xxx", "all workers have begun")
        waiting = [tasks.add(number, 1) for number in range(5)]
        first.kill()
    served.kill_and_start()
    with consumer(served):
        assert [get(result) for result in waiting] == [1, 2, 3, 4, 5]
    assert started.read_text() == "xxx"
