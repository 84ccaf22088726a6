"""A price list behind gunicorn: many workers read the database that one other process writes (prices.py).

gunicorn --chdir examples --workers 4 wsgi_readers:application

Each worker opens the database with its first request, which is after the fork, so it also works with --preload. What is
written when a request begins is in its answer.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import flin.engine

PATH = os.environ.get("PRICES", "prices")


@cache
def reader() -> flin.engine.Engine:
    """This worker's reader."""
    return flin.engine.open(PATH, read_only=True, memory_limit="64mb")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    prices = reader()
    prices.refresh()
    price = prices.get(environ["PATH_INFO"][1:].encode("latin-1"), b"?")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%b by %d\n" % (price, os.getpid())]
