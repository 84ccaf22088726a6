"""A visit counter behind gunicorn, with the engine inside the one worker process. Its threads share the engine.

gunicorn --chdir examples --workers 1 --threads 8 wsgi_embedded:application

It works with --preload and without, since the database is opened by the first request, after the fork. It also works
with a reload (kill -HUP), where the new worker starts before the old one has closed the database: it waits.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import flin.engine

PATH = os.environ.get("VISITS", "visits")
RELOAD_SECONDS = 60  # longer than gunicorn's --graceful-timeout

_opening = threading.Lock()
_engine: flin.engine.Engine | None = None


def database() -> flin.engine.Engine:
    """The engine of this process, opened at the first call."""
    global _engine
    with _opening:
        if _engine is None:
            _engine = open_when_free(PATH)
            atexit.register(_engine.close)
        return _engine


def open_when_free(path: str) -> flin.engine.Engine:
    """Wait while the process before this one still has the database open."""
    deadline = time.monotonic() + RELOAD_SECONDS
    while True:
        try:
            return flin.engine.open(path)
        except flin.engine.LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    visits = database().incr(b"visits:" + environ["PATH_INFO"].encode("latin-1"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d by %d\n" % (visits, os.getpid())]
