"""The server's parts as handlers and dispatch reach them: one object, shared by every session.

It names no transport. `server.py` builds it around the engine's store, tests around a fake one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flin.net.access import acl_file
from flin.net.access.acl_file import AclFileError
from flin.net.access.denial_log import DenialLog
from flin.net.access.users import Users
from flin.net.batch.confirmed_store import ConfirmedStore, StrictBarrier
from flin.net.batch.pending import Pending
from flin.net.client.clients import Clients
from flin.net.client.counters import Counters
from flin.net.client.damage import Damage
from flin.net.client.latency import Latency
from flin.net.client.pause import Pause
from flin.net.client.room import Room
from flin.net.client.slowlog import Slowlog
from flin.net.command.registry import every_command
from flin.net.data.cursors import Cursors
from flin.net.data.databases import Databases
from flin.net.data.waiters import Waiters
from flin.net.messages.monitor import Monitors
from flin.net.messages.notifications import Notifications
from flin.net.messages.pubsub import PubSub
from flin.net.messages.tracking import Tracking
from flin.net.run.checking import Check, Checks
from flin.net.run.follower_gate import FollowerGate
from flin.net.run.health import Health
from flin.net.run.leased_tick import LeasedTick
from flin.net.run.long_script import LongScript
from flin.net.run.saving import Saving
from flin.net.run.slot_gate import SlotGate
from flin.net.run.tick import Tick, steady_ms
from flin.net.run.timed_tick import TimedTick
from flin.net.settings.options import ConfigError, ServerOptions

if TYPE_CHECKING:
    from flin.engine.expiring import ExpiringSteps
    from flin.net.batch.store import StoreLike
    from flin.net.cluster.role import ReplicaRole
    from flin.net.cluster.topology import Topology
    from flin.net.settings.config import Config


@dataclass(slots=True)
class Process:
    """What INFO shows of the process and its run."""

    started_at_seconds: int
    started_steady_ms: int
    event_loop: str = "asyncio"
    port: int = 0
    startup_memory_bytes: int = 0
    peak_memory_bytes: int = 0
    commands_per_second: int = 0
    input_bytes_per_second: int = 0
    output_bytes_per_second: int = 0
    run_id: str = field(default_factory=lambda: secrets.token_hex(20))


Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Services:
    store: StoreLike
    pending: Pending
    tick: Tick
    config: Config
    databases: Databases
    clients: Clients
    counters: Counters
    cursors: Cursors
    damage: Damage
    room: Room
    health: Health
    slowlog: Slowlog
    latency: Latency
    saving: Saving
    waiters: Waiters
    pubsub: PubSub
    users: Users
    denials: DenialLog
    pause: Pause
    monitors: Monitors
    notifications: Notifications
    tracking: Tracking
    long_script: LongScript
    process: Process
    slot_gate: SlotGate | None
    """None: it is no node of a cluster."""
    role: ReplicaRole | None
    """None: it is no replica."""
    stop: Callable[[], None]
    """SHUTDOWN."""
    engine_statistics: Callable[[], Mapping[str, Any]]
    expiring: Callable[[], ExpiringSteps]
    """Counts the keys with an expiry, for INFO."""
    checks: Checks
    parts: dict[type, Any] = field(default_factory=dict)

    def part(self, kind: Callable[[Services], Part]) -> Part:
        """The server's only one of a class that this floor does not know, made at the first need."""
        found: Part | None = self.parts.get(kind)  # type: ignore[call-overload]
        if found is None:
            found = self.parts[kind] = kind(self)  # type: ignore[index]
        return found

    @property
    def sync(self) -> str:
        """What replies wait for: a mode, or the log of a replica's group, whatever the mode is."""
        return self.config.options.sync if self.role is None else "log"

    def reset_counters(self) -> None:
        """CONFIG RESETSTAT."""
        self.counters.reset()
        self.damage.errors = 0
        self.databases.reset_counters()
        for command in every_command():
            command.reset_counters()


def nothing_to_do() -> None:
    pass


def no_expiries() -> ExpiringSteps:
    """The expiries of a store that knows none."""
    yield
    return {}


