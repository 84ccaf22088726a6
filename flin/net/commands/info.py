"""INFO: figures about the server in Redis's sections and names, and a section of Flin's own.

Clients read a few of them: ioredis waits for `loading:0`, tools read `redis_version`, `used_memory`, the keyspace.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import flin
from flin.net.command.registry import calls_of_all, every_command
from flin.net.commands.info_constants import CONSTANTS
from flin.net.commands.replication import replica_figures
from flin.net.scripting.functions import Functions
from flin.net.scripting.scripts import Scripts
from flin.net.wire.replies import Slices, Verbatim

if TYPE_CHECKING:
    from flin.net.run.health import Health
    from flin.net.run.services import Services

Figures = dict[str, Any]

COUNT_SLICES: Final = 20
"""The most slices that INFO spends on exact numbers of keys; beyond them it shows the last ones known: clients that
wait for INFO when they connect must not wait for a count of millions."""


EXPIRING_SLICES: Final = 50
"""Enough for a million entries with an expiry in the memtables."""


def render_info(services: Services, asked: list[str]) -> Slices:
    """The sections asked for, or the default ones. In slices: the keys are counted first."""
    names = _chosen(asked)
    if "keyspace" in names:
        yield from count_keys(services)
        yield from _count_expiring(services)
    sections = [
        _section(title, CONSTANTS.get(title, {}) | make(services))
        for title, make in _SECTIONS.items()
        if title.lower() in names
    ]
    return Verbatim("\r\n".join(sections).encode("utf-8", "replace"))


def count_keys(services: Services) -> Slices:
    for keyspace in services.databases.keyspaces:
        counting = keyspace.watch_count()
        for _ in range(COUNT_SLICES):
            try:
                next(counting)
            except StopIteration:
                break
            yield


def _count_expiring(services: Services) -> Slices:
    """Count the keys with an expiry if EXPIRING_SLICES suffice; else the known figures stay."""
    counting = services.expiring()
    for _ in range(EXPIRING_SLICES):
        try:
            next(counting)
        except StopIteration as end:
            services.databases.expiries = end.value
            return
        yield


def _chosen(asked: list[str]) -> set[str]:
    everything = {title.lower() for title in _SECTIONS}
    default = everything - {"commandstats", "latencystats"}
    if not asked:
        return default
    chosen: set[str] = set()
    for name in asked:
        if name == "default":
            chosen |= default
        elif name in ("all", "everything"):
            chosen |= everything
        else:
            chosen.add(name)
    return chosen


def _section(title: str, figures: Mapping[str, Any]) -> str:
    """The section's text: one line per figure, whatever a path or a reason holds."""
    lines = [f"{name}:{value}".replace("\r", " ").replace("\n", " ") for name, value in figures.items()]
    return "\r\n".join([f"# {title}", *lines, ""])


def _server(services: Services) -> Figures:
    mode = "standalone" if services.slot_gate is None else "cluster"
    uptime = (services.tick.steady_ms - services.process.started_steady_ms) // 1000
    return {
        "redis_version": services.config.options.redis_version,
        "flin_version": flin.__version__,
        "redis_mode": mode,
        "mode": mode,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "arch_bits": 64 if sys.maxsize > 1 << 32 else 32,
        "python_version": platform.python_version(),
        "multiplexing_api": services.process.event_loop,
        "process_id": os.getpid(),
        "run_id": services.process.run_id,
        "tcp_port": services.process.port,
        "server_time_usec": services.store.now_ms() * 1000,
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime // 86_400,
        "lru_clock": services.store.now_ms() // 1000 & 0xFFFFFF,  # Redis's has 24 bits
        "executable": sys.executable,
        "config_file": services.config.options.config_file,
    }


def _clients(services: Services) -> Figures:
    sessions = services.clients.sessions.values()
    return {
        "connected_clients": len(services.clients.admitted),
        "blocked_clients": services.waiters.number + len(services.pause.held),
        "tracking_clients": len(services.tracking.trackers),
        "maxclients": services.config.maxclients,
        "client_recent_max_input_buffer": max((session.link.input_bytes() for session in sessions), default=0),
        "client_recent_max_output_buffer": max((session.link.output_bytes() for session in sessions), default=0),
    }


