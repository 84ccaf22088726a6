"""Metrics: a table of what is shown of the figures, and how prometheus-client writes it.

Pure: figures in, text out, so it runs in a thread beside the loop. docs/http.md has the table, and a test compares it.
Every sample has the label `group`: the number of the worker, 0 where there is one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder

from flin.net.run.alarms import ALARMS
from flin.net.run.histogram import UNIT_NANOSECONDS

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
INFO: Final = "info"

Figures: TypeAlias = "Mapping[str, Any]"
Buckets: TypeAlias = "list[tuple[str, float]]"
Durations: TypeAlias = "Iterable[tuple[str, Buckets, float]]"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    """Without the `_total` of counters, which is added."""
    kind: str
    help: str
    path: str = ""
    """Where the figure is: names joined by dots. A figure that is absent is not shown."""
    label: str = ""
    """What the keys are of a figure that is a table."""
    read: Callable[[Any], Any] | None = None
    """What to show of the figure: a number, a table, or a histogram's durations."""

    @property
    def sample_name(self) -> str:
        """As it stands in a query."""
        return self.name + {COUNTER: "_total", HISTOGRAM: "_bucket", INFO: "_info"}.get(self.kind, "")


def _field(name: str) -> Callable[[Any], Any]:
    return lambda table: {key: figures[name] for key, figures in table.items()}


def _of_replica(name: str, divisor: float = 1) -> Callable[[Any], Any]:
    """By its role; nothing of what is no replica."""
    return lambda replica: {replica["role"]: replica[name] / divisor} if replica else {}


def _tick_durations(ticks: Figures) -> Durations:
    """Buckets at powers of two from 4 µs to 4.3 s: every fourth of the histogram, of which a power ends at an index
    that 4 divides."""
    counts, below = ticks.get("counts"), 0
    if not counts:
        return
    buckets: Buckets = []
    for bucket, count in enumerate(counts):
        power = (bucket + 1) // 4 + 1
        below += count
        if (bucket + 1) % 4 == 0 and 4 <= power <= 24:
            buckets.append((f"{(UNIT_NANOSECONDS << power) / 1e9:.12g}", below))
    yield "", [*buckets, ("+Inf", below)], ticks["seconds"]


def _command_durations(by_name: Figures) -> Durations:
    for name, command in by_name.items():
        counts = {int(bucket): count for bucket, count in command["histogram"].items()}
        buckets, below = [], 0
        for bucket in range(max(counts, default=-1) + 1):
            below += counts.get(bucket, 0)
            buckets.append((f"{(1 << bucket) / 1e6:.12g}", float(below)))
        if below:
            yield name, [*buckets, ("+Inf", below)], command["timed_nanoseconds"] / 1e9


