"""Celery: tasks, results, chords, countdowns, retries, revoke; a worker that is killed; a server that is."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.program import Program, running
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]


@pytest.fixture
def tasks(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    needs_package("celery")
    monkeypatch.setenv("URL", served.url)
    name = "tests.programs.apps.celery_tasks"
    sys.modules.pop(name, None)
    module = importlib.import_module(name)  # with this server's address
    yield module
    module.app.close()
    importlib.import_module("kombu").pools.reset()


@contextmanager
def worker(served: Served) -> Iterator[Program]:
    command = ["-m", "celery", "-A", "tests.programs.apps.celery_tasks", "worker", "--loglevel", "INFO"]
    with running(served.folder, [*command, "--without-mingle", "--hostname", "one@here"], URL=served.url) as program:
        program.found(r"ready\.")
        yield program


def get(result: Any) -> Any:
    return result.get(timeout=PATIENCE_SECONDS)


def ask(result: Any) -> Any:
    """`get` of a result that may come while Celery connects anew. It reads what is there, then subscribes: of a result
    in between it learns only when it asks again."""
    wait_until(result.ready, "the result is stored")
    return get(result)


def test_tasks(served: Served, tasks: Any) -> None:
    from celery import chain, chord, group

    early = [tasks.add.delay(number, number) for number in range(20)]
    with worker(served) as program:
        assert [get(result) for result in early] == [2 * number for number in range(20)]
        assert get(tasks.add.apply_async((20, 22), countdown=0.5)) == 42
        assert get(chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4))()) == 10
        assert get(group(tasks.add.s(number, 1) for number in range(5))()) == [1, 2, 3, 4, 5]
        assert get(chord((tasks.add.s(number, 1) for number in range(10)), tasks.total.s())()) == 55
        assert get(tasks.at_the_third_try.delay()) == 3
        with pytest.raises(ValueError, match="as it should"):
            get(tasks.fails.delay())
        # A worker may end by itself when its server goes away (AttributeError in kombu); what runs it starts it again.
        program.kill()
    served.kill_and_start()
    with worker(served):
        assert ask(tasks.add.delay(1, 2)) == 3
        assert get(early[7]) == 14, "results are kept"


def test_revoke(served: Served, tasks: Any) -> None:
    with worker(served) as program:
        later = tasks.add.apply_async((1, 2), countdown=1000)
        program.found(f"Task [^ ]*add\\[{later.id}\\] received")
        later.revoke()
        program.found(f"(Discarding revoked task|Tasks flagged as revoked): .*{later.id}")
        one = {"destination": ["one@here"], "timeout": PATIENCE_SECONDS}  # else they wait all the time for others
        assert tasks.app.control.ping(**one) == [{"one@here": {"ok": "pong"}}]
        assert later.id in str(tasks.app.control.inspect(**one).revoked())


def test_worker_that_is_killed(served: Served, tasks: Any) -> None:
    started, release = served.folder / "started", served.folder / "release"
    with worker(served) as first:
        result = tasks.until_a_file_is_there.delay(str(release), str(started))
        later = tasks.add.apply_async((5, 6), countdown=1)
        first.found(f"{later.id}\\] received")
        wait_until(lambda: started.exists() and started.read_text(), "the first worker has begun")
        first.kill()
    begun = os.path.getsize(started)  # twice already, if this has taken two seconds
    served.kill_and_start()
    release.touch()
    with worker(served):
        assert (ask(result), ask(later)) == ("there", 11)
    assert os.path.getsize(started) > begun, "it was done again"
