"""redis-py as tests want it: it waits for a server that has no turn, instead of saying the same again."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Final

import redis.asyncio.client
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.client
import redis.connection

from flin.testing.process import PATIENCE_SECONDS

MODULES: Final = (
    redis.client, redis.connection, redis.asyncio.client, redis.asyncio.cluster, redis.asyncio.connection,
)  # fmt: skip


def make_patient() -> None:
    """By default redis-py 8 gives up after 5 s and sends the command again, which then counts twice: an RPUSH, an INCR.
    It has no setting for all clients, so the defaults of its constructors are changed."""
    for module in MODULES:
        for each in vars(module).values():
            made_by = inspect.unwrap(vars(each).get("__init__", make_patient)) if isinstance(each, type) else None
            if isinstance(made_by, FunctionType) and made_by.__defaults__:
                names = made_by.__code__.co_varnames[: made_by.__code__.co_argcount][-len(made_by.__defaults__) :]
                made_by.__defaults__ = tuple(
                    PATIENCE_SECONDS if name == "socket_timeout" and value else value
                    for name, value in zip(names, made_by.__defaults__, strict=True)
                )
