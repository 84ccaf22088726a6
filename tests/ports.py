"""Each worker of pytest-xdist has ports of its own: one that is found free is bound a moment later, by a process that
has to start first, and one of a server that is killed is free until the next start."""

from __future__ import annotations

import os
from typing import Final

from flin.testing import server

MOST_SHARES: Final = 8
"""Nodes need some six hundred ports in a row; among more workers than this, some have the same."""


def share(worker: int, workers: int) -> range:
    """worker: one that takes the place of another has a higher number than there are workers."""
    shares = min(workers, MOST_SHARES)
    size = len(server.PORTS) // shares
    first = worker % shares * size
    return server.PORTS[first : first + size]


def share_ports() -> None:
    """Called before anything that takes the name from its module is imported."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    vars(server)["PORTS"] = share(int(worker), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
