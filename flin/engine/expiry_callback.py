"""The callbacks `on_expired` and `on_evicted`: a program is told of each key, once the sweep or the evictor has deleted
it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flin.engine.entry import Live
from flin.engine.key import USER_END, user_key

logger = logging.getLogger("flin.engine")


class ExpiryCallback:
    """A listener of a store (tree/listeners.py), for a program's function."""

    def __init__(self, tell: Callable[[bytes], object], name: str = "on_expired") -> None:
        self._tell = tell
        self._name = name

    def __call__(self, deleted: Mapping[bytes, Live]) -> None:
        """Tell of the user's keys among these. Its exceptions must not end the sweep or the evictor."""
        for stored in deleted:
            if stored < USER_END:
                key = user_key(stored)
                try:
                    self._tell(key)
                except Exception:  # the program's own, for which nobody waits
                    logger.exception("%s has failed for the key %r", self._name, key)
