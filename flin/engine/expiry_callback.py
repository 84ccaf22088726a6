"""The callback `on_expired`: a program is told of each key that has expired, once the sweep has deleted it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flin.engine.entry import Live
from flin.engine.key import USER_END, user_key

logger = logging.getLogger("flin.engine")


class ExpiryCallback:
    """A listener of a store (tree/listeners.py), for a program's function."""

    def __init__(self, tell: Callable[[bytes], object]) -> None:
        self._tell = tell

    def __call__(self, expired: Mapping[bytes, Live]) -> None:
        """Tell of the user's keys among these. Its exceptions must not end the sweep, which others need."""
        for stored in expired:
            if stored < USER_END:
                key = user_key(stored)
                try:
                    self._tell(key)
                except Exception:  # the program's own, for which nobody waits
                    logger.exception("on_expired has failed for the key %r", key)
