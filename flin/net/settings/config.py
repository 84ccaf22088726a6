"""The server's configuration: the options at the start, and the parameters that CONFIG shows and changes.

Values come from the defaults, then from a TOML file (`[server]`, names as in `ServerOptions`), then from the command
line; the last one wins. CONFIG uses Redis's names if Redis has one. CONFIG SET refuses all paths and whatever can only
be set at the start. It checks every other value as the start does.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from flin.engine.options import MAX_VALUE_THRESHOLD, MIN_VALUE_THRESHOLD, SyncMode, parse_bytes
from flin.errors import CommandError, FlinError
from flin.net.cluster.topology import Topology
from flin.net.settings.event_classes import EventClass, heard, parse_classes, show_classes
from flin.net.settings.file_limit import check_clients
from flin.net.settings.output_limits import DEFAULT_LIMITS, parse_limits, show_limits
from flin.net.settings.parameter import (
    IMMUTABLE,
    PROTECTED,
    Parameter,
    Parse,
    attribute,
    choice_of,
    constant,
    integer_from,
    memory_from,
    memory_size,
    option,
    shown,
    yes_or_no,
)
from flin.net.settings.redis_parameters import without_effect
from flin.net.wire.numbers import INT64_MAX
from flin.objects.hyperloglog import DEFAULT_SPARSE_MAX_BYTES
from flin.objects.thresholds import Thresholds

SYNC_MODES: Final = ("always", "interval", "never")
_REDIS_SYNC_NAMES: Final = {"always": b"always", "interval": b"everysec", "never": b"no"}


class ConfigError(FlinError):
    """A value of the configuration is wrong."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of a server at its start."""

    port: int = 6380
    bind: tuple[str, ...] = ("127.0.0.1",)
    dir: str = "flin-data"
    backup_dir: str = ""  # where SAVE and BGSAVE add backups; empty: they make none
    backup_keep: int = 0  # how many backups stay; 0: all
    sync: SyncMode = "interval"
    memory_limit: int = 1 << 30  # bytes, for memtables, caches and helper together
    shards: int | None = None  # None: what the directory has, or the engine's default
    value_threshold: int = 4096  # bytes from which on a value stays in a value file; 0: none. The engine's default
    encryption_key_file: str = ""  # a file with the key of an encrypted database; empty: it is none
    requirepass: str = ""
    aclfile: str = ""  # a file of users; empty: none
    databases: int = 16
    maxclients: int = 10_000
    protected_mode: bool = True
    timeout: int = 0  # seconds after which an idle client is closed; 0: never
    tcp_backlog: int = 511  # Redis's default
    tcp_keepalive: int = 300
    request_timeout: int = 30  # seconds without a byte after which an incomplete request's client is closed
    hot_keys_share: float = 0.125  # of memory_limit, for cached replies: what the engine sets aside for hot values
    buffers_share: float = 0.25  # of memory_limit, for all clients' buffers together
    slowlog_log_slower_than: int = 10_000  # microseconds; negative: nothing
    slowlog_max_len: int = 128
    config_file: str = ""  # where these come from; CONFIG REWRITE writes there
    parameters: tuple[tuple[str, str], ...] = ()  # further ones that CONFIG SET knows, and their values
    latency_monitor_threshold: int = 0  # milliseconds; 0: nothing
    enable_debug_command: str = "no"
    redis_version: str = "7.0.15"  # what HELLO and INFO say: some clients ask for more (redis-py's cache: 7.4)
    tls_port: int | None = None  # None: no TLS; 0: a free port
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_key_file_pass: str = ""
    tls_ca_cert_file: str = ""
    tls_ca_cert_dir: str = ""
    tls_auth_clients: str = "yes"  # Redis's default: clients must show a certificate
    tls_protocols: str = ""  # empty: all of TLS_PROTOCOLS
    tls_ciphers: str = ""  # of TLS 1.2, as OpenSSL names them; empty: Python's choice
    tls_maxclients: int = 4096  # at 23 KB an idle connection 94 MB, a third of the clients' share of the default memory
    unixsocket: str = ""
    unixsocketperm: str = "700"  # octal
    notify_keyspace_events: str = ""  # classes of keyspace events, by Redis's letters; none
    workers: int = 1  # processes; several are a cluster, in which each has a range of the slots
    cluster_announce_ip: str = ""  # where clients are told to find them; empty: where they have found one
    topology: Topology | None = None  # the cluster that it is a node of; None: of none

    def check(self) -> ServerOptions:
        """Return the options. ConfigError if a value makes no sense."""
        if self.sync not in SYNC_MODES:
            raise ConfigError(f"sync is {self.sync!r}, it must be one of {', '.join(SYNC_MODES)}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} is {value}, it must be from {low} to {high}")
        if 0 < self.value_threshold < MIN_VALUE_THRESHOLD:
            raise ConfigError(
                f"value_threshold is {self.value_threshold}, it must be 0 or at least {MIN_VALUE_THRESHOLD}"
            )
        try:
            parse_classes(self.notify_keyspace_events.encode("utf-8"))
        except ValueError as error:
            raise ConfigError(f"notify_keyspace_events is {self.notify_keyspace_events!r}: {error}") from None
        if not self.bind:
            raise ConfigError("bind names no address")
        if not self.dir or "\0" in self.dir:
            raise ConfigError(f"dir is {self.dir!r}, which names no directory")
        if "\0" in self.backup_dir:
            raise ConfigError(f"backup_dir is {self.backup_dir!r}, which names no directory")
        if self.enable_debug_command not in DEBUG_COMMAND:
            raise ConfigError(
                f"enable_debug_command is {self.enable_debug_command!r}, it must be one of {', '.join(DEBUG_COMMAND)}"
            )
        if re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", self.redis_version) is None:
            raise ConfigError(f"redis_version is {self.redis_version!r}, it must be three numbers, such as 7.0.15")
        if re.fullmatch(r"[0-9A-Za-z.:_-]*", self.cluster_announce_ip) is None:
            raise ConfigError(f"cluster_announce_ip is {self.cluster_announce_ip!r}, it must be an address or a name")
        self._check_tls()
        self._check_unix_socket()
        return self

    def _check_tls(self) -> None:
        if self.tls_auth_clients not in TLS_AUTH_CLIENTS:
            raise ConfigError(
                f"tls_auth_clients is {self.tls_auth_clients!r}, it must be one of {', '.join(TLS_AUTH_CLIENTS)}"
            )
        for word in self.tls_protocols.split():
            if word not in TLS_PROTOCOLS:
                raise ConfigError(f"tls_protocols has {word!r}, but there are only {' and '.join(TLS_PROTOCOLS)}")
        if self.tls_port is None:
            for name in _NEEDS_TLS_PORT:
                if getattr(self, name):
                    raise ConfigError(f"{name} is given, but no tls_port: nothing would be encrypted")
            return
        if self.tls_port and self.tls_port == self.port:
            raise ConfigError(f"port and tls_port are both {self.port}")
        for name in ("tls_cert_file", "tls_key_file"):
            if not getattr(self, name):
                raise ConfigError(f"tls_port needs {name}")
        if self.tls_auth_clients != "no" and not (self.tls_ca_cert_file or self.tls_ca_cert_dir):
            raise ConfigError(
                f"tls_auth_clients is {self.tls_auth_clients}, which needs tls_ca_cert_file or tls_ca_cert_dir: whose "
                "certificates clients may show; without client certificates it must be no"
            )

    def _check_unix_socket(self) -> None:
        if not self.unixsocket.isprintable():
            raise ConfigError(f"unixsocket is {self.unixsocket!r}, which is no path of a socket")
        if re.fullmatch("0?[0-7]{3}", self.unixsocketperm) is None:
            raise ConfigError(f"unixsocketperm is {self.unixsocketperm!r}, it must be octal digits, such as 700")

    @property
    def listens_on_tcp(self) -> bool:
        """Port 0 is any free port, unless clients have another way in: then there is no plain TCP."""
        return self.port != 0 or (self.tls_port is None and not self.unixsocket)


