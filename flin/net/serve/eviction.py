"""Eviction: while the data takes more than `maxmemory`, keys are deleted as the policy says, or writes are refused.

What takes long, or may wait for the disk, is done by a reader thread: measuring the data, and choosing keys from a
random sample. On the loop each chosen key is looked at once more, in memory alone: it must be as it was when it was
chosen, and not have been used since. It goes as by DEL, so a collection goes whole, clients' caches and WATCH learn of
it, and the reaper deletes the pieces.

The engine says so each time that a sixty-fourth of the limit was written, so this keeps up with writers; beyond an
eighth above the limit the loop waits for the thread, or does its part itself, and clients wait for that.

The use of keys is noted only while a policy asks for it: by the reads and writes of the keyspaces. What is read from
cached replies and objects in memory is not: such a key is spared once, and taken out of there.
"""

from __future__ import annotations

import logging
import time
from threading import Event
from typing import TYPE_CHECKING, Final, NamedTuple

from flin.engine.entry import Live
from flin.engine.eviction.candidates import Candidates, expiry_of
from flin.engine.eviction.data_size import DataSize, entry_bytes
from flin.engine.eviction.policy import POLICIES, Policy, victims
from flin.engine.eviction.worth import STEPS, Worth, slots_for
from flin.engine.key import namespace_of, namespace_prefix
from flin.engine.read.read_path import from_memtables
from flin.errors import CorruptionError, FlinError
from flin.net.data.database_keys import user_part
from flin.net.wire.replies import OUT_OF_MEMORY
from flin.objects.copying import maybe_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flin.engine.boundaries import Boundaries
    from flin.engine.entry import Entry
    from flin.engine.options import EvictionPolicy
    from flin.engine.read.read_state import ReadState
    from flin.engine.tree.store import Store
    from flin.net.data.keyspace import Keyspace
    from flin.net.run.services import Services
    from flin.net.serve.cold import ColdReads

logger = logging.getLogger(__name__)

REDIS_POLICIES: Final[Mapping[bytes, EvictionPolicy]] = {
    b"allkeys-lru": "least-recently-used",
    b"allkeys-lfu": "least-frequently-used",
    b"allkeys-random": "random",
    b"volatile-lru": "volatile-least-recently-used",
    b"volatile-lfu": "volatile-least-frequently-used",
    b"volatile-random": "volatile-random",
    b"volatile-ttl": "soonest-expiring",
}
"""The engine's names of Redis's policies, but noeviction."""

MIN_STEP_BYTES: Final = 4096
DOWN: Final = 4
"""Steps of a sixty-fourth below the limit down to which it evicts, as the engine's evictor does."""

FAR: Final = 8
"""Steps above the limit from which on the loop evicts by itself."""

FAR_SECONDS: Final = 0.05
"""So long at once: clients wait that long."""

CHOSEN: Final = 512
"""Keys of one plan: 3 ms on the loop."""

MAX_STRETCHES: Final = 64
MAX_VAIN: Final = 8
"""Plans in a row by which nothing could go, until writes are refused."""

MAX_LOOKS: Final = 8
"""Samples of data that does not change, while writes are refused. Where neighbours were deleted a sample is wrong by a
tenth; if nothing was written afterwards, one would refuse writes for good."""

CAUSE: Final = "maxmemory"


class Victim(NamedTuple):
    key: bytes  # stored
    entry: Live  # as it was when it was chosen
    rank: int  # what it was worth, or when it expires


