"""Clients of a cluster that count, append and set, alone and in MULTI, and note what they were told.

redis-py's `RedisCluster` in threads, each with a client of its own, and its asyncio client with several tasks. They
send nothing again: what was sent twice could be done twice, and nobody could say what must be there. So each request
has an outcome: done, refused (it says that it was not executed) or unknown.

An object is a hash tag with a few keys. Objects with too many calls of unknown outcome, or too many calls, are left for
new ones, since a checker must try all that might have been.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import traceback
import warnings
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic_ns, sleep
from typing import Any, Final, cast

from flin.testing.cluster.history import Call, Command, Outcome, Reply
from flin.testing.cluster.nodes import group_of, slot_of
from flin.testing.process import PATIENCE_SECONDS, wait_until

Client = Any
"""redis-py's client of a cluster: its types are not whole."""

MAX_UNKNOWN: Final = 5
"""Calls of unknown outcome for one object. The checker tries each with each order of the others."""

MAX_CALLS: Final = 600
"""Calls for one object: its string grows by six bytes with each fourth of them."""

TIMEOUT_SECONDS: Final = 4.0
"""A client waits longer than the worst pause that is promised without a failover, so that few outcomes are unknown."""

PAUSE_SECONDS: Final = 0.02
"""After a request that failed."""

KINDS: Final = "ntrm"
"""What the keys of an object end with: a counter, a string that grows, a register, another counter."""

CONNECTED: Final = "connecting to"
"""In redis-py's text of an error of a connection that was never made: nothing was sent."""


class Objects:
    """Those that are written now, and what became of all. Shared by threads.

    Each group of the cluster has as many at any time: a group that had none would seem to answer nobody."""

    def __init__(self, name: str, number: int, seed: int, groups: int = 1) -> None:
        self._name = name
        self._groups = groups
        self._random = random.Random(seed)
        self._made = 0
        self._lock = threading.Lock()
        self._calls: dict[str, int] = {}
        self._unknown: dict[str, int] = {}
        self._now = [self._new(place % groups) for place in range(number)]
        self.history: list[Call] = []

    def _new(self, group: int) -> str:
        while True:
            self._made += 1
            name = f"{{{self._name}:{self._made}}}"
            if group_of(slot_of(name), self._groups) == group:
                self._calls[name] = self._unknown[name] = 0
                return name

    def request(self) -> tuple[str, tuple[Command, ...]]:
        """An object, and what is to be done with it."""
        with self._lock:
            name = self._random.choice(self._now)
            self._calls[name] += 1
            return name, some_commands(self._random, name, self._calls[name])

    @property
    def now(self) -> list[str]:
        with self._lock:
            return [*self._now]

    def note(self, call: Call) -> None:
        with self._lock:
            self.history.append(call)
            self._unknown[call.object] += call.outcome is Outcome.UNKNOWN
            if self._unknown[call.object] >= MAX_UNKNOWN or self._calls[call.object] >= MAX_CALLS:
                with suppress(ValueError):  # it was left already
                    place = self._now.index(call.object)
                    self._now[place] = self._new(place % self._groups)

    @property
    def all(self) -> list[str]:
        return list(self._calls)


def some_commands(chance: random.Random, name: str, number: int) -> tuple[Command, ...]:
    """A request to the keys of a tag: a counter, a string that grows, a register; one in four reads."""
    count, text, register, other = (f"{name}{kind}" for kind in KINDS)
    return chance.choice(
        (
            (("INCR", count),),
            (("INCR", count),),
            (("APPEND", text, f"{number:05};"),),
            (("SET", register, str(number)),),
            (("INCR", count), ("INCR", other)),
            (("APPEND", text, f"{number:05};"), ("GETSET", register, str(number))),
            (("GET", chance.choice((count, text, register, other))),),
            (("GET", count), ("GET", other)),
        )
    )


def reading(name: str) -> tuple[Command, ...]:
    """All of an object."""
    return tuple(("GET", f"{name}{kind}") for kind in KINDS)


