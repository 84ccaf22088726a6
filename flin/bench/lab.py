"""The equipment for measuring single steps: engines, a table, a client without a socket, and a stopwatch.

Everything is made at its first use and closed at the end. If the engine has a plain function for a step, that is
called; a detail that has moved makes only that step fail (steps.py), not the whole.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from itertools import cycle
from pathlib import Path
from timeit import Timer
from types import TracebackType
from typing import Any, Final, Self

from flin.bench.workload import BATCH_SIZE, Workload, compressible
from flin.engine.engine import store_of
from flin.engine.sstable import Table

KEYS: Final = 100_000
VALUE_BYTES: Final = 100

REPEATS: Final = 7
REPEAT_SECONDS: Final = 0.02
"""The length of a repeat, of which the best counts: disturbances only ever make a step slower."""

SERVED_SECONDS: Final = 3.0
"""Seconds of load on a server: processor time is counted in hundredths of a second."""

COLD_MEMORY: Final = 4 << 20
"""A quarter is the block cache: a fifteenth of the data, so that nearly every lookup in random order is cold."""

WARM_MEMORY: Final = 512 << 20


class Lab:
    """`with Lab(directory) as lab`; `keys` is the number of keys in each database."""

    def __init__(
        self,
        directory: str,
        keys: int = KEYS,
        repeat_seconds: float = REPEAT_SECONDS,
        served_seconds: float = SERVED_SECONDS,
    ) -> None:
        self.served_seconds = served_seconds
        self.workload = Workload(keys, VALUE_BYTES)
        self.key = self.workload.keys[0]
        self.value = compressible(random.Random(1), VALUE_BYTES)
        self._directory = Path(directory)
        self._repeat_seconds = repeat_seconds
        self._closers = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closers.close()

    # The stopwatch.

    def call(self, function: Callable[..., object], *arguments: object, per: int = 1) -> float:
        """Nanoseconds of one call, divided by `per`."""
        names = {f"a{index}": argument for index, argument in enumerate(arguments)}
        return self.statement(f"function({', '.join(names)})", {"function": function, **names}, per=per)

    def each(self, function: Callable[..., object], items: list[Any], *arguments: object) -> float:
        """Nanoseconds of one call; the items take turns as its first argument."""
        names = {f"a{index}": argument for index, argument in enumerate(arguments)}
        text = f"function({', '.join(['next(items)', *names])})"
        return self.statement(text, {"function": function, "items": cycle(items), **names}, without="next(items)")

    def statement(self, text: str, names: dict[str, Any], *, per: int = 1, without: str = "pass") -> float:
        """Nanoseconds of a statement, less those of a part of it, `without`."""
        return (self._best(text, names) - self._best(without, names)) / per

    def _best(self, text: str, names: dict[str, Any]) -> float:
        timer = Timer(text, globals=names)
        number = 1
        while (seconds := timer.timeit(number)) < self._repeat_seconds / 4:
            number *= 2
        number = max(1, int(number * self._repeat_seconds / seconds))
        return min(timer.repeat(REPEATS, number)) / number * 1e9

    # The databases.

    def open(self, name: str, memory_bytes: int = WARM_MEMORY, **options: Any) -> Any:
        """An engine, closed at the end."""
        import flin.engine

        engine = flin.engine.open(str(self._directory / name), memory_limit=memory_bytes, **options)
        self._closers.callback(engine.close)
        return engine

    def path(self, name: str) -> Path:
        return self._directory / name

    @cached_property
    def engine(self) -> Any:
        """An empty engine, with room for all that the steps write."""
        return self.open("engine")

    @cached_property
    def in_memory(self) -> Any:
        """An engine with all keys in the memtable."""
        return self._filled(self.open("in-memory"))

    @cached_property
    def flushed(self) -> Any:
        """An engine with all keys in one table as a flush writes it, and caches for a fraction of it."""
        return self._filled(self.open("flushed", runner="inline"), flush=True, reopen=("flushed", COLD_MEMORY))

    @cached_property
    def compacted(self) -> Any:
        """An engine with all keys in one table as a compaction writes it: compressed."""
        engine = self._filled(self.open("compacted", runner="inline"))
        engine.compact()
        engine.close()
        return self.open("compacted", COLD_MEMORY)

    def _filled(self, engine: Any, *, flush: bool = False, reopen: tuple[str, int] | None = None) -> Any:
        for batch in self.workload.batches:
            engine.put_many(batch)
        if flush:
            engine.flush()
        if reopen is None:
            return engine
        engine.close()
        return self.open(*reopen)

    def table(self, engine: Any) -> Table:
        """The only table of an engine."""
        (run,) = store_of(engine).state.runs[0]
        table: Table = run.tables[0]
        table.load()
        return table

    @cached_property
    def page(self) -> tuple[list[bytes], list[Any]]:
        """A thousand neighbouring keys and their values."""
        keys = self.workload.sorted_keys[:BATCH_SIZE]
        return keys, [value for value, _ in zip(cycle(self.workload.values), keys, strict=False)]

    @cached_property
    def client(self) -> Client:
        return Client(self.open("served", value_cache=False))


class Client:
    """A session of the server without a socket: its requests go through the server's dispatch."""

    def __init__(self, engine: Any) -> None:
        import flin.net.commands.every  # noqa: F401 - declares them
        from flin.net.client.link import NO_LINK
        from flin.net.client.session import KnownPeer
        from flin.net.run.context import Context
        from flin.net.run.services import make_services
        from flin.net.serve.dispatch import run
        from flin.net.settings.config import Config
        from flin.net.settings.options import ServerOptions

        services = make_services(store_of(engine), Config(ServerOptions()), lambda callback: None)
        self.pending = services.pending
        peer = KnownPeer("127.0.0.1:1", "127.0.0.1:2")
        self.context = Context(services, services.clients.open_session(NO_LINK, peer, 0))
        self.out: list[bytes] = []
        self.append = self.out.append
        self._run = run

    def requests(self, requests: list[list[bytes]]) -> None:
        """Run the requests and drop the replies."""
        todo: Iterator[list[bytes]] = iter(requests)
        if self._run(self, todo) is not None:
            raise RuntimeError("the requests did not run to their end")
        self.out.clear()
