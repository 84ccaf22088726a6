"""What a cluster asks of etcd, as values: keys with revisions, transactions, watches.

A revision counts the changes of the whole store: each transaction that changes anything has the next one.
`memory_key_value.py` is a store in memory.

An operation that ends with Unavailable may have been executed, may not, or may yet be: the answer is what is missing.
So everything here is written to be asked for again: a transaction compares what it rests on, and its failure branch
gets what is there instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from flin.errors import FlinError

LATEST: Final = 0
"""As the revision of a `get`."""


class Pair(NamedTuple):
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    """1 for the put that made the key, and one more for each after it."""


class Put(NamedTuple):
    key: bytes
    value: bytes


class Delete(NamedTuple):
    """The key, or all keys from it up to (without) `end`."""

    key: bytes
    end: bytes = b""


class Get(NamedTuple):
    """The key, or all keys from it up to (without) `end`, in ascending order, at most `limit` of them (0: all); with
    `keys_only` their values are empty."""

    key: bytes
    end: bytes = b""
    limit: int = 0
    keys_only: bool = False


Operation: TypeAlias = Put | Delete | Get


class ModRevision(NamedTuple):
    """True if the key was last changed by revision `equals`; with 0, if there is no such key."""

    key: bytes
    equals: int


class Found(NamedTuple):
    pairs: tuple[Pair, ...]
    revision: int
    """The store's newest, when it was read."""
    more: bool
    """The limit has cut pairs off."""


class Outcome(NamedTuple):
    succeeded: bool
    """All comparisons were true, so the first branch ran."""
    revision: int
    """The store's newest after it; that of its puts, if it has any."""
    found: tuple[Found, ...]
    """What the Gets of the branch that ran have found, in their order. They see the operations before them."""


class Event(NamedTuple):
    """A key was put, or deleted; then the pair has its key and the revision of the deletion, the rest is empty."""

    pair: Pair
    is_delete: bool = False


class WatchBatch(NamedTuple):
    """Changes in the order of their revisions. Those of one revision always come together."""

    events: tuple[Event, ...]
    revision: int
    """All up to this one has been told: a watch that goes on begins at the next."""


class KeyValueError(FlinError):
    """Something that was asked of the cluster's store was not done, as far as is known."""


class Unavailable(KeyValueError):
    """There was no answer in time, or none that decides: whether it was, or will be, executed is not known. Asking for
    the same again is right."""


class Compacted(KeyValueError):
    """What was asked for is older than what is kept. `revision` is the first that can still be had, or 0: that was not
    said (etcd says it to watches only)."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the history before revision {revision} is compacted" if revision else "it is compacted")
        self.revision = revision


class NoSpace(KeyValueError):
    """The store is full: nothing can be put, and this was not. Deleting, compacting and defragmenting make room."""


class Refused(KeyValueError):
    """The store never does this: the request is too large, puts a key twice, or comes from one who has no right."""


Receive: TypeAlias = Callable[[WatchBatch | KeyValueError], None]
"""Told each batch of a watch; an error is the last that it is told."""


class Watch(Protocol):
    def cancel(self) -> None:
        """The receiver is told nothing more once this has returned: it waits for a call under way, unless it is made
        from within that. May be called again."""


class KeyValueStore(Protocol):
    """One client. All calls may be made from any thread; they wait, for `timeout` seconds at most.

    Each may raise Unavailable; Refused is a mistake of the caller."""

    def get(
        self,
        key: bytes,
        end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = LATEST,
        serializable: bool = False,
        timeout: float,
    ) -> Found:
        """The pairs as of a revision. It sees all that was answered before it began, unless `serializable` is given:
        then one member says what it knows, which may be old. Raises Compacted; Unavailable for a future revision."""

    def txn(
        self, compares: Sequence[ModRevision], success: Sequence[Operation], failure: Sequence[Operation] = (), *,
        timeout: float,
    ) -> Outcome:  # fmt: skip
        """Run one of the branches, as one step. Raises NoSpace, if either branch has a put."""

    def watch(self, key: bytes, end: bytes, revision: int, receive: Receive) -> Watch:
        """Tell of all changes of the key, or the range, from a revision on (that of a list, and one more). A thread of
        the watch makes the calls, one after the other; while one lasts, nothing is lost. It outlives broken
        connections. It ends with Compacted if changes that it should tell of are gone, else with Refused. What
        `receive` raises ends it, and is logged."""

    def compact(self, revision: int, *, timeout: float) -> None:
        """Forget what was before a revision: values that were overwritten by then, and changes. Idempotent. Unavailable
        for a future revision."""

    def close(self) -> None:
        """End all watches, without a word to their receivers, and all calls under way (Unavailable)."""


def prefix_end(prefix: bytes) -> bytes:
    """The end of the range of all keys with a prefix. `b"log/"` gives `b"log0"`."""
    kept = prefix.rstrip(b"\xff")
    if not kept:
        raise ValueError("there is no key after all keys with this prefix")
    return kept[:-1] + bytes([kept[-1] + 1])
