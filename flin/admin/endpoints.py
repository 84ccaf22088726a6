"""What can be asked over HTTP, and how it is answered. Who may ask is decided in access.py, before anything is read."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any, Final, TypeAlias

from aiohttp import web

from flin.admin import heap, profile, stacks, status
from flin.admin.access import Access, Asked
from flin.admin.guard import MAX_BODY_BYTES, Guard
from flin.admin.metrics import written
from flin.admin.source import BAD, LEVELS, NOTHING, AskError, Source, set_log_level

logger = logging.getLogger(__name__)

ASK_SECONDS: Final = 5.0
"""For a worker to answer. Its loop stands still for less than that unless something is wrong."""

MAX_SECONDS: Final = 60
"""The longest profile, or heap trace."""

HEAP_SECONDS: Final = 60.0
"""A heap trace may take that much longer: its snapshot of a large process does."""

PACKAGE: Final = "flin.admin"

DASHBOARD: Final = {
    "/": ("index.html", "text/html"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
    "/dashboard.css": ("dashboard.css", "text/css"),
}

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "flin",
}

Copy: TypeAlias = "Callable[[str, Sequence[Source]], Awaitable[dict[str, Any]]]"
"""Makes a checkpoint of this name of all sources, and tells where it is. Raises AskError."""

Handler: TypeAlias = "Callable[[Any], Awaitable[Any]]"

Act: TypeAlias = "Callable[[dict[str, Any]], Awaitable[Any]]"


@dataclass(frozen=True, slots=True)
class Extension:
    """Further paths of the page, which others than this package answer with what JSON can hold, text or bytes."""

    prefix: str
    """All of them have it; who knows the secret may ask there."""
    secret: bytes
    reading: Mapping[str, Callable[[], Awaitable[Any]]]
    acting: Mapping[str, Act]
    """Given the body's object. Raises AskError."""
    health: Callable[[], str]
    """What `/health` says beside that the server lives; empty: nothing."""
    streaming: Mapping[str, Handler] = field(default_factory=dict)
    """Given aiohttp's request: they answer as long as they like, and only who shows the secret."""


