"""A job queue: workers that take jobs with BLMOVE, some of which are killed, and no job is lost.

    python examples/job_queue.py            starts `flin serve` in a temporary directory
    python examples/job_queue.py --port N   uses the server on that port

Jobs wait in the list `jobs:waiting`. A worker moves one into a list of its own, works, and takes it out again in the
same transaction that keeps the result. So a job is always in one of the lists: if a worker dies, whoever notices it
moves what its list holds back to the others. A worker that dies while it waits is never given a job.

Two of the workers here stop in the midst of their first job, and are killed (kill -9). Their jobs may be begun twice;
each is finished once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import redis
from flin_server import FlinServer

JOBS = 200
WORKERS = ("ada", "grace", "barbara")
VICTIMS = ("stuck-1", "stuck-2")

WAITING = "jobs:waiting"
RESULTS = "jobs:results"
NEWS = "jobs:news"
"""What workers tell: `taken NAME` if they will not go on, `done JOB`."""

PATIENCE_SECONDS = 60


def own_list(worker: str) -> str:
    return f"jobs:taken-by:{worker}"


def work(client: redis.Redis, worker: str, *, is_victim: bool) -> None:
    """Take jobs for ever."""
    while True:
        job = client.blmove(WAITING, own_list(worker), 0, "RIGHT", "LEFT")
        if is_victim:
            client.lpush(NEWS, f"taken {worker}")
            client.blpop(["nothing:ever"], 0)  # it hangs
        result = int(job) ** 2
        with client.pipeline(transaction=True) as transaction:
            transaction.lrem(own_list(worker), 1, job)
            transaction.hsetnx(RESULTS, job, result)
            transaction.lpush(NEWS, f"done {int(job)}")
            transaction.execute()


def start_worker(name: str, port: int, *, is_victim: bool) -> subprocess.Popen[bytes]:
    words = [sys.executable, __file__, "--port", str(port), "--worker", name]
    return subprocess.Popen([*words, "--victim"] if is_victim else words)


def next_news(client: redis.Redis) -> str:
    found = client.brpop([NEWS], PATIENCE_SECONDS)
    if found is None:
        raise SystemExit("the workers are silent")
    return found[1].decode()


def give_back(client: redis.Redis, worker: str) -> int:
    """The jobs of a dead worker wait again, before all others. Returns how many they were."""
    count = 0
    while client.lmove(own_list(worker), WAITING, "LEFT", "RIGHT") is not None:
        count += 1
    return count


def show(client: redis.Redis, port: int) -> None:
    client.lpush(WAITING, *range(JOBS))
    with ExitStack() as stack:

        def start(name: str, *, is_victim: bool = False) -> subprocess.Popen[bytes]:
            process = start_worker(name, port, is_victim=is_victim)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        victims = {name: start(name, is_victim=True) for name in VICTIMS}
        for _ in victims:
            victim = next_news(client).removeprefix("taken ")
            victims[victim].kill()
            victims[victim].wait()
            print(f"{victim} was killed; jobs given back: {give_back(client, victim)}")
        for name in WORKERS:
            start(name)
        done = [next_news(client).removeprefix("done ") for _ in range(JOBS)]
    results = {int(job): int(result) for job, result in client.hgetall(RESULTS).items()}
    assert sorted(map(int, done)) == list(range(JOBS))
    assert results == {job: job**2 for job in range(JOBS)}
    print(f"{len(results)} of {JOBS} jobs done, each once; lists left: {len(client.keys('jobs:*')) - 1}")
    client.delete(RESULTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="port of a running server")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--victim", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.port:
        with redis.Redis(port=options.port) as client:
            if options.worker:
                work(client, options.worker, is_victim=options.victim)
            else:
                show(client, options.port)
        return
    with tempfile.TemporaryDirectory(prefix="flin-example-") as directory:
        server = FlinServer(directory)
        server.start()
        try:
            with server.client() as client:
                show(client, server.port)
            server.stop()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
