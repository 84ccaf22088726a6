"""MEMORY: what keys, clients and the process take."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

from flin.net.command.command import Keys
from flin.net.command.registry import command, container
from flin.net.commands.help import declare_help
from flin.net.commands.info import count_keys, memory_figures
from flin.net.run.context import Context
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Slices, Value, Verbatim, syntax_error
from flin.objects.footprint import all_pieces, own_bytes, sampled_bytes

GROUP: Final = "server"

container("memory", GROUP, "Commands about memory.")


_DEFAULT_SAMPLES: Final = 5  # Redis's own


@command("memory|usage", -3, "readonly", Keys(2, 2, 1))
def memory_usage(context: Context, args: list[bytes]) -> Slices:
    """Estimates what a key takes in memory while it is in a memtable, by some of its elements; SAMPLES 0: by all."""
    samples = _DEFAULT_SAMPLES
    for position in range(3, len(args), 2):
        if args[position].lower() != b"samples" or position + 1 == len(args):
            raise syntax_error()
        samples = parse_int64(args[position + 1])
        if samples < 0:
            raise syntax_error()
    entry = context.keyspace.settled(args[2], values=False)
    if entry is None:
        return None
    host = context.keyspace.objects.host
    size = own_bytes(args[2], entry)
    if samples:
        return size + sampled_bytes(host, entry, samples)
    for part in all_pieces(host, entry):
        size += part
        yield
    return size


@command("memory|stats", 2)
def memory_stats(context: Context, args: list[bytes]) -> Slices:
    """Returns figures about memory."""
    services = context.services
    yield from count_keys(services)
    figures = memory_figures(services)
    used, peak, startup = (figures[name] for name in ("used_memory", "used_memory_peak", "used_memory_startup"))
    data = figures["used_memory_dataset"]
    keyspaces = [keyspace for keyspace in services.databases.keyspaces if keyspace.last_count]
    keys = sum(keyspace.last_count for keyspace in keyspaces)
    return {
        b"peak.allocated": peak,
        b"total.allocated": used,
        b"startup.allocated": startup,
        b"replication.backlog": 0,
        b"clients.slaves": 0,
        b"clients.normal": figures["mem_clients_normal"],
        b"cluster.links": 0,
        b"aof.buffer": 0,
        b"lua.caches": 0,
        b"functions.caches": 0,
        **{
            # Entries lie in memtables and tables: no database has a table of its own in memory.
            b"db.%d" % keyspace.database: {b"overhead.hashtable.main": 0, b"overhead.hashtable.expires": 0}
            for keyspace in keyspaces
        },
        b"overhead.total": figures["used_memory_overhead"],
        b"keys.count": keys,
        b"keys.bytes-per-key": data // keys if keys else 0,
        b"dataset.bytes": data,
        b"dataset.percentage": 100 * data / used,
        b"peak.percentage": 100 * used / peak,
        b"allocator.allocated": used,
        b"allocator.active": used,
        b"allocator.resident": used,
        b"allocator-fragmentation.ratio": 1.0,
        b"allocator-fragmentation.bytes": 0,
        b"allocator-rss.ratio": 1.0,
        b"allocator-rss.bytes": 0,
        b"rss-overhead.ratio": 1.0,
        b"rss-overhead.bytes": 0,
        b"fragmentation": 1.0,
        b"fragmentation.bytes": 0,
    }


_BIG_CLIENTS: Final = 0.5
_PEAK: Final = 1.5
_OVER: Final = 1.25


@command("memory|doctor", 2)
def memory_doctor(context: Context, args: list[bytes]) -> Value:
    """Says in words what is unusual about the process's memory."""
    services = context.services
    figures = memory_figures(services)
    limit = services.config.options.memory_limit
    used = figures["used_memory"]
    found = []
    if used > _OVER * limit + figures["used_memory_startup"]:
        found.append(
            f"The process takes {figures['used_memory_human']}, and --memory-limit is {figures['memory_limit_human']}: "
            "memory that Python and its libraries keep free counts, too. CONFIG GET memory-limit, INFO flin."
        )
    if figures["used_memory_peak"] > _PEAK * used:
        found.append(f"It took {figures['used_memory_peak_human']} once: some command or load needs far more than now.")
    if figures["mem_clients_normal"] > _BIG_CLIENTS * services.config.buffers_bytes:
        found.append(
            "The clients' buffers take more than half of their share; the largest client is closed when it is full. "
            "CLIENT LIST shows who does not read (omem), or sends much at once (qbuf)."
        )
    if not services.clients.takes_writes():
        found.append("Writers wait: flushes and compactions are behind. INFO flin says why (stall_reason).")
    return Verbatim(("\n".join(found) or "Nothing is unusual about this process's memory.").encode() + b"\n")


def give_back_free_memory() -> None:
    """Collect garbage, then glibc's malloc_trim. Does nothing more where the C library is another one."""
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return
    trim(0)


@command("memory|purge", 2)
def memory_purge(context: Context, args: list[bytes]) -> Value:
    """Gives memory that is free back to the system, where the C library can."""
    give_back_free_memory()
    return OK


@command("memory|malloc-stats", 2)
def memory_malloc_stats(context: Context, args: list[bytes]) -> Value:
    """Says that the allocator shows no figures."""
    return Verbatim(b"Stats not supported for the current allocator")


declare_help("memory", GROUP)
