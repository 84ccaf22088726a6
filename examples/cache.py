"""A cache with a time to live: slow results are kept in Flin, through redis-py.

    python examples/cache.py            starts `flin serve` in a temporary directory
    python examples/cache.py --port N   uses the server on that port

Unlike a cache in memory it survives a restart of the process.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import redis
from flin_server import FlinServer


def cached(client: redis.Redis, ttl_ms: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Keep the results of a function for a while, by its name and arguments. JSON must be able to hold them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*arguments: object) -> Any:
            key = f"cache:{function.__name__}:{json.dumps(arguments)}"
            found = client.get(key)
            if found is not None:
                return json.loads(found)
            result = function(*arguments)
            client.set(key, json.dumps(result), px=ttl_ms)
            return result

        return wrapper

    return decorate


def show(client: redis.Redis) -> None:
    calls = 0

    @cached(client, ttl_ms=400)
    def slow_square(number: int) -> int:
        nonlocal calls
        calls += 1
        time.sleep(0.1)
        return number * number

    for attempt in ("made", "from the cache", "from the cache"):
        started = time.perf_counter()
        result = slow_square(12)
        print(f"slow_square(12) = {result}, {attempt}, {(time.perf_counter() - started) * 1000:.1f} ms")
    assert calls == 1
    time.sleep(0.5)
    slow_square(12)
    print(f"made again after its time to live: {calls} calls in all")
    assert calls == 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="port of a running server")
    port = parser.parse_args().port
    if port:
        with redis.Redis(port=port) as client:
            show(client)
        return
    with tempfile.TemporaryDirectory(prefix="flin-example-") as directory:
        server = FlinServer(directory)
        server.start()
        try:
            with server.client() as client:
                show(client)
            server.stop()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
