"""A job queue from PyPI does real jobs through the server: Huey, as far as it sends no script (its schedule does)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.net.blocking import Clients
from tests.net.serving import ServerThread

huey_of = pytest.importorskip("huey", reason="the dev extra has it")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [huey_of.RedisHuey, huey_of.PriorityRedisHuey], ids=["BRPOP", "BZPOPMIN"])
def test_huey(kind: Any) -> None:
    with ServerThread() as server, Clients(server) as clients:
        huey = kind("jobs", port=server.port, blocking=True, notify_result=True)
        second_try = threading.Event()
        tries: list[int] = []

        @huey.task()  # type: ignore[untyped-decorator]
        def add(one: int, other: int) -> int:
            return one + other

        @huey.task(retries=1)  # type: ignore[untyped-decorator]
        def fails_at_first() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("not yet")
            second_try.set()

        early = [add(number, number) for number in range(50)]
        assert huey.pending_count() == 50
        consumer = huey.create_consumer(workers=3, periodic=False, check_worker_health=False)
        consumer.start()
        try:
            results = [task.get(blocking=True, timeout=PATIENCE_SECONDS) for task in early]
            assert results == [2 * number for number in range(50)]
            clients.until_blocked(3)
            late = add(20, 22)
            assert late.get(blocking=True, timeout=PATIENCE_SECONDS) == 42
            fails_at_first()
            assert second_try.wait(PATIENCE_SECONDS)
            assert huey.pending_count() == 0
        finally:
            consumer.stop(graceful=True)
            huey.storage.conn.close()
