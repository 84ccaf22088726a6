"""Real data through a real client, a kill -9, and the same data embedded.

Loads the source of every function and class of this Python's standard library into `flin serve` with redis-py,
queries it, kills the server with -9, starts it again and verifies every record; then stops it and opens the same
directory with `flin.engine.open`. Exits with 1 on any difference.

    python examples/stdlib_sources.py [--port N] [--dir DIR]

The keys are `def:<module>:<qualified name>` and `file:<path>`; the values are source code.
"""

from __future__ import annotations

import argparse
import ast
import platform
import sys
import sysconfig
import tempfile
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path

import redis
from flin_server import FlinServer

import flin.engine

PIPELINE = 500
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
CACHED = 100
LONG_TTL_SECONDS = 3600
SHORT_TTL_MS = 300
SWEEP_SECONDS = 10

Records = dict[bytes, bytes]


class DifferenceError(Exception):
    """A value that was read differs from the one that was stored."""


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise DifferenceError(f"{what}: found {str(found)[:200]}, expected {str(wanted)[:200]}")


# Collecting.


def records_of_library() -> Records:
    """Every function and class, and every file, of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    records: Records = {}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if LEFT_OUT.isdisjoint(relative.parts):
            add_file(records, path, relative)
    return records


def add_file(records: Records, path: Path, relative: Path) -> None:
    try:
        with tokenize.open(path) as file:
            text = file.read()
        tree = ast.parse(text)
    except (SyntaxError, UnicodeDecodeError):
        return  # templates and examples of broken code
    records[f"file:{relative.as_posix()}".encode()] = text.encode()
    module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    lines = text.split("\n")
    for name, node in definitions(tree):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        source = "\n".join(lines[first - 1 : node.end_lineno])
        key = f"def:{module}:{name}"
        number = 1
        while (unique := (key if number == 1 else f"{key}#{number}").encode()) in records:
            number += 1  # defined again, as in both branches of an if
        records[unique] = source.encode()


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            yield prefix + node.name, node
            yield from definitions(node, f"{prefix}{node.name}.")
        else:
            yield from definitions(node, prefix)


# Serving.


def load(client: redis.Redis, records: Records) -> None:
    pipeline = client.pipeline(transaction=False)
    for number, (key, value) in enumerate(records.items(), 1):
        pipeline.set(key, value)
        if number % PIPELINE == 0:
            pipeline.execute()
    pipeline.execute()


def load_with_ttl(client: redis.Redis, records: Records) -> Records:
    """A hundred records once more, under keys that live for an hour."""
    cached = {b"cache:" + key: value for key, value in list(records.items())[:CACHED]}
    for key, value in cached.items():
        client.set(key, value, ex=LONG_TTL_SECONDS)
    return cached


def query(client: redis.Redis, records: Records) -> None:
    with step("by key: GET of every tenth record") as done:
        keys = list(records)[::10]
        for key in keys:
            expect(key.decode(), client.get(key), records[key])
        done(len(keys))
    with step("by pattern: SCAN MATCH def:json.*") as done:
        wanted = {key for key in records if key.startswith(b"def:json.")}
        expect("SCAN MATCH", set(client.scan_iter(match="def:json.*", count=1000)), wanted)
        done(len(wanted))
    with step("a key that lives for 300 ms") as done:
        ends = time.perf_counter() + SWEEP_SECONDS
        client.set(b"soon:gone", b"x", px=SHORT_TTL_MS)
        expect("before its end", client.get(b"soon:gone"), b"x")
        time.sleep(SHORT_TTL_MS / 1000 + 0.05)
        expect("after its end", client.get(b"soon:gone"), None)
        while client.dbsize() > len(records) + CACHED and time.perf_counter() < ends:
            time.sleep(0.01)  # it counts until the sweep has removed it
        done(1)


def verify_all(client: redis.Redis, records: Records, cached: Records) -> None:
    everything = records | cached
    with step("many at once: MGET of every record") as done:
        keys = list(everything)
        for start in range(0, len(keys), PIPELINE):
            some = keys[start : start + PIPELINE]
            for key, value in zip(some, client.mget(some), strict=True):
                expect(key.decode(), value, everything[key])
        done(len(keys))
    with step("DBSIZE and every TTL") as done:
        expect("DBSIZE", client.dbsize(), len(everything))
        for key in cached:
            expect(f"the TTL of {key.decode()}", 0 < client.ttl(key) <= LONG_TTL_SECONDS, True)
        expect("the TTL of a key without one", client.ttl(next(iter(records))), -1)
        done(len(cached))


# Embedded.


def verify_embedded(directory: str, records: Records, cached: Records) -> None:
    everything = records | cached
    with flin.engine.open(directory, create=False) as db:
        with step("embedded: all keys and values, in order") as done:
            expect("len", len(db), len(everything))
            expect("a scan of everything", list(db.scan()), sorted(everything.items()))
            done(len(db))
        with step("embedded: by prefix, def:asyncio.") as done:
            wanted = sorted(item for item in everything.items() if item[0].startswith(b"def:asyncio."))
            expect("a scan by prefix", list(db.scan(prefix=b"def:asyncio.")), wanted)
            done(len(wanted))
        with step("embedded: by range, def:c to def:e, backwards") as done:
            wanted = sorted((item for item in everything.items() if b"def:c" <= item[0] < b"def:e"), reverse=True)
            expect("a scan by range", list(db.scan(start=b"def:c", stop=b"def:e", reverse=True)), wanted)
            done(len(wanted))
        for key in cached:
            expect(f"the TTL of {key.decode()}", 0 < (db.ttl(key) or 0) <= LONG_TTL_SECONDS, True)
        expect("verify", list(db.verify()), [])


# Telling.


class step:  # noqa: N801  # reads as a word
    """Prints what is done, how many records it touched and how long it took."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0

    def __enter__(self) -> step:
        self._started = time.perf_counter()
        return self

    def __call__(self, count: int) -> None:
        self._count = count

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        seconds = time.perf_counter() - self._started
        outcome = "FAILED" if error else f"{self._count:7,} records"
        print(f"{self._what:48} {outcome}  {seconds:7.3f} s", flush=True)


def run(directory: str, port: int | None) -> None:
    with step("reading the standard library") as done:
        records = records_of_library()
        done(len(records))
    size = sum(len(key) + len(value) for key, value in records.items())
    files = sum(key.startswith(b"file:") for key in records)
    print(
        f"{len(records) - files:,} functions and classes in {files:,} files, {size:,} bytes, "
        f"Python {platform.python_version()}"
    )
    server = FlinServer(directory, port)
    try:
        print(f"flin serve answers after {server.start():.3f} s")
        with server.client() as client:
            with step("SET of every record, in pipelines") as done:
                load(client, records)
                done(len(records))
            cached = load_with_ttl(client, records)
            query(client, records)
            verify_all(client, records, cached)
        server.kill()
        print(f"killed with -9; flin serve answers again after {server.start():.3f} s")
        with server.client() as client:
            verify_all(client, records, cached)
        expect("the exit code after SIGTERM", server.stop(), 0)
    finally:
        server.kill()
    verify_embedded(directory, records, cached)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="for the server that it starts (default: a free one)")
    parser.add_argument("--dir", help="an empty directory for the database (default: a temporary one)")
    arguments = parser.parse_args()
    try:
        if arguments.dir:
            run(arguments.dir, arguments.port)
        else:
            with tempfile.TemporaryDirectory(prefix="flin-example-") as directory:
                run(directory, arguments.port)
    except DifferenceError as difference:
        print(f"DIFFERENT: {difference}")
        return 1
    print("everything is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
