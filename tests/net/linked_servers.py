"""Servers in threads that are workers of one server: they have a board and lines, as their supervisor makes them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from flin.cluster.workers.groups import slots_of
from flin.cluster.workers.lines import Lines
from flin.net.cluster.board import Board, new_board
from flin.net.cluster.topology import Node, Topology
from flin.net.serve.neighbours import Neighbours
from flin.testing.process import wait_until
from tests.net.serving import ServerThread


class LinkedServers:
    """`servers[number]` is the worker of that number. stores: one for each, None for a fake one."""

    def __init__(self, *stores: Any, topology: Topology | None = None, **options: Any) -> None:
        count = len(stores)
        nodes = tuple(Node(f"{number:040x}", "", 7000 + number, *slots_of(number, count)) for number in range(count))
        self._nodes = nodes if topology is None else topology.nodes
        self._options = options
        self._stores = stores
        self._stack = ExitStack()
        self._descriptor = new_board(count)
        self.board = Board(self._descriptor, count)
        self.lines = Lines()
        self.servers: list[ServerThread] = []

    def __enter__(self) -> LinkedServers:
        for number, store in enumerate(self._stores):
            self.servers.append(self.start(number, store))
        return self

    def start(self, number: int, store: Any = None) -> ServerThread:
        """A worker, which gets a line to all that are there."""
        self.lines.discard(number)
        neighbours = Neighbours(Board(self._descriptor, len(self._nodes)), self.lines.add(number), number)
        server = ServerThread(store, neighbours=neighbours, topology=Topology(self._nodes, number), **self._options)
        self._stack.enter_context(server)
        self.board.set_ready(number)
        return server

    def wait_until_heard(self, number: int, by: int) -> None:
        """Until somebody is subscribed there, as another worker sees it."""
        wait_until(lambda: number in self.board.listeners(by), f"worker {number} listens")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        for number in range(len(self._nodes)):
            self.lines.discard(number)
        os.close(self._descriptor)