METRICS: Final = (
    Metric("flin", INFO, "Version of Flin and of Python, and the sync mode.", "server"),
    Metric("flin_ready", GAUGE, "1 if it can do what clients ask: /ready is 200.",
           "reasons", read=lambda found: not found),
    Metric("flin_warnings", GAUGE, "What a person should look at, in number: /status says what.", "warnings", read=len),
    Metric("flin_alarm", GAUGE, "1 while this is a state that a person must act on (docs/alarms.md).",
           "server.state.alarms", "name", lambda alarms: {name: int(name in alarms) for name in ALARMS}),
    Metric("flin_clock_jumps", COUNTER, "How often the wall clock was set.", "server.state.clock_jumps"),
    Metric("flin_start_time_seconds", GAUGE, "When the server started, in Unix time.", "server.started_at_seconds"),
    Metric("flin_uptime_seconds", GAUGE, "Seconds since then, by a steady clock.", "server.uptime_seconds"),
    Metric("flin_long_script", GAUGE, "1 while a long script runs and everything waits.",
           "server.state.has_long_script"),
    Metric("flin_corruption_errors", COUNTER, "Replies that told of damage on the disk.",
           "server.state.corruption_errors"),
    # Replicas.
    Metric("flin_replica_voting_nodes", GAUGE, "In a cluster of nodes: how many decide together.", "server.replica",
           "role", _of_replica("voting_nodes")),
    Metric("flin_replica_leased", GAUGE, "1 if this replica leads its group and may answer.", "server.replica",
           "role", _of_replica("has_lease")),
    Metric("flin_replica_epoch", GAUGE, "The number of changes of the group's leader.", "server.replica",
           "role", _of_replica("epoch")),
    Metric("flin_replica_log_index", GAUGE, "The last entry of the group's log that this replica holds.",
           "server.replica", "role", _of_replica("index")),
    Metric("flin_replica_lag_seconds", GAUGE, "How old what a follower shows may be.", "server.replica",
           "role", _of_replica("lag_ms", 1000)),
    Metric("flin_replica_has_room", GAUGE, "1 if its disk takes writes; a leader without room hands over.",
           "server.replica", "role", _of_replica("has_room")),
    Metric("flin_replica_etcd_used_share", GAUGE, "How much of its quota etcd uses; 0 below one half.",
           "server.replica", "role", _of_replica("etcd_used_share")),
    Metric("flin_replica_clock_skew_seconds", GAUGE, "How far its clock is from its leader's.", "server.replica",
           "role", _of_replica("skew_ms", 1000)),
    # Clients.
    Metric("flin_clients", GAUGE, "Connections.", "server.clients.connected"),
    Metric("flin_clients_blocked", GAUGE, "Of those, who wait for a key or for the end of a pause.",
           "server.clients.blocked"),
    Metric("flin_clients_max", GAUGE, "The most connections (maxclients).", "server.clients.maximum"),
    Metric("flin_connections", COUNTER, "Connections since the start.", "server.clients.received"),
    Metric("flin_connections_rejected", COUNTER, "Connections that were refused.", "server.clients.rejected"),
    Metric("flin_clients_closed_for_output", COUNTER, "Clients that were closed because they did not read.",
           "server.clients.closed_for_output"),
    Metric("flin_client_buffers_bytes", GAUGE, "Bytes in all clients' buffers.", "server.clients.buffered_bytes"),
    Metric("flin_client_buffers_limit_bytes", GAUGE, "Their share of the memory limit.",
           "server.clients.buffers_limit_bytes"),
    # Commands.
    Metric("flin_commands", COUNTER, "Commands that were run.", "server.commands.by_name", "command", _field("calls")),
    Metric("flin_commands_failed", COUNTER, "Commands that answered an error.", "server.commands.by_name", "command",
           _field("failed")),
    Metric("flin_commands_rejected", COUNTER, "Commands that were refused before they ran.", "server.commands.by_name",
           "command", _field("rejected")),
    Metric("flin_command_seconds", HISTOGRAM,
           "Time in commands, of those that are timed: all that are not of constant work, and of the others a sample.",
           "server.commands.by_name", "command", _command_durations),
    Metric("flin_tick_seconds", HISTOGRAM,
           "Length of a tick, the round in which all clients' requests run: from its first reply to their release.",
           "server.ticks", read=_tick_durations),
    Metric("flin_ticks", COUNTER, "Ticks.", "server.ticks.ended"),
    Metric("flin_errors", COUNTER, "Error replies, by their first word.", "server.commands.errors", "error"),
    Metric("flin_internal_errors", COUNTER, "Unexpected exceptions: the log has each.",
           "server.commands.internal_errors"),
    Metric("flin_protocol_errors", COUNTER, "Connections closed for bytes that are no request.",
           "server.commands.protocol_errors"),
    Metric("flin_input_bytes", COUNTER, "Bytes that were read from clients.", "server.commands.input_bytes"),
    Metric("flin_output_bytes", COUNTER, "Bytes that were sent to clients.", "server.commands.output_bytes"),
    # Keys.
    Metric("flin_keys", GAUGE, "Keys of each database, counted every 5 s; while merges lag, those that they counted.",
           "server.keyspace.keys", "database"),
    Metric("flin_keyspace_hits", COUNTER, "Lookups that found their key.", "server.keyspace.hits"),
    Metric("flin_keyspace_misses", COUNTER, "Lookups that did not.", "server.keyspace.misses"),
    Metric("flin_expired_keys", COUNTER, "Expired keys that were deleted.", "engine.background.swept_keys"),
    Metric("flin_evicted_keys", COUNTER, "Keys that were evicted because of maxmemory.",
           "server.keyspace.evicted_keys"),
    Metric("flin_maxmemory_bytes", GAUGE, "About how large the data may become; 0: no limit.",
           "server.keyspace.maxmemory_bytes"),
    Metric("flin_hot_keys", GAUGE, "Cached replies.", "server.keyspace.hot_keys"),
    Metric("flin_hot_keys_hits", COUNTER, "GETs that were answered by one.", "server.keyspace.hot_keys_hits"),
    Metric("flin_hot_keys_misses", COUNTER, "GETs that were not.", "server.keyspace.hot_keys_misses"),
    Metric("flin_hot_keys_evictions", COUNTER, "Cached replies that made room.", "server.keyspace.hot_keys_evictions"),
    Metric("flin_cold_reads", COUNTER, "Reads that waited for the disk.", "server.keyspace.cold_reads"),
    # The process.
    Metric("flin_memory_resident_bytes", GAUGE, "Memory of the server's process.", "server.memory.resident_bytes"),
    Metric("flin_memory_limit_bytes", GAUGE, "Its memory limit.", "server.memory.limit_bytes"),
    Metric("flin_cpu_user_seconds", COUNTER, "Processor time of the process in Flin.", "server.cpu.user_seconds"),
    Metric("flin_cpu_system_seconds", COUNTER, "Processor time of the process in the kernel.",
           "server.cpu.system_seconds"),
    Metric("flin_memtables_bytes", GAUGE, "Bytes in the memtables that take writes.", "engine.memtables.open_bytes"),
    Metric("flin_retired_bytes", GAUGE, "Bytes of flushed generations that are kept as a cache.",
           "engine.memtables.retired_bytes"),
    Metric("flin_block_cache_bytes", GAUGE, "Bytes of cached blocks.", "engine.block_cache.used_bytes"),
    Metric("flin_block_cache_hits", COUNTER, "Blocks that were found in memory.", "engine.block_cache.hits"),
    Metric("flin_block_cache_misses", COUNTER, "Blocks that were not.", "engine.block_cache.misses"),
    # Writes and the disk.
    Metric("flin_batches", COUNTER, "Batches of writes that were committed: one for each tick that wrote.",
           "server.ticks.batches"),
    Metric("flin_batches_failed", COUNTER, "Batches that could not be written.", "server.ticks.failed_batches"),
    Metric("flin_wal_position_bytes", COUNTER, "Bytes that were ever written to the write-ahead log.",
           "engine.wal.position"),
    Metric("flin_wal_unsynced_bytes", GAUGE, "Of those, what a power cut could take.", "engine.wal",
           read=lambda wal: wal["position"] - wal["synced_position"]),
    Metric("flin_wal_bytes", GAUGE, "Bytes of the write-ahead log on the disk that are not in tables yet.",
           "engine.disk.wal_bytes"),
    Metric("flin_tables", GAUGE, "Tables.", "engine.tables.tables"),
    Metric("flin_tables_bytes", GAUGE, "Their bytes on the disk.", "engine.tables.bytes"),
    Metric("flin_runs", GAUGE, "Sorted runs of the shard with the most: what a lookup may have to ask.",
           "engine.tables.runs"),
    Metric("flin_tombstones", GAUGE, "Deletions that no merge has dropped yet.", "engine.tables.tombstones"),
    Metric("flin_value_files_bytes", GAUGE, "Bytes of value files.", "engine.value_files.bytes"),
    Metric("flin_value_files_live_bytes", GAUGE, "Of those, what still belongs to a key.",
           "engine.value_files.live_bytes"),
    Metric("flin_disk_free_bytes", GAUGE, "Free bytes of the disk.", "engine.disk.free_bytes"),
    Metric("flin_disk_reserve_bytes", GAUGE, "Below so many free bytes, writes that need room are refused.",
           "server.state.disk_reserve_bytes"),
    Metric("flin_disk_total_bytes", GAUGE, "All bytes of the disk.", "disk_total_bytes"),
    Metric("flin_sealed_generations", GAUGE, "Generations that wait for their flush.",
           "engine.memtables.sealed_generations"),
    Metric("flin_stalled", GAUGE, "1 while writers are stopped until the background catches up.",
           "server.state.stall.stopped"),
    Metric("flin_stall_delay_seconds", GAUGE, "What each write is delayed now.", "server.state.stall.delay_seconds"),
    Metric("flin_stall_seconds", COUNTER, "Time that embedded writers have waited.", "engine.stall.seconds"),
    Metric("flin_flushes", COUNTER, "Flushes.", "engine.flush.jobs"),
    Metric("flin_flush_bytes", COUNTER, "Bytes that they wrote.", "engine.flush.bytes_written"),
    Metric("flin_flush_cpu_seconds", COUNTER, "Processor time that they took.", "engine.flush.cpu_seconds"),
    Metric("flin_compactions", COUNTER, "Merges.", "engine.compaction.jobs"),
    Metric("flin_compaction_bytes", COUNTER, "Bytes that they wrote.", "engine.compaction.bytes_written"),
    Metric("flin_compaction_cpu_seconds", COUNTER, "Processor time that they took.", "engine.compaction.cpu_seconds"),
    Metric("flin_background_failures", COUNTER, "Flushes and merges that failed.", "engine.background.failures"),
    Metric("flin_write_amplification", GAUGE, "Bytes written to tables per byte that was written.",
           "engine.background.write_amplification"),
    Metric("flin_last_save_time_seconds", GAUGE, "When all was last made durable by SAVE or BGSAVE, in Unix time.",
           "server.saving.saved_at_seconds"),
    Metric("flin_last_save_ok", GAUGE, "0 if the last one failed.", "server.saving.is_last_save_good"),
)  # fmt: skip
"""In the order of the page."""