DEBUG_COMMAND: Final = ("no", "yes", "local")
TLS_AUTH_CLIENTS: Final = ("yes", "no", "optional")
TLS_PROTOCOLS: Final = ("TLSv1.2", "TLSv1.3")
_NEEDS_TLS_PORT: Final = (
    "tls_cert_file",
    "tls_key_file",
    "tls_key_file_pass",
    "tls_ca_cert_file",
    "tls_ca_cert_dir",
    "tls_protocols",
    "tls_ciphers",
)

MAX_BULK_BYTES: Final = 512 << 20
"""Redis's default of proto-max-bulk-len, the longest argument and the longest string."""

MAX_COMMIT_BYTES: Final = 4_000_000_000
"""A little below the longest frame of the WAL, which holds more than keys and values."""

BUSY_REPLY_THRESHOLD_MS: Final = 5000
"""Redis's default."""

LUA_MEMORY_LIMIT_BYTES: Final = 64 << 20
MIN_LUA_MEMORY_BYTES: Final = 1 << 20
"""What Lua may hold at once. Lua itself with its libraries takes 80 KB, a script of 1.2 KB of JSON some more."""

MIN_BULK_BYTES: Final = 512 << 10
"""The longest argument that every server takes, however small its memory limit."""

_RANGES: Final[dict[str, tuple[float, float]]] = {
    "port": (0, 65_535),
    "memory_limit": (16 << 20, 1 << 50),
    "backup_keep": (0, 1_000_000),
    "value_threshold": (0, MAX_VALUE_THRESHOLD),
    "databases": (1, 16),  # the internal namespaces that are set aside for them
    "maxclients": (1, 1_000_000),
    "timeout": (0, 1 << 31),
    "tcp_backlog": (1, 65_535),
    "tcp_keepalive": (0, 1 << 31),
    "request_timeout": (1, 1 << 31),
    "hot_keys_share": (0.0, 0.5),
    "buffers_share": (0.01, 0.9),
    "slowlog_log_slower_than": (-1, 1 << 62),
    "slowlog_max_len": (0, 1 << 31),
    "latency_monitor_threshold": (0, INT64_MAX),
    "tls_port": (0, 65_535),
    "tls_maxclients": (1, 1_000_000),
    "workers": (1, 1_000_000),
}
"""The allowed values, at the start and for CONFIG SET."""


