"""A server's figures: one dictionary of what JSON can hold, for metrics, `/stats` and the dashboard.

Made on the server's loop, when somebody asks; nothing is counted for it but the lengths of ticks. The engine's figures
are made in a thread: with thousands of tables they take milliseconds.
"""

from __future__ import annotations

import heapq
import os
import platform
import resource
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import flin
from flin.net.client.description import describe
from flin.net.command.registry import calls_of_all, every_command
from flin.net.commands.info import resident_bytes
from flin.net.run.alarms import maybe_low_disk
from flin.net.run.timed_tick import TimedTick

if TYPE_CHECKING:
    from flin.net.client.session import Session
    from flin.net.run.services import Services

SHOWN_CLIENTS: Final = 20
LOOKED_AT_CLIENTS: Final = 1000
"""The newest, of which the ones with the fullest buffers are shown: ten thousand looks would hold up the loop."""

SHOWN_SLOW: Final = 20
"""Entries of the slow log. SLOWLOG GET has them all."""


def server_figures(services: Services, *, is_stopping: bool) -> dict[str, Any]:
    """On the server's loop. What may be a key or a client's own word is text with escapes for what is not UTF-8."""
    process, tick = services.process, services.tick
    return {
        "version": flin.__version__,
        "python_version": platform.python_version(),
        "event_loop": process.event_loop,
        "pid": os.getpid(),
        "port": process.port,
        "directory": services.config.options.dir,
        "sync": services.sync,
        "started_at_seconds": process.started_at_seconds,
        "uptime_seconds": (tick.steady_clock() - process.started_steady_ms) / 1000,
        "state": state_of(services, is_stopping=is_stopping),
        "clients": _clients(services),
        "commands": _commands(services),
        "keyspace": _keyspace(services),
        "memory": _memory(services),
        "cpu": _cpu(),
        "ticks": _ticks(services),
        "saving": _saving(services),
        "slowlog": _slow_commands(services),
        "replica": _replica(services),
    }


def state_of(services: Services, *, is_stopping: bool) -> dict[str, Any]:
    """What readiness.py judges."""
    stall, health, role = services.store.stall(), services.health, services.role
    return {
        "is_stopping": is_stopping,
        "lacks_lease": role is not None and role.is_leading and not role.has_lease(),
        "stall": {"stopped": stall.stopped, "delay_seconds": stall.delay_seconds, "reason": stall.reason},
        "has_long_script": services.long_script.job is not None,
        "corruption_errors": services.damage.errors,
        "alarms": {alarm.name: alarm.text for alarm in health.alarms},
        "disk_reserve_bytes": health.vitals.reserve_bytes,
        "low_disk": maybe_low_disk(health.vitals, services.config.options.dir),
        "clock_jumps": health.clock_jumps,
    }


def _replica(services: Services) -> dict[str, Any]:
    """What a replica knows of its group and its cluster; {}: it is none."""
    role = services.role
    if role is None:
        return {}
    found = role.figures()
    return {
        "role": "leader" if role.is_leading else "follower",
        "has_lease": role.is_leading and role.has_lease(),
        "voting_nodes": found.voting_nodes,
        "epoch": found.epoch,
        "index": found.index,
        "lag_ms": found.lag_ms,
        "skew_ms": found.skew_ms,
        "has_room": found.has_room,
        "etcd_used_share": found.etcd_used_share,
    }


def _clients(services: Services) -> dict[str, Any]:
    counters = services.counters
    return {
        "connected": len(services.clients.admitted),
        "blocked": services.waiters.number + len(services.pause.held),
        "maximum": services.config.maxclients,
        "received": counters.connections,
        "rejected": counters.rejected_connections,
        "closed_for_output": counters.clients_closed_for_output,
        "buffered_bytes": services.clients.buffered_bytes(),
        "buffers_limit_bytes": services.config.buffers_bytes,
        "list": _fullest_clients(services),
    }


