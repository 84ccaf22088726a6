"""Python programs that know clusters, with the setting that says so; all nodes are killed in the middle.

Not cashews's: it cannot go on after a lost connection with redis-py 8.1, whose `initialize` has a new argument."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from tests.programs.served_cluster import ServedCluster, run_tasks
from tests.programs.test_cluster_node_programs import kill_all
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_limits(cluster: ServedCluster) -> None:
    limits = needs_package("limits")
    storage = limits.storage.storage_from_string(f"redis+cluster://127.0.0.1:{cluster.port}")
    assert storage.check()
    for strategy in ("FixedWindowRateLimiter", "MovingWindowRateLimiter", "SlidingWindowCounterRateLimiter"):
        limiter = getattr(limits.strategies, strategy)(storage)
        hourly = limits.parse("10/hour")
        names = [f"{strategy}:{n}" for n in range(6)]
        for name in names:
            assert [limiter.hit(hourly, name) for _ in range(12)] == [True] * 10 + [False] * 2
        kill_all(cluster)
        assert not any(limiter.hit(hourly, name) for name in names), "it still remembers"
        for name in names:
            limiter.clear(hourly, name)
        assert all(limiter.hit(hourly, name) for name in names)


def test_limits_asyncio(cluster: ServedCluster) -> None:
    limits = needs_package("limits")

    async def use() -> None:
        storage = limits.storage.storage_from_string(
            f"async+redis+cluster://127.0.0.1:{cluster.port}", implementation="redispy"
        )
        limiter = limits.aio.strategies.MovingWindowRateLimiter(storage)
        hourly = limits.parse("3/hour")
        for n in range(6):
            assert [await limiter.hit(hourly, f"user {n}") for _ in range(4)] == [True] * 3 + [False]

    run_tasks(use())


def test_flask_caching(cluster: ServedCluster) -> None:
    flask, caching = needs_package("flask"), needs_package("flask_caching")
    app = flask.Flask("site")
    address = f"127.0.0.1:{cluster.port}"
    cache = caching.Cache(app, config={"CACHE_TYPE": "RedisClusterCache", "CACHE_REDIS_CLUSTER": address})
    made = count(1)

    @app.route("/page/<name>")
    @cache.cached(timeout=1000)
    def page(name: str) -> str:
        return f"{name} {next(made)}"

    browser = app.test_client()
    pages = [browser.get(f"/page/{n}").text for n in range(10)]
    assert len(set(pages)) == 10
    kill_all(cluster)
    assert [browser.get(f"/page/{n}").text for n in range(10)] == pages


def test_fastapi_cache(cluster: ServedCluster) -> None:
    needs_package("fastapi_cache")
    import redis.asyncio
    from fastapi_cache.backends.redis import RedisBackend  # type: ignore[import-not-found, unused-ignore]

    async def use() -> None:
        async with redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.port) as client:
            backend = RedisBackend(client)
            for n in range(20):
                await backend.set(f"{{page}}:{n}", b"%d" % n, 1000)
            await asyncio.to_thread(kill_all, cluster)
            for n in range(20):
                ttl, value = await backend.get_with_ttl(f"{{page}}:{n}")
                assert 900 < ttl <= 1000
                assert value == b"%d" % n

    run_tasks(use())


def test_cashews(cluster: ServedCluster) -> None:
    cashews = needs_package("cashews")
    made = count(1)

    async def use() -> None:
        cache = cashews.Cache()
        cache.setup(cluster.url, client_side=False, cluster=True)

        @cache(ttl="1h", key="user:{name}")
        async def user(name: str) -> dict[str, object]:
            return {"name": name, "made": next(made)}

        names = "abcdef"
        assert [(await user(name))["made"] for name in names + names] == [*range(1, 7), *range(1, 7)]
        assert await cache.incr("counter", 5) == 5
        await cache.set_many({"x": 1, "y": [2]}, expire=1000)
        assert await cache.get_many("x", "absent", "y") == (1, None, [2])
        async with cache.lock("busy", expire="100s"):
            assert await cache.is_locked("busy")
        assert sorted([key async for key in cache.scan("user:*")]) == [f"user:{name}" for name in names]
        await cache.close()

    run_tasks(use())


def test_dramatiq(cluster: ServedCluster) -> None:
    """All keys of a broker's scripts begin with its namespace: with braces they have one slot."""
    dramatiq = needs_package("dramatiq")
    from dramatiq.brokers.redis import RedisBroker

    with cluster.cluster_client() as client:
        broker = RedisBroker(client=client, namespace="{dramatiq}")
        done: list[int] = []

        def add(one: int, other: int) -> None:
            done.append(one + other)

        actor = dramatiq.actor(add, broker=broker, actor_name="add")
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
        for n in range(20):
            actor.send(n, n)
        worker.start()
        broker.join(actor.queue_name)
        worker.join()
        worker.stop()
        assert sorted(done) == [2 * n for n in range(20)]