def options_from_file(path: str, options: ServerOptions | None = None) -> ServerOptions:
    """The options, changed by the `[server]` table of a TOML file. Raises ConfigError, OSError.

    Anything outside this table is an error: a `requirepass` above it would start a server without a password.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no TOML file with a [server] table: {error}") from error
    return options_from_text(text, path, options)


def options_from_text(text: str, path: str, options: ServerOptions | None = None) -> ServerOptions:
    """What `options_from_file` gives for a file of this text. Raises ConfigError."""
    try:
        table = tomllib.loads(text.replace("\r\n", "\n"))  # as tomllib.load reads a file
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML file with a [server] table: {error}") from error
    try:
        for name, value in table.items():
            if name != "server":
                kind = "table" if isinstance(value, dict) else "option outside the table [server]:"
                raise ConfigError(f"unknown {kind} {name!r}")
            if not isinstance(value, dict):
                raise ConfigError("'server' must be a table: write [server]")
        return replace(with_values(options or ServerOptions(), table.get("server", {})), config_file=path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def with_values(options: ServerOptions, values: Mapping[str, Any]) -> ServerOptions:
    """The options with some values changed, each checked for its type. Sizes may be text: "1gb"."""
    known = {field.name: field for field in fields(ServerOptions)}
    changes: dict[str, Any] = {}
    further: dict[str, str] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        is_parameter = name not in known and _is_changeable(name)
        if not is_parameter and (name not in known or name in _NOT_IN_FILES):
            raise ConfigError(f"there is no option {key!r}")
        if name in changes or name in further:
            raise ConfigError(f"{key!r}: the same option is there in two spellings; keep {name!r}")
        if is_parameter:
            further[name] = _text_of(name, value)
        else:
            changes[name] = _coerced(name, value, getattr(ServerOptions(), name))
    changed = replace(options, **changes).check()
    if further:
        changed = replace(changed, parameters=tuple((dict(changed.parameters) | further).items()))
        Config(changed)  # which raises what is wrong with one
    return changed


_NOT_IN_FILES: Final = ("config_file", "parameters", "topology")
_SIZES: Final = ("memory_limit", "value_threshold")


def _is_changeable(name: str) -> bool:
    """Whether CONFIG SET can change a parameter of this name, written with underscores: then a file may set it, too."""
    parameter = PARAMETERS.get(name.replace("_", "-").encode())
    return parameter is not None and parameter.apply is not None


def _text_of(name: str, value: Any) -> str:
    """A value of a file as CONFIG SET takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | str):
        raise ConfigError(f"{name} is {value!r}, it must be a number or text")
    return str(value)


