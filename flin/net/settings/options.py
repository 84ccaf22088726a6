"""The options of a server: the table, of which all else about them is made (row.py).

A new option is a new row. If it may change while the server runs, Config gets the attribute that its readers look at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final

from flin.engine.options import MAX_VALUE_THRESHOLD, MIN_VALUE_THRESHOLD, SyncMode
from flin.engine.slot import MAX_SHARDS
from flin.errors import FlinError
from flin.net.cluster.topology import Topology
from flin.net.settings.event_classes import parse_classes, show_classes
from flin.net.settings.file_limit import check_clients
from flin.net.settings.http_address import parse_http_address
from flin.net.settings.kind import (
    addresses,
    choice,
    duration,
    matching,
    number,
    parsed,
    path,
    share,
    size,
    text,
    whole_number,
    words,
    yes_no,
)
from flin.net.settings.output_limits import DEFAULT_LIMITS, parse_limits, show_limits
from flin.net.settings.row import Change, Row, Section, option, row_of
from flin.net.wire.numbers import INT64_MAX
from flin.objects.hyperloglog import DEFAULT_SPARSE_MAX_BYTES

SYNC_MODES: Final = ("always", "interval", "never")
DEBUG_COMMAND: Final = ("no", "yes", "local")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
EVICTION_POLICIES: Final = (
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
)
TLS_AUTH_CLIENTS: Final = ("yes", "no", "optional")
TLS_PROTOCOLS: Final = ("TLSv1.2", "TLSv1.3")
READ_CONCERNS: Final = ("lease", "strict")
DEFAULT_DIR: Final = "flin-data"

MIN_LUA_MEMORY_BYTES: Final = 1 << 20
"""Lua itself with its libraries takes 80 KB, a script of 1.2 KB of JSON some more."""

_DAYS: Final = 1 << 31  # seconds: longer than anything runs
_COUNT: Final = number(0, INT64_MAX)
_BYTES: Final = size(0, INT64_MAX)
_PORT: Final = number(0, 65_535)
_CLIENTS: Final = number(1, 1_000_000)
_FILE: Final = path("FILE")
_DIR: Final = path("DIR")

_RUNNING: Final = Change.RUNNING
_IMMUTABLE: Final = Change.IMMUTABLE
_PROTECTED: Final = Change.PROTECTED

_database: Final = partial(option, Section.DATABASE)
_listening: Final = partial(option, Section.LISTENING)
_tls: Final = partial(option, Section.TLS)
_cluster: Final = partial(option, Section.CLUSTER)
_access: Final = partial(option, Section.ACCESS)
_clients: Final = partial(option, Section.CLIENTS)
_http: Final = partial(option, Section.HTTP)
_logs: Final = partial(option, Section.LOGS)
_observing: Final = partial(option, Section.OBSERVING)
_scripts: Final = partial(option, Section.SCRIPTS)
_collections: Final = partial(option, Section.COLLECTIONS)


class ConfigError(FlinError):
    """A value of the configuration is wrong."""


# Checks of single values: each raises ValueError with the end of a sentence.


def _value_threshold(value: int) -> None:
    if 0 < value < MIN_VALUE_THRESHOLD:
        raise ValueError(f"it must be 0 or at least {MIN_VALUE_THRESHOLD}")


def _directory(value: str) -> None:
    if not value or "\0" in value:
        raise ValueError("which names no directory")


def _socket_path(value: str) -> None:
    if not value.isprintable():
        raise ValueError("which is no path of a socket")


def _host_and_port(value: str) -> None:
    if value:
        parse_http_address(value)


def _urls(value: str) -> None:
    for url in value.split(","):
        if value and re.fullmatch(r"https?://[^/,\s]+:\d+", url) is None:
            raise ValueError("it must be URLs with ports and commas between them, such as http://10.0.0.1:2379")


def _port_of_text(text: str) -> int:
    """A port, also as other servers write it: `:6380` is 6380."""
    return whole_number(text.removeprefix(":"))


# How CONFIG GET shows what it does not show as it is. They are given a Config.


def _nothing(config: Any) -> bytes:
    return b""


def _tls_port(config: Any) -> bytes:
    return b"%d" % (config.options.tls_port or 0)


def _permissions(config: Any) -> bytes:
    return config.options.unixsocketperm.encode() if config.options.unixsocket else b"0"


# The table, by sections: default, kind, what it is, when it may change.
# fmt: off


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of a server at its start."""

    dir: str = _database(
        DEFAULT_DIR, text("DIR", "a path", _directory), "its directory, or :memory:; of a node: flin-data/ID",
        _PROTECTED)
    sync: SyncMode = _database("interval", choice(*SYNC_MODES), "when writes are made durable")  # noqa: RUF009
    memory_limit: int = _database(
        1 << 30, size(16 << 20, 1 << 50), "memory for memtables, caches and helpers together", told="1gb",
        is_divided=True)
    shards: int | None = _database(
        None, number(1, MAX_SHARDS), "a power of two; fixed when the database is created", _IMMUTABLE, told="1")
    maxmemory: int = _database(
        0, _BYTES, "about how large the data may become, keys and values; 0: no limit", _RUNNING,
        is_divided=True)
    maxmemory_policy: str = _database(
        "noeviction", choice(*EVICTION_POLICIES), "which keys are evicted beyond maxmemory", _RUNNING)
    maxmemory_samples: int = _database(
        5, number(1, 64), "one of so many keys is evicted, compared at random", _RUNNING)
    value_threshold: int = _database(
        4096, size(0, MAX_VALUE_THRESHOLD, _value_threshold),
        "values of at least this size are not copied into tables; 0: all are")
    wal_retention: int = _database(
        0, size(0, 1 << 50), "how much of the log is kept for FLIN.WATCH with SINCE, beyond what no table holds yet")
    encryption_key_file: str = _database(
        "", _FILE, "the key of an encrypted database: 64 hex digits, or 32 bytes", _IMMUTABLE)
    databases: int = _database(
        16, number(1, 16), "number of databases for SELECT", _IMMUTABLE)  # namespaces are set aside for so many
    disk_reserve: int = _database(
        256 << 20, _BYTES, "with less free on the disk, writes that need room are refused; 0: never", _RUNNING,
        told="256mb")
    backup_dir: str = _database("", _DIR, "where SAVE and BGSAVE add a backup of the database", _PROTECTED)
    backup_keep: int = _database(0, number(0, 1_000_000), "how many of these backups stay; 0: all", _IMMUTABLE)
    hot_keys_share: float = _database(  # what the engine sets aside for hot values
        0.125, share(0.0, 0.5), "part of memory_limit for cached replies")

    port: int = _listening(
        6380, replace(_PORT, of_text=_port_of_text),
        "TCP port; 0: a free one, or none beside --tls-port or --unixsocket")
    bind: tuple[str, ...] = _listening(
        ("127.0.0.1",), addresses(), "address to listen on, may be repeated", is_repeated=True)
    unixsocket: str = _listening("", text("PATH", "a path", _socket_path), "Unix socket to listen on", _IMMUTABLE)
    unixsocketperm: str = _listening(
        "700", matching("OCTAL", "0?[0-7]{3}", "octal digits, such as 700"), "permissions of the Unix socket",
        _IMMUTABLE, show=_permissions)
    workers: int = _listening(
        1, number(1, 1_000_000),
        "processes, each with a range of the keys: a Redis Cluster, fixed when the directory is made", _IMMUTABLE)
    cluster_announce_ip: str = _listening(
        "", matching("ADDRESS", "[0-9A-Za-z.:_-]*", "an address or a name"),
        "where workers are, if clients need another one than they use", _IMMUTABLE)
    tcp_backlog: int = _listening(511, number(1, 65_535), "connections that may wait to be accepted", _IMMUTABLE)
    tcp_keepalive: int = _listening(300, duration("s", 0, _DAYS), "interval of keepalive probes; 0: off")
    redis_version: str = _listening(  # some clients ask for more (redis-py's cache: 7.4)
        "7.0.15", matching("X.Y.Z", r"\d{1,3}\.\d{1,3}\.\d{1,3}", "three numbers, such as 7.0.15"),
        "the version of Redis that clients are told", _IMMUTABLE)

    tls_port: int | None = _tls(None, _PORT, "TCP port for TLS; 0: a free one", show=_tls_port, told="none")
    tls_cert_file: str = _tls("", _FILE, "the server's certificate, PEM; read again on SIGHUP")
    tls_key_file: str = _tls("", _FILE, "the key of the certificate, PEM; read again on SIGHUP")
    tls_key_file_pass: str = _tls(
        "", text("PASSWORD"), "the password of the key, if it has one", show=_nothing, is_secret=True)
    tls_ca_cert_file: str = _tls("", _FILE, "authorities whose certificates clients may show, PEM")
    tls_ca_cert_dir: str = _tls("", _DIR, "the same, a directory as `openssl rehash` makes it")
    tls_auth_clients: str = _tls("yes", choice(*TLS_AUTH_CLIENTS), "whether clients must show a certificate")
    tls_protocols: str = _tls(
        "", words("VERSIONS", TLS_PROTOCOLS), "versions of TLS", told=" ".join(TLS_PROTOCOLS))
    tls_ciphers: str = _tls("", text("LIST"), "ciphers of TLS 1.2, in OpenSSL's words", told="Python's choice")
    # At 23 KB an idle connection 94 MB, a third of the clients' share of the default memory.
    tls_maxclients: int = _tls(
        4096, _CLIENTS, "maximum number of TLS connections", _RUNNING, is_divided=True)

    node_id: str = _cluster(
        "", matching("ID", "([0-9A-Za-z][0-9A-Za-z_.-]{0,63})?", "letters, digits, dashes, dots and underscores"),
        "this server is a node of a replicated cluster, and that is its name", _IMMUTABLE, told="none")
    raft: str = _cluster(
        "", text("HOST:PORT", "a host and a port", _host_and_port),
        "where the etcd of the node talks to the others; its clients come 100 ports above", _IMMUTABLE, told="none")
    join: str = _cluster(
        "", text("HOST:PORT", "a host and a port", _host_and_port),
        "the --http of a node of the cluster to join; without it a new node begins a cluster", _IMMUTABLE, told="none")
    groups: int = _cluster(
        6, number(1, 64), "ranges of the keys, each led by one node; fixed when the cluster begins", _IMMUTABLE)
    replicas: int = _cluster(3, number(1, 5), "nodes that hold each of them; fixed likewise", _IMMUTABLE)
    etcd: str = _cluster(
        "", text("URL,...", "URLs", _urls), "an etcd that is there already, instead of one of the node's own",
        _IMMUTABLE, told="none")
    etcd_quota: int = _cluster(
        0, size(0, 1 << 50), "the quota of that etcd: before 3.6 it does not tell it", _IMMUTABLE, told="2gb")
    cluster_secret_file: str = _cluster(
        "", _FILE, "who has this secret may join; the first node makes it", _PROTECTED,
        told="cluster-secret beside DIR")
    cluster_tls: str = _cluster(
        "", _DIR, "ca.crt, node.crt and node.key: nodes then talk over TLS only, to holders of certificates",
        _PROTECTED)
    insecure_cluster: bool = _cluster(
        False, yes_no(), "let nodes talk over the network without TLS: who reaches their ports may change all",
        _IMMUTABLE)
    read_concern: str = _cluster(
        "lease", choice(*READ_CONCERNS), "whether reads rest on the leader's lease or ask etcd, one question a batch",
        _IMMUTABLE)
    label: str = _cluster(
        "", matching(
            "rack=NAME", "(rack=[0-9A-Za-z_.-]{1,64})?", "rack= and letters, digits, dashes, dots or underscores"),
        "what this node may be lost together with: copies are put into different racks", _IMMUTABLE, told="none")
    replace_after: int = _cluster(
        300, duration("s", 1, _DAYS), "a node that is away for so long is replaced by others: they copy what it had",
        _IMMUTABLE)
    max_lag: int = _cluster(
        10, duration("s", 0, _DAYS), "a follower that is further behind sends readers to the leader", _IMMUTABLE)

    requirepass: str = _access(
        "", text("PASSWORD"), "clients must send it with AUTH", _RUNNING, place="password", is_secret=True)
    aclfile: str = _access("", _FILE, "users and what they may do, as ACL SAVE writes them", _IMMUTABLE)
    protected_mode: bool = _access(
        True, yes_no(), "without a password, refuse clients on other machines", _RUNNING)
    acl_pubsub_default: str = _access(
        "resetchannels", choice("allchannels", "resetchannels"),
        "whether new users may publish and subscribe everywhere", _RUNNING)
    acllog_max_len: int = _access(128, _COUNT, "entries of ACL LOG", _RUNNING)  # Redis's default
    enable_debug_command: str = _access(
        "no", choice(*DEBUG_COMMAND), "who may send DEBUG; for tests", _IMMUTABLE)

    maxclients: int = _clients(
        10_000, _CLIENTS, "maximum number of connections", _RUNNING, check_running=check_clients, is_divided=True)
    timeout: int = _clients(0, duration("s", 0, _DAYS), "close clients that are idle this long; 0: never", _RUNNING)
    request_timeout: int = _clients(
        30, duration("s", 1, _DAYS), "close clients whose request stays incomplete this long")
    buffers_share: float = _clients(
        0.25, share(0.01, 0.9), "part of memory_limit for all clients' buffers together")
    client_output_buffer_limit: str = _clients(
        DEFAULT_LIMITS, parsed("LIMITS", "by class: name, hard limit, soft limit, seconds", parse_limits, show_limits),
        "how much clients may leave unread, by class", _RUNNING, place="output_limits")

    http: str = _http(
        "", text("HOST:PORT", "a host and a port", _host_and_port), "address of the operator's page and of metrics",
        _IMMUTABLE, told="none")
    http_token_file: str = _http(
        "", _FILE, "a token of at least 16 characters: who has it may change something by HTTP", _PROTECTED)
    http_hosts: str = _http("", text("NAMES"), "further names of the page's host, such as db1.example.com", _IMMUTABLE)

    logfile: str = _logs(
        "", _FILE, "where messages are appended; SIGUSR1 opens it anew", _IMMUTABLE, told="standard error")
    log_level: str = _logs("info", choice(*LOG_LEVELS), "the least of the messages", _RUNNING)
    log_format: str = _logs("text", choice("text", "json"), "lines for people, or an object a line", _IMMUTABLE)
    pidfile: str = _logs("", _FILE, "holds the process's number while it serves", _IMMUTABLE)

    slowlog_log_slower_than: int = _observing(
        10_000, duration("us", -1, 1 << 62), "put slower commands into the slow log; -1: none", _RUNNING)
    slowlog_max_len: int = _observing(128, number(0, 1 << 31), "entries of the slow log", _RUNNING)
    latency_monitor_threshold: int = _observing(
        0, duration("ms", 0, INT64_MAX), "LATENCY shows commands that take so long; 0: none", _RUNNING)
    notify_keyspace_events: str = _observing(
        "", parsed("CLASSES", "letters, as in Redis: KEA", parse_classes, show_classes),
        "events of keys that clients may listen to", _RUNNING, place="event_classes")
    tracking_table_max_keys: int = _observing(
        1_000_000, _COUNT, "keys that are tracked for clients' caches; 0: as many as memory allows", _RUNNING)

    busy_reply_threshold: int = _scripts(  # Redis's default
        5000, duration("ms", 0, INT64_MAX), "a script that runs longer leaves the loop; others are told BUSY", _RUNNING,
        place="busy_reply_threshold_ms", aliases=("lua_time_limit",))
    lua_memory_limit: int = _scripts(
        64 << 20, size(MIN_LUA_MEMORY_BYTES, INT64_MAX), "what Lua may hold at once", _RUNNING,
        place="lua_memory_limit_bytes", told="64mb")

    hash_max_listpack_entries: int = _collections(
        512, _COUNT, "fields of a hash", _RUNNING, place="thresholds.hash_entries",
        aliases=("hash_max_ziplist_entries",))
    hash_max_listpack_value: int = _collections(
        64, _BYTES, "bytes of a field or value of a hash", _RUNNING, place="thresholds.hash_value_bytes",
        aliases=("hash_max_ziplist_value",))
    set_max_intset_entries: int = _collections(
        512, _COUNT, "members of a set of integers", _RUNNING, place="thresholds.set_integers")
    zset_max_listpack_entries: int = _collections(
        128, _COUNT, "members of a sorted set", _RUNNING, place="thresholds.sorted_set_members",
        aliases=("zset_max_ziplist_entries",))
    zset_max_listpack_value: int = _collections(
        64, _BYTES, "bytes of a member of a sorted set", _RUNNING, place="thresholds.sorted_set_member_bytes",
        aliases=("zset_max_ziplist_value",))
    stream_node_max_entries: int = _collections(
        100, _COUNT, "entries of a stream that XTRIM ~ deletes together; 0: without a bound", _RUNNING,
        place="thresholds.stream_node_entries")
    hll_sparse_max_bytes: int = _collections(
        DEFAULT_SPARSE_MAX_BYTES, _BYTES, "bytes of a sparse HyperLogLog", _RUNNING)

    # What nobody gives.
    config_file: str = ""  # where these come from; CONFIG REWRITE writes there
    file_values: tuple[tuple[str, Any], ...] = ()  # what it said when it was read last, by option
    overridden: tuple[tuple[str, str], ...] = ()  # the options that it does not decide, and where they were given
    topology: Topology | None = None  # the cluster that it is a node of; None: of none

    # fmt: on

    def check(self) -> ServerOptions:
        """Return the options. ConfigError if a value makes no sense, or if two do not together."""
        for row in ROWS.values():
            check_value(row, getattr(self, row.name))
        self._check_tls()
        self._check_cluster()
        return self

    def _check_cluster(self) -> None:
        if not self.node_id:
            for name in _NEEDS_NODE_ID:
                if getattr(self, name):
                    raise ConfigError(f"{name} is given, but no node_id: name this node of the cluster")
            return
        if self.etcd_quota and not self.etcd:
            raise ConfigError("etcd_quota is given, but no etcd: a node's own has 4gb")
        if not self.http:
            raise ConfigError("node_id needs http: where the other nodes of the cluster reach this one")
        if bool(self.raft) == bool(self.etcd):
            raise ConfigError("node_id needs raft, an address for an etcd of its own, or etcd, the URLs of another")
        if not self.port:
            raise ConfigError("a node's port must be a fixed one: the others of the cluster send clients there")
        for name, reason in _NOT_IN_A_CLUSTER.items():
            if getattr(self, name):
                raise ConfigError(f"{name} cannot be had with node_id: {reason}")

    def _check_tls(self) -> None:
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

    @property
    def listens_on_tcp(self) -> bool:
        """Port 0 is any free port, unless clients have another way in: then there is no plain TCP."""
        return self.port != 0 or (self.tls_port is None and not self.unixsocket)


