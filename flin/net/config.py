"""The server's configuration: what it is started with, and what CONFIG shows and changes.

Values come, later ones winning, from the defaults, from a TOML file (`[server]`, names as in `ServerOptions`) and from
the command line. CONFIG knows them by Redis's names where Redis has one; what can only be settled at the start, and
every path, is refused by CONFIG SET.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from flin.errors import CommandError, FlinError

SYNC_MODES: Final = ("always", "interval", "never")
_REDIS_SYNC_NAMES: Final = {"always": b"always", "interval": b"everysec", "never": b"no"}


class ConfigError(FlinError):
    """A value of the configuration that cannot be used."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server is started with."""

    port: int = 6380
    bind: tuple[str, ...] = ("127.0.0.1",)
    dir: str = "flin-data"
    sync: str = "interval"
    memory_limit: int = 1 << 30  # bytes, for memtables, caches and helper together
    shards: int | None = None  # None: what the directory has, or the engine's default
    requirepass: str = ""
    databases: int = 16
    maxclients: int = 10_000
    protected_mode: bool = True
    timeout: int = 0  # seconds after which an idle client is closed; 0: never
    tcp_backlog: int = 511  # Redis's default
    tcp_keepalive: int = 300
    request_timeout: int = 30  # seconds without a byte after which an incomplete request's client is closed
    hot_keys_share: float = 0.125  # of memory_limit, for ready replies: what the engine sets aside for hot values
    buffers_share: float = 0.25  # of memory_limit, for all clients' buffers together
    slowlog_log_slower_than: int = 10_000  # microseconds; negative: nothing
    slowlog_max_len: int = 128

    def check(self) -> ServerOptions:
        """Itself; raises ConfigError where a value makes no sense."""
        if self.sync not in SYNC_MODES:
            raise ConfigError(f"sync is {self.sync!r}, it must be one of {', '.join(SYNC_MODES)}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}, it must be from {low} to {high}")
        if not self.bind:
            raise ConfigError("bind names no address")
        return self


_RANGES: Final = (
    ("port", 0, 65_535),
    ("memory_limit", 16 << 20, 1 << 50),
    ("databases", 1, 16),  # the internal namespaces that are set aside for them
    ("maxclients", 1, 1_000_000),
    ("timeout", 0, 1 << 31),
    ("tcp_backlog", 1, 65_535),
    ("tcp_keepalive", 0, 1 << 31),
    ("request_timeout", 1, 1 << 31),
    ("hot_keys_share", 0.0, 0.5),
    ("buffers_share", 0.01, 0.9),
    ("slowlog_max_len", 0, 1 << 31),
)


def options_from_file(path: str, options: ServerOptions | None = None) -> ServerOptions:
    """The options with what the `[server]` table of a TOML file changes. Raises ConfigError, OSError."""
    with open(path, "rb") as file:
        try:
            table = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: {error}") from error
    try:
        return with_values(options or ServerOptions(), table.get("server", {}))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def with_values(options: ServerOptions, values: Mapping[str, Any]) -> ServerOptions:
    """The options with some values changed, each checked for its type. Sizes may be text: "1gb"."""
    known = {field.name: field for field in fields(ServerOptions)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ConfigError(f"there is no option {key!r}")
        changes[name] = _coerced(name, value, getattr(ServerOptions(), name))
    return replace(options, **changes).check()


def _coerced(name: str, value: Any, default: Any) -> Any:
    if name == "bind":
        return tuple(value.split()) if isinstance(value, str) else tuple(map(str, value))
    if name == "memory_limit" and isinstance(value, str):
        size = parse_size(value)
        if size is None:
            raise ConfigError(f"{name} is {value!r}, which is no size such as 512mb or 1gb")
        return size
    if isinstance(default, float) and type(value) is int:
        return float(value)
    expected = int if default is None else type(default)
    if type(value) is not expected:
        raise ConfigError(f"{name} is {value!r}, it must be of type {expected.__name__}")
    return value


_UNITS: Final = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1 << 10,
    "m": 1_000_000,
    "mb": 1 << 20,
    "g": 1_000_000_000,
    "gb": 1 << 30,
    "t": 1_000_000_000_000,
    "tb": 1 << 40,
}


def parse_size(text: str) -> int | None:
    """Bytes of `1gb`, `100mb`, `5k`, `12345` (units as in Redis); None if it is no size."""
    matched = re.fullmatch(r"([0-9]{1,18})([a-z]*)", text.strip().lower())
    if matched is None or matched[2] not in _UNITS:
        return None
    return int(matched[1]) * _UNITS[matched[2]]


