"""Whom a store tells that there is work for the background. All are called outside all locks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nobody() -> None:
    """A store without a background."""


@dataclass(slots=True)
class Listeners:
    on_sealed: Callable[[], None] = _nobody  # there is something to flush
    on_filling: Callable[[], None] | None = None  # told once: there will be before long
    on_stopped: Callable[[], None] = _nobody  # by a writer that is stopped
