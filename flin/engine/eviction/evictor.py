"""The evictor: keeps the data of a store about as large as its limit, by deleting keys with ordinary commits.

It looks whenever a sixty-fourth of the limit was written (Listeners.on_growth), in a thread of its own, and evicts down
to DOWN such steps below the limit. Writers that are far ahead of it evict themselves: so the data never grows by more
than MAX_BEHIND steps, however fast they write. Without threads (the inline runner) they always do.

Of a limit L the data takes between 15/16 L and 9/8 L, give or take the
error of its measure (data_size.py), a few percent; one commit may be
larger than all that. The files take more: what was deleted stays until a merge.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from threading import RLock
from typing import Any, Final

from flin.engine.background.bell import Bell
from flin.engine.entry import Live
from flin.engine.eviction.candidates import Candidates, expiry_of
from flin.engine.eviction.data_size import DataSize, entry_bytes
from flin.engine.eviction.limited_store import LimitedStore
from flin.engine.eviction.policy import victims
from flin.engine.eviction.worth import STEPS
from flin.engine.key import USER_END
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, is_held, is_reentered
from flin.errors import FlinError

MAX_BEHIND: Final = 8
"""Steps that the thread may be behind: an eighth of the limit."""

DOWN: Final = 4
"""Steps below the limit down to which it evicts, so that it need not measure the data at each step."""

MIN_STEP_BYTES: Final = 4096

SAMPLES: Final = 5
"""One of so many candidates goes, as by default in Redis. They are ranked hundreds at once, so these are the fifth that
deserves it: of single draws of five, only the average is."""

COMMIT_KEYS: Final = 64
"""Keys of one commit, as of a sweep: each is read again under the commit lock."""

MAX_STRETCHES: Final = 32
"""Stretches of one sample: those of a small database hold the same keys."""

MAX_VAIN: Final = 8
"""Samples in a row without any key that may go, until the evictor gives up: nearly all of what files hold is dead, or
nothing may go. It tries again at the next step."""


NO_EVICTION: Final = {"limit_bytes": 0, "data_bytes": 0, "evicted_keys": 0, "evicted_bytes": 0}
"""The figures of a store without a limit."""


class Evictor:
    """The eviction of one open store."""

    def __init__(self, store: LimitedStore, note_failure: Callable[[BaseException], None], *, threads: bool) -> None:
        self.bell: Final = Bell()
        self.evicted_keys = 0
        self.evicted_bytes = 0
        self._store = store
        self._note_failure = note_failure
        self._threads = threads
        self._limit = store.options.size_limit_bytes
        self._step_bytes = max(self._limit // STEPS, MIN_STEP_BYTES)
        self._policy = store.policy
        self._candidates = Candidates(store.options.random_bytes(8), b"", USER_END, volatile=store.policy.volatile)
        self._size = DataSize(store)
        self._turn = RLock()
        self._looked_at = store.position  # when the thread was last told to look
        self._done_at = store.position  # what the last step looked at
        store.listeners.growth_bytes = self._step_bytes
        store.listeners.on_growth = self._grown

    def statistics(self) -> dict[str, Any]:
        return {
            "limit_bytes": self._limit,
            "data_bytes": self._size.bytes,
            "evicted_keys": self.evicted_keys,
            "evicted_bytes": self.evicted_bytes,
        }

    def _grown(self, position: int) -> None:
        if position - self._looked_at < self._step_bytes or is_held(self._turn):  # or it is its own commit
            return
        self._looked_at = position
        if self._threads:
            self.bell.ring()
            if position - self._done_at < MAX_BEHIND * self._step_bytes:
                return
        if is_reentered(levels=3):  # this, _maybe_seal and the write
            return
        try:
            self.step()
        except FlinError as error:  # the write itself is done
            self._note_failure(error)

    @holds_lock
    def step(self) -> bool:
        """Evict what is too much. Returns False: all is done."""
        with self._turn:
            store, size = self._store, self._size
            position = store.position
            for _ in range(min(STEPS, (position - self._done_at) // self._step_bytes)):
                store.worth.age()
            self._done_at = position
            if size.bytes > self._limit:
                state = store.freeze()
                size.measure(state)
                if size.bytes > self._limit:
                    self._evict_down_to(state, self._limit - DOWN * self._step_bytes)
        return False

    def _evict_down_to(self, state: ReadState, goal: int) -> None:
        size = self._size
        places = self._candidates.places(state)
        vain = 0
        while places and size.bytes > goal and vain < MAX_VAIN and not self._store.closed:
            sample = self._candidates.sample(places, COMMIT_KEYS * SAMPLES, MAX_STRETCHES)
            wanted = ceil((size.bytes - goal) / size.mean_entry_bytes)
            vain = 0 if self._evict(sample, wanted) else vain + 1

    def _evict(self, sample: dict[bytes, Live], wanted: int) -> int:
        """Evict the least worthy of a sample, at most so many. Returns how many."""
        worth, by_expiry, volatile = self._store.worth, self._policy.by_expiry, self._policy.volatile
        chosen = victims(self._policy, worth, sample, SAMPLES, wanted)

        def may_go(key: bytes, entry: Live) -> bool:
            """As when it was chosen: neither used nor written since. A collection stays, which may have pieces."""
            if type(entry) is tuple and entry[2]:
                return False
            expiry = expiry_of(entry)
            if volatile and not expiry:
                return False
            return (expiry if by_expiry else worth.of(key)) <= chosen[key]

        number = 0
        keys = list(chosen)
        for start in range(0, len(keys), COMMIT_KEYS):
            some = keys[start : start + COMMIT_KEYS]
            before = self._store.position
            evicted = self._store.evict(some, may_go)
            self._size.forget_own_writes(self._store.position - before)
            worth.evicted(key for key in some if worth.of(key) <= chosen[key])  # the dead ones, too
            size = sum(entry_bytes(key, entry) for key, entry in evicted.items())
            number += len(evicted)
            self.evicted_keys += len(evicted)
            self.evicted_bytes += size
            self._size.evicted(size)
        return number
