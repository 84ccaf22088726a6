"""kill -9 of a server that hands jobs to waiting workers, some of whom leave meanwhile, in the mode `always`.

What a worker was given is durable by then: it is given to nobody else, whatever dies. A job that BLPOP took is lost if
its worker or the server dies before the answer has arrived, as in Redis: one at most for each worker. A job that BLMOVE
took is never lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from flin.testing.process import wait_until
from tests.figures import KILLS, Figures
from tests.net.raw_client import RawClient
from tests.process.collections_load import LOW, Served

WORKERS = 10
"""Of each kind."""

PIPELINE = 8


class Client(Thread):
    """Does its work until its connection ends, from whichever side."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.client = RawClient(port)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while True:
                self.work()
        except (OSError, EOFError, ValueError):  # the server has died, or `leave`
            pass
        except BaseException as failure:
            self.failure = failure
        finally:
            self.client.close()

    def work(self) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        self.client.shut_down()


class Producer(Client):
    def __init__(self, port: int, queue: bytes, numbers: Iterator[int]) -> None:
        super().__init__(port)
        self.sent: list[bytes] = []
        self.answered: list[bytes] = []
        self._queue, self._numbers = queue, numbers

    def work(self) -> None:
        jobs = [b"%d" % next(self._numbers) for _ in range(PIPELINE)]
        self.sent += jobs
        self.client.send([b"LPUSH", self._queue, job] for job in jobs)
        for job in jobs:
            assert self.client.read().kind == b":"
            self.answered.append(job)


class Popping(Client):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.given: list[bytes] = []

    def work(self) -> None:
        self.given.append(self.client.call(b"BLPOP", b"other", b"popped", b"0").items[1].payload)


class Moving(Client):
    """Takes a job into its own list, and from there to those that are done."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(port)
        self.given: list[bytes] = []
        self.done: list[bytes] = []
        self._own = own_list(number)

    def work(self) -> None:
        job = self.client.call(b"BLMOVE", b"moved", self._own, b"RIGHT", b"LEFT", b"0").payload
        self.given.append(job)
        end = [[b"MULTI"], [b"LREM", self._own, b"1", job], [b"RPUSH", b"done", job], [b"EXEC"]]
        assert self.client.pipeline(end)[-1].items[0].payload == b"1"
        self.done.append(job)


def own_list(number: int) -> bytes:
    return b"taken by %d" % number


class Queues:
    """What is known of all jobs, over several lives of the server."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.served = Served(directory, "always", LOW, 1)
        self.random = Random(seed)
        self._numbers = count(1)
        self.sent: dict[bytes, list[bytes]] = {b"popped": [], b"moved": []}
        self.answered: dict[bytes, list[bytes]] = {b"popped": [], b"moved": []}
        self.popped: list[bytes] = []
        self.done: list[bytes] = []
        self.deaths = 0  # of workers that pop
        self.left = 0  # of workers of both kinds, with the server alive

    def live(self, answers: int) -> list[bytes]:
        """A life of the server, until so many jobs of each queue are pushed and done. Returns those that were moved."""
        port = self.served.start()
        producers = [Producer(port, queue, self._numbers) for queue in self.sent for _ in range(2)]
        popping = [Popping(port) for _ in range(WORKERS)]
        moving = [Moving(port, number) for number in range(WORKERS)]
        clients: list[Client] = [*producers, *popping, *moving]
        try:
            for client in clients:
                client.start()
            for wanted in range(PIPELINE, answers + 1, PIPELINE):
                number = self.random.randrange(WORKERS)
                popping[number].leave()
                moving[number].leave()
                popping[number], moving[number] = Popping(port), Moving(port, number)
                for client in (popping[number], moving[number]):
                    clients.append(client)
                    client.start()
                self.left += 2
                wait_until(partial(_is_far, clients, wanted), "jobs are pushed and done")
        finally:
            self.served.kill()
            for client in clients:
                client.join()
        for client in clients:
            if client.failure is not None:
                raise client.failure
        for producer in producers:
            self.sent[producer._queue] += producer.sent
            self.answered[producer._queue] += producer.answered
        given: list[bytes] = []
        for client in clients:
            if isinstance(client, Popping):
                self.popped += client.given
                self.deaths += 1
            elif isinstance(client, Moving):
                given += client.given
                self.done += client.done
        return given

    def check(self, given: list[bytes]) -> None:
        """After a restart; then the jobs of the dead workers wait again."""
        with RawClient(self.served.start()) as client:

            def elements(key: bytes) -> list[bytes]:
                return [item.payload for item in client.call(b"LRANGE", key, b"0", b"-1").items]

            waiting = elements(b"popped")
            seen = self.popped + waiting
            assert len(seen) == len(set(seen)), "given twice"
            assert set(seen) <= set(self.sent[b"popped"])
            assert len(set(self.answered[b"popped"]) - set(seen)) <= self.deaths

            waiting, done = elements(b"moved"), elements(b"done")
            taken = [job for number in range(WORKERS) for job in elements(own_list(number))]
            everywhere = [*waiting, *taken, *done]
            assert len(everywhere) == len(set(everywhere)), "there twice"
            assert set(self.answered[b"moved"]) <= set(everywhere) <= set(self.sent[b"moved"])
            assert not set(given) & set(waiting), "what was given waits again"
            assert set(self.done) <= set(done)
            for number in range(WORKERS):
                while not client.call(b"LMOVE", own_list(number), b"moved", b"RIGHT", b"RIGHT").is_null:
                    pass
        self.served.kill()


def _is_far(clients: list[Client], wanted: int) -> bool:
    """Whether so many jobs were pushed by each producer, and done by all workers of each kind."""
    pushed = min(len(client.answered) for client in clients if isinstance(client, Producer))
    popped = sum(len(client.given) for client in clients if isinstance(client, Popping))
    done = sum(len(client.done) for client in clients if isinstance(client, Moving))
    return min(pushed, popped, done) >= wanted or any(client.failure is not None for client in clients)


@pytest.mark.slow
def test_jobs_outlive_kills(tmp_path: Path, figures: Figures) -> None:
    queues, cycles = Queues(tmp_path / "db", seed=1), 6
    for _ in range(cycles):
        queues.check(queues.live(25 * PIPELINE))
        figures.add(KILLS, 1)
    assert min(len(queues.popped), len(queues.done)) >= cycles * 25 * PIPELINE
    assert queues.left == cycles * 25 * 2
