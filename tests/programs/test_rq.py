"""RQ: jobs, results, retries, dependencies, its scheduler, commands to workers; a worker or a server that is killed."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flin.testing.process import wait_until
from tests.program import Program, running
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

JOBS = "tests.programs.apps.rq_jobs"


@contextmanager
def worker(served: Served, *options: str) -> Iterator[Program]:
    command = ["-m", "rq.cli", "worker", "--url", served.url, *options, "high", "low"]
    with running(served.folder, command) as program:
        program.found("Listening on ")
        yield program


def finished(job: Any) -> Any:
    wait_until(lambda: job.get_status(refresh=True).value in ("finished", "failed"), "the job ends")
    assert job.is_finished, job.latest_result().exc_string
    return job.return_value()


def test_jobs(served: Served) -> None:
    rq = needs_package("rq")
    with served.client() as client:
        high, low = rq.Queue("high", connection=client), rq.Queue("low", connection=client)
        early = [low.enqueue(f"{JOBS}.add", number, number, result_ttl=1000) for number in range(10)]
        assert (low.count, early[9].get_position()) == (10, 9)
        with worker(served, "--with-scheduler"):
            assert [finished(job) for job in early] == [2 * number for number in range(10)]
            second = high.enqueue(f"{JOBS}.add", 1, 2, depends_on=early)
            assert finished(second) == 3
            assert finished(high.enqueue_in(datetime.timedelta(seconds=1), f"{JOBS}.add", 20, 22)) == 42
            tries = high.enqueue(f"{JOBS}.at_the_third_try", str(served.folder / "tries"), retry=rq.Retry(max=3))
            assert finished(tries) == 3
            failing = high.enqueue(f"{JOBS}.fails")
            wait_until(lambda: failing.get_status(refresh=True).value == "failed", "the job fails")
            assert "as it should" in failing.latest_result().exc_string
            assert failing.id in high.failed_job_registry
            forever = low.enqueue(f"{JOBS}.until_a_file_is_there", "never", str(served.folder / "begun"))
            wait_until(lambda: (served.folder / "begun").exists(), "the job begins")
            rq.command.send_stop_job_command(client, forever.id)
            wait_until(lambda: forever.get_status(refresh=True).value == "stopped", "it is stopped")
            # A worker that finds no server when its job ends gives up; one that waits for a job waits for the server.
            wait_until(lambda: client.info("clients")["blocked_clients"], "the worker waits for jobs")
            served.kill_and_start()
            assert finished(low.enqueue(f"{JOBS}.add", 3, 4)) == 7
            assert early[7].return_value(refresh=True) == 14


def test_worker_that_is_killed(served: Served) -> None:
    rq = needs_package("rq")
    started, release = served.folder / "started", served.folder / "release"
    with served.client() as client:
        queue = rq.Queue("low", connection=client)
        with worker(served, "--worker-class", "rq.SimpleWorker") as first:
            arguments = (str(release), str(started))
            job = queue.enqueue(f"{JOBS}.until_a_file_is_there", *arguments, retry=rq.Retry(max=1))
            wait_until(started.exists, "the first worker has begun")
            first.kill()
        served.kill_and_start()
        assert job.id in queue.started_job_registry
        release.touch()
        # A worker counts as dead a minute and a half after its last sign of life: as if that had gone by.
        queue.started_job_registry.cleanup(timestamp=time.time() + 1000)
        with worker(served):
            assert finished(job) == "there"
    assert started.read_text() == "xx"
