"""Whom a store tells what: that there is work for the background, and what has expired. All are called outside all
locks, by whichever thread finds out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flin.engine.entry import Live


def _nobody() -> None:
    """A store without a background."""


@dataclass(slots=True)
class Listeners:
    on_sealed: Callable[[], None] = _nobody  # there is something to flush
    on_filling: Callable[[], None] | None = None  # told once: there will be before long
    on_stopped: Callable[[], None] = _nobody  # by a writer that is stopped
    on_expired: Callable[[Mapping[bytes, Live]], None] | None = None  # the stored keys that a sweep deleted, and theirs
