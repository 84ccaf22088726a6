"""Background work that met damage: it is not tried again, since the bytes will not get better, and is reported once.

A compaction is set aside with its runs, and others go on around them. A flush is tried again when somebody asks for
one. The sweep of expired keys pauses. Reads go on, and so do writes while there is room for them.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from flin.errors import CorruptionError

if TYPE_CHECKING:
    from flin.engine.background.compaction import Compaction

logger = logging.getLogger("flin.engine")

SWEEP_PAUSE_SECONDS: Final = 60.0
"""Expired keys stay invisible meanwhile, and only take room. A merge may drop the damaged entry."""


class DamagedWork:
    """The damaged work of one open store, in this directory."""

    def __init__(self, directory: str) -> None:
        self.first: CorruptionError | None = None
        self._directory = directory
        self._compactions: list[tuple[Compaction, CorruptionError]] = []
        self._places: set[tuple[str, int]] = set()
        self._sweeps_again_at = 0.0

    def compactions(self) -> list[Compaction]:
        """The compactions that are set aside: no other may touch their runs."""
        return [compaction for compaction, _ in self._compactions]

    def set_aside(self, compaction: Compaction, error: CorruptionError) -> None:
        self._compactions.append((compaction, _without_frames(error)))

    def error_in(self, shard: int) -> CorruptionError | None:
        """Why not all runs of the shard can be merged; None: they can."""
        found = [error for compaction, error in self._compactions if compaction.shard == shard]
        return _without_frames(found[0]) if found else None

    def pause_sweep(self) -> None:
        self._sweeps_again_at = monotonic() + SWEEP_PAUSE_SECONDS

    def sweep_is_paused(self) -> bool:
        return monotonic() < self._sweeps_again_at

    def tell(self, error: CorruptionError) -> None:
        """Log one line for each place."""
        if self.first is None:
            self.first = _without_frames(error)
        place = (error.path, error.offset)
        if place not in self._places:
            self._places.add(place)
            logger.error("background work met damage and leaves it: %s; run: flin check %s", error, self._directory)


def _without_frames(error: CorruptionError) -> CorruptionError:
    """A copy to keep: the error itself would keep the frames that raised it alive, with an old state and its files."""
    return CorruptionError(error.path, error.offset, error.reason)