class Endpoints:
    """The page of these sources: group 0 is the first one's."""

    def __init__(
        self,
        sources: Sequence[Source],
        access: Access,
        guards: Mapping[Any, Guard],
        copy: Copy,
        extension: Extension | None = None,
    ) -> None:
        """copy: makes a checkpoint of all groups."""
        self._sources = sources
        self._access = access
        self._guards = guards
        self._copy = copy
        self._extension = extension

    def application(self) -> Any:
        async def answer(request: Any, handler: Handler) -> Any:
            return await self._answer(request, handler)

        application = web.Application(middlewares=[web.middleware(answer)], client_max_size=MAX_BODY_BYTES)
        router = application.router
        reading: tuple[tuple[str, Handler], ...] = (
            ("/health", self._health),
            ("/ready", self._ready),
            ("/metrics", self._metrics),
            ("/stats", self._stats),
            ("/status", self._status),
            ("/favicon.ico", self._nothing),
            *((path, partial(self._file, *file)) for path, file in DASHBOARD.items()),
        )
        for path, get in reading:
            router.add_get(path, get)
        for path, post in (
            ("/admin/checkpoint", self._checkpoint),
            ("/admin/compact", self._compact),
            ("/admin/flush", self._flush),
            ("/admin/log-level", self._log_level),
            ("/debug/profile", self._profile),
            ("/debug/heap", self._heap),
            ("/debug/stacks", self._stacks),
        ):
            router.add_post(path, post)
        if self._extension is not None:
            for path, read in self._extension.reading.items():
                router.add_get(path, partial(_read_further, read))
            for path, act in self._extension.acting.items():
                router.add_post(path, partial(_act_further, act))
            for path, stream in self._extension.streaming.items():
                router.add_get(path, stream)
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
                await _read(request)
                if guard is not None:
                    guard.read_whole()
                response = await handler(request)
        except web.HTTPException as error:
            response = _said(error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except AskError as error:
            response = _said(error.status, str(error))
        except Exception:  # the outermost frame of a request
            logger.exception("an unexpected exception in %s %s", request.method, request.path)
            response = _said(500, "an unexpected error: the log has it")
        finally:
            if guard is not None:
                guard.answered()
        response.headers.update(HEADERS)
        return response

    # What changes nothing.

    async def _health(self, request: Any) -> Any:
        remark = "" if self._extension is None else self._extension.health()
        return _text(200, f"ok\n{remark}\n" if remark else "ok\n")

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
        body, content_type = await asyncio.to_thread(written, groups, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _stats(self, request: Any) -> Any:
        return _json(200, {"groups": _told(await self._ask_all("figures"))})

    async def _status(self, request: Any) -> Any:
        answers = await self._ask_all("figures")
        groups = {group: str(each) if isinstance(each, AskError) else each for group, each in answers.items()}
        return _text(200, status.page(groups))

    async def _nothing(self, request: Any) -> Any:
        return web.Response(status=204)

    async def _file(self, name: str, content_type: str, request: Any) -> Any:
        body = files(PACKAGE).joinpath("dashboard", name).read_text("utf-8")
        return web.Response(text=body, content_type=content_type)

    # What changes something. The body is a JSON object, or empty.

    async def _flush(self, request: Any) -> Any:
        await _arguments(request)
        return _all_json(await self._ask_all("flush", None))

    async def _compact(self, request: Any) -> Any:
        await _arguments(request)
        return _all_json(await self._ask_all("compact"), 202)

    async def _checkpoint(self, request: Any) -> Any:
        name = (await _arguments(request, "name")).get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
            raise AskError('name the checkpoint: {"name": "before-the-change"}; letters, digits, . _ and -', BAD)
        return _json(200, await self._copy(name, self._sources))

    async def _log_level(self, request: Any) -> Any:
        level = (await _arguments(request, "level")).get("level")
        if level not in LEVELS:
            raise AskError(f'{{"level": …}} must be one of {", ".join(LEVELS)}', BAD)
        answers = await self._ask_all("log-level", arguments={"level": level})
        set_log_level(level)
        return _all_json(answers)

    async def _profile(self, request: Any) -> Any:
        await _arguments(request)
        seconds, form = _seconds(request), request.query.get("format", "collapsed")
        if form not in ("collapsed", "speedscope"):
            raise AskError("format must be collapsed or speedscope", BAD)
        answers = await self._ask_all("profile", seconds + ASK_SECONDS, arguments={"seconds": seconds})
        samples: profile.Samples = []
        for group, answer in answers.items():
            if isinstance(answer, AskError):
                raise answer
            where = f"group {group}, " if len(answers) > 1 else ""
            samples += [([where + stack[0], *stack[1:]], count) for stack, count in answer]
        if form == "speedscope":
            return _json(200, profile.speedscope(samples))
        return _text(200, profile.collapsed(samples))

    async def _heap(self, request: Any) -> Any:
        await _arguments(request)
        seconds = _seconds(request)
        if request.query.get("force") != "yes":
            raise AskError(f"{heap.COST}: add &force=yes if that is what you want", BAD)
        return _all_json(await self._ask_all("heap", seconds + HEAP_SECONDS, arguments={"seconds": seconds}))

    async def _stacks(self, request: Any) -> Any:
        await _arguments(request)
        answers = await self._ask_all("stacks")
        pages = []
        for group, answer in answers.items():
            title = f"group {group}\n\n" if len(answers) > 1 else ""
            shown = f"{answer}\n" if isinstance(answer, AskError) else stacks.shown(**answer)
            pages.append(title + shown)
        return _text(200, "\n".join(pages))

    # Asking.

    async def _ask_all(
        self, name: str, seconds: float | None = ASK_SECONDS, arguments: Mapping[str, Any] = NOTHING
    ) -> dict[str, Any]:
        """The answer of each group, or its AskError. seconds: None: without a bound."""
        groups = range(len(self._sources))
        answers = await asyncio.gather(*(self._ask(group, name, seconds, arguments) for group in groups))
        return {str(group): answer for group, answer in enumerate(answers)}

    async def _ask(self, group: int, name: str, seconds: float | None, arguments: Mapping[str, Any]) -> Any:
        try:
            return await asyncio.wait_for(self._sources[group].ask(name, arguments), seconds)
        except AskError as error:
            return error
        except TimeoutError:
            return AskError(f"it has not answered within {seconds:g} s: it hangs, or the machine is overloaded")


async def _read(request: Any) -> None:
    """Read the body, which aiohttp keeps. A client that is gone gets no reply: that it went is no news for the log."""
    try:
        await request.read()
    except ConnectionError:
        raise AskError("the connection has ended before the request", BAD) from None


async def _read_further(read: Callable[[], Awaitable[Any]], request: Any) -> Any:
    found = await read()
    return _text(200, found) if isinstance(found, str) else _json(200, found)


async def _act_further(act: Act, request: Any) -> Any:
    found = await act(await _object(request))
    return web.Response(body=found) if isinstance(found, bytes) else _json(200, found)


async def _object(request: Any) -> dict[str, Any]:
    """The body's. AskError if it is none."""
    data = await request.read()
    try:
        found = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        raise AskError("the body must be a JSON object", BAD) from None
    if not isinstance(found, dict):
        raise AskError("the body must be a JSON object", BAD)
    return found


async def _arguments(request: Any, *names: str) -> dict[str, Any]:
    """The body's object. AskError if it is none, or has other names."""
    found = await _object(request)
    unknown = sorted(found.keys() - set(names))
    if unknown:
        raise AskError(f"there is no {unknown[0][:100]!r} here: the body may have {', '.join(names) or 'nothing'}", BAD)
    return found


def _seconds(request: Any) -> float:
    text = request.query.get("seconds", "10")
    seconds = float(text) if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text, re.ASCII) else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise AskError(f"seconds must be a number up to {MAX_SECONDS}, such as 10", BAD)
    return seconds


def _told(answers: Mapping[str, Any]) -> dict[str, Any]:
    """With the error as a figure where there is one."""
    return {group: {"error": str(each)} if isinstance(each, AskError) else each for group, each in answers.items()}


def _all_json(answers: Mapping[str, Any], good: int = 200) -> Any:
    """What each group has done. It is a failure if one has failed, with its status."""
    failed = [each.status for each in answers.values() if isinstance(each, AskError)]
    return _json(failed[0] if failed else good, {"groups": _told(answers)})


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
