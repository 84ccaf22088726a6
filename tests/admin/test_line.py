"""The line to a worker: questions and answers in any order, errors, a worker that dies, a worker that hangs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from flin.admin.line import RemoteSource, answer
from flin.admin.source import AskError


class _Source:
    """Answers `echo` at once, `large` with a megabyte, `wait` when it is told to, others with errors."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "echo":
            return dict(arguments)
        if name == "large":
            return "x" * (1 << 20)
        if name == "wait":
            await self.waiting.wait()
            return "waited"
        if name == "busy":
            raise AskError("not now", 409)
        raise KeyError(name)


def _with_line(run: Any) -> None:
    async def main() -> None:
        own, theirs = socket.socketpair()
        source, remote = _Source(), RemoteSource(3)
        answering = asyncio.ensure_future(answer(theirs, source))
        remote.attach(own)
        try:
            await asyncio.wait_for(run(source, remote, answering), 10)
        finally:
            remote.detach()
            answering.cancel()

    asyncio.run(main())


def test_questions_and_answers() -> None:
    async def run(source: _Source, remote: RemoteSource, answering: Any) -> None:
        slow = asyncio.ensure_future(remote.ask("wait", {}))
        many = await asyncio.gather(*(remote.ask("echo", {"n": number}) for number in range(100)))
        assert many == [{"n": number} for number in range(100)]
        large = await asyncio.gather(*(remote.ask("large", {}) for _ in range(3)))
        assert [len(each) for each in large] == [1 << 20] * 3
        assert not slow.done()
        source.waiting.set()
        assert await slow == "waited"

    _with_line(run)


def test_errors(caplog: pytest.LogCaptureFixture) -> None:
    async def run(source: _Source, remote: RemoteSource, answering: Any) -> None:
        with pytest.raises(AskError, match="not now") as caught:
            await remote.ask("busy", {})
        assert caught.value.status == 409
        with pytest.raises(AskError, match="unexpected") as caught:
            await remote.ask("nonsense", {})
        assert caught.value.status == 500
        assert "nonsense" in caplog.text
        assert await remote.ask("echo", {}) == {}

    _with_line(run)


def test_a_worker_that_dies() -> None:
    async def run(source: _Source, remote: RemoteSource, answering: Any) -> None:
        asked = asyncio.ensure_future(remote.ask("wait", {}))
        await asyncio.sleep(0.01)
        answering.cancel()
        with pytest.raises(AskError, match="worker 3 is not there"):
            await asked
        with pytest.raises(AskError, match="worker 3 is not there"):
            await remote.ask("echo", {})
        remote.waits_for = "waits for a copy"
        with pytest.raises(AskError, match="worker 3 is not there yet: it waits for a copy"):
            await remote.ask("echo", {})
        own, theirs = socket.socketpair()  # it is started again
        remote.attach(own)
        again = asyncio.ensure_future(answer(theirs, source))
        assert remote.waits_for == ""
        assert await remote.ask("echo", {"a": 1}) == {"a": 1}
        again.cancel()

    _with_line(run)


def test_a_worker_that_hangs() -> None:
    """Its socket fills up: the supervisor goes on."""

    async def main() -> None:
        own, theirs = socket.socketpair()
        remote = RemoteSource(3)
        remote.attach(own)
        asked = []
        for _ in range(100):
            asked.append(asyncio.ensure_future(remote.ask("echo", {"a": "x" * 10_000})))
            await asyncio.sleep(0)
        done = [each for each in asked if each.done()]
        assert done
        for each in done:
            assert "hangs" in str(each.exception())
        remote.detach()
        await asyncio.gather(*asked, return_exceptions=True)
        theirs.close()

    asyncio.run(main())
