"""The values in force, and the parameters that CONFIG shows and changes.

CONFIG uses Redis's names if Redis has one. CONFIG SET refuses all paths and whatever can only be set at the start. It
checks every other value as the start does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, Final

from flin.errors import CommandError
from flin.net.cluster.topology import Topology
from flin.net.settings.event_classes import EventClass, heard
from flin.net.settings.options import ROWS, ServerOptions
from flin.net.settings.output_limits import DEFAULT_LIMITS, OutputLimit, parse_limits
from flin.net.settings.parameter import (
    IMMUTABLE,
    Parameter,
    choice_of,
    constant,
    memory_size,
    yes_or_no,
)
from flin.net.settings.redis_names import LEVELS
from flin.net.settings.redis_parameters import without_effect
from flin.net.settings.row import Change, Row
from flin.objects.thresholds import Thresholds

_REDIS_SYNC_NAMES: Final = {"always": b"always", "interval": b"everysec", "never": b"no"}

MAX_BULK_BYTES: Final = 512 << 20
"""Redis's default of proto-max-bulk-len, the longest argument and the longest string."""

MAX_COMMIT_BYTES: Final = 4_000_000_000

MAX_LOGGED_BYTES: Final = 16 << 20
"""A value, or the writes of a transaction, of a replica: its log takes frames a little longer than this."""
"""A little below the longest frame of the WAL, which holds more than keys and values."""

MIN_BULK_BYTES: Final = 512 << 10
"""The longest argument that every server takes, however small its memory limit."""


