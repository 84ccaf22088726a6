"""Redis's parameters that have no effect here, with Redis 7.0's defaults: clients and setup scripts read and set them.

CONFIG SET takes the value that is shown, however it is spelled, and refuses every other, since it would have no
effect. The names are those of `CONFIG GET *` of Redis 7.0.15, without those to which Flin gives a meaning (config.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from flin.net.settings.parameter import (
    IMMUTABLE,
    PROTECTED,
    Parameter,
    Parse,
    any_integer,
    choice_of,
    constant,
    memory_size,
    same_text,
    yes_or_no,
)

# One after the other, `name value`; a name alone has the empty value.

_IMMUTABLE: Final = """
always-show-logo no; aof_rewrite_cpulist; appenddirname appendonlydir; appendfilename appendonly.aof;
bgsave_cpulist; bio_cpulist; cluster-config-file nodes.conf; cluster-port 0; daemonize no;
disable-thp yes; enable-module-command no; enable-protected-configs no; io-threads 1;
io-threads-do-reads no; rdbchecksum yes; replicaof; server_cpulist; set-proc-title yes;
slaveof; socket-mark-id 0; supervised no; syslog-enabled no; syslog-facility local0; syslog-ident redis
"""

_INTEGERS: Final = """
active-defrag-cycle-max 25; active-defrag-cycle-min 1; active-defrag-max-scan-fields 1000;
active-defrag-threshold-lower 10; active-defrag-threshold-upper 100; active-expire-effort 1;
auto-aof-rewrite-percentage 100; cluster-announce-bus-port 0; cluster-announce-port 0;
cluster-announce-tls-port 0; cluster-migration-barrier 1; cluster-node-timeout 15000;
cluster-replica-validity-factor 10; cluster-slave-validity-factor 10; hz 10;
lfu-decay-time 1; lfu-log-factor 10; list-compress-depth 0; list-max-listpack-size -2; list-max-ziplist-size -2;
maxmemory-eviction-tenacity 10; min-replicas-max-lag 10;
min-replicas-to-write 0; min-slaves-max-lag 10; min-slaves-to-write 0; repl-backlog-ttl 3600;
repl-diskless-sync-delay 5; repl-diskless-sync-max-replicas 0; repl-ping-replica-period 10;
repl-ping-slave-period 10; repl-timeout 60; replica-announce-port 0; replica-priority 100;
shutdown-timeout 10; slave-announce-port 0; slave-priority 100;
tls-session-cache-size 20480; tls-session-cache-timeout 300
"""

_SIZES: Final = """
active-defrag-ignore-bytes 104857600; auto-aof-rewrite-min-size 67108864; cluster-link-sendbuf-limit 0;
repl-backlog-size 1048576; stream-node-max-bytes 4096
"""

_FLAGS: Final = """
activedefrag no; activerehashing yes; aof-disable-auto-gc no; aof-load-truncated yes;
aof-rewrite-incremental-fsync yes; aof-timestamp-enabled no; aof-use-rdb-preamble yes;
cluster-allow-pubsubshard-when-down yes; cluster-allow-reads-when-down no; cluster-allow-replica-migration yes;
cluster-replica-no-failover no; cluster-require-full-coverage yes; cluster-slave-no-failover no;
crash-log-enabled yes; crash-memcheck-enabled yes; dynamic-hz yes; jemalloc-bg-thread yes; latency-tracking yes;
lazyfree-lazy-eviction no; lazyfree-lazy-expire no; lazyfree-lazy-server-del no; lazyfree-lazy-user-del no;
lazyfree-lazy-user-flush no; no-appendfsync-on-rewrite no; rdb-del-sync-files no;
rdb-save-incremental-fsync yes; rdbcompression yes; repl-disable-tcp-nodelay no; repl-diskless-sync yes;
replica-announced yes; replica-ignore-disk-write-errors no; replica-ignore-maxmemory yes; replica-lazy-flush no;
replica-read-only yes; replica-serve-stale-data yes; slave-ignore-maxmemory yes; slave-lazy-flush no;
slave-read-only yes; slave-serve-stale-data yes; stop-writes-on-bgsave-error yes; tls-cluster no;
tls-prefer-server-ciphers no; tls-replication no; tls-session-caching yes
"""

_TEXTS: Final = """
bind-source-addr; cluster-announce-hostname; ignore-warnings;
latency-tracking-info-percentiles 50 99 99.9; masterauth; masteruser; maxmemory-clients 0;
oom-score-adj-values 0 200 800; proc-title-template {title} {listen-addr} {server-mode}; replica-announce-ip;
slave-announce-ip; tls-ciphersuites; tls-client-cert-file; tls-client-key-file; tls-client-key-file-pass;
tls-dh-params-file
"""

_CHOICES: Final = {
    "cluster-preferred-endpoint-type": ("ip", "ip", "hostname", "unknown-endpoint"),
    "oom-score-adj": ("no", "no", "yes", "relative", "absolute"),
    "propagation-error-behavior": ("ignore", "ignore", "panic", "panic-on-replicas"),
    "repl-diskless-load": ("disabled", "disabled", "on-empty-db", "swapdb"),
    "sanitize-dump-payload": ("no", "no", "yes", "clients"),
    "shutdown-on-sigint": ("default", "default", "save", "nosave", "now", "force"),
    "shutdown-on-sigterm": ("default", "default", "save", "nosave", "now", "force"),
}
"""By name: the value, then all choices in Redis's order."""


def without_effect() -> Iterator[tuple[bytes, Parameter[Any]]]:
    """The names of these parameters, and how CONFIG answers for them."""
    kinds: list[tuple[str, Parse, str | None]] = [
        (_IMMUTABLE, same_text, IMMUTABLE),
        ("dbfilename dump.rdb", same_text, PROTECTED),
        (_INTEGERS, any_integer, None),
        (_SIZES, memory_size, None),
        (_FLAGS, yes_or_no, None),
        (_TEXTS, same_text, None),
    ]
    for table, parse, refusal in kinds:
        for pair in table.split(";"):
            name, _, value = pair.strip().partition(" ")
            yield name.encode(), constant(value.encode(), parse, refusal)
    for name, (value, *choices) in _CHOICES.items():
        yield name.encode(), constant(value.encode(), choice_of(*choices))