class Eviction:
    """The eviction of one server."""

    def __init__(
        self, services: Services, store: Store, cold: ColdReads, wake: Callable[[Callable[[], None]], object]
    ) -> None:
        """wake: the loop's call_soon_threadsafe."""
        self._services = services
        self._store = store
        self._cold = cold
        self._wake = wake
        self._size: DataSize  # made when there is a limit
        self._settings: tuple[int, bytes] = (0, b"noeviction")
        self._policy: Policy | None = None  # None: nothing is evicted
        self._worth: Worth | None = None
        self._candidates: Candidates | None = None
        self._plan: list[Victim] = []
        self._planned_at = 0  # the position when the plan was made
        self._flushes = 0  # of the state that it was made from
        self._vain = 0
        self._is_closed = False
        self._is_busy = False  # a thread is at work
        self._made = Event()  # it is done
        self._looked_at = 0
        self._is_called = False  # `step` will be, for growth
        self._refused_at = -1  # the position at which nothing could go
        self._looks = 0  # samples at this position
        self._evicted_at = -1  # the position of the last evictions, until their batch is committed
        self._has_spared = False  # a key that would have gone was in memory
        self._has_pieces = False  # collections were evicted whose pieces are still there

    def close(self) -> None:
        """No more evictions."""
        self._is_closed = True
        if self._settings[0]:
            self._store.listeners.on_growth = None

    @property
    def limit(self) -> int:
        return self._services.config.maxmemory

    def step(self) -> None:
        """Ten times a second, and after each step of growth; on the loop."""
        self._is_called = False
        if self._is_closed:
            return
        config = self._services.config
        settings = config.maxmemory, config.maxmemory_policy
        if settings != self._settings:
            self._use(*settings)
        if not config.maxmemory:
            return
        if self._is_busy:
            if self._store.position - self._looked_at > FAR * self._step_bytes:
                self._made.wait(FAR_SECONDS)
            return
        self._age()  # up to the position, about: so while a thread is at work, what is beyond `_looked_at` is new
        excess = self._size.bytes - config.maxmemory
        if excess <= 0:
            self._allow()
        elif not self._may_write() or self._has_seen(self._store.position):
            return
        elif excess > FAR * self._step_bytes and self._may_evict_now():
            self._evict_now()
        else:
            self._is_busy = True
            self._made.clear()
            self._cold.submit(self._make_plan_aside, self._planned)

    def _use(self, limit: int, policy: bytes) -> None:
        """From now on this limit and policy are in force."""
        self._settings = limit, policy
        services, store = self._services, self._store
        name = REDIS_POLICIES.get(policy) if limit else None
        self._policy = None if name is None else POLICIES[name]
        self._worth = self._candidates = None
        if self._policy is not None:
            self._worth = self._policy.make_worth(slots_for(limit, services.config.options.memory_limit))
            stop = namespace_prefix(len(services.databases.keyspaces))
            self._candidates = Candidates(store.options.random_bytes(8), b"", stop, volatile=self._policy.volatile)
        if limit:
            self._size = DataSize(store)
        store.listeners.growth_bytes = self._step_bytes
        store.listeners.on_growth = self._grown if limit else None
        for keyspace in services.databases.keyspaces:
            keyspace.note_uses(self._worth if self._policy is not None and self._policy.heeds_reads else None)
        services.pending.journals[:] = [each for each in services.pending.journals if each is not self]
        if self._worth is not None:
            services.pending.journals.append(self)
        self._looked_at, self._vain, self._refused_at = store.position, 0, -1
        if not limit:
            services.room.allow(CAUSE)

    @property
    def _step_bytes(self) -> int:
        return max(MIN_STEP_BYTES, self.limit // STEPS)

    def note(self, pending: Mapping[bytes, Entry], deleted: Boundaries) -> None:
        """A batch is about to be committed: the journal that the pending batch knows."""
        if self._worth is not None:
            self._worth.all_stored(pending)

    def _grown(self, position: int) -> None:
        """By the engine, in the middle of a commit."""
        if position - self._looked_at >= self._step_bytes and not self._is_called:
            self._is_called = True
            self._wake(self.step)

    def _age(self) -> None:
        steps = (self._store.position - self._looked_at) // self._step_bytes
        self._looked_at += steps * self._step_bytes
        if self._worth is not None:
            for _ in range(min(STEPS, steps)):
                self._worth.age()

    def _allow(self) -> None:
        self._vain, self._refused_at = 0, -1
        self._services.room.allow(CAUSE)

    def _may_evict_now(self) -> bool:
        """Not while writes are refused: then nothing grows, and what was deleted may make room, which is measured."""
        is_refused = self._refused_at >= 0
        return self._policy is not None and self._size.is_known and not self._has_pieces and not is_refused

    def _has_seen(self, position: int) -> bool:
        """Another look would find the same."""
        return position == self._evicted_at or (position == self._refused_at and self._looks >= MAX_LOOKS)

    def _may_write(self) -> bool:
        services = self._services
        return services.long_script.job is None and services.clients.takes_writes()

    # In a reader thread.

    def _make_plan_aside(self) -> None:
        try:
            self._make_plan()
        finally:
            self._made.set()

    def _make_plan(self) -> None:
        """Measure the data, and choose keys if it takes too much."""
        self._planned_at = self._store.position  # before the state, so that no later write is missed
        state = self._store.freeze()
        try:
            # While writes are refused, what is written are deletions, and their size tells nothing of what they delete.
            self._size.measure(state, counts_alone=self._refused_at not in (-1, self._planned_at))
        except FlinError as error:
            self._note(error)
        self._choose(state)

    def _choose(self, state: ReadState) -> None:
        store, size, policy, worth, candidates = self._store, self._size, self._policy, self._worth, self._candidates
        self._plan = []
        self._flushes = state.flushes
        excess = size.bytes - self.limit
        if candidates is None or policy is None or worth is None or excess <= 0:
            return
        wanted = min(CHOSEN, 1 + int((excess + DOWN * self._step_bytes) / size.mean_entry_bytes))
        samples = self._services.config.maxmemory_samples
        try:
            sample = candidates.sample(candidates.places(state), wanted * samples, MAX_STRETCHES)
            for key, rank in victims(policy, worth, sample, samples, wanted).items():
                entry = store.read(key, values=False)
                if entry is not None and (not policy.volatile or expiry_of(entry)):
                    self._plan.append(Victim(key, entry, rank))
                else:
                    worth.evicted([key])
        except FlinError as error:
            self._note(error)

    def _note(self, error: FlinError) -> None:
        if isinstance(error, CorruptionError):  # the rest of the data is sampled the next time
            self._services.damage.note(error)
        else:
            logger.error("no keys could be chosen for eviction: %s", error)

    # On the loop.

    def _planned(self) -> None:
        self._is_busy = False
        if not self.limit or self._is_closed:
            return
        if self._size.bytes <= self.limit:
            self._allow()
            self._has_pieces = False
            return
        if self._has_pieces and any(keyspace.objects.gone for keyspace in self._services.databases.keyspaces):
            return  # the reaper makes room
        self._has_pieces = False
        self._carry_out()
        self._go_on()

    def _evict_now(self) -> None:
        """What the thread and `_carry_out` do, for a while. It measures once: until the batch is committed, a measure
        would find again what was evicted."""
        ends = time.perf_counter() + FAR_SECONDS
        self._make_plan()
        while self._size.bytes > self.limit and self._carry_out() and time.perf_counter() < ends:
            self._choose(self._store.freeze())
        self._go_on()

    def _go_on(self) -> None:
        """After the end of the tick."""
        if self._size.bytes > self.limit and self._vain < MAX_VAIN:
            self._wake(self.step)

    def _carry_out(self) -> int:
        """Delete the keys of the plan that are as they were. Returns how many."""
        services, position = self._services, self._store.position
        plan, self._plan = self._plan, []
        if not self._may_write() or services.pending.in_transaction or self._store.state.flushes != self._flushes:
            return 0  # what was written since the plan may lie in a table by now
        self._has_spared = False
        number, goal = 0, self.limit - DOWN * self._step_bytes
        for victim in plan:
            number += self._evict(*victim)
            if self._has_pieces and self._size.bytes <= goal:  # the plan took it for one entry
                break
        services.counters.evicted_keys += number
        if number:
            self._allow()
            self._evicted_at = position
            services.tick.schedule_end()
            return number
        if self._has_spared:
            return 0
        self._vain += 1
        if self._policy is None or self._vain >= MAX_VAIN:  # once refused, each plan after the next write decides
            services.room.refuse(CAUSE, OUT_OF_MEMORY)
            self._looks = self._looks + 1 if self._refused_at == self._planned_at else 1
            self._refused_at = self._planned_at
        return 0

    def _evict(self, stored: bytes, entry: Live, rank: int) -> bool:
        """Delete one key, if it may go."""
        services, worth, policy = self._services, self._worth, self._policy
        keyspace = self._keyspace_of(stored)
        if keyspace is None or worth is None or policy is None or self._has_changed(stored, entry):
            return False
        key = user_part(stored)
        found = keyspace.live.get(key)
        if found is not None and found.is_dirty:
            return False
        if policy.heeds_reads and self._was_in_memory(keyspace, key):
            worth.read(stored)
            self._has_spared = True
        if not policy.by_expiry and worth.of(stored) > rank:
            return False
        keyspace.note_gone(entry)
        spread = maybe_spread(entry)
        if spread is not None:
            self._has_pieces = True
            about = spread.count * self._size.mean_entry_bytes
            self._size.evicted(about, about)
        keyspace.delete(key)
        services.notifications.tell(b"evicted", key, keyspace.database)
        worth.evicted([stored])
        self._size.evicted(entry_bytes(stored, entry))
        return True

    def _was_in_memory(self, keyspace: Keyspace, key: bytes) -> bool:
        """Whether there was a cached reply or an object of the key. Reads that find one are not noted, so it counts as
        used, once: the next read has to look it up."""
        hot, objects = keyspace.hot, keyspace.objects
        if key in hot.young or key in hot.old or key in objects.live or key in objects.old:
            hot.discard(key)
            objects.drop(key)
            return True
        return False

    def _has_changed(self, stored: bytes, entry: Live) -> bool:
        """Whether it may have been written since it was read for the plan: then the batch or a memtable says so."""
        pending, state = self._services.pending, self._store.state
        if stored in pending.points or pending.ranges:
            return True
        found = from_memtables(state, state.shard_of(stored), stored)
        return found is not None and found is not entry

    def _keyspace_of(self, stored: bytes) -> Keyspace | None:
        namespace = namespace_of(stored)
        for keyspace in self._services.databases.keyspaces:
            if keyspace.namespace == namespace:
                return keyspace
        return None
