"""The fifth of the seeded bugs that the ordinary suite tries: another one each day, the same for all its workers."""

from __future__ import annotations

import datetime
import os
from typing import Final

FIFTHS: Final = 5
FIFTH: Final = "FLIN_MUTANTS"
"""A variable of the environment: 0 to 4, for another fifth than today's."""


def choose_fifth() -> None:
    """Called before the workers start: they must collect the same tests, even at midnight (UTC)."""
    os.environ.setdefault(FIFTH, str(datetime.datetime.now(datetime.UTC).date().toordinal() % FIFTHS))


def chosen_fifth() -> int:
    fifth = int(os.environ[FIFTH])
    assert 0 <= fifth < FIFTHS, f"{FIFTH} is a number from 0 to {FIFTHS - 1}"
    return fifth
