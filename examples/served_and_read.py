"""A server fills a database with hashes, lists and sets; a script reads them when the server has ended.

python examples/served_and_read.py [DIR]

It needs a client: pip install redis
"""

import sys
import tempfile
from pathlib import Path

from flin_server import FlinServer

import flin.engine


def fill(directory: str) -> None:
    server = FlinServer(directory)
    server.start()
    with server.client() as client:
        client.hset("user:1", mapping={"name": "Ada", "language": "Analytical"})
        client.hset("user:2", mapping={"name": "Grace", "language": "COBOL"})
        client.rpush("jobs", *(f"job {number}" for number in range(1, 1001)))
        client.sadd("online", "user:1", "user:2", "user:9")
        client.set("motd", "hello")
    assert server.stop() == 0


def report(directory: str) -> None:
    with flin.engine.open(directory) as db, db.snapshot() as now:  # a snapshot: everything at one moment
        print("types:      ", {name: now.type(name.encode()) for name in ("user:1", "jobs", "online", "motd", "none")})
        print("one field:  ", now.hash(b"user:1")[b"name"].decode())
        print("a hash:     ", dict(now.hash(b"user:2").items()))
        print("last jobs:  ", now.list(b"jobs")[-2:], "of", len(now.list(b"jobs")))
        print("online:     ", sorted(now.set(b"online") & {b"user:1", b"user:9", b"user:12"}))
        print("a string:   ", now[b"motd"].decode())
        print("nobody:     ", dict(now.hash(b"none").items()))
        try:
            now.list(b"user:1")
        except flin.engine.ConflictError as error:
            print("a mistake:  ", error)


def main(directory: str) -> None:
    fill(directory)
    report(directory)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(str(Path(scratch) / "db"))