UP: Final = Metric("flin_up", GAUGE, "1 if the group answers: 0 while a worker is starting, has died, or hangs.")
"""Made of which groups have answered."""


def figure_at(figures: Figures, path: str) -> Any:
    """The figure; None if there is none.

    >>> figure_at({"engine": {"flush": {"jobs": 3}}}, "engine.flush.jobs"), figure_at({}, "engine.flush.jobs")
    (3, None)
    """
    found: Any = figures
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


class Snapshot:
    """The figures of all groups, as prometheus-client's registry asks for them. None: the group does not answer."""

    def __init__(self, groups: Mapping[str, Figures | None]) -> None:
        self.groups = groups

    def collect(self) -> Iterator[Any]:
        up = GaugeMetricFamily(UP.name, UP.help, labels=["group"])
        for group, figures in self.groups.items():
            up.add_metric([group], int(figures is not None))
        yield up
        for metric in METRICS:
            yield self._family(metric)

    def _family(self, metric: Metric) -> Any:
        labels = ["group", metric.label] if metric.label else ["group"]
        family: Any
        if metric.kind == INFO:
            family = InfoMetricFamily(metric.name, metric.help, labels=["group"])
            add = partial(_add_info, family)
        elif metric.kind == HISTOGRAM:
            family = HistogramMetricFamily(metric.name, metric.help, labels=labels)
            add = partial(_add_histogram, family)
        else:
            kind = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=labels)
            add = partial(_add_numbers, family)
        for group, figures in self.groups.items():
            if figures is not None:
                add(metric, group, figure_at(figures, metric.path))
        return family


def _add_numbers(family: Any, metric: Metric, group: str, figure: Any) -> None:
    if figure is None:
        return
    value = figure if metric.read is None else metric.read(figure)
    for name, number in value.items() if metric.label else (("", value),):
        family.add_metric([group, name] if metric.label else [group], float(number))


def _add_histogram(family: Any, metric: Metric, group: str, figure: Any) -> None:
    assert metric.read is not None
    for name, buckets, seconds in metric.read(figure or {}):
        family.add_metric([group, name] if metric.label else [group], buckets, seconds)


def _add_info(family: Any, metric: Metric, group: str, figure: Any) -> None:
    shown = {name: str(figure[name]) for name in ("version", "python_version", "event_loop", "sync")}
    family.add_metric([group], shown)


def written(groups: Mapping[str, Figures | None], accept: str) -> tuple[bytes, str]:
    """The page of metrics and its content type: what the Accept header asks for. Any thread."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(Snapshot(groups))
    return encode(registry), content_type


def table() -> str:
    """The table of docs/http.md."""
    rows = [f"| `{each.sample_name}` | {each.kind} | {each.label} | {each.help} |" for each in (UP, *METRICS)]
    return "\n".join(["| metric | kind | label | what it says |", "|---|---|---|---|", *rows, ""])
