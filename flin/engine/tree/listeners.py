"""The listeners of a store: it tells them that there is work for the background, and which keys have expired. They are
called outside all locks, by the thread that finds out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flin.engine.entry import Live


def _nobody() -> None:
    """A store without a background."""


@dataclass(slots=True)
class Listeners:
    on_sealed: Callable[[], None] = _nobody  # there is something to flush
    on_filling: Callable[[], None] | None = None  # called once: there will be something before long
    on_stopped: Callable[[], None] = _nobody  # called by a stopped writer
    on_growth: Callable[[int], None] | None = None  # told the WAL's position each time that growth_bytes were written
    growth_bytes: int = 0  # or less
    on_expired: Callable[[Mapping[bytes, Live]], None] | None = None  # the stored keys and entries that a sweep deleted
    on_evicted: Callable[[Mapping[bytes, Live]], None] | None = None  # those that were evicted; values may be pointers
