"""Damage on the disk that commands met: a line of diagnostics for each place, a reply that says so, INFO's figures."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flin.errors import CorruptionError

logger = logging.getLogger(__name__)

KEPT_PLACES: Final = 1024
"""The most places that are told apart; more damage than that needs no more lines."""


class Damage:
    """The damage of the database in this directory."""

    def __init__(self, directory: str) -> None:
        self.errors = 0  # replies that told of damage
        self.last = ""
        self._directory = directory
        self._places: set[tuple[str, int]] = set()

    def note(self, error: CorruptionError) -> str:
        """Returns the error reply; the diagnostics name each place once."""
        self.errors += 1
        self.last = f"{error.path} at offset {error.offset}"
        place = (error.path, error.offset)
        if place not in self._places and len(self._places) < KEPT_PLACES:
            self._places.add(place)
            logger.error("%s; run: flin check %s", error, self._directory)
        name = error.path.replace("\\", "/").rpartition("/")[2]
        return f"ERR corruption: {name} is damaged at offset {error.offset} ({error.reason}); run flin check"