def memory_figures(services: Services) -> Figures:
    used = resident_bytes()
    # The kernel adds up its threads' counts only now and then, so its peak may lag behind.
    peak = services.process.peak_memory_bytes = max(
        used, services.process.peak_memory_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    data = max(0, used - services.process.startup_memory_bytes)
    system = os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = services.config.options.memory_limit
    return {
        "used_memory": used,
        "used_memory_human": human_size(used),
        "used_memory_rss": used,
        "used_memory_rss_human": human_size(used),
        "used_memory_peak": peak,
        "used_memory_peak_human": human_size(peak),
        "used_memory_peak_perc": f"{100 * used / peak:.2f}%",
        "used_memory_startup": services.process.startup_memory_bytes,
        "used_memory_overhead": used - data,
        "used_memory_dataset": data,
        "used_memory_dataset_perc": f"{100 * data / used:.2f}%",
        "allocator_allocated": used,
        "allocator_active": used,
        "allocator_resident": used,
        "total_system_memory": system,
        "total_system_memory_human": human_size(system),
        "maxmemory": services.config.maxmemory,
        "maxmemory_human": human_size(services.config.maxmemory),
        "maxmemory_policy": services.config.maxmemory_policy.decode(),
        "memory_limit": limit,
        "memory_limit_human": human_size(limit),
        "mem_clients_normal": services.clients.buffered_bytes(),
        **_scripts(services.part(Scripts), services.part(Functions)),
    }


def _scripts(scripts: Scripts, functions: Functions) -> Figures:
    lua, of_functions = scripts.lua_bytes(), functions.lua_bytes()
    sources, libraries = scripts.memory_bytes(), functions.memory_bytes()
    return {
        "used_memory_lua": lua,
        "used_memory_vm_eval": lua,
        "used_memory_lua_human": human_size(lua),
        "used_memory_scripts_eval": sources,
        "number_of_cached_scripts": len(scripts),
        "number_of_functions": functions.number(),
        "number_of_libraries": len(functions),
        "used_memory_vm_functions": of_functions,
        "used_memory_vm_total": lua + of_functions,
        "used_memory_vm_total_human": human_size(lua + of_functions),
        "used_memory_functions": libraries,
        "used_memory_scripts": sources + libraries,
        "used_memory_scripts_human": human_size(sources + libraries),
    }


def _persistence(services: Services) -> Figures:
    store, saving, engine = services.store, services.saving, services.engine_statistics()
    values = engine.get("value_files", {})
    return {
        "aof_last_write_status": "ok" if store.read_only_reason is None and store.background_error is None else "err",
        "rdb_last_save_time": saving.saved_at_seconds,
        "rdb_bgsave_in_progress": int(saving.save.is_running),
        "rdb_last_bgsave_status": "ok" if saving.save.is_good else "err",
        "rdb_last_bgsave_time_sec": saving.save.seconds,
        "rdb_current_bgsave_time_sec": saving.save.present_seconds(),
        "rdb_saves": saving.save.times,
        "aof_rewrite_in_progress": int(saving.compaction.is_running),
        "aof_last_rewrite_time_sec": saving.compaction.seconds,
        "aof_current_rewrite_time_sec": saving.compaction.present_seconds(),
        "aof_last_bgrewrite_status": "ok" if saving.compaction.is_good else "err",
        "aof_rewrites": saving.compaction.times,
        "aof_current_size": engine.get("disk", {}).get("wal_bytes", 0),
        "value_files": values.get("files", 0),
        "value_files_bytes": values.get("bytes", 0),
        "value_files_live_bytes": values.get("live_bytes", 0),
        "wal_position": store.position,
        "wal_synced_position": store.synced_position,
        "sync": services.sync,
        "read_only_reason": store.read_only_reason or "",
    }


def _stats(services: Services) -> Figures:
    counters = services.counters
    channels, patterns, shards = services.pubsub.registries
    return {
        "total_connections_received": counters.connections,
        "total_commands_processed": calls_of_all(),
        "instantaneous_ops_per_sec": services.process.commands_per_second,
        "instantaneous_input_kbps": f"{services.process.input_bytes_per_second / 1024:.2f}",
        "instantaneous_output_kbps": f"{services.process.output_bytes_per_second / 1024:.2f}",
        "total_net_input_bytes": counters.input_bytes,
        "total_net_output_bytes": counters.output_bytes,
        "rejected_connections": counters.rejected_connections,
        "expired_keys": services.engine_statistics().get("background", {}).get("swept_keys", 0),
        "evicted_keys": counters.evicted_keys,
        "keyspace_hits": sum(keyspace.hits + keyspace.hot.hits for keyspace in services.databases.keyspaces),
        "keyspace_misses": sum(keyspace.misses for keyspace in services.databases.keyspaces),
        "pubsub_channels": len(channels),
        "pubsub_patterns": len(patterns),
        "pubsubshard_channels": len(shards),
        "tracking_total_keys": len(services.tracking.table),
        "tracking_total_items": services.tracking.table.number_of_readers,
        "tracking_total_prefixes": len(services.tracking.prefixes),
        "unexpected_error_replies": counters.internal_errors,
        "total_error_replies": sum(counters.errors.values()),
        "client_output_buffer_limit_disconnections": counters.clients_closed_for_output,
    }


def _replication(services: Services) -> Figures:
    replid = {"master_replid": services.process.run_id}
    if services.role is None or services.slot_gate is None:
        return replid
    return replica_figures(services.role, services.slot_gate) | replid


def _cpu(services: Services) -> Figures:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "used_cpu_sys": f"{own.ru_stime:.6f}",
        "used_cpu_user": f"{own.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
        **_thread_times(),
    }


