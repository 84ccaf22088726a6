"""A mutant, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from tests.engine.hunts import Hunt, Tally, hunt_down

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    invariant: str
    patch: Callable[[Patch], None]
    hunt: Hunt

    def hunted(self, tally: Tally) -> str:
        """What its hunt finds while it is switched on."""
        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            return hunt_down(self.hunt, tally)


MUTANTS: Final[list[Mutant]] = []


def caught_by(hunt: Hunt) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """The decorated function is the patch, its docstring the invariant."""

    def add(patch: Callable[[Patch], None]) -> Callable[[Patch], None]:
        invariant = patch.__doc__
        assert invariant, "a mutant says what it breaks"
        MUTANTS.append(Mutant(patch.__name__, invariant, patch, hunt))
        return patch

    return add
