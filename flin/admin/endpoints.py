"""What can be asked over HTTP, and how it is answered. Who may ask is decided in access.py, before anything is read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aiohttp import web

from flin.admin.access import Access, Asked
from flin.admin.guard import MAX_BODY_BYTES, Guard
from flin.admin.metrics import written
from flin.admin.source import AskError, BusyError, Source

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 5.0
"""For a worker to answer. Its loop stands still for less than that unless something is wrong."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "flin",
}

Handler: TypeAlias = "Callable[[Any], Awaitable[Any]]"


class Endpoints:
    """The page of these sources: group 0 is the first one's."""

    def __init__(self, sources: Sequence[Source], access: Access, guards: Mapping[Any, Guard]) -> None:
        self._sources = sources
        self._access = access
        self._guards = guards

    def application(self) -> Any:
        async def answer(request: Any, handler: Handler) -> Any:
            return await self._answer(request, handler)

        application = web.Application(middlewares=[web.middleware(answer)], client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/health", self._health)
        application.router.add_get("/ready", self._ready)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/stats", self._stats)
        return application

    async def _answer(self, request: Any, handler: Handler) -> Any:
        """Refuse the request, or read it whole and handle it."""
        guard = self._guards.get(request.transport)
        try:
            refusal = self._access.refusal_of(_asked(request))
            if refusal is not None:
                response = _said(refusal.status, refusal.text)
                if refusal.status == 401:
                    response.headers["WWW-Authenticate"] = "Bearer"
            else:
                await request.read()
                if guard is not None:
                    guard.read_whole()
                response = await handler(request)
        except web.HTTPException as error:
            response = _said(error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except BusyError as error:
            response = _said(409, str(error))
        except AskError as error:
            response = _said(503, str(error))
        except Exception:  # the outermost frame of a request
            logger.exception("an unexpected exception in %s %s", request.method, request.path)
            response = _said(500, "an unexpected error: the log has it")
        finally:
            if guard is not None:
                guard.answered()
        response.headers.update(HEADERS)
        return response

    async def _health(self, request: Any) -> Any:
        return _text(200, "ok\n")

    async def _ready(self, request: Any) -> Any:
        answers = await self._ask_all("state")
        reasons = []
        for group, answer in answers.items():
            where = f"group {group}: " if len(answers) > 1 else ""
            found = [str(answer)] if isinstance(answer, AskError) else [each["text"] for each in answer]
            reasons += [f"{where}{text}" for text in found]
        return _text(503 if reasons else 200, "\n".join(reasons or ["ready"]) + "\n")

    async def _metrics(self, request: Any) -> Any:
        answers = await self._ask_all("figures")
        groups = {group: None if isinstance(answer, AskError) else answer for group, answer in answers.items()}
        make = asyncio.get_running_loop().run_in_executor
        body, content_type = await make(None, written, groups, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _stats(self, request: Any) -> Any:
        answers = await self._ask_all("figures")
        groups = {
            group: {"error": str(answer)} if isinstance(answer, AskError) else answer
            for group, answer in answers.items()
        }
        return _json(200, {"groups": groups})

    async def _ask_all(self, name: str) -> dict[str, Any]:
        """The answer of each group, or its AskError."""
        answers = await asyncio.gather(*(self._ask(group, name) for group in range(len(self._sources))))
        return {str(group): answer for group, answer in enumerate(answers)}

    async def _ask(self, group: int, name: str) -> Any:
        try:
            return await asyncio.wait_for(self._sources[group].ask(name, {}), ASK_SECONDS)
        except AskError as error:
            return error
        except TimeoutError:
            return AskError(f"it has not answered within {ASK_SECONDS:g} s: it hangs, or the machine is overloaded")


def _asked(request: Any) -> Asked:
    own = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return Asked(
        method=request.method,
        path=request.path,
        host=request.headers.get("Host", ""),
        authorization=request.headers.get("Authorization", "").encode("utf-8", "surrogateescape"),
        content_type=request.content_type,
        own_address=str(own[0]) if own else "",
    )


def _text(status: int, text: str) -> Any:
    return web.Response(status=status, text=text)


def _json(status: int, body: Any) -> Any:
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")


def _said(status: int, text: str) -> Any:
    return _json(status, {"error": text})
