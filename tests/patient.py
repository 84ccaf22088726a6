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
            if isinstance(made_by, FunctionType):
                _change(made_by)


def _change(function: FunctionType) -> None:
    defaults, keywords = function.__defaults__ or (), function.__kwdefaults__ or {}
    names = function.__code__.co_varnames[: function.__code__.co_argcount][-len(defaults) :]
    named = dict(zip(names, defaults, strict=False))  # without defaults these are all names, and none is paired
    if named.get("socket_timeout"):
        function.__defaults__ = (*(named | {"socket_timeout": PATIENCE_SECONDS}).values(),)
    if keywords.get("socket_timeout"):
        keywords["socket_timeout"] = PATIENCE_SECONDS
