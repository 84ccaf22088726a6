"""Makes the golden files. It ran once, with the code of commit e985d7f:

    git worktree add --detach OLD e985d7f
    PYTHONPATH=OLD python tests/engine/golden/make.py

What each must hold is what that code read from it, after the model of flin.testing had agreed (embedded ones), or after
the server had answered (the collections).
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis

from flin.engine.engine import Engine, store_of
from flin.engine.entry import TOMBSTONE
from flin.testing import CrashModel, ManualClock, SimulatedDisk, killed
from flin.testing.operation import (
    Advance,
    Batch,
    Clear,
    Crash,
    Delete,
    DeleteMany,
    DeleteRange,
    Incr,
    Maintenance,
    Put,
    PutMany,
)
from flin.testing.run import PATH, EngineSetup, Operation, WorkloadRun, what_is_there

HERE: Final = Path(__file__).parent
FLUSH: Final = Maintenance("flush")
COMPACT: Final = Maintenance("compact")


def small(first: int, count: int, text: bytes) -> PutMany:
    """Values of some twenty bytes: their tables have no key part, and are of version 1."""
    return PutMany(tuple((b"m%03d" % number, b"%b %d" % (text, number) * 2) for number in range(first, first + count)))


def large(first: int, count: int, text: bytes) -> PutMany:
    """Values of 300 to 5,000 bytes: tables with a key part, of version 2."""
    return PutMany(
        tuple(
            (b"v%03d" % number, b"%b %d " % (text, number) * (60 + 37 * (number % 11)))
            for number in range(first, first + count)
        )
    )


RUNS: Final[list[Operation]] = [
    small(0, 120, b"first"), large(0, 20, b"first"), FLUSH,
    small(40, 20, b"second"), Delete(b"m007"), DeleteMany((b"m100", b"m101", b"v003")), FLUSH,
    DeleteRange(b"m050", b"m070"), Put(b"m055", b"after the range"), Put(b"soon", b"1" * 40, ttl=5.0), FLUSH,
    large(5, 8, b"second"), Put(b"later", b"2" * 2000, ttl=86_400.0), Incr(41), FLUSH,
    Advance(6.0), Put(b"", b"the empty key"), Put(b"\xff", b"next to Flin's own"), Put(b"\xff\x01x", b"3" * 1500),
]  # fmt: skip
"""Many runs, and a WAL with more above them."""

UNCLEAN: Final[list[Operation]] = [
    *RUNS,
    Batch((Put(b"m000", b"in the WAL"), Delete(b"m001"), DeleteRange(b"v010", b"v012"), Put(b"v011", b"4" * 3000))),
    Crash(CrashModel.KILLED, 0),  # from here on another segment
    Put(b"m002", b"x" * 9000),
    Incr(1),
    Put(b"brief", b"5" * 1100, ttl=60.0),
]

MERGED: Final[list[Operation]] = [*RUNS, COMPACT, large(10, 10, b"third"), DeleteRange(b"m010", b"m020"), FLUSH]

CLEARED: Final[list[Operation]] = [
    *RUNS,
    FLUSH,
    Clear(),
    small(0, 9, b"after"),
    large(0, 3, b"after"),
    FLUSH,
    Delete(b"m001"),
]


def embedded(setup: EngineSetup, workload: list[Operation], end: str) -> tuple[dict[str, bytes], int]:
    """The files after the workload, and the time then."""
    run = WorkloadRun(setup, record=False)
    run.open()
    for operation in workload:
        operation.do(run)
    if end != "killed":
        run.engine.close(flush=end == "flushed")
    image = killed(run.disk)
    expected = what_is_there(run.model.state, run.clock.now_ms)
    run.abandon()
    files = {Path(path).name: content for path, content in image.files().items()}
    assert dict(opened(files, setup.shards, run.clock.now_ms).scan()) == expected
    return files, run.clock.now_ms


def served() -> tuple[dict[str, bytes], int]:
    """A server's: collections of all types, packed and spread, in three databases; closed once, then killed."""
    with tempfile.TemporaryDirectory() as directory:
        with_server(directory, fill, subprocess.Popen.terminate)
        with_server(directory, change, subprocess.Popen.kill)
        files = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
    return files, ManualClock().now_ms


