"""A thousand subscribers of whom ten do not read: the others get their messages as fast as without those ten."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final

import pytest

from flin.testing.process import PATIENCE_SECONDS
from tests.net.raw_client import RawClient, encode_request
from tests.programs.served import Served

READING: Final = 990
STUCK: Final = 10

MESSAGES: Final = 25
"""In each block. A block's p99 is that of all readers' messages in it; the median of some blocks is compared, since one
hiccup of the machine is more than a hundredth of a block."""

BLOCKS: Final = 5
MOST_BLOCKS: Final = 60
"""A machine with other work has hiccups in every second block. They come and go; what the server does is always so."""

FLOOD: Final = 3
"""Messages of a mebibyte to those who do not read: more than the sockets take, so that the server holds the rest."""

MOST_TIMES_SLOWER: Final = 2.0


@pytest.mark.slow
def test_those_who_do_not_read_do_not_slow_the_others(tmp_path: Path) -> None:
    _let_open_files(READING + STUCK + 200)
    served = Served(tmp_path, "--memory-limit", "256mb")
    served.start()
    port = served.port
    try:
        with ExitStack() as stack, RawClient(port) as publisher:
            publisher.call(b"CONFIG", b"SET", b"client-output-buffer-limit", b"pubsub 0 0 0")
            readers = Readers([stack.enter_context(_subscriber(port)) for _ in range(READING)])
            readers.block(publisher, MESSAGES)  # the first one warms up
            quiet: list[float] = []
            beside: list[float] = []
            while len(quiet) < BLOCKS or (_are_slower(beside, quiet) and len(quiet) < MOST_BLOCKS):
                quiet.append(readers.block(publisher, MESSAGES))
                with _stuck(port, publisher):
                    beside.append(readers.block(publisher, MESSAGES))
        assert not _are_slower(beside, quiet), (quiet, beside)
    finally:
        served.kill()


def _are_slower(beside: list[float], quiet: list[float]) -> bool:
    return median(beside) >= MOST_TIMES_SLOWER * median(quiet)


class Readers:
    """Sockets that are subscribed, and read as soon as something has come."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._poll = select.epoll()
        self._sockets = {one.fileno(): one for one in sockets}
        for number in self._sockets:
            self._poll.register(number, select.EPOLLIN)

    def block(self, publisher: RawClient, messages: int) -> float:
        """Publish one message after the other, each once all have got the last. Returns the p99 of the seconds between
        a publication and each reader's message."""
        seconds: list[float] = []
        for number in range(messages):
            payload = b"%064d" % number
            size = len(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$64\r\n") + 66
            left = dict.fromkeys(self._sockets, size)
            began = perf_counter()
            publisher.send([[b"PUBLISH", b"c", payload]])
            while left:
                ready = self._poll.poll(PATIENCE_SECONDS)
                assert ready, "a message has not come"
                for descriptor, _ in ready:
                    left[descriptor] -= len(self._sockets[descriptor].recv(size))
                    if not left[descriptor]:
                        del left[descriptor]
                        seconds.append(perf_counter() - began)
            publisher.read()
        return quantiles(seconds, n=100)[-1]


@contextmanager
def _subscriber(port: int, *channels: bytes, receives_bytes: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as one:
        if receives_bytes:  # before connecting, so that the window never shrinks
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
        one.settimeout(PATIENCE_SECONDS)
        one.connect(("127.0.0.1", port))
        one.sendall(encode_request([b"SUBSCRIBE", b"c", *channels]))
        assert one.recv(1000).startswith(b"*3\r\n$9\r\nsubscribe")
        yield one


@contextmanager
def _stuck(port: int, publisher: RawClient) -> Iterator[None]:
    """Ten more subscribers, for whom the server holds some mebibytes: they read nothing."""
    with ExitStack() as stack:
        for _ in range(STUCK):
            stack.enter_context(_subscriber(port, b"flood", receives_bytes=4096))
        for _ in range(FLOOD):
            publisher.call(b"PUBLISH", b"flood", b"x" * (1 << 20))
        held = [line for line in publisher.call(b"CLIENT", b"LIST").payload.split(b"\n") if b" sub=2 " in line]
        assert len(held) == STUCK
        assert all(int(line.partition(b" omem=")[2].partition(b" ")[0]) for line in held), "the kernel has taken it all"
        yield


def _let_open_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (min(number, hard) if hard != resource.RLIM_INFINITY else number, hard)
        )
