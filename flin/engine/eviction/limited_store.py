"""A store with a size limit: it notes which keys are read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flin.engine.entry import Entry, Live, Range
from flin.engine.eviction.policy import POLICIES
from flin.engine.eviction.worth import slots_for
from flin.engine.options import Options
from flin.engine.tree.recent_writes import RecentWrites
from flin.engine.tree.store import Store


class LimitedStore(Store):
    """What `Store` does, and notes of use before it. Only stores with a limit pay for them."""

    def __init__(self, directory: str, options: Options) -> None:
        assert options.eviction != "none"
        self.policy = POLICIES[options.eviction]
        self.worth = self.policy.make_worth(slots_for(options.size_limit_bytes, options.memory_limit_bytes))
        super().__init__(directory, options)

    def read(self, key: bytes, *, values: bool = True) -> Live | None:
        self.worth.read(key)
        return super().read(key, values=values)

    def read_nowait(self, key: bytes, *, values: bool = True) -> Live | None:
        self.worth.read(key)
        return super().read_nowait(key, values=values)

    def read_many(self, keys: Sequence[bytes]) -> list[Live | None]:
        self.worth.all_read(keys)
        return super().read_many(keys)

    def put(self, key: bytes, value: bytes) -> int:
        self.worth.stored(key)
        return super().put(key, value)

    def commit(
        self,
        points: Mapping[bytes, Entry],
        ranges: Sequence[Range] = (),
        *,
        plain: bool | None = None,
        check: Callable[[RecentWrites], None] | None = None,
    ) -> int:
        self.worth.all_stored(points)
        return super().commit(points, ranges, plain=plain, check=check)

    def update(self, key: bytes, decide: Callable[[Live | None], Entry | None]) -> int | None:
        self.worth.stored(key)
        return super().update(key, decide)