class Config:
    """The values in force. Attributes that the server reads often are plain ones."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.databases = options.databases
        self.maxclients = options.maxclients
        self.protected_mode = options.protected_mode
        self.timeout = options.timeout
        self.slowlog_log_slower_than = options.slowlog_log_slower_than
        self.slowlog_max_len = options.slowlog_max_len
        self.hot_keys_bytes = int(options.memory_limit * options.hot_keys_share)
        self.buffers_bytes = int(options.memory_limit * options.buffers_share)
        self._password_hash = password_hash(options.requirepass.encode()) if options.requirepass else None

    @property
    def requires_password(self) -> bool:
        return self._password_hash is not None

    @property
    def times_every_command(self) -> bool:
        """Whether even commands of constant work are timed: they never take as long as the usual threshold."""
        return 0 <= self.slowlog_log_slower_than < TIMED_MICROSECONDS

    def is_password(self, password: bytes) -> bool:
        """Compared in constant time."""
        expected = self._password_hash
        return expected is not None and hmac.compare_digest(password_hash(password), expected)

    def set_password(self, password: bytes) -> None:
        """An empty one takes the need for a password away."""
        self._password_hash = password_hash(password) if password else None

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

    def _step(self, name: bytes, parameter: Parameter, raw: bytes) -> Callable[[], None]:
        try:
            if parameter.parse is None or parameter.apply is None:
                raise ValueError(parameter.refusal)
            value = parameter.parse(raw)
        except ValueError as error:
            raise CommandError(
                f"ERR CONFIG SET failed (possibly related to argument '{name.decode()}') - {error}"
            ) from None
        apply = parameter.apply
        return lambda: apply(self, value)


TIMED_MICROSECONDS: Final = 1000
"""Below this threshold of SLOWLOG every command is timed; one of constant work takes a few microseconds."""


def password_hash(password: bytes) -> bytes:
    """SHA-256, as Redis keeps passwords."""
    return hashlib.sha256(password).digest()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of CONFIG's. Without parse and apply it cannot be set, and `refusal` says why."""

    show: Callable[[Config], bytes]
    parse: Callable[[bytes], Any] | None = None
    apply: Callable[[Config, Any], None] | None = None
    refusal: str = "can't set immutable config"


def _integer_from(low: int, high: int) -> Callable[[bytes], int]:
    def parse(raw: bytes) -> int:
        if re.fullmatch(rb"-?[0-9]{1,19}", raw) is None:
            raise ValueError("argument couldn't be parsed into an integer")
        value = int(raw)
        if not low <= value <= high:
            raise ValueError(f"argument must be between {low} and {high} inclusive")
        return value

    return parse


def _yes_or_no(raw: bytes) -> bool:
    lowered = raw.lower()
    if lowered not in (b"yes", b"no"):
        raise ValueError("argument must be 'yes' or 'no'")
    return lowered == b"yes"


def _attribute(name: str, parse: Callable[[bytes], Any]) -> Parameter:
    return Parameter(
        lambda config: _shown(getattr(config, name)), parse, lambda config, value: setattr(config, name, value)
    )


def _option(name: str) -> Parameter:
    return Parameter(lambda config: _shown(getattr(config.options, name)))


def _constant(text: bytes) -> Parameter:
    return Parameter(lambda config: text)


def _shown(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"yes" if value else b"no"
    return str(value).encode()


_PATH: Final = "can't set protected config"

PARAMETERS: Final[dict[bytes, Parameter]] = {
    b"appendfsync": Parameter(lambda config: _REDIS_SYNC_NAMES[config.options.sync]),
    b"appendonly": _constant(b"yes"),
    b"bind": Parameter(lambda config: " ".join(config.options.bind).encode()),
    b"buffers-share": _option("buffers_share"),
    b"client-query-buffer-limit": _constant(b"1073741824"),
    b"databases": _option("databases"),
    b"dir": Parameter(lambda config: config.options.dir.encode("utf-8", "surrogateescape"), refusal=_PATH),
    b"hot-keys-share": _option("hot_keys_share"),
    b"maxclients": _attribute("maxclients", _integer_from(1, 1_000_000)),
    b"maxmemory": _constant(b"0"),
    b"maxmemory-policy": _constant(b"noeviction"),
    b"memory-limit": _option("memory_limit"),
    b"port": _option("port"),
    b"proto-max-bulk-len": _constant(b"536870912"),
    b"protected-mode": _attribute("protected_mode", _yes_or_no),
    b"request-timeout": _option("request_timeout"),
    b"requirepass": Parameter(
        # Only its hash is kept, so there is nothing to show.
        lambda config: b"",
        lambda raw: raw,
        lambda config, value: config.set_password(value),
    ),
    b"save": _constant(b""),
    b"slowlog-log-slower-than": _attribute("slowlog_log_slower_than", _integer_from(-1, 1 << 62)),
    b"slowlog-max-len": _attribute("slowlog_max_len", _integer_from(0, 1 << 31)),
    b"sync": _option("sync"),
    b"tcp-backlog": _option("tcp_backlog"),
    b"tcp-keepalive": _option("tcp_keepalive"),
    b"timeout": _attribute("timeout", _integer_from(0, 1 << 31)),
}
