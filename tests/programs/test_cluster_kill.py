"""A node that is killed with -9 under the load of cluster clients: it comes back with everything that was answered, and
the others go on without an error.

Clients of clusters send again what was not answered, so what they count may be done twice: by default they write what
is the same when it is done twice; where writes are counted the clients do not retry, and each error may or may not have
been a write.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.programs.served_cluster import ServedCluster, run_tasks

pytestmark = pytest.mark.slow

VICTIM = 1
ROUNDS = 3

PATIENT: dict[str, Any] = {
    "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), 2000),
    "socket_timeout": PATIENCE_SECONDS,
}
"""A client that outlasts a restart: by default redis-py gives up within seconds, which is not enough for a server that
starts on a busy machine."""

HASTY: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": PATIENCE_SECONDS}
"""A client that sends nothing again."""


class Writer(threading.Thread):
    """Does something again and again until it is told to end; keeps the exception that ended it."""

    def __init__(self, write: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self.error: Exception | None = None
        self.stopping = False
        self._write = write

    def run(self) -> None:
        try:
            while not self.stopping:
                self._write(self.done)
                self.done += 1
        except Exception as error:
            self.error = error

    def goes_on(self, count: int = 50) -> None:
        """Wait until it has written so often again."""
        goal = self.done + count
        wait_until(lambda: self.done >= goal or self.error is not None, "the writer goes on")
        assert self.error is None, self.error


@contextmanager
def writing(*writers: Writer) -> Iterator[None]:
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        for writer in writers:
            writer.stopping = True
        for writer in writers:
            writer.join(PATIENCE_SECONDS)
    for writer in writers:
        assert writer.error is None, writer.error


def keys_of(cluster: ServedCluster, node: int, count: int) -> list[str]:
    """Names whose slots the node has."""
    from flin.net.cluster.slots import slot_of

    slots = cluster.slots(node)
    names = (f"key:{n}" for n in range(1_000_000))
    return [name for name, _ in zip((n for n in names if slot_of(n.encode()) in slots), range(count), strict=False)]


@pytest.mark.parametrize("cluster", [2, 3], indirect=True)
def test_all_that_was_answered_is_there(cluster: ServedCluster) -> None:
    with cluster.cluster_client(**PATIENT) as client:
        written: list[int] = []

        def write(number: int) -> None:
            assert client.set(f"written:{number}", number)
            written.append(number)

        through_pipelines: list[int] = []

        def write_many(number: int) -> None:
            with client.pipeline() as pipeline:
                for each in range(20):
                    pipeline.set(f"many:{number}:{each}", number)
                assert pipeline.execute() == [True] * 20
            through_pipelines.append(number)

        writers = Writer(write), Writer(write_many)
        with writing(*writers):
            for _ in range(ROUNDS):
                for writer in writers:
                    writer.goes_on()
                cluster.kill_and_revive(VICTIM)
            for writer in writers:
                writer.goes_on()
        assert client.mget_nonatomic([f"written:{n}" for n in written]) == [b"%d" % n for n in written]
        names = [f"many:{n}:{each}" for n in through_pipelines for each in range(20)]
        assert client.mget_nonatomic(names) == [b"%d" % n for n in through_pipelines for _ in range(20)]


def test_the_others_go_on(cluster: ServedCluster) -> None:
    """Clients that keep to the other node, and never retry, see no error while one is away again and again."""
    keys = keys_of(cluster, 0, 20)
    with cluster.client(0, **HASTY) as client:
        writer = Writer(lambda number: client.incr(keys[number % len(keys)]))
        with writing(writer):
            for _ in range(ROUNDS):
                writer.goes_on()
                cluster.kill(VICTIM)
                writer.goes_on()
                cluster.revive(VICTIM)
        assert sum(int(client.get(key)) for key in keys) == writer.done


def test_counts(cluster: ServedCluster) -> None:
    """Without retries a write was done if it was answered, and may have been done if it was not."""
    keys = [keys_of(cluster, node, 5) for node in range(len(cluster.ports))]
    answered: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    clients: list[Any] = [cluster.client(node, **HASTY) for node in range(len(cluster.ports))]

    def count(number: int) -> None:
        node = number % len(keys)
        key = keys[node][number // 2 % 5]
        try:
            clients[node].incr(key)
            answered[key] += 1
        except redis.exceptions.ClusterDownError:
            pass  # it was not done
        except redis.ConnectionError:
            unknown[key] += 1

    writer = Writer(count)
    with writing(writer):
        for _ in range(ROUNDS):
            writer.goes_on(200)
            cluster.kill_and_revive(VICTIM)
        writer.goes_on(200)
    for node, client in enumerate(clients):
        for key in keys[node]:
            assert answered[key] <= int(client.get(key)) <= answered[key] + unknown[key]
        client.close()
    assert not any(unknown[key] for key in keys[0]), "only the killed node's"


def test_asyncio(cluster: ServedCluster) -> None:
    import asyncio

    import redis.asyncio

    async def use() -> None:
        written: list[int] = []
        stopping = asyncio.Event()
        async with redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.port, **PATIENT) as client:

            async def write(first: int) -> None:
                for number in range(first, 1_000_000_000):
                    if stopping.is_set():
                        return
                    try:
                        assert await client.set(f"written:{number}", number)
                        written.append(number)
                    except AttributeError:  # redis-py 8.1 takes a lost connection away from a task that writes to it
                        pass

            tasks = [asyncio.create_task(write(first * 1_000_000)) for first in range(8)]
            for _ in range(ROUNDS):
                goal = len(written) + 200
                while len(written) < goal and not any(task.done() for task in tasks):
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(cluster.kill_and_revive, VICTIM)
            stopping.set()
            await asyncio.gather(*tasks)
            for number in written:
                assert await client.get(f"written:{number}") == b"%d" % number

    run_tasks(use())