def with_server(
    directory: str, work: Callable[[redis.Redis], None], end: Callable[[subprocess.Popen[str]], None]
) -> None:
    """Start a server, work on three of its databases, and end it."""
    command = [sys.executable, "-m", "flin", "serve", "--port", "0", "--dir", directory, "--shards", "4"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    ready = re.search(r"port (\d+)", server.stdout.readline())
    assert ready is not None
    for database in (0, 1, 9):
        work(redis.Redis(port=int(ready[1]), db=database))
    end(server)
    server.wait()


def fill(client: redis.Redis) -> None:
    client.set("string", "of a database")
    client.set("large", "y" * 5000)
    client.set("far", "z" * 40, pxat=4_000_000_000_000)
    client.hset("hash", mapping={"a": "1", "b": "2" * 20})
    client.hset("wide", mapping={f"field {index}": f"value {index}" for index in range(300)})
    client.rpush("list", *(f"{index}" * 3 for index in range(9)))
    client.rpush("long", *(f"element {index}" for index in range(400)))
    client.sadd("set", "x", "y", "z")
    client.sadd("many", *(f"member {index}" for index in range(300)))
    client.zadd("scores", {f"player {index}": index * 1.5 for index in range(300)})
    client.xadd("stream", {"field": "value"}, id="1-1")
    client.xgroup_create("stream", "group", "0")


def change(client: redis.Redis) -> None:
    client.set("string", "changed")
    client.hdel("wide", "field 7")
    client.hset("wide", "field 8", "in the WAL")
    client.delete("set", "many")
    client.lpop("long", 3)
    client.zadd("scores", {"player 3": -1, "new": 2000})
    client.xadd("stream", {"field": "later"}, id="2-1")


def opened(files: dict[str, bytes], shards: int, now_ms: int) -> Engine:
    disk = SimulatedDisk()
    disk.make_directory(PATH)
    for name, content in files.items():
        disk.write(f"{PATH}/{name}", content)
    return EngineSetup(shards=shards).open(disk, ManualClock(now_ms), "read")


def write(name: str, shards: int, make: Callable[[], tuple[dict[str, bytes], int]]) -> None:
    files, now_ms = make()
    files.pop("LOCK", None)
    store = store_of(opened(files, shards, now_ms))
    entries = []
    for keys, page in store.pages(store.freeze()):
        for key, entry in zip(keys, page, strict=True):
            assert entry is not TOMBSTONE
            value, expires_at_ms, tag = entry if isinstance(entry, tuple) else (entry, 0, 0)
            entries.append([key.hex(), value.hex(), expires_at_ms, tag])
    holds = {"shards": shards, "now_ms": now_ms, "entries": entries}
    with tarfile.open(HERE / f"{name}.tar.gz", "w:gz") as archive:
        for file, content in sorted({**files, "holds.json": json.dumps(holds).encode()}.items()):
            member = tarfile.TarInfo(file)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    print(f"{name}: {len(entries)} entries, {', '.join(sorted(files))}")


if __name__ == "__main__":
    write("unclean", 1, lambda: embedded(EngineSetup("interval", 1, window_bytes=0), UNCLEAN, "killed"))
    write("mapped", 1, lambda: embedded(EngineSetup("interval", 1, window_bytes=512), UNCLEAN, "killed"))
    write("shards", 4, lambda: embedded(EngineSetup("always", 4), UNCLEAN, "ended"))
    write("merged", 4, lambda: embedded(EngineSetup("always", 4), MERGED, "flushed"))
    write("cleared", 1, lambda: embedded(EngineSetup("always", 1), CLEARED, "killed"))
    write("collections", 4, served)
