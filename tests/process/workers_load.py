"""A load on every worker of a server, by clients that know exactly what was answered to them.

Each lane is a thread with one connection to one worker. It sends transactions: number n writes a key of its own and the
number of the last one, both with the lane's hash tag. So whatever a worker has after a crash, its keys must be those of
the numbers 1 to the last one, without a hole, and the last one no less than what was answered.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from threading import Thread
from typing import IO, Final

from flin.testing.load import request
from flin.testing.process import PATIENCE_SECONDS, wait_until
from tests.cluster.served import Served, key_of

PIPELINE: Final = 8
"""Transactions that are sent at once, so that many may be there that were not answered."""


class Lane:
    """One client. `answered` and `problems` are read by the test while the thread runs."""

    def __init__(self, port: int, slots: tuple[int, int], name: str) -> None:
        self.port = port
        self.tag = key_of(slots, f"{name}-")
        self.answered = 0
        self.cuts = 0
        self.problems: list[str] = []
        self._is_ending = False
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_ending = True

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "a client hangs"

    def key(self, number: int) -> bytes:
        return b"{%b}:%d" % (self.tag.encode(), number)

    @property
    def last_key(self) -> bytes:
        return b"{%b}:last" % self.tag.encode()

    def _run(self) -> None:
        while not self._is_ending and not self.problems:
            try:
                self._talk()
            except OSError:  # the worker was killed, or ends
                self.cuts += 1
            except Exception as error:  # the outermost frame of a thread: it must not get lost
                self.problems.append(f"{self.tag}: {type(error).__name__}: {error}")

    def _talk(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as sock, sock.makefile("rb") as file:
            sock.sendall(request(b"GET", self.last_key))
            number = int(_bulk(file) or 0)
            if number < self.answered:
                raise ValueError(f"{number} are there, {self.answered} were answered")
            while not self._is_ending:
                numbers = range(number + 1, number + 1 + PIPELINE)
                sock.sendall(b"".join(map(self._transaction, numbers)))
                for number in numbers:
                    lines = [_line(file) for _ in range(6)]
                    if lines != [b"+OK", b"+QUEUED", b"+QUEUED", b"*2", b"+OK", b"+OK"]:
                        raise ValueError(f"replied {lines}")
                    self.answered = number

    def _transaction(self, number: int) -> bytes:
        text = b"%d" % number
        writes = [request(b"SET", self.key(number), text * 20), request(b"SET", self.last_key, text)]
        return b"".join([request(b"MULTI"), *writes, request(b"EXEC")])

    def check(self, stored: Mapping[bytes, bytes]) -> None:
        """stored: all that its worker's database has, after the end."""
        last = int(stored.get(self.last_key, b"0"))
        assert last >= self.answered, f"{self.tag}: {last} are there, {self.answered} were answered"
        expected = {self.key(number): b"%d" % number * 20 for number in range(1, last + 1)}
        prefix = self.key(0)[:-1]
        found = {key: value for key, value in stored.items() if key.startswith(prefix) and key != self.last_key}
        assert found == expected, f"{self.tag}: {len(found)} keys of {len(expected)}"


class WorkersLoad:
    """Some lanes on each worker."""

    def __init__(self, served: Served, ranges: Iterable[tuple[int, int]], lanes: int) -> None:
        self.lanes = [
            [Lane(port, slots, f"lane{number}") for number in range(lanes)]
            for port, slots in zip(served.ports, ranges, strict=True)
        ]

    def __iter__(self) -> Iterator[Lane]:
        return (lane for lanes in self.lanes for lane in lanes)

    def start(self) -> None:
        for lane in self:
            lane.start()

    def problems(self) -> list[str]:
        return [problem for lane in self for problem in lane.problems]

    def wait_for_more(self, transactions: int) -> None:
        """Wait until each lane has so many more answers than now."""
        goals = [(lane, lane.answered + transactions) for lane in self]
        wait_until(
            lambda: self.problems() or all(lane.answered >= goal for lane, goal in goals),
            f"{transactions} transactions of each lane are answered",
        )
        assert self.problems() == []

    def stop(self) -> None:
        """Stop sending; connections that are cut while they wait for replies are no problem."""
        for lane in self:
            lane.stop()

    def join(self) -> None:
        for lane in self:
            lane.join()
        assert self.problems() == []


def _line(file: IO[bytes]) -> bytes:
    line = file.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the end, or half a line")
    return line[:-2]


def _bulk(file: IO[bytes]) -> bytes | None:
    header = _line(file)
    if header[:1] != b"$":
        raise ValueError(f"replied {header!r}")
    size = int(header[1:])
    return None if size < 0 else (file.read(size + 2) or b"")[:-2]
