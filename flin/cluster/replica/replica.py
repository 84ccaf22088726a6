"""A replica: it follows the log of its group, leads the group when its turn comes, and ends when it has led. It has a
process of its own (replica_process.py).

    opens the replica, lists the map ─► a server that follows ─► applies the log ──────────────► SIGTERM: ends, code 0
                                                                    │ its claim succeeds, or it is handed the group
                                                                    ▼
                      applies the log to its end ─► that server ends, one that leads begins, on the same sockets
                                                                    │
                    SIGTERM: hands over, ends, code 0 ◄─────────────┼────► fenced, or its place is taken: ends, code 75
                                                                    ▼
             another one is preferred: hands over. All that it wrote is in the log for certain: follows, on the same
                                                   sockets; else: ends, code 75

A server has one role for its life, so no cached reply, cursor or blocked client outlives a change. A process that has
led and cannot prove that its store holds nothing but the log ends; the supervisor starts the next one, which follows.

Blocking calls are made by threads: the pulse's, the log's, and the executor's. What they find is an event for `run`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from flin.cluster.etcd.key_value import Put
from flin.cluster.keys import AppliedValue, Keys
from flin.cluster.log.follower import index_in_tables
from flin.cluster.log.leader import GroupLog
from flin.cluster.log.log_bounds import FlushRule, append_delay
from flin.cluster.log.replicated_log import READ_SECONDS, Fence, ReplicatedLog, Truncated
from flin.cluster.replica.checkpoint_transfer import Ask, CheckpointTransfer
from flin.cluster.replica.choosing import choose_leader
from flin.cluster.replica.disk_room import room_of
from flin.cluster.replica.following import Applying
from flin.cluster.replica.lease import Lease
from flin.cluster.replica.map_view import MapView
from flin.cluster.replica.pulse import BEAT_SECONDS, Pulse
from flin.cluster.replica.replica_role import WorkerRole
from flin.cluster.replica.takeover import Myself, Place, Role
from flin.cluster.workers.assignment import ReplicaPlace
from flin.cluster.workers.fleet import ANEW
from flin.cluster.workers.ports import turn_away
from flin.engine.engine import Engine, store_of
from flin.engine.expiring import Expiring
from flin.engine.replica import open_replica
from flin.errors import ReadOnlyError, StorageError
from flin.net.cluster.topology import Node
from flin.net.run.alarms import has_no_room
from flin.net.serve.listeners import BoundSockets
from flin.net.serve.neighbours import Neighbours
from flin.net.server import Server
from flin.net.settings.options import ServerOptions

if TYPE_CHECKING:
    from flin.cluster.etcd.key_value import KeyValueStore
    from flin.net.server import Attend

logger = logging.getLogger(__name__)

HANDOVER_SECONDS: Final = 2.0
"""How long a leader tries to give its place away. Then it ends without: its lease is over anyway."""

LAST_APPEND_SECONDS: Final = 2.0
"""How long a leader that ends waits for etcd's answer to its last append."""


FAILED_SECONDS: Final = 5.0
"""A leader whose log has failed, and that nobody has replaced meanwhile, ends: there is an entry that is not its own,
and it would refuse all writes for ever. More than a few looks of its pulse: who is fenced sees by whom."""


class Turn(Enum):
    """What happens to a replica."""

    STOP = auto()
    """SIGTERM, SIGINT, SHUTDOWN, the end of the supervisor."""
    CHANGE = auto()
    """The role is another one."""
    CEDE = auto()
    """Another replica should lead."""


