"""What the server asks of the engine, as a protocol: the engine's store has this shape, and so has the tests' fake.

Keys and pages here hold stored keys (engine/key.py). The caller decides expiry, except where a method says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from flin.engine.entry import Entry, Page, Range


class Stall(Protocol):
    """Whether writers must wait for flushes and compactions: not at all, for a moment each, or until it is over."""

    @property
    def delay_seconds(self) -> float: ...

    @property
    def stopped(self) -> bool: ...

    @property
    def reason(self) -> str: ...


class StoreLike(Protocol):
    holds_sweep: bool
    """While it is true, expired keys are not deleted."""

    awaits_filters: bool
    """While it is true, `read_nowait` raises ColdRead for parts of filters, too, that are not in memory."""

    @property
    def position(self) -> int:
        """The position in the WAL: everything committed so far lies below it."""

    @property
    def synced_position(self) -> int: ...

    @property
    def read_only_reason(self) -> str | None: ...

    def make_read_only(self, reason: str) -> None:
        """Refuse writes from now on; the first reason stays. Any thread."""

    @property
    def background_error(self) -> BaseException | None:
        """Why flushes and compactions fail, while they do: then a stall does not end by itself."""

    def read(self, key: bytes, *, values: bool = True) -> Entry | None:
        """The newest entry, live or expired, never TOMBSTONE. May wait for the disk. Without `values` it may have a
        pointer in the place of its value."""

    def read_nowait(self, key: bytes, *, values: bool = True) -> Entry | None:
        """What `read` gives; raises ColdRead instead of waiting."""

    def newest_entries(self) -> Mapping[bytes, Entry] | None:
        """The dict that the next commit goes to, for immediate lookups: nothing is known of keys that it does not hold.
        None: there are several such dicts."""

    def older_entries(self, keys: Sequence[bytes]) -> Sequence[Entry | None]:
        """What memory holds at keys that `newest_entries` lacks: bytes are the newest value; of anything else `read`
        knows whether it is still so."""

    def in_tables(self, keys: Sequence[bytes], *, values: bool = True) -> Sequence[Entry | None]:
        """What `read_nowait` gives for keys of which neither of these says anything, up to the first whose lookup
        would wait, or fails: then there are fewer."""

    def read_near(self, keys: Sequence[bytes], *, nowait: bool = False) -> Sequence[Entry | None]:
        """What `read` gives for each of some ascending keys with few others between them, all of one shard. nowait:
        ColdRead instead of a wait."""

    def commit(self, batch: dict[bytes, Entry], ranges: Sequence[Range] = ()) -> int:
        """Write one WAL frame, then apply it; the ranges are older than the entries. Keeps no reference to the batch.

        Returns the WAL position after the frame; raises StorageError or ReadOnlyError, and then nothing happened.
        """

    def put(self, key: bytes, value: bytes) -> int:
        """Do what `commit` does for one plain value, in half the time: a server with one client that writes."""

    def sync(self) -> None:
        """Make everything committed durable. Blocks; any thread; StorageError."""

    def freeze(self) -> Any:
        """The present state, for `pages`."""

    def pages(
        self, state: Any, start: bytes, stop: bytes, reverse: bool = False, *, values: bool = True
    ) -> Iterator[Page]:
        """Pages of live and expired entries from start (inclusive) to stop (exclusive), without tombstones. Without
        `values` an entry may have a pointer in the place of its value: it tells its expiry and tag alone."""

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False, nowait: bool = False) -> Page:
        """The first `count` live entries of [start, stop), or the last ones, downwards; fewer only if there are no
        more. nowait: ColdRead where it would wait."""

    def count(self, namespace: int = 0, budget: int | None = None, state: Any = None) -> int | None:
        """The exact number of keys in a frozen state, or now; None when the budget of lookups did not suffice: call
        again. May wait for files, unless `settle` was called for the state or nothing is
        unsettled."""

    def settle(self, state: Any) -> None:
        """Count what no merge has counted yet. Takes seconds; any thread."""

    def uncounted_entries(self) -> int:
        """How many entries `count` would look at now, in tables and in memory."""

    def count_ahead(self) -> None:
        """Count what is uncounted. Takes seconds; any thread."""

    def unsettled_entries(self) -> int:
        """How many entries of tables no merge has counted yet: `count` must look at so many."""

    def settled_count(self, namespace: int = 0) -> int:
        """The exact number of keys without what no merge has counted yet. At once."""

    @property
    def block_misses(self) -> int:
        """How many blocks were read that were not in the block cache; about right."""

    def lend_blocks(self, size_bytes: int) -> None:
        """The block cache does with so much less: whoever asks has it."""

    def stall(self) -> Stall: ...

    def now_ms(self) -> int: ...
