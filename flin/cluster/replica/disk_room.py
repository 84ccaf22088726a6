"""How much room a node's disk has for copies: beyond the reserve, which merges need (net/run/alarms.py)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

from flin.net.run.alarms import reserve_of
from flin.net.settings.options import ServerOptions


def room_of(directory: str, options: ServerOptions) -> Callable[[], int]:
    """Gives the bytes; -1: the system does not say."""
    return partial(_free_bytes, directory, options.disk_reserve)


def _free_bytes(directory: str, disk_reserve: int) -> int:
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return -1
    return max(0, usage.free - reserve_of(disk_reserve, usage.total))