class Replica:
    """One run, on an event loop."""

    def __init__(
        self,
        options: ServerOptions,
        place: ReplicaPlace,
        store: KeyValueStore,
        bound: BoundSockets,
        *,
        attend: Attend | None = None,
        on_serve: Callable[[Server], None] = lambda server: None,
        on_ready: Callable[[], None] = lambda: None,
        on_endpoints: Callable[[Sequence[str]], None] = lambda endpoints: None,
        on_wait: Callable[[str], None] = lambda what: None,
        ask: Ask | None = None,
        neighbours: Neighbours | None = None,
        **engine_options: Any,
    ) -> None:
        """on_wait: told, in any thread, what it waits for before it is ready; a predicate. ask: asks other nodes for a
        copy, if the log does not go back far enough; None: that is an error then. on_serve: called with each server
        that begins. on_ready: called once, when clients are answered. on_endpoints: told where etcd's members are, in
        any thread. neighbours: to whom it passes on what is published; None: to nobody."""
        self.server: Server
        self._options = options
        self._worker = place
        self._etcd = store
        self._bound = bound
        self._attend = attend
        self._neighbours = neighbours
        self._on_serve = on_serve
        self._on_ready = on_ready
        self._on_wait = on_wait
        self._engine_options = engine_options
        keys = Keys(place.cluster)
        self.lease: Lease
        self.place: Place
        self._keys = keys
        self._begin_place()
        self._log = ReplicatedLog(store, keys, place.group)
        self.group_log = GroupLog(self._log)
        host, port, tls_port = options.cluster_announce_ip, options.port, options.tls_port or 0
        own = Node("", host, port or tls_port, 0, 0, tls_port)
        self.view = MapView(store, keys, place, own, self._wake, on_endpoints)
        self._applied = keys.applied(place.group, place.node), place.start
        self._stopped = threading.Event()
        self._transfer = None if ask is None else self._transfer_by(ask)
        self._flushes = FlushRule(place.groups)
        self._pulse: Pulse
        self._applying: Applying
        self.role: WorkerRole
        self.engine: Engine
        self._serving = AsyncExitStack()
        self._is_stopping = False
        self._failed_at = 0.0
        self._events: asyncio.Queue[Turn | Exception] = asyncio.Queue()

    # Life.

    async def run(self) -> int:
        """The exit code. Raises what opening, reading the log and applying it raise."""
        self._loop = asyncio.get_running_loop()
        self._on_wait("waits for etcd, of which a majority must answer: it has the cluster's map and the log")
        if not await asyncio.to_thread(self.view.begin):
            return 0
        engine = await asyncio.to_thread(self._open_above_floor)
        if engine is None:
            return 0
        self.engine = engine
        self._store = store_of(self.engine)
        self._prepare()
        try:
            await self._serve(is_leading=False)
            self._applying.begin(self.server)
            self._pulse.start()
            self._beat()
            self._on_ready()
            return await self._take_turns()
        except Truncated as error:
            if self._transfer is None:
                raise
            logger.warning("%s", error)
            return ANEW
        finally:
            self._set_stopping()
            self.lease.end()
            for end in (self.view.end, self._pulse.end, self._applying.end):
                await asyncio.to_thread(end)
            self.group_log.stop()
            await self._stop_serving()
            await self._close()
            if self._neighbours is not None:
                self._neighbours.close()

    def request_stop(self) -> None:
        """On the loop. Idempotent."""
        self._set_stopping()
        self.view.give_up()
        self._events.put_nowait(Turn.STOP)

    def _set_stopping(self) -> None:
        self._is_stopping = True
        self._stopped.set()

    async def _take_turns(self) -> int:
        while True:
            turn = await self._events.get()
            if isinstance(turn, Exception):
                raise turn
            if turn is Turn.STOP:
                await self._end_well()
                return 0
            if turn is Turn.CEDE:
                if not await self._cede():
                    return ANEW
            elif self.place.role is Role.ENDED:
                logger.warning("another node leads the group now")
                return ANEW
            elif self.place.role is Role.LEADING and not self.group_log.epoch and not await self._lead():
                return 0

    def _open(self) -> Engine:
        options = self._options
        return open_replica(
            options.dir,
            self.group_log,
            memory_limit=options.memory_limit,
            shards=options.shards,
            value_threshold=options.value_threshold,
            value_cache=False,
            stall_writers=False,
            clock_ms=self.group_log.clock_ms,
            **self._engine_options,
        )

    def _open_above_floor(self) -> Engine | None:
        """Opened, and the log has all that comes after it: if need be with a copy of another replica. None: it is to
        end."""
        engine, transfer = self._open(), self._transfer
        while transfer is not None:
            try:
                is_needed = transfer.is_needed(index_in_tables(store_of(engine)))
            except BaseException:
                engine.close(flush=False)
                raise
            if self._is_stopping or is_needed:
                engine.close(flush=False)
                if self._is_stopping or not transfer.take():
                    return None
                engine = self._open()
            else:
                transfer.forget()
                break
        return engine

    def _transfer_by(self, ask: Ask) -> CheckpointTransfer:
        place, (key, _) = self._worker, self._applied

        def hold(number: int) -> None:
            put = Put(key, AppliedValue(number, "").encode())
            self._etcd.txn((), (put,), timeout=READ_SECONDS)

        def refuse(number: int, why: str, needs_bytes: int) -> None:
            value = AppliedValue(number, "", has_room=False, refusal=why, needs_bytes=needs_bytes)
            self._etcd.txn((), (Put(key, value.encode()),), timeout=READ_SECONDS)

        return CheckpointTransfer(
            self._options.dir,
            place.group,
            place.node,
            self._log,
            ask,
            found=lambda: self.view.map,
            hold=hold,
            refuse=refuse,
            free=room_of(os.path.dirname(self._options.dir), self._options),
            pause=self._stopped.wait,
            tell=self._on_wait,
        )

    async def _close(self) -> None:
        try:
            await asyncio.to_thread(self.engine.close)
        except (StorageError, ReadOnlyError) as error:  # what the log does not have is lost, as its clients were told
            if self.place.role is not Role.ENDED:  # else it leads no more, and owes nothing
                logger.warning("the replica is closed as it is: %s", error)

    # Following.

    def _prepare(self) -> None:
        index = index_in_tables(self._store)
        self.group_log.note_applied(index, 0)
        self._applying = Applying(self._log, self.group_log, self._store, index, self._loop, self._tell)
        self._pulse = self._new_pulse()

    def _begin_place(self) -> None:
        """A lease that has ended is held no more, and a place has one turn to lead."""
        self.lease = Lease()
        self.place = Place(self._keys, Myself(self._worker.group, self._worker.node, self._worker.start), self.lease)

    def _new_pulse(self) -> Pulse:
        return Pulse(
            self._etcd,
            self.place,
            self._applied,
            clock=self.lease.clock,
            index=self._next_index,
            in_tables=self._in_tables,
            next_applied=lambda: self.group_log.index + 1,
            has_room=self._has_room,
            on_change=lambda: self._tell(Turn.CHANGE),
            on_failure=self._tell,
        )

    def _in_tables(self) -> int:
        """The number of the first entry that the tables do not hold."""
        return index_in_tables(self._store) + 1

    def _next_index(self) -> int:
        """The number of this leader's next entry; 0: it does not lead yet."""
        return self.group_log.index + 1 if self.group_log.epoch else 0

    def _has_room(self) -> bool:
        """Whether its disk takes writes, as far as is known. In any thread."""
        store = self._store
        is_writable = store.background_error is None and store.read_only_reason is None
        return is_writable and not has_no_room(self.server.services.health.vitals)

    def _maybe_target(self) -> tuple[str, str] | None:
        """To whom it gives its place, though it does not end."""
        return self.place.maybe_target(self.lease.clock(), has_room=self._has_room())

    def _take_over(self) -> None:
        """Somebody wants this replica to lead."""
        place = self._worker
        self._loop.run_in_executor(None, choose_leader, self._etcd, self._keys, place.group, place.node)

    def _tell(self, event: Turn | Exception) -> None:
        """In any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def _wake(self) -> None:
        """The map has another leader."""
        if hasattr(self, "_pulse"):
            self._pulse.wake()

    def _beat(self) -> None:
        """The loop runs."""
        if self._is_stopping:
            return
        self._pulse.beat()
        self.role.skew_ms = self._applying.skew.ms
        self.role.has_room = self._has_room()
        if self.group_log.failed is not None and self.place.role is Role.LEADING:
            self._pulse.wake()  # fenced: it will see by whom
            self._failed_at = self._failed_at or time.monotonic()
            if time.monotonic() - self._failed_at > FAILED_SECONDS:
                self._tell(self.group_log.failed)
        elif self._maybe_target() is not None:
            self._tell(Turn.CEDE)
        self.group_log.delay_seconds = append_delay(self.view.map.room.used_share)
        if self._flushes.is_due(self._applying.log_bytes + self.group_log.figures.bytes):
            with suppress(StorageError, ReadOnlyError):  # whatever keeps it from that is told by the next write
                self._store.seal()
                self._store.listeners.on_sealed()
        self._loop.call_later(BEAT_SECONDS, self._beat)

    # Leading.

    async def _lead(self) -> bool:
        """Apply the log to its end, then serve as the leader. False: it was told to end meanwhile."""
        began = time.monotonic()
        place, leader = self.place, self.place.leader
        assert leader is not None
        await asyncio.to_thread(self._applying.pause)
        caught_up = asyncio.ensure_future(asyncio.to_thread(self._applying.catch_up))
        while not caught_up.done():
            await asyncio.wait([caught_up], timeout=BEAT_SECONDS)
            if self._is_stopping:
                await asyncio.to_thread(self._applying.end)
        if not await caught_up or place.role is not Role.LEADING:
            return not self._is_stopping
        await self._stop_serving(for_good=False)
        self.group_log.lead(Fence(leader.epoch, place.leader_revision), self._applying.next_number)
        self.view.lead(leader)
        self._store.holds_sweep = False
        await self._serve(is_leading=True)
        self._pulse.wake()
        logger.info("leads the group, as epoch %d, after %.2f s", leader.epoch, time.monotonic() - began)
        return True

    async def _end_well(self) -> None:
        """Answer what was read, append it, and hand over, if there is a leader's place to give."""
        target = self.place.target(self.lease.clock())
        self._set_stopping()
        if self.place.role is not Role.LEADING:
            return
        giving_up = self._loop.call_later(LAST_APPEND_SECONDS, self.group_log.stop)
        await self._stop_serving()
        giving_up.cancel()
        if target is None:
            logger.warning("leaves the group without a leader: no other replica has just shown itself")
        await self._hand_over(target if self.group_log.failed is None else None)

    async def _cede(self) -> bool:
        """Give the place to the preferred replica, and follow it. False: this one must be opened anew for that."""
        target = self._maybe_target()
        if target is None:  # it has been told of that before
            return True
        if not self._has_room():
            why = self._store.read_only_reason or "its disk is full, or fails"
            logger.warning("%s: it gives the group to %s, which has room", why, target[0])
        giving_up = self._loop.call_later(LAST_APPEND_SECONDS, self.group_log.stop)
        await self._stop_serving(for_good=False)
        is_written = await self._append_the_last()
        is_led = self.group_log.failed is None
        is_logged = is_written and await asyncio.to_thread(self.group_log.follow)
        giving_up.cancel()
        if not is_logged:
            logger.warning("begins anew: not all that it wrote is known to be in the log")
            turn_away((*self._bound.plain, *self._bound.tls))
        is_handed_over = await self._hand_over(target if is_led else None)
        if is_logged and is_handed_over:
            await self._follow()
        return is_logged and is_handed_over

    async def _append_the_last(self) -> bool:
        """Once no client is served: leave the store with no writer, and append what was written. False: this cannot be
        done."""
        store = self._store
        if self.server.services.long_script.job is not None:  # it would write when it ends
            return False
        await asyncio.to_thread(store.hold_sweep)
        try:
            await asyncio.to_thread(store.sync)
        except (StorageError, ReadOnlyError) as error:
            logger.warning("the last writes are not known to be in the log: %s", error)
            return False
        return store.read_only_reason is None

    async def _hand_over(self, target: tuple[str, str] | None) -> bool:
        """End the lease, and give the place to this replica. Whether it is known that it has it."""
        place = self.place
        self.lease.end()
        await asyncio.to_thread(self._pulse.end)
        if target is None or place.role is not Role.LEADING:
            return False
        until = self.lease.clock() + HANDOVER_SECONDS
        is_known = await asyncio.to_thread(self._pulse.hand_over, target, until)
        logger.info("handed the group over to %s%s", target[0], "" if is_known else ", perhaps")
        return is_known and place.leader is not None and (place.leader.node, place.leader.start) == target

    async def _follow(self) -> None:
        """Follow whom the place was given to. The store holds what the log holds up to its index."""
        leader = self.place.leader
        assert leader is not None
        self._begin_place()
        self._pulse = self._new_pulse()
        self.view.follow(leader)
        self._store.listeners.on_expired = None
        await self._serve(is_leading=False)
        self._applying.resume(self.server, self.group_log.index)
        self._pulse.start()
        logger.info("follows %s, after entry %d", leader.node, self.group_log.index)

    # Serving.

    async def _serve(self, *, is_leading: bool) -> None:
        store, engine = self._store, self.engine
        own = self._worker, self.view, self.place, self.group_log, self.lease
        self.role = WorkerRole(is_leading, *own, take_over=self._take_over)
        bound = BoundSockets(
            *(tuple(each.dup() for each in sockets) for sockets in (self._bound.plain, self._bound.tls))
        )
        before = self.server if hasattr(self, "server") else None
        server = Server(self._options, store, bound, self._neighbours, self.role, before)
        if is_leading:
            await server.start(engine.stats, Expiring(store).steps, engine.compact, check=engine.verify)
            store.listeners.on_expired = server.reaping.note_expired
        else:
            await server.start(engine.stats, check=engine.verify)
        self.server = server
        self._on_serve(server)
        waiting = asyncio.ensure_future(server.wait())
        waiting.add_done_callback(lambda task: None if task.cancelled() else self.request_stop())
        self._serving.push_async_callback(_stop, server)
        self._serving.callback(waiting.cancel)
        if self._attend is not None:
            await self._serving.enter_async_context(self._attend(server, engine))

    async def _stop_serving(self, *, for_good: bool = True) -> None:
        if for_good and hasattr(self, "server"):
            self.server.listeners.close()
            turn_away((*self._bound.plain, *self._bound.tls))
        await self._serving.aclose()


async def _stop(server: Server) -> None:
    try:
        await server.stop()
    except StorageError as error:  # who waited for it was told
        logger.warning("the last writes are not known to be in the log: %s", error)
