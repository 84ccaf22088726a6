"""The policies: which keys may be evicted, and what makes one go before another. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from flin.engine.entry import Live
from flin.engine.eviction.candidates import expiry_of
from flin.engine.eviction.worth import EVICTED, StoreAge, Unused, UseAge, UseCount, Worth
from flin.engine.options import EvictionPolicy


@dataclass(frozen=True, slots=True)
class Policy:
    make_worth: Callable[[int], Worth]
    """What is remembered of keys, given the number of slots."""
    heeds_reads: bool = False
    volatile: bool = False
    """Only keys that expire go."""
    by_expiry: bool = False
    """What expires soonest goes first."""


POLICIES: Final[dict[EvictionPolicy, Policy]] = {
    "least-recently-stored": Policy(StoreAge),
    "least-recently-used": Policy(UseAge, heeds_reads=True),
    "least-frequently-used": Policy(UseCount, heeds_reads=True),
    "random": Policy(Unused),
    "volatile-least-recently-used": Policy(UseAge, heeds_reads=True, volatile=True),
    "volatile-least-frequently-used": Policy(UseCount, heeds_reads=True, volatile=True),
    "volatile-random": Policy(Unused, volatile=True),
    "soonest-expiring": Policy(Unused, volatile=True, by_expiry=True),
}
"""All but "none"."""


def victims(
    policy: Policy, worth: Worth, candidates: Mapping[bytes, Live], samples: int, wanted: int
) -> dict[bytes, int]:
    """One of every `samples` candidates, those to go first, at most `wanted`, least first, each with its rank."""
    ranked = [(value, key) for value, key in zip(worth.all_of(candidates), candidates, strict=True) if value != EVICTED]
    if policy.by_expiry:
        ranked = [(expiry_of(candidates[key]), key) for _, key in ranked]
    ranked.sort()
    # At least one: a small database has fewer keys than a sample.
    return {key: value for value, key in ranked[: min(-(-len(ranked) // samples), wanted)]}
