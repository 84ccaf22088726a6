"""The mutants: mistakes in the code that keeps the data safe, each switched on alone, which the crash suite must catch.

Each is a function that patches the engine; its docstring is the invariant that it breaks, its decorator the part of the
suite that must catch it (tests/engine/hunts.py). `python -m tests.engine.mutants` lets the suite hunt them all and
prints the table of docs/crash-safety.md; with names as arguments, only those, each with the violation that was found.
"""

from __future__ import annotations

from tests.engine.mutants import (
    copies,
    counts,
    evictions,
    following,
    manifests,
    merges,
    openings,
    ranges,
    reads,
    replicas,
    syncs,
    transactions,
    values,
    write_ahead,
)
from tests.engine.mutants.mutant import MUTANTS, Mutant

__all__ = [
    "MUTANTS", "Mutant", "copies", "counts", "evictions", "following", "manifests", "merges", "openings", "ranges",
    "reads", "replicas", "syncs", "transactions", "values", "write_ahead",
]  # fmt: skip
