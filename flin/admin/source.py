"""A source of figures, and of what an operator may do: one server, in this process or in a worker's.

Everything is asked by a name, with plain values in both directions, so that a question may travel (line.py).
"""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from flin.admin import heap, profile, stacks
from flin.admin.figures import plain, server_figures, state_of
from flin.admin.readiness import reasons_of, warnings_of
from flin.engine.disk.memory_fs import MEMORY
from flin.errors import FlinError
from flin.net.commands.info import count_keys

if TYPE_CHECKING:
    from flin.engine.engine import Engine
    from flin.net.server import Server

logger = logging.getLogger(__name__)

THREADS: Final = 4
"""Most questions need one for a moment; a profile, a heap trace and a flush may take theirs at once."""

COUNT_SECONDS: Final = 5.0
COUNT_SHARE: Final = 0.01
"""Keys are counted anew at most this often, and for at most this share of the time. While many are written, to count
the new ones takes 80 ms: at each look of a dashboard, that cost a pipelined SET 2.4 times its time (measured)."""

Answer: TypeAlias = "Callable[[Mapping[str, Any]], Awaitable[Any]]"


NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class AskError(FlinError):
    """A question that cannot be answered; the text says why, and the status is HTTP's."""

    def __init__(self, text: str, status: int = 503) -> None:
        super().__init__(text)
        self.status = status


BUSY: Final = 409
"""Not now: the same is under way."""

BAD: Final = 400
"""The question makes no sense."""


class Source(Protocol):
    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The answer, of what JSON can hold. Raises AskError."""


class LocalSource:
    """The server of this process. Everything is asked on its loop."""

    def __init__(self, server: Server, engine: Engine, more: Mapping[str, Answer] = NOTHING) -> None:
        """more: further answers, by name."""
        self._server = server
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="flin-admin")
        self._under_way: set[str] = set()
        self._next_count = 0.0
        self._answers: dict[str, Answer] = {
            "state": self._state,
            "figures": self._figures,
            "flush": self._flush,
            "compact": self._compact,
            "checkpoint": self._checkpoint,
            "log-level": self._log_level,
            "profile": self._profile,
            "heap": self._heap,
            "stacks": self._stacks,
            **more,
        }

    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return await self._answers[name](arguments)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, act: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act, *arguments)

    async def _alone(self, name: str, act: Callable[..., Any], *arguments: Any) -> Any:
        """In a thread, one of its kind at a time."""
        if name in self._under_way:
            raise AskError(f"a {name} is under way already", BUSY)
        self._under_way.add(name)
        try:
            return await self._in_thread(act, *arguments)
        except FlinError as error:
            raise AskError(f"the {name} failed: {error}") from error
        finally:
            self._under_way.discard(name)

    async def _state(self, arguments: Mapping[str, Any]) -> list[dict[str, str]]:
        """The reasons why it is not ready."""
        state = state_of(self._server.services, is_stopping=self._server.is_stopping)
        return [asdict(each) for each in reasons_of(state)]

    async def _figures(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        await self._count_keys()
        engine, total = await self._in_thread(self._of_engine)
        server = self._server_figures()
        reasons = reasons_of(server["state"])
        return {
            "server": server,
            "engine": engine,
            "disk_total_bytes": total,
            "reasons": [asdict(each) for each in reasons],
            "warnings": [asdict(each) for each in warnings_of(server)],
        }

    async def _count_keys(self) -> None:
        """As INFO does, others between its slices; but seldom, since a page asks each second as long as it is open."""
        if time.monotonic() < self._next_count:
            return
        self._next_count = math.inf  # one at a time
        spent = 0.0
        steps = count_keys(self._server.services)
        try:
            while True:
                began = time.perf_counter()
                is_over = next(steps, self) is self
                spent += time.perf_counter() - began
                if is_over:
                    break
                await asyncio.sleep(0)
        finally:
            self._next_count = time.monotonic() + max(COUNT_SECONDS, spent / COUNT_SHARE)

    def _server_figures(self) -> dict[str, Any]:
        return server_figures(self._server.services, is_stopping=self._server.is_stopping)

    def _of_engine(self) -> tuple[dict[str, Any], int]:
        try:
            path = self._engine.path
            return plain(self._engine.stats()), 0 if path == MEMORY else shutil.disk_usage(path).total
        except (FlinError, OSError) as error:
            raise AskError(f"the engine's figures cannot be had: {error}") from error

    # What changes something.

    async def _flush(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        await self._alone("flush", self._engine.flush)
        return {"seconds": round(time.monotonic() - began, 3)}

    async def _compact(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Begins it, as BGREWRITEAOF does: it may take hours."""
        if not self._server.services.saving.begin_compaction():
            raise AskError("a compaction is under way already", BUSY)
        return {"started": True}

    async def _checkpoint(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        made = await self._alone("checkpoint", self._engine.checkpoint, arguments["path"])
        return {"path": made.path, "files": made.files, "copied_bytes": made.copied_bytes}

    async def _log_level(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        set_log_level(arguments["level"])
        return {"level": arguments["level"]}

    # What looks into the process.

    async def _profile(self, arguments: Mapping[str, Any]) -> Any:
        return await self._alone("profile", profile.sample, arguments["seconds"])

    async def _heap(self, arguments: Mapping[str, Any]) -> Any:
        return await self._alone("heap trace", heap.trace, arguments["seconds"])

    async def _stacks(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            pids = self._engine.stats()["background"]["helper_pids"]
            return {"threads": stacks.all_threads(), "helpers": stacks.processes(pids)}

        return dict(await self._in_thread(look))


LEVELS: Final = ("debug", "info", "warning", "error")


def set_log_level(level: str) -> None:
    """For this process, until it is changed again or the process ends."""
    root = logging.getLogger("flin")
    if logging.getLevelName(root.level) != level.upper():
        root.setLevel(level.upper())
        logger.log(root.level, "the log's level is %s now", level)
