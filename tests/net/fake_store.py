"""A store in memory with the shape of the engine's: for tests of the server, and for timing it alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from flin.engine.entry import TOMBSTONE, Entry, Page, Range
from flin.engine.key import namespace_of
from flin.engine.table.cold_read import ColdRead
from tests.engine.plain_ranges import covers

PAGE_ENTRIES = 32


@dataclass
class FakeStall:
    delay_seconds: float = 0.0
    stopped: bool = False
    reason: str = ""


class FakeStore:
    """A dict. `cold` holds keys whose first read_nowait raises ColdRead; `failure` is raised by the next commits."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.cold: set[bytes] = set()
        self.cold_delay_seconds = 0.0
        self.failure: Exception | None = None
        self.sync_failure: Exception | None = None
        self.position = 0
        self.synced_position = 0
        self.commits: list[int] = []
        self.syncs = 0
        self.holds_sweep = False
        self.awaits_filters = False
        self.block_misses = self.lent_bytes = 0
        self.read_only_reason: str | None = None
        self.background_error: BaseException | None = None
        self.stall_state = FakeStall()
        self._clock = clock

    def now_ms(self) -> int:
        return self._clock() if self._clock is not None else time.time_ns() // 1_000_000

    def make_read_only(self, reason: str) -> None:
        self.read_only_reason = self.read_only_reason or reason

    def make_cold(self, *keys: bytes) -> None:
        """From now on these keys need a thread to be read, once."""
        self.cold.update(keys)

    def read(self, key: bytes, *, values: bool = True) -> Entry | None:
        return self.entries.get(key)

    def read_nowait(self, key: bytes, *, values: bool = True) -> Entry | None:
        if key in self.cold:
            raise ColdRead(lambda: self._warm(key))
        return self.entries.get(key)

    def read_near(self, keys: Sequence[bytes], *, nowait: bool = False) -> list[Entry | None]:
        return [*map(self.read_nowait if nowait else self.read, keys)]

    def newest_entries(self) -> dict[bytes, Entry] | None:
        """All entries except cold ones."""
        if not self.cold:
            return self.entries
        return {key: entry for key, entry in self.entries.items() if key not in self.cold}

    def older_entries(self, keys: Sequence[bytes]) -> list[None]:
        return [None] * len(keys)

    def in_tables(self, keys: Sequence[bytes], *, values: bool = True) -> list[Entry | None]:
        found: list[Entry | None] = []
        with suppress(ColdRead):
            for key in keys:
                found.append(self.read_nowait(key))  # noqa: PERF401  those before the cold one stay
        return found

    def _warm(self, key: bytes) -> None:
        time.sleep(self.cold_delay_seconds)
        self.cold.discard(key)

    def commit(self, batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        if self.failure is not None:
            raise self.failure
        if ranges:
            for key in [key for key in self.entries if covers(ranges, key)]:
                del self.entries[key]
        if TOMBSTONE in batch.values():
            for key, entry in batch.items():
                if entry is TOMBSTONE:
                    self.entries.pop(key, None)
                else:
                    self.entries[key] = entry
        else:
            self.entries.update(batch)
        self.position += 1 + len(batch)
        self.commits.append(len(batch))
        return self.position

    def put(self, key: bytes, value: bytes) -> int:
        return self.commit({key: value})

    def sync(self) -> None:
        position = self.position
        if self.sync_failure is not None:
            raise self.sync_failure
        self.syncs += 1
        self.synced_position = max(self.synced_position, position)

    def freeze(self) -> dict[bytes, Entry]:
        return dict(self.entries)

    def pages(
        self, state: Any, start: bytes, stop: bytes, reverse: bool = False, *, values: bool = True
    ) -> Iterator[Page]:
        keys = sorted((key for key in state if start <= key < stop), reverse=reverse)
        for first in range(0, len(keys), PAGE_ENTRIES):
            page = keys[first : first + PAGE_ENTRIES]
            yield page, [state[key] for key in page]

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False, nowait: bool = False) -> Page:
        """Cold keys do not matter here."""
        keys = sorted((key for key in self.entries if start <= key < stop), reverse=reverse)[:count]
        return keys, [self.entries[key] for key in keys]

    def count(self, namespace: int = 0, budget: int | None = None, state: Any = None) -> int | None:
        return sum(1 for key in self.entries if namespace_of(key) == namespace)

    def settle(self, state: Any) -> None:
        """There are no tables."""

    def lend_blocks(self, size_bytes: int) -> None:
        self.lent_bytes = size_bytes

    def uncounted_entries(self) -> int:
        return 0

    def count_ahead(self) -> None:
        """Nothing is uncounted."""

    def unsettled_entries(self) -> int:
        return 0

    def settled_count(self, namespace: int = 0) -> int:
        return self.count(namespace) or 0

    def clear(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.entries.clear()
        self.position += 1

    def stall(self) -> FakeStall:
        return self.stall_state

    def close(self) -> None:
        pass


class OftenColdStore(FakeStore):
    """Every third read would wait for the disk: a handler that had written before it read would write twice.

    random: not every third, but one in three. Requests of two reads each fall into step with every third: the one that
    waited reads two more, so that the next read, the first of what follows, is cold again.
    """

    def __init__(self, random: Random | None = None) -> None:
        super().__init__()
        self._reads = 0
        self._random = random

    def read_nowait(self, key: bytes, *, values: bool = True) -> Entry | None:
        self._reads += 1
        if self._reads % 3 == 0 if self._random is None else self._random.randrange(3) == 0:
            raise ColdRead(lambda: None)
        return self.read(key)

    def newest_entries(self) -> dict[bytes, Entry]:
        return {}

    def read_near(self, keys: Sequence[bytes], *, nowait: bool = False) -> list[Entry | None]:
        if nowait:
            self.read_nowait(keys[0])
        return [*map(self.read, keys)]
