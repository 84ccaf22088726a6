"""A visit counter behind gunicorn with many worker processes. One more process, `flin serve`, has the database open.

flin serve --dir visits --port 6380
gunicorn --chdir examples --workers 4 --preload wsgi_served:application

redis-py connects at the first command, so each worker gets connections of its own, with --preload too.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import redis

client = redis.Redis(port=int(os.environ.get("FLIN_PORT", "6380")))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    visits = client.incr("visits:" + environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d by %d\n" % (visits, os.getpid())]