class Config:
    """The values in force. Those that may change at RUNNING are plain attributes, since they are read often."""

    disk_reserve: int  # bytes
    maxmemory: int  # bytes
    maxmemory_policy: bytes
    maxmemory_samples: int
    maxclients: int
    protected_mode: bool
    timeout: int
    tls_maxclients: int
    latency_monitor_threshold: int
    slowlog_log_slower_than: int
    slowlog_max_len: int
    busy_reply_threshold_ms: int
    hll_sparse_max_bytes: int
    tracking_table_max_keys: int  # 0: no bound but tracking_table_bytes
    acllog_max_len: int
    acl_pubsub_default: bytes

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.databases = options.databases
        self.thresholds = Thresholds()
        self.when_lua_memory_changes: list[Callable[[], None]] = []  # who has made a Lua
        self.reply_cache_bytes = int(options.memory_limit * options.hot_keys_share)
        self.tracking_table_bytes = options.memory_limit // 16
        self.buffers_bytes = int(options.memory_limit * options.buffers_share)
        # A single client is no longer read before it uses up the share: that would close it.
        self.client_bytes = self.buffers_bytes - self.buffers_bytes // 16
        # The writes of a transaction are in memory three times when they are written: themselves, and a frame twice.
        self.largest_commit_bytes = min(MAX_COMMIT_BYTES, options.memory_limit)
        # A value is in the buffers as it arrives, and again as a reply that is not read yet: so two must fit.
        self.longest_bulk_bytes = min(MAX_BULK_BYTES, max(MIN_BULK_BYTES, self.buffers_bytes // 2))
        # For one reply: with the other replies of its tick, and what is read meanwhile, it stays in the share.
        self.largest_reply_bytes = max(self.buffers_bytes * 3 // 4, self.longest_bulk_bytes)
        self.on_password: Callable[[bytes], None] = _nobody_listens
        """Called with the new password by CONFIG SET requirepass: it is the default user's, not kept here."""
        self.is_password_changed = False
        self.on_log_level: Callable[[str], None] = _nobody_listens
        self._output_limits: dict[bytes, OutputLimit] = parse_limits(DEFAULT_LIMITS.encode())
        for row in ROWS.values():
            if row.change is Change.RUNNING:
                _put(row, self, row.kind.in_force(getattr(options, row.name)))

    def heir(self, topology: Topology | None) -> Config:
        """For the next server of this process: the values in force, and none of those who listened here."""
        made = copy(self)
        made.options = replace(self.options, topology=topology)
        made.when_lua_memory_changes = []
        made.on_password = made.on_log_level = _nobody_listens
        made._output_limits = dict(self._output_limits)
        return made

    def bound_by_log(self) -> None:
        """For a replica: what is written goes through a log, which has bounds of its own."""
        self.largest_commit_bytes = min(self.largest_commit_bytes, MAX_LOGGED_BYTES)
        self.longest_bulk_bytes = min(self.longest_bulk_bytes, MAX_LOGGED_BYTES)

    @property
    def password(self) -> bytes:
        """Only its hash is kept, by the default user, so there is nothing to show."""
        return b""

    @password.setter
    def password(self, password: bytes) -> None:
        """CONFIG SET requirepass."""
        self.is_password_changed = password != self.initial_password
        self.on_password(password)

    @property
    def initial_password(self) -> bytes:
        """The default user's at the start; empty: none is needed."""
        return self.options.requirepass.encode("utf-8", "surrogateescape")

    @property
    def event_classes(self) -> EventClass:
        """As notify-keyspace-events names them."""
        return self._event_classes

    @event_classes.setter
    def event_classes(self, classes: EventClass) -> None:
        self._event_classes = classes
        self.notified = int(heard(classes))  # a plain number: each command tests it while one is on

    @property
    def log_level(self) -> bytes:
        return self._log_level

    @log_level.setter
    def log_level(self, level: bytes) -> None:
        self._log_level = level
        self.on_log_level(level.decode())

    @property
    def output_limits(self) -> dict[bytes, OutputLimit]:
        """By class of clients."""
        return self._output_limits

    @output_limits.setter
    def output_limits(self, limits: Mapping[bytes, OutputLimit]) -> None:
        """Change those that are named."""
        self._output_limits.update(limits)

    @property
    def lua_memory_limit_bytes(self) -> int:
        return self._lua_memory_limit_bytes

    @lua_memory_limit_bytes.setter
    def lua_memory_limit_bytes(self, size_bytes: int) -> None:
        self._lua_memory_limit_bytes = size_bytes
        for tell in self.when_lua_memory_changes:
            tell()

    @property
    def has_all_channels_by_default(self) -> bool:
        """Whether new users may publish and subscribe everywhere."""
        return self.acl_pubsub_default == b"allchannels"

    @property
    def times_every_command(self) -> bool:
        """Whether even commands of constant work are timed. They never take as long as the usual threshold."""
        return 0 <= self.slowlog_log_slower_than < TIMED_MICROSECONDS

    def get(self, patterns: Callable[[bytes], bool]) -> dict[bytes, bytes]:
        """The parameters whose names a predicate accepts."""
        return {name: parameter.show(self) for name, parameter in sorted(PARAMETERS.items()) if patterns(name)}

    def set(self, changes: Mapping[bytes, bytes]) -> None:
        """Change parameters, all or none. Raises CommandError as Redis words it."""
        steps: list[Callable[[], None]] = []
        for name, raw in changes.items():
            parameter = PARAMETERS.get(name)
            if parameter is None:
                raise CommandError(
                    f"ERR Unknown option or number of arguments for CONFIG SET - '{name[:128].decode('latin-1')}'"
                )
            steps.append(self._step(name, parameter, raw))
        for step in steps:
            step()

    def _step(self, name: bytes, parameter: Parameter[Config], raw: bytes) -> Callable[[], None]:
        try:
            return parameter.step(self, raw)
        except ValueError as error:
            raise CommandError(
                f"ERR CONFIG SET failed (possibly related to argument '{name.decode()}') - {error}"
            ) from None


TIMED_MICROSECONDS: Final = 1000
"""Every command is timed if SLOWLOG's threshold is below this; one of constant work takes a few microseconds."""


def _nobody_listens(value: object) -> None:
    pass


def _value(row: Row) -> Callable[[Any], Any]:
    """What reads a row's value in force from a Config."""
    return attrgetter(row.place or row.name if row.change is Change.RUNNING else f"options.{row.name}")


def _put(row: Row, config: Any, value: Any) -> None:
    *owners, name = (row.place or row.name).split(".")
    for owner in owners:
        config = getattr(config, owner)
    setattr(config, name, value)


def _parameter(row: Row) -> Parameter[Config]:
    value, kind = _value(row), row.kind
    if row.change is Change.RUNNING:
        return Parameter(lambda config: kind.show(value(config)), kind.raw, partial(_put, row), row.check_running)
    show = row.show or (lambda config: kind.show(kind.in_force(value(config))))
    refusal = None if row.change is Change.AT_START else row.change.value
    return Parameter(show, kind.raw, refusal=refusal)


_REDIS_LEVELS: Final = {b"debug": b"debug", b"info": b"notice", b"warning": b"warning", b"error": b"warning"}

PARAMETERS: Final[dict[bytes, Parameter[Config]]] = {
    **dict(without_effect()),
    **{name: parameter for row in ROWS.values() for parameter in [_parameter(row)] for name in row.parameters},
    b"appendfsync": Parameter(
        lambda config: _REDIS_SYNC_NAMES[config.options.sync], choice_of("everysec", "always", "no")
    ),
    b"appendonly": constant(b"yes", yes_or_no),
    b"client-query-buffer-limit": constant(b"1073741824", memory_size),
    b"cluster-enabled": Parameter(
        lambda config: b"no" if config.options.topology is None else b"yes", refusal=IMMUTABLE
    ),
    b"loglevel": Parameter(
        lambda config: _REDIS_LEVELS[config.log_level],
        choice_of(*LEVELS),
        lambda config, level: setattr(config, "log_level", LEVELS[level.decode()].encode()),
    ),
    b"proto-max-bulk-len": Parameter(lambda config: b"%d" % config.longest_bulk_bytes, memory_size),
    b"save": constant(b""),
}
"""By name; a row with several names is one parameter."""
