"""arq: jobs, deferred ones, retries, aborts, unique ones, cron jobs; a server that is killed under its worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import running
from tests.programs.own_folder import path_with
from tests.programs.served import Served

pytestmark = pytest.mark.slow


def test_jobs(served: Served, tmp_path: Path) -> None:
    packages = path_with(tmp_path / "packages", "arq>=0.26,<1")
    environment = {"PORT": str(served.port), "PYTHONPATH": packages, "PYTHONUNBUFFERED": "1"}
    arq = ["-m", "arq", "tests.programs.apps.arq_tasks.WorkerSettings"]
    client = ["-m", "tests.programs.apps.arq_tasks"]
    with running(tmp_path, arq, **environment) as worker:
        with running(tmp_path, [*client, "before"], **environment) as program:
            *said, kept = program.wait().splitlines()
        assert said == ["done 380", "deferred 42", "tries 3", "aborted True", "unique True", "unique False"]
        worker.kill()
    served.kill_and_start()
    with (
        running(tmp_path, arq, **environment),
        running(tmp_path, [*client, "after", kept.removeprefix("kept ")], **environment) as program,
    ):
        assert program.wait() == "later 3\nkept 14\n"
