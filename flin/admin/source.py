"""A source of figures, and of what an operator may do: one server, in this process or in a worker's.

Everything is asked by a name, with plain values in both directions, so that a question may travel (line.py).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from flin.admin.figures import plain, server_figures
from flin.admin.readiness import reasons_of, warnings_of
from flin.errors import FlinError
from flin.net.commands.info import count_keys

if TYPE_CHECKING:
    from flin.engine.engine import Engine
    from flin.net.server import Server

Answer: TypeAlias = "Callable[[Mapping[str, Any]], Awaitable[Any]]"


class AskError(FlinError):
    """A question that cannot be answered; the text says why."""


class BusyError(AskError):
    """Not now: the same is under way."""


class Source(Protocol):
    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The answer, of what JSON can hold. Raises AskError, BusyError."""


class LocalSource:
    """The server of this process. Everything is asked on its loop."""

    def __init__(self, server: Server, engine: Engine) -> None:
        self._server = server
        self._engine = engine
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="flin-admin")
        self._answers: dict[str, Answer] = {
            "state": self._state,
            "figures": self._figures,
        }

    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return await self._answers[name](arguments)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, act: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act, *arguments)

    async def _state(self, arguments: Mapping[str, Any]) -> list[dict[str, str]]:
        """The reasons why it is not ready."""
        return [asdict(each) for each in reasons_of(self._server_figures()["state"])]

    async def _figures(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        for _ in count_keys(self._server.services):  # as INFO does, others between its slices
            await asyncio.sleep(0)
        engine, total = await self._in_thread(self._of_engine)
        figures = {"server": self._server_figures(), "engine": engine, "disk_total_bytes": total}
        reasons = reasons_of(figures["server"]["state"])
        return figures | {
            "reasons": [asdict(each) for each in reasons],
            "warnings": [asdict(each) for each in warnings_of(figures)],
        }

    def _server_figures(self) -> dict[str, Any]:
        return server_figures(self._server.services, is_stopping=self._server.is_stopping)

    def _of_engine(self) -> tuple[dict[str, Any], int]:
        try:
            return plain(self._engine.stats()), shutil.disk_usage(self._engine.path).total
        except (FlinError, OSError) as error:
            raise AskError(f"the engine's figures cannot be had: {error}") from error