class Load:
    """So many threads and tasks, from start() to stop(). `problems` must be empty at the end: errors that nobody
    expects, as texts."""

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        objects: Objects,
        threads: int = 6,
        tasks: int = 3,
        pause: float = 0.0,
    ) -> None:
        """pause: for so many seconds each client waits after each answer, where a light load will do."""
        self.objects = objects
        self._pause = pause
        self.problems: list[str] = []
        self._addresses = addresses
        self._over = threading.Event()
        self._done = 0
        work = [partial(self._in_thread, number) for number in range(threads)]
        work += [partial(self._in_tasks, tasks)] if tasks else []
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in work]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "a client hangs"

    def goes_on(self, calls: int = 100, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until so many more are done."""
        goal = self._done + calls
        wait_until(lambda: self._done >= goal or self.problems, f"{calls} more calls are done", seconds)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # the outermost frame of a thread
            self.problems.append(traceback.format_exc())

    def _in_thread(self, number: int) -> None:
        client = None
        while not self._over.is_set() and not self.problems:
            if client is None:
                with suppress(Exception):  # whatever it is: nothing was sent, and it is tried again
                    client = cluster_client(self._addresses)
                sleep(0 if client else PAUSE_SECONDS)
                continue
            name, commands = self.objects.request()
            call = called(f"thread {number}", name, commands, client)
            self._note(call)
            sleep(self._pause if call.outcome is Outcome.DONE else PAUSE_SECONDS)
        if client is not None:
            client.close()

    def _note(self, call: Call) -> None:
        self.objects.note(call)
        self._done += call.outcome is Outcome.DONE

    def _in_tasks(self, tasks: int) -> None:
        with warnings.catch_warnings():
            # Connections to nodes that were killed are not closed by the client, but collected.
            warnings.simplefilter("ignore", ResourceWarning)
            asyncio.run(self._all_tasks(tasks))
            gc.collect()

    async def _all_tasks(self, tasks: int) -> None:
        import redis.asyncio

        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in self._addresses]
        while not self._over.is_set() and not self.problems:
            client = redis.asyncio.RedisCluster(startup_nodes=nodes, **_settings())
            try:
                await client.initialize()
            except Exception:  # whatever it is: nothing was sent, and it is tried again
                await client.aclose()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            async with client:
                await asyncio.gather(*(self._task(client, number) for number in range(tasks)))

    async def _task(self, client: Client, number: int) -> None:
        while not self._over.is_set() and not self.problems:
            name, commands = self.objects.request()
            began = monotonic_ns()
            outcome, replies = await _told_later(perform_later(client, commands))
            self._note(Call(f"task {number}", name, commands, began, monotonic_ns(), outcome, replies))
            await asyncio.sleep(self._pause if outcome is Outcome.DONE else PAUSE_SECONDS)


def cluster_client(addresses: Sequence[tuple[str, int]]) -> Client:
    """redis-py's client, which sends nothing again."""
    import redis.cluster

    cluster: Any = redis.cluster
    nodes = [cluster.ClusterNode(host, port) for host, port in addresses]
    return cluster.RedisCluster(startup_nodes=nodes, **_settings())


def _settings() -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "retry": Retry(NoBackoff(), 0), "socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": 1.0,
        "decode_responses": True, "require_full_coverage": False,
    }  # fmt: skip


def called(who: str, name: str, commands: tuple[Command, ...], client: Client) -> Call:
    """Do it, and note what was told. Raises errors that no fault gives a reason for."""
    began = monotonic_ns()
    try:
        outcome, replies = Outcome.DONE, perform(client, commands)
    except Exception as error:  # whatever a client raises: the chain says what happened first
        outcome, replies = outcome_of(error), ()
    return Call(who, name, commands, began, monotonic_ns(), outcome, replies)


async def _told_later(performed: Awaitable[tuple[Reply, ...]]) -> tuple[Outcome, tuple[Reply, ...]]:
    try:
        return Outcome.DONE, await performed
    except Exception as error:  # as above
        return outcome_of(error), ()


def perform(client: Client, commands: tuple[Command, ...]) -> tuple[Reply, ...]:
    if len(commands) == 1:
        return (_plain(client.execute_command(*commands[0])),)
    with client.pipeline(transaction=True) as transaction:
        for command in commands:
            transaction.execute_command(*command)
        return tuple(map(_plain, transaction.execute()))


async def perform_later(client: Client, commands: tuple[Command, ...]) -> tuple[Reply, ...]:
    if len(commands) == 1:
        return (_plain(await client.execute_command(*commands[0])),)
    async with client.pipeline(transaction=True) as transaction:
        for command in commands:
            transaction.execute_command(*command)
        return tuple(map(_plain, await transaction.execute()))


def _plain(reply: object) -> Reply:
    """redis-py makes True of OK."""
    return "OK" if reply is True else cast("Reply", reply)


def outcome_of(error: BaseException) -> Outcome:
    """What an exception of redis-py says of the request. Those of its tries to find the nodes again, which it makes
    while it handles an error, have that error as their context."""
    import redis

    first = error
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, redis.RedisError):
            first = error
    refused = (
        redis.exceptions.MovedError, redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError,
        redis.ReadOnlyError, redis.BusyLoadingError, redis.exceptions.ExecAbortError, redis.OutOfMemoryError,
    )  # fmt: skip
    if isinstance(first, refused):
        return Outcome.REFUSED
    if isinstance(first, redis.ConnectionError) and CONNECTED in str(first):
        return Outcome.REFUSED
    if isinstance(first, redis.exceptions.ClusterError) and "TTL exhausted" in str(first):  # MOVED, again and again
        return Outcome.REFUSED
    if isinstance(first, redis.ResponseError) and str(first).startswith("MISCONF"):  # the disk is full
        return Outcome.REFUSED
    if isinstance(first, redis.ResponseError) and not str(first).startswith("UNCERTAIN"):
        raise first  # no fault gives a reason for it
    return Outcome.UNKNOWN