ROWS: Final[dict[str, Row]] = {row.name: row for row in map(row_of, fields(ServerOptions)) if row is not None}
"""By the option's name, in the order of the table."""

_NEEDS_TLS_PORT: Final = (
    "tls_cert_file",
    "tls_key_file",
    "tls_key_file_pass",
    "tls_ca_cert_file",
    "tls_ca_cert_dir",
    "tls_protocols",
    "tls_ciphers",
)


_NEEDS_NODE_ID: Final = (
    "raft",
    "join",
    "etcd",
    "etcd_quota",
    "cluster_secret_file",
    "cluster_tls",
    "insecure_cluster",
    "label",
)

_NOT_IN_A_CLUSTER: Final = {
    "encryption_key_file": "the log of a cluster lies in etcd, which would have all in plain",
    "unixsocket": "a cluster sends its clients from port to port",
    "backup_dir": "each node would back up at times of its own; flin checkpoint copies a node that has ended",
}


def check_value(row: Row, value: object) -> None:
    """ConfigError if it makes no sense."""
    try:
        row.kind.check(value)
    except ValueError as error:
        raise ConfigError(wrong(row, row.name, value, error)) from None


def share_of(row: Row, value: Any, workers: int) -> Any:
    """A worker's value of an option, given the server's. 0 stays 0: no bound, or none of it."""
    return max(1, value // workers) if row.is_divided and value else value


def wrong(row: Row, name: str, value: object, error: ValueError) -> str:
    """The line about a wrong value; name: as it was given."""
    return f"{name}: {error}" if row.is_secret else f"{name} is {value!r}, {error}"