def _thread_times() -> Figures:
    """Times of the event loop's thread, in which this runs; only Linux has them."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return {}
    own = resource.getrusage(resource.RUSAGE_THREAD)
    return {
        "used_cpu_sys_main_thread": f"{own.ru_stime:.6f}",
        "used_cpu_user_main_thread": f"{own.ru_utime:.6f}",
    }


def _command_statistics(services: Services) -> Figures:
    return {
        f"cmdstat_{found.name}": (
            f"calls={found.calls},usec={found.microseconds()},"
            f"usec_per_call={found.microseconds() / max(1, found.calls):.2f},"
            f"rejected_calls={found.rejected_calls},failed_calls={found.failed_calls}"
        )
        for found in every_command()
        if found.calls or found.rejected_calls or found.failed_calls
    }


def _latency_statistics(services: Services) -> Figures:
    return {
        f"latency_percentiles_usec_{found.name}": ",".join(
            f"p{percentile:g}={_percentile(found.histogram, percentile):.3f}" for percentile in (50, 99, 99.9)
        )
        for found in every_command()
        if found.histogram
    }


def _percentile(histogram: Mapping[int, int], percentile: float) -> int:
    """Microseconds: the upper end of the power of two in which it lies."""
    left = sum(histogram.values()) * percentile / 100
    for bucket, count in sorted(histogram.items()):
        left -= count
        if left <= 0:
            return 1 << bucket
    raise AssertionError("the counts add up to their sum")


def _modules(services: Services) -> Figures:
    return {}


def _error_statistics(services: Services) -> Figures:
    return {f"errorstat_{prefix}": f"count={count}" for prefix, count in sorted(services.counters.errors.items())}


def _cluster(services: Services) -> Figures:
    line = services.pubsub.line
    missed = {} if line is None else {"cluster_messages_missed": line.board.missed}
    return {"cluster_enabled": int(services.slot_gate is not None), **missed}


def _keyspace(services: Services) -> Figures:
    figures: Figures = {}
    for keyspace in services.databases.keyspaces:
        if keyspace.last_count:
            keys = keyspace.last_count
            expiries = services.databases.expiries.get(keyspace.namespace)
            expires = min(keys, expiries.entry_count) if expiries is not None else 0
            average = expiries.average_ttl_ms(services.pending.now_ms) if expiries is not None else 0
            figures[f"db{keyspace.database}"] = f"keys={keys},expires={expires},avg_ttl={average}"
    return figures


def _flin(services: Services) -> Figures:
    """The figures that only Flin has: hot keys, cold reads, batches, and the engine's own."""
    hot = [keyspace.hot for keyspace in services.databases.keyspaces]
    stall = services.store.stall()
    figures: Figures = {
        "hot_keys": sum(cache.size() for cache in hot),
        "hot_keys_hits": sum(cache.hits for cache in hot),
        "hot_keys_misses": sum(cache.misses for cache in hot),
        "hot_keys_evictions": sum(cache.evictions for cache in hot),
        "cold_reads": services.counters.cold_reads,
        "write_batches": services.pending.batches,
        "write_batches_failed": services.pending.failures,
        "protocol_errors": services.counters.protocol_errors,
        "stall_delay_seconds": stall.delay_seconds,
        "stall_stopped": int(stall.stopped),
        "stall_reason": stall.reason or "",
        "corruption_errors": services.damage.errors,
        "corruption_last": services.damage.last,
        **_health(services.health),
    }
    return figures | _flattened("engine", services.engine_statistics())


def _health(health: Health) -> Figures:
    """The disk, the clock, and what a person must act on: the names, and each with what to do."""
    vitals = health.vitals
    disk = {} if vitals.free_bytes is None else {"disk_free_bytes": vitals.free_bytes}
    alarms = {f"alarm_{alarm.name.replace('-', '_')}": alarm.text for alarm in health.alarms}
    return {
        **disk,
        "disk_reserve_bytes": vitals.reserve_bytes,
        "clock_jumps": health.clock_jumps,
        "alarms": ",".join(alarm.name for alarm in health.alarms),
        **alarms,
    }


def _flattened(name: str, value: Any) -> Figures:
    """Nested figures by their joined names: engine_compaction_jobs."""
    if isinstance(value, Mapping):
        return {key: figure for part in value for key, figure in _flattened(f"{name}_{part}", value[part]).items()}
    return {name: value} if isinstance(value, bool | int | float | str) else {}


def human_size(size: int) -> str:
    """`1.44M`, as Redis writes sizes for people."""
    if size < 1024:
        return f"{size}B"
    amount = float(size)
    for unit in "KMGT":
        amount /= 1024
        if amount < 1024 or unit == "T":
            return f"{amount:.2f}{unit}"
    raise AssertionError("the loop returns at T")


def resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:  # not Linux: the peak is the nearest figure that the standard library has
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_SECTIONS: Final[dict[str, Callable[[Any], Figures]]] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": memory_figures,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "CPU": _cpu,
    "Modules": _modules,
    "Commandstats": _command_statistics,
    "Errorstats": _error_statistics,
    "Latencystats": _latency_statistics,
    "Cluster": _cluster,
    "Keyspace": _keyspace,
    "Flin": _flin,
}