def load_users(options: ServerOptions, users: Users) -> None:
    """At the start. Raises ConfigError for a file that is none, with what is wrong in which line."""
    if options.requirepass:
        raise ConfigError("with an aclfile, requirepass has no effect: give the default user its password there")
    try:
        acl_file.load(options.aclfile, users)
    except AclFileError as error:
        raise ConfigError(f"the server does not start because of the aclfile: {error}") from error


def _users(config: Config, before: Users | None) -> Users:
    if before is not None:
        users = before.heir(lambda: config.has_all_channels_by_default)
    else:
        users = Users(config.initial_password, lambda: config.has_all_channels_by_default)
        if config.options.aclfile:
            load_users(config.options, users)
    config.on_password = users.set_default_password
    return users


def _pending(store: StoreLike, config: Config, role: ReplicaRole | None) -> Pending:
    if role is None:
        return Pending(store, is_always=config.options.sync == "always")
    config.bound_by_log()
    pending = Pending(store, is_always=role.is_leading)  # a leader's replies wait for the log
    if isinstance(store, ConfirmedStore):
        pending.reply_barrier = StrictBarrier(pending.points, pending.ranges)
    return pending


def _kind_of_tick(options: ServerOptions, role: ReplicaRole | None) -> Callable[..., Tick]:
    if role is not None and role.is_leading:
        return partial(LeasedTick, role)
    return TimedTick if options.http else Tick


def _gate(topology: Topology, options: ServerOptions, role: ReplicaRole | None) -> SlotGate:
    if role is None or role.is_leading:
        return SlotGate(topology, options.bind, role)
    return FollowerGate(topology, options.bind, role, options.max_lag * 1000)


def make_services(
    store: StoreLike,
    config: Config,
    call_soon: Callable[[Callable[[], None]], object],
    *,
    executor: Executor | None = None,
    wake: Callable[[Callable[[], None]], object] | None = None,
    steady_clock: Callable[[], int] = steady_ms,
    stop: Callable[[], None] = nothing_to_do,
    engine_statistics: Callable[[], Mapping[str, Any]] = dict,
    expiring: Callable[[], ExpiringSteps] = no_expiries,
    compact: Callable[[], None] = nothing_to_do,
    back_up: Callable[[], None] = nothing_to_do,
    check: Check = tuple,
    event_loop: str = "asyncio",
    startup_memory_bytes: int = 0,
    role: ReplicaRole | None = None,
    users: Users | None = None,
) -> Services:
    """call_soon, executor and wake are the tick's; executor and wake are needed only for the sync mode `always`. users:
    those of the server that was here before, in another role."""
    # They hear of a batch in this order: replies are judged with the gates as they are then.
    pending = _pending(store, config, role)
    databases = Databases(
        store, pending, config.databases, config.reply_cache_bytes, config.thresholds, config.largest_reply_bytes
    )
    counters = Counters()
    pubsub = PubSub(pending)
    users = _users(config, users)
    clients = Clients(store, pending, config, counters, pubsub, users)
    tick = _kind_of_tick(config.options, role)(
        store, pending, call_soon, executor=executor, wake=wake, steady_clock=steady_clock
    )
    pubsub.rounds = tick
    pause = Pause(clients, store, steady_clock)
    topology = config.options.topology if role is None else role.topology
    return Services(
        store=store,
        pending=pending,
        tick=tick,
        config=config,
        databases=databases,
        clients=clients,
        counters=counters,
        cursors=Cursors(store.now_ms()),
        damage=Damage(config.options.dir),
        room=Room(clients),
        health=Health(),
        slowlog=Slowlog(),
        latency=Latency(),
        saving=Saving(store, compact, call_soon, back_up),
        waiters=Waiters(pending),
        pubsub=pubsub,
        users=users,
        denials=DenialLog(),
        pause=pause,
        monitors=Monitors(),
        notifications=Notifications(config, pubsub, pending),
        tracking=Tracking(pending, databases, clients.sessions.get, config),
        long_script=LongScript(pending, databases, pause, clients, config, tick, wake),
        process=Process(store.now_ms() // 1000, tick.steady_ms, event_loop, startup_memory_bytes=startup_memory_bytes),
        slot_gate=None if topology is None else _gate(topology, config.options, role),
        role=role,
        stop=stop,
        engine_statistics=engine_statistics,
        expiring=expiring,
        checks=Checks(check),
    )
