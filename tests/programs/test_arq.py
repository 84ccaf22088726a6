"""arq: jobs, deferred ones, retries, aborts, unique ones, cron jobs; a server that is killed under its worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.program import running
from tests.programs.own_folder import path_with
from tests.programs.served import Served
from tests.source import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> str:
    """It wants an older redis-py than the others."""
    return path_with(tmp_path_factory.mktemp("packages"), "arq>=0.26,<1")


def test_jobs(served: Served, packages: str, tmp_path: Path) -> None:
    environment = {"PORT": str(served.port), "PYTHONPATH": packages, "PYTHONUNBUFFERED": "1"}
    arq = ["-m", "arq", "tests.programs.apps.arq_tasks.WorkerSettings"]
    client = ["-m", "tests.programs.apps.arq_tasks"]
    with running(tmp_path, arq, **environment) as worker:
        with running(tmp_path, [*client, "before"], **environment) as program:
            *said, kept = program.wait().splitlines()
        assert said == ["done 380", "deferred 42", "tries 3", "aborted True", "unique True", "unique False"]
        worker.kill()
    served.kill_and_start()
    after = [*client, "after", kept.removeprefix("kept ")]
    with running(tmp_path, arq, **environment), running(tmp_path, after, **environment) as program:
        assert program.wait() == "later 3\nkept 14\n"


def test_the_example(served: Served, packages: str, tmp_path: Path) -> None:
    examples = ROOT / "examples"
    paths = os.pathsep.join((packages, str(examples)))
    environment = {"FLIN_PORT": str(served.port), "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    with (
        running(tmp_path, ["-m", "arq", "arq_tasks.WorkerSettings"], **environment) as worker,
        running(tmp_path, [str(examples / "arq_tasks.py")], **environment) as program,
    ):
        assert program.wait() == "done:  [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]\nlater: 42\ntries: 3\n"
        assert "Traceback" not in worker.printed()