def _fullest_clients(services: Services) -> list[dict[str, str]]:
    sessions = islice(reversed(services.clients.sessions.values()), LOOKED_AT_CLIENTS)
    fullest = heapq.nlargest(SHOWN_CLIENTS, sessions, key=_buffered_bytes)
    now_ms = services.tick.steady_ms
    lines = [describe(session, now_ms).decode("latin-1") for session in fullest]
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines]


def _buffered_bytes(session: Session) -> int:
    return session.link.output_bytes() + session.link.input_bytes()


def _commands(services: Services) -> dict[str, Any]:
    counters = services.counters
    return {
        "processed": calls_of_all(),
        "per_second": services.process.commands_per_second,
        "input_bytes": counters.input_bytes,
        "output_bytes": counters.output_bytes,
        "errors": dict(counters.errors),
        "internal_errors": counters.internal_errors,
        "protocol_errors": counters.protocol_errors,
        "by_name": {
            found.name: {
                "calls": found.calls,
                "microseconds": found.microseconds(),
                "failed": found.failed_calls,
                "rejected": found.rejected_calls,
                "timed_calls": found.timed_calls,
                "timed_nanoseconds": found.nanoseconds,
                "histogram": {str(bucket): count for bucket, count in sorted(found.histogram.items())},
            }
            for found in every_command()
            if found.calls or found.rejected_calls or found.failed_calls
        },
    }


def _keyspace(services: Services) -> dict[str, Any]:
    keyspaces = services.databases.keyspaces
    hot = [keyspace.hot for keyspace in keyspaces]
    return {
        "hits": sum(keyspace.hits + keyspace.hot.hits for keyspace in keyspaces),
        "misses": sum(keyspace.misses for keyspace in keyspaces),
        "keys": {str(keyspace.database): keyspace.last_count for keyspace in keyspaces if keyspace.last_count},
        "hot_keys": sum(cache.size() for cache in hot),
        "hot_keys_hits": sum(cache.hits for cache in hot),
        "hot_keys_misses": sum(cache.misses for cache in hot),
        "hot_keys_evictions": sum(cache.evictions for cache in hot),
        "cold_reads": services.counters.cold_reads,
        "evicted_keys": services.counters.evicted_keys,
        "maxmemory_bytes": services.config.maxmemory,
    }


def _memory(services: Services) -> dict[str, Any]:
    return {
        "resident_bytes": resident_bytes(),
        "limit_bytes": services.config.options.memory_limit,
        "startup_bytes": services.process.startup_memory_bytes,
    }


def _cpu() -> dict[str, float]:
    """Seconds of this process, and of the helpers that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "user_seconds": own.ru_utime,
        "system_seconds": own.ru_stime,
        "helpers_seconds": ended.ru_utime + ended.ru_stime,
    }


def _ticks(services: Services) -> dict[str, Any]:
    tick = services.tick
    figures: dict[str, Any] = {
        "ended": tick.ticks,
        "batches": services.pending.batches,
        "failed_batches": services.pending.failures,
    }
    if isinstance(tick, TimedTick):
        figures |= {"counts": list(tick.histogram.counts), "seconds": tick.histogram.nanoseconds / 1e9}
    return figures


def _saving(services: Services) -> dict[str, Any]:
    saving = services.saving
    return {
        "saved_at_seconds": saving.saved_at_seconds,
        "is_saving": saving.save.is_running,
        "is_last_save_good": saving.save.is_good,
        "is_compacting": saving.compaction.is_running,
        "is_last_compaction_good": saving.compaction.is_good,
    }


def _slow_commands(services: Services) -> list[dict[str, Any]]:
    return [
        {
            "id": entry.id,
            "at_seconds": entry.at_seconds,
            "microseconds": entry.microseconds,
            "arguments": [shown(argument) for argument in entry.args],
            "address": shown(entry.address),
            "name": shown(entry.name),
        }
        for entry in islice(services.slowlog.entries, SHOWN_SLOW)
    ]


def shown(data: bytes) -> str:
    """Bytes as text: what is not UTF-8 as \\xff."""
    return data.decode("utf-8", "backslashreplace")


def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's figures as JSON can hold them: names are text, and what is neither number nor text is its text."""
    return {str(name): _plain_value(value) for name, value in figures.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain_value(each) for each in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