def _coerced(name: str, value: Any, default: Any) -> Any:
    if name == "bind":
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(type(word) is str and word for word in words):
            raise ConfigError(f"{name} is {value!r}, it must be an address or a list of them")
        return tuple(words)
    if name in ("tls_auth_clients", "enable_debug_command") and type(value) is bool:
        return "yes" if value else "no"
    if name in _SIZES and isinstance(value, str):
        try:
            return parse_bytes(value)  # as the engine reads it
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    if isinstance(default, float) and type(value) is int:
        return float(value)
    expected = int if default is None else type(default)
    if type(value) is not expected:
        if name in ("requirepass", "tls_key_file_pass"):
            raise ConfigError(f"{name} must be text in quotes")
        raise ConfigError(f"{name} is {value!r}, it must be of type {expected.__name__}")
    return value


class Config:
    """The values in force. Attributes that the server reads often are plain ones."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.databases = options.databases
        self.maxclients = options.maxclients
        self.protected_mode = options.protected_mode
        self.timeout = options.timeout
        self.tls_maxclients = options.tls_maxclients
        self.latency_monitor_threshold = options.latency_monitor_threshold
        self.slowlog_log_slower_than = options.slowlog_log_slower_than
        self.slowlog_max_len = options.slowlog_max_len
        self.output_limits = dict(DEFAULT_LIMITS)
        self.event_classes = parse_classes(options.notify_keyspace_events.encode("utf-8"))
        self.thresholds = Thresholds()
        self.busy_reply_threshold_ms = BUSY_REPLY_THRESHOLD_MS
        self.lua_memory_limit_bytes = LUA_MEMORY_LIMIT_BYTES
        self.when_lua_memory_changes: list[Callable[[], None]] = []  # who has made a Lua
        self.hll_sparse_max_bytes = DEFAULT_SPARSE_MAX_BYTES
        self.reply_cache_bytes = int(options.memory_limit * options.hot_keys_share)
        self.tracking_table_max_keys = 1_000_000  # 0: no bound but the next
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
        self.acllog_max_len = DEFAULT_DENIALS
        self.has_all_channels_by_default = False  # whether new users may publish and subscribe everywhere
        self.on_password: Callable[[bytes], None] = _nobody_listens
        """Called with the new password by CONFIG SET requirepass: it is the default user's, not kept here."""
        self.is_password_changed = False
        for name, value in options.parameters:
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        """A parameter of the file. Raises ConfigError."""
        try:
            self.set({name.replace("_", "-").encode(): value.encode("utf-8", "surrogateescape")})
        except CommandError as error:
            raise ConfigError(f"{name} is {value!r}: {str(error).partition(' - ')[2]}") from error

    def set_password(self, password: bytes) -> None:
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
    def times_every_command(self) -> bool:
        """Whether even commands of constant work are timed. They never take as long as the usual threshold."""
        return 0 <= self.slowlog_log_slower_than < TIMED_MICROSECONDS

    def get(self, patterns: Callable[[bytes], bool]) -> dict[bytes, bytes]:
        """The parameters whose names a predicate accepts."""
        return {name: parameter.show(self) for name, parameter in sorted(PARAMETERS.items()) if patterns(name)}

    def limit_lua_memory(self, size_bytes: int) -> None:
        self.lua_memory_limit_bytes = size_bytes
        for tell in self.when_lua_memory_changes:
            tell()

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


