"""Who is there: which nodes and which copies have shown themselves lately. Pure.

Each puts a key again and again. What counts is that its revision changes while somebody looks, by the clock of who
looks: a key that is merely there may be of one that died long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from flin.cluster.etcd.key_value import Pair
from flin.cluster.keys import AppliedValue, Keys, group_of, name_of
from flin.cluster.replica.takeover import THERE_SECONDS
from flin.cluster.slot_map import SlotMap
from flin.errors import CorruptionError


@dataclass(slots=True)
class Presence:
    """Which nodes show themselves: since when each one's `alive` has been as it is."""

    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def note(self, pairs: tuple[Pair, ...], names: Mapping[str, object], now: float) -> None:
        """What was read at `now`. One that is seen for the first time counts from then on."""
        revisions = dict.fromkeys(names, 0)
        for pair in pairs:
            with suppress(CorruptionError):  # a key that no node has put
                revisions[name_of(pair.key)] = pair.mod_revision
        for name, revision in revisions.items():
            if name not in self._seen or self._seen[name][0] != revision:
                self._seen[name] = revision, now
        for name in self._seen.keys() - revisions.keys():
            del self._seen[name]

    def seconds_away(self, name: str, now: float) -> float:
        return now - self._seen[name][1] if name in self._seen else inf


@dataclass(slots=True)
class Readiness:
    """Which copies are abreast of the log: their `applied` says so, and was put lately."""

    _seen: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    _looked_at: float = -inf

    def note(self, pairs: Iterable[Pair], now: float) -> dict[int, set[str]]:
        """The nodes by group. pairs: all that there is, at each look. The first look, and one that comes long after the
        last, proves nothing: who has put what is new there may have died meanwhile."""
        moment = now if now - self._looked_at <= THERE_SECONDS else -inf
        before, self._seen, self._looked_at, there = self._seen, {}, now, dict[int, set[str]]()
        for pair in pairs:
            known = before.get(pair.key, (0, 0.0))
            self._seen[pair.key] = known if known[0] == pair.mod_revision else (pair.mod_revision, moment)
            if now - self._seen[pair.key][1] <= THERE_SECONDS:
                with suppress(CorruptionError):  # what nobody understands is of no copy
                    value, name = AppliedValue.of(pair), name_of(pair.key)
                    if value.start and value.is_abreast:
                        there.setdefault(group_of(pair.key.rpartition(b"/")[0]), set()).add(name)
        return there


def refusals(pairs: Iterable[Pair], found: SlotMap, keys: Keys) -> dict[int, AppliedValue]:
    """By group what a node says that is to make a copy and cannot. What it said before the move began is no answer."""
    applied = {pair.key: pair for pair in pairs}
    refusing: dict[int, AppliedValue] = {}
    for group, value in found.replicas.items():
        pair = applied.get(keys.applied(group, value.coming)) if value.coming else None
        if pair is not None and pair.mod_revision > found.revisions.get(keys.replicas(group), 0):
            with suppress(CorruptionError):
                told = AppliedValue.of(pair)
                if not told.has_room:
                    refusing[group] = told
    return refusing
