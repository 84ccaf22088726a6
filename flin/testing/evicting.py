"""Evictions among the operations of workloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flin.engine.engine import Engine, store_of
from flin.engine.entry import is_alive
from flin.engine.key import stored_key, user_key
from flin.testing.model import Delete as DeleteStep
from flin.testing.model import State, Step, view
from flin.testing.rule import Draw, Write


@dataclass(frozen=True)
class Evict(Write):
    """What the evictor does with the keys that it has chosen; `spared` was used meanwhile."""

    sync: ClassVar[bool] = False  # nobody is answered: after a power cut an evicted key may be back, in every mode

    keys: tuple[bytes, ...]
    spared: bytes

    def steps(self, state: State, now_ms: int) -> Sequence[Step]:
        return [DeleteStep(key) for key in self._alive(state, now_ms)]

    def answer(self, state: State, now_ms: int) -> object:
        return self._alive(state, now_ms)

    def call(self, engine: Engine) -> object:
        store = store_of(engine)
        now_ms = store.now_ms()
        evicted = store.evict(
            [*map(stored_key, self.keys)],
            lambda key, entry: is_alive(entry, now_ms) and user_key(key) != self.spared,
        )
        return {*map(user_key, evicted)}

    def _alive(self, state: State, now_ms: int) -> set[bytes]:
        return {key for key in self.keys if key != self.spared} & view(state, now_ms).keys()

    @classmethod
    def drawn(cls, draw: Draw) -> Evict:
        return cls(draw.keys(4), draw.key())