DEFAULT_DENIALS: Final = 128
"""Entries of ACL LOG that are kept, as in Redis."""


def _nobody_listens(password: bytes) -> None:
    pass


def _in_range(name: str) -> Callable[[bytes], int]:
    return integer_from(*_RANGES[name])


def _threshold(name: str, parse: Parse) -> Parameter[Config]:
    return Parameter(
        lambda config: shown(getattr(config.thresholds, name)),
        parse,
        lambda config, value: setattr(config.thresholds, name, value),
    )


_POLICIES: Final = (
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
)

PARAMETERS: Final[dict[bytes, Parameter[Config]]] = {
    **dict(without_effect()),
    b"acl-pubsub-default": Parameter(
        lambda config: b"allchannels" if config.has_all_channels_by_default else b"resetchannels",
        choice_of("allchannels", "resetchannels"),
        lambda config, value: setattr(config, "has_all_channels_by_default", value == b"allchannels"),
    ),
    b"aclfile": option("aclfile", refusal=IMMUTABLE),
    b"acllog-max-len": attribute("acllog_max_len", integer_from(0, INT64_MAX)),
    b"appendfsync": Parameter(
        lambda config: _REDIS_SYNC_NAMES[config.options.sync], choice_of("everysec", "always", "no")
    ),
    b"appendonly": constant(b"yes", yes_or_no),
    b"backup-dir": option("backup_dir", refusal=PROTECTED),
    b"backup-keep": option("backup_keep", refusal=IMMUTABLE),
    b"bind": Parameter(lambda config: " ".join(config.options.bind).encode()),
    b"buffers-share": option("buffers_share"),
    b"client-output-buffer-limit": Parameter(
        lambda config: show_limits(config.output_limits),
        parse_limits,
        lambda config, limits: config.output_limits.update(limits),
    ),
    **dict.fromkeys(
        (b"busy-reply-threshold", b"lua-time-limit"),
        attribute("busy_reply_threshold_ms", integer_from(0, INT64_MAX)),
    ),
    b"lua-memory-limit": Parameter(
        lambda config: b"%d" % config.lua_memory_limit_bytes,
        memory_from(MIN_LUA_MEMORY_BYTES, INT64_MAX),
        lambda config, size_bytes: config.limit_lua_memory(size_bytes),
    ),
    b"cluster-announce-ip": option("cluster_announce_ip", refusal=IMMUTABLE),
    b"client-query-buffer-limit": constant(b"1073741824", memory_size),
    b"cluster-enabled": Parameter(
        lambda config: b"no" if config.options.topology is None else b"yes", refusal=IMMUTABLE
    ),
    b"databases": option("databases", refusal=IMMUTABLE),
    b"dir": option("dir", refusal=PROTECTED),
    b"encryption-key-file": option("encryption_key_file", refusal=IMMUTABLE),
    b"enable-debug-command": option("enable_debug_command", refusal=IMMUTABLE),
    # The second name is that of older versions.
    **dict.fromkeys(
        (b"hash-max-listpack-entries", b"hash-max-ziplist-entries"),
        _threshold("hash_entries", integer_from(0, INT64_MAX)),
    ),
    **dict.fromkeys(
        (b"hash-max-listpack-value", b"hash-max-ziplist-value"),
        _threshold("hash_value_bytes", memory_from(0, INT64_MAX)),
    ),
    b"hll-sparse-max-bytes": attribute("hll_sparse_max_bytes", memory_from(0, INT64_MAX)),
    b"hot-keys-share": option("hot_keys_share"),
    b"latency-monitor-threshold": attribute("latency_monitor_threshold", _in_range("latency_monitor_threshold")),
    b"maxclients": attribute("maxclients", _in_range("maxclients"), check_clients),
    b"maxmemory": constant(b"0", memory_size),
    b"maxmemory-policy": constant(b"noeviction", choice_of(*_POLICIES)),
    b"memory-limit": option("memory_limit", memory_size),
    b"notify-keyspace-events": Parameter(
        lambda config: show_classes(config.event_classes),
        parse_classes,
        lambda config, classes: setattr(config, "event_classes", classes),
    ),
    b"port": option("port", _in_range("port")),
    b"proto-max-bulk-len": Parameter(lambda config: b"%d" % config.longest_bulk_bytes, memory_size),
    b"protected-mode": attribute("protected_mode", yes_or_no),
    b"redis-version": option("redis_version", refusal=IMMUTABLE),
    b"request-timeout": option("request_timeout", _in_range("request_timeout")),
    b"requirepass": Parameter(
        # Only its hash is kept, so there is nothing to show.
        lambda config: b"",
        apply=lambda config, value: config.set_password(value),
    ),
    b"save": constant(b""),
    b"set-max-intset-entries": _threshold("set_integers", integer_from(0, INT64_MAX)),
    b"slowlog-log-slower-than": attribute("slowlog_log_slower_than", _in_range("slowlog_log_slower_than")),
    b"slowlog-max-len": attribute("slowlog_max_len", _in_range("slowlog_max_len")),
    b"stream-node-max-entries": _threshold("stream_node_entries", integer_from(0, INT64_MAX)),
    b"sync": option("sync"),
    b"tcp-backlog": option("tcp_backlog", refusal=IMMUTABLE),
    b"tcp-keepalive": option("tcp_keepalive", _in_range("tcp_keepalive")),
    b"timeout": attribute("timeout", _in_range("timeout")),
    b"tls-auth-clients": option("tls_auth_clients", choice_of(*TLS_AUTH_CLIENTS)),
    b"tls-ca-cert-dir": option("tls_ca_cert_dir"),
    b"tls-ca-cert-file": option("tls_ca_cert_file"),
    b"tls-cert-file": option("tls_cert_file"),
    b"tls-ciphers": option("tls_ciphers"),
    b"tls-key-file": option("tls_key_file"),
    b"tls-key-file-pass": constant(b""),  # nobody is shown a password
    b"tls-maxclients": attribute("tls_maxclients", _in_range("tls_maxclients")),
    b"tls-port": Parameter(lambda config: b"%d" % (config.options.tls_port or 0), _in_range("tls_port")),
    b"tls-protocols": option("tls_protocols"),
    b"unixsocket": option("unixsocket", refusal=IMMUTABLE),
    b"unixsocketperm": Parameter(
        lambda config: config.options.unixsocketperm.encode() if config.options.unixsocket else b"0", refusal=IMMUTABLE
    ),
    b"tracking-table-max-keys": attribute("tracking_table_max_keys", integer_from(0, INT64_MAX)),
    b"value-threshold": option("value_threshold", memory_size),
    b"workers": option("workers", refusal=IMMUTABLE),
    **dict.fromkeys(
        (b"zset-max-listpack-entries", b"zset-max-ziplist-entries"),
        _threshold("sorted_set_members", integer_from(0, INT64_MAX)),
    ),
    **dict.fromkeys(
        (b"zset-max-listpack-value", b"zset-max-ziplist-value"),
        _threshold("sorted_set_member_bytes", memory_from(0, INT64_MAX)),
    ),
}
