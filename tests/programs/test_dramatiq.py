"""Dramatiq: messages, results, delays, retries, groups, pipelines; a worker and a server that are killed."""

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

PATIENCE_MS = int(PATIENCE_SECONDS * 1000)


@pytest.fixture
def tasks(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    needs_package("dramatiq")
    monkeypatch.setenv("URL", served.url)
    name = "tests.programs.apps.dramatiq_tasks"
    sys.modules.pop(name, None)
    module = importlib.import_module(name)  # with this server's address
    yield module
    module.broker.close()


@contextmanager
def worker(served: Served) -> Iterator[Program]:
    command = ["-m", "dramatiq", "--processes", "1", "--threads", "4", "tests.programs.apps.dramatiq_tasks"]
    with running(served.folder, command, URL=served.url) as program:
        program.found(r"Worker process is ready for action")
        yield program


def get(message: Any) -> Any:
    return message.get_result(block=True, timeout=PATIENCE_MS)


def test_messages(served: Served, tasks: Any) -> None:
    import dramatiq

    early = [tasks.add.send(number, number) for number in range(20)]
    with worker(served):
        assert [get(message) for message in early] == [2 * number for number in range(20)]
        assert get(tasks.add.send_with_options(args=(20, 22), delay=500)) == 42
        group = dramatiq.group(tasks.add.message(number, 1) for number in range(5)).run()
        assert list(group.get_results(block=True, timeout=PATIENCE_MS)) == [1, 2, 3, 4, 5]
        pipeline = (tasks.add.message(1, 2) | tasks.add.message(3)).run()
        assert pipeline.get_result(block=True, timeout=PATIENCE_MS) == 6
        assert get(tasks.at_the_third_try.send(str(served.folder / "tries"))) == 3
        served.kill_and_start()
        tasks.broker.client.connection_pool.disconnect()
        assert get(tasks.add.send(3, 4)) == 7
        tasks.broker.join("default")


def test_worker_that_is_killed(served: Served, tasks: Any) -> None:
    """What it held goes to another worker when it has not been heard of for `heartbeat_timeout`, here a second."""
    started, release = served.folder / "started", served.folder / "release"
    with worker(served) as first:
        message = tasks.until_a_file_is_there.send(str(release), str(started))
        wait_until(started.exists, "the first worker has begun")
        first.kill()
    served.kill_and_start()
    release.touch()
    with worker(served):
        assert get(message) == "there"
    assert started.read_text() == "xx"
