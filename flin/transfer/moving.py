"""Moving the keys of a running server into a target, so that it can be interrupted; and comparing both at the end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple, Protocol

from flin.rdb.value import Stream, Value
from flin.transfer.place import Place
from flin.transfer.record import Library
from flin.transfer.sample import Sample
from flin.transfer.server_source import BEGINNING, PIPELINE_BYTES, Page, ServerSource, value_of

SAVED_SECONDS: Final = 2.0
"""How much work an interruption costs; a sync of the target takes some milliseconds."""

SAMPLE_KEYS: Final = 1000
"""An error in one key of a thousand is found with a probability of 63 %, in one of a hundred always."""


class Target(Protocol):
    @property
    def added(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    def count(self, database: int) -> int: ...
    def put(self, page: Page) -> None: ...
    def settle(self) -> None: ...
    def add_library(self, library: Library) -> None: ...
    def values(self, database: int, keys: list[bytes]) -> list[Value | None]: ...


class _Sampled(NamedTuple):
    """A key whose value is compared."""

    database: int
    key: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What source and target have at the end."""

    source_keys: int
    target_keys: int
    compared: int
    """Sampled keys that both have."""
    missing: list[tuple[int, bytes]]
    """Sampled keys that the source still has and the target has not."""
    different: list[tuple[int, bytes]]


class Move:
    """`run`, then `compare`. `keys` counts those that came, perhaps twice, `expiring` those among them that expire."""

    def __init__(
        self, source: ServerSource, target: Target, place: Place, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source: Final = source
        self._target: Final = target
        self._place: Final = place
        self._clock: Final = clock
        self._sample: Final = Sample[_Sampled](SAMPLE_KEYS, random.Random())
        self.keys = place.keys
        self.expiring = place.expiring

    def run(self) -> None:
        """Move all, from the place on. What the source or the target raises: then the place was saved."""
        for library in self._source.libraries():
            self._target.add_library(library)
        saved_at = self._clock()
        for page in self._pages():
            self._target.put(page)
            self._note(page)
            if self._clock() - saved_at >= SAVED_SECONDS:
                self._save()
                saved_at = self._clock()
        self._save()

    def _pages(self) -> Iterator[Page]:
        place = self._place
        for database in self._source.databases:
            if database in place.done:
                continue
            if database != place.database:
                place.database, place.cursor = database, BEGINNING.decode()
            yield from self._source.pages(database, place.cursor.encode())
            place.done.append(database)

    def _note(self, page: Page) -> None:
        self._place.cursor = page.cursor.decode()
        self.keys += len(page.dumped)
        self.expiring += sum([each.expires_at_ms > 0 for each in page.dumped])
        self._sample.add(len(page.dumped), lambda place: _sampled(page, place))

    def _save(self) -> None:
        self._target.settle()
        self._place.keys, self._place.expiring = self.keys, self.expiring
        self._place.save()

    def compare(self) -> Comparison:
        missing, different, compared = [], [], 0
        for database, keys in _portions(sorted(self._sample.items)):
            there = self._target.values(database, keys)
            for key, before, after in zip(keys, self._source.values(database, keys), there, strict=True):
                if before is None:
                    continue
                if after is None:
                    missing.append((database, key))
                elif in_order(value_of(before, "the source")) == in_order(after):
                    compared += 1
                else:
                    different.append((database, key))
        return Comparison(
            sum(map(self._source.count, self._source.databases)),
            sum(map(self._target.count, self._source.databases)),
            compared,
            missing,
            different,
        )


def _sampled(page: Page, place: int) -> _Sampled:
    dumped = page.dumped[place]
    return _Sampled(page.database, dumped.key, len(dumped.payload))


def _portions(sampled: list[_Sampled]) -> Iterator[tuple[int, list[bytes]]]:
    """Keys of one database whose values lie in memory together, twice: a long one by itself."""
    for database, found in groupby(sampled, key=lambda each: each.database):
        keys: list[bytes] = []
        size = 0
        for each in found:
            if keys and size + each.size > PIPELINE_BYTES:
                yield database, keys
                keys, size = [], 0
            keys.append(each.key)
            size += each.size
        yield database, keys


def in_order(value: Value) -> Value:
    """The value, the groups of a stream by name: their order means nothing."""
    if not isinstance(value, Stream):
        return value
    groups = sorted(value.groups, key=lambda group: group.name)
    return Stream(value.entries, value.last_id, value.max_deleted_id, value.entries_added, groups)
