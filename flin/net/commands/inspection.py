"""FLIN.STATS and FLIN.CHECK: what `flin stats` and `flin check` show of a closed directory, of a running server."""

from __future__ import annotations

import json
from functools import partial
from typing import Final

from flin.net.command.registry import command
from flin.net.run.context import Context
from flin.net.wire.replies import Slices, Value

GROUP: Final = "flin"

_ADMIN: Final = "admin noscript no_async_loading"

WAIT_SECONDS: Final = 0.25
"""How long a reader thread waits for a check at a time: the server's end waits for reader threads."""


@command("flin.stats", 1, _ADMIN)
def flin_stats(context: Context, args: list[bytes]) -> Value:
    """Returns the engine's figures as JSON."""
    return json.dumps(context.services.engine_statistics(), default=str).encode()


@command("flin.check", 1, f"{_ADMIN} no_multi")
def flin_check(context: Context, args: list[bytes]) -> Slices:
    """Reads and verifies everything on disk, while the server goes on, and returns the problems."""
    yield  # the tick ends: what came before is committed
    checking = context.services.checks.join()
    while checking.is_running:
        yield partial(checking.wait, WAIT_SECONDS)  # in a thread
    return list(checking.problems())
