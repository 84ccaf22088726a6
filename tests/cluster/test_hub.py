"""What is published goes to the workers of all nodes, over real links: bounded, secret, made anew. And broken hubs are
found out."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flin.admin.access import Access
from flin.cluster.etcd.certificates import make_certificates
from flin.cluster.node import node_link
from flin.cluster.node.hub import Hub
from flin.cluster.node.node_link import PATH, NodeLink
from flin.net.messages.line import HEADER, encode_frame
from flin.net.serve import neighbours
from tests.cluster.hubs import SECRET, HubNode, linked, soon, until

aiohttp = pytest.importorskip("aiohttp")

SMALL_BYTES = 1 << 20
PAYLOAD_BYTES = 200_000
MOST = 150
"""So many of those are more than the system's buffers and SMALL_BYTES hold."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_link, "MAX_UNSENT_BYTES", SMALL_BYTES)


class StoppableHub(Hub):
    """`incoming` are the transports of the links that have come here."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.incoming: list[Any] = []

    async def receive(self, request: Any) -> Any:
        self.incoming.append(request.transport)
        return await super().receive(request)


async def to_all_and_once(kind: type[Hub]) -> None:
    """Each message reaches each worker of other nodes that listens once, in order, and no other."""
    async with HubNode("a", kind) as a, HubNode("b", kind) as b, HubNode("c", kind) as c:
        await linked(a, b, c)
        c.board.set_listening(1, False)
        payloads = [b"%d" % number for number in range(100)]
        for payload in payloads:
            await a.workers[0].publish(payload)
        await b.workers[1].publish(b"from b")
        await until(lambda: b"from b" in c.workers[0].look(), "c hears b")
        await until(lambda: b"from b" in a.workers[0].look(), "a hears b")
        await a.workers[0].publish(b"end")
        for worker in (*b.workers, c.workers[0]):
            await until(lambda worker=worker: b"end" in worker.look(), "the end")  # type: ignore[misc]
        for worker in b.workers:
            assert worker.look() == [*payloads, b"end"]
        assert [each for each in c.workers[0].look() if each != b"from b"] == [*payloads, b"end"]
        assert c.workers[0].look().count(b"from b") == 1
        assert c.workers[1].look() == []
        assert a.workers[0].look() == a.workers[1].look() == [b"from b"]
        assert [node.board.missed for node in (a, b, c)] == [0, 0, 0]


async def a_node_that_does_not_read(kind: type[Hub]) -> None:
    """It misses whole messages, which are counted, and gets later ones. The other node gets all."""
    async with HubNode("a", kind) as a, HubNode("b", StoppableHub) as b, HubNode("c", kind) as c:
        await linked(a, b, c)
        assert isinstance(b.hub, StoppableHub)
        for each in b.hub.incoming:
            each.pause_reading()
        number = 0
        while not a.board.missed:
            number += 1
            assert number < MOST, "it grows without a bound, or nothing is counted"
            await a.workers[0].publish(b"%d " % number + bytes(PAYLOAD_BYTES))
            await until(lambda: len(c.workers[0].look()) == number, "the other node has it")  # noqa: B023
            assert a.link("b")["unsent_bytes"] <= 2 * SMALL_BYTES, "it grows without a bound"
        for each in b.hub.incoming:
            each.resume_reading()
        await until(lambda: not a.link("b")["unsent_bytes"], "it reads")
        await a.workers[0].publish(b"end")
        await until(lambda: b"end" in b.workers[0].look(), "it hears again")
        *heard, end = [each.split()[0].rstrip(b"\0") for each in b.workers[0].look()]
        assert (heard, end) == ([b"%d" % each for each in range(1, number)], b"end")
        assert (a.board.missed, b.board.missed) == (1, 0)


async def a_worker_that_does_not_read(kind: type[Hub]) -> None:
    async with HubNode("a", kind) as a, HubNode("b", kind) as b:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neighbours, "MAX_UNSENT_BYTES", SMALL_BYTES)
            await _until_one_misses_a_message(a, b)


async def _until_one_misses_a_message(a: HubNode, b: HubNode) -> None:
    await linked(a, b)
    number = 0
    while not b.board.missed:
        number += 1
        assert number < MOST, "it grows without a bound, or nothing is counted"
        await a.workers[0].publish(b"%d " % number + bytes(PAYLOAD_BYTES))
        await until(lambda: len(b.workers[0].look()) == number, "the other worker has it")  # noqa: B023
    await until(lambda: b.workers[1].look() and len(b.workers[1].heard) == number - 1, "it has what was kept")
    await a.workers[0].publish(b"end")
    await until(lambda: b"end" in b.workers[1].look(), "it hears again")
    assert (a.board.missed, b.board.missed) == (0, 1)


async def strangers(kind: type[Hub]) -> None:
    """Who does not know the secret gets nothing in. Who knows it and sends what is no message is hung up on."""
    frame = encode_frame(b"news", b"x")
    async with HubNode("a", kind) as a, aiohttp.ClientSession() as session:
        url = f"http://{a.address}{PATH}"
        for secret in ("", "Bearer wrong", f"Bearer {SECRET.decode()}x", SECRET.decode()):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                async with session.ws_connect(url, headers={"Authorization": secret} if secret else {}):
                    pass
        right = {"Authorization": f"Bearer {SECRET.decode()}"}
        async with session.get(url, headers=right) as response:
            assert response.status == 400, "no WebSocket"
        bad: list[bytes | str] = [
            "text", frame[:-1], frame + b"\0", frame[: HEADER.size - 1], HEADER.pack(1 << 31, 1 << 31),
            bytes(20_000_000),
        ]  # fmt: skip
        for each in bad:
            async with session.ws_connect(url, headers=right) as link:
                with suppress(ConnectionError):  # it does not wait for the rest of what is too long
                    await (link.send_str(each) if isinstance(each, str) else link.send_bytes(each))
                answer = await soon(link.receive())
                assert answer.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
        await until(lambda: not a.hub.told()["from"], "all are gone")
        assert a.workers[0].look() == []
        async with session.ws_connect(url, headers=right) as link:
            await link.send_bytes(b"")
            await link.send_bytes(frame * 2)
            await until(lambda: a.workers[0].look() == [b"x", b"x"], "good ones arrive")


Scene = Callable[[type[Hub]], Coroutine[Any, Any, None]]
SCENES: list[Scene] = [to_all_and_once, a_node_that_does_not_read, a_worker_that_does_not_read, strangers]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_hubs(scene: Scene) -> None:
    asyncio.run(scene(Hub))


# Broken hubs.


class GoesAround(Hub):
    def _deliver(self, frames: bytes) -> None:
        super()._deliver(frames)
        for link in self._links.values():
            link.send(frames)


class ToAllWorkers(Hub):
    def _deliver(self, frames: bytes) -> None:
        for worker in self._workers.values():
            worker.send(frames)


class BackToItsOwn(Hub):
    def _pass_on(self, messages: list[tuple[bytes, bytes]]) -> None:
        super()._pass_on(messages)
        for message in messages:
            self._deliver(encode_frame(*message))


class Uncounted(Hub):
    def _pass_on(self, messages: list[tuple[bytes, bytes]]) -> None:
        for link in self._links.values():
            link.send(b"".join(encode_frame(*message) for message in messages))


class Unchecked(Hub):
    def _deliver(self, frames: bytes) -> None:
        for worker in self._board.listeners(self.number):
            self._workers[worker].send(frames)


class Unbounded(Hub):
    def follow(self, addresses: Any) -> None:
        super().follow(addresses)
        for link in self._links.values():
            link.send = lambda frames, link=link: _send_always(link, frames)  # type: ignore[method-assign, misc]


class NewestFirst(Hub):
    def follow(self, addresses: Any) -> None:
        super().follow(addresses)
        for link in self._links.values():
            link._unsent = _Stack()


class _Stack(deque[bytes]):
    def popleft(self) -> bytes:
        return self.pop()


def _send_always(link: NodeLink, frames: bytes) -> bool:
    link._unsent.append(frames)
    link._unsent_bytes += len(frames)
    link._has_some.set()
    return True


BROKEN: list[tuple[type[Hub], Scene]] = [
    (GoesAround, to_all_and_once),
    (ToAllWorkers, to_all_and_once),
    (BackToItsOwn, to_all_and_once),
    (NewestFirst, a_node_that_does_not_read),
    (Unbounded, a_node_that_does_not_read),
    (Uncounted, a_node_that_does_not_read),
    (Unchecked, strangers),
]


@pytest.mark.parametrize(("kind", "scene"), BROKEN, ids=lambda each: each.__name__)
def test_broken_hubs_are_found_out(kind: type[Hub], scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.cluster.hubs.PATIENCE_SECONDS", 1.0)
    with pytest.raises((AssertionError, TimeoutError)):
        asyncio.run(scene(kind))


def test_a_page_that_asks_for_no_secret_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Access, "refusal_of", lambda self, asked: None)
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        asyncio.run(strangers(Hub))


# Links that come and go.


def test_a_node_that_goes_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> None:
        async with HubNode("a") as a:
            async with HubNode("b") as b:
                await linked(a, b)
                assert a.board.is_heard(0)
                port = b.port
            await until(lambda: not a.link("b")["is_up"], "the link has ended")
            assert a.board.listeners(0) == [1], "no other node: a publication costs a look"
            assert a.link("b")["problem"]
            for worker in a.workers:
                await worker.publish(b"lost")
            await until(lambda: a.board.missed == len(a.workers), "nobody gets it")
            async with HubNode("b", port=port) as b:
                b.follow(a)
                await a.wait_until_linked()
                await a.workers[0].publish(b"heard")
                await until(lambda: b.workers[1].look() == [b"heard"], "it is back")
                a.hub.follow({})
                assert a.board.listeners(0) == [1]
                await until(lambda: not b.hub.told()["from"], "b sees that a does not know it any more")

    asyncio.run(run())
    assert "what is published reaches b" in caplog.text
    assert "what is published does not reach b: it has ended the link" in caplog.text


def test_a_node_with_another_secret(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with HubNode("a") as a, HubNode("b", secret=b"another secret of theirs") as b:
            a.follow(b)
            await until(lambda: "401" in a.link("b")["problem"], "it is refused")
            assert not a.link("b")["is_up"]
            assert b.hub.told()["from"] == []

    asyncio.run(run())
    assert "what is published does not reach b: 401" in caplog.text


async def _greeted(port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not await reader.read(1)
        raise ConnectionError("it has closed")
    finally:
        writer.close()


def test_links_over_tls(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    own, other = (make_certificates(tmp_path / name, ["127.0.0.1"]) for name in ("own", "other"))

    async def run() -> None:
        contexts = own.server_context(), own.client_context()
        async with HubNode("a", contexts=contexts) as a, HubNode("b", contexts=contexts) as b:
            await linked(a, b)
            await a.workers[0].publish(b"x" * 1_000_000)
            await until(lambda: b.workers[0].look() == [b"x" * 1_000_000], "it is heard")
            stranger = own.server_context(), other.client_context()
            async with HubNode("c", contexts=stranger) as c:
                c.follow(a)
                await until(lambda: "certificate" in c.link("a")["problem"].lower(), "it trusts another authority")
            bare = ssl.create_default_context(cafile=own.authority)  # without a certificate of its own
            with pytest.raises(OSError):  # noqa: PT011 - which one, OpenSSL decides
                await soon(_greeted(a.port, bare))

    asyncio.run(run())
