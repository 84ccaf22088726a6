"""`/status`: one page of facts about all groups, for a person with curl. What is wrong comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flin.admin.metrics import figure_at
from flin.net.commands.info import human_size
from flin.net.run.histogram import quantile


def page(groups: Mapping[str, Mapping[str, Any] | str]) -> str:
    """The figures of each group, or why there are none."""
    return "\n".join(line for group, figures in groups.items() for line in _group(group, figures)) + "\n"


def _group(group: str, figures: Mapping[str, Any] | str) -> Iterator[str]:
    if isinstance(figures, str):
        yield from (f"group {group}: NOT READY: {figures}", "")
        return
    server = figures["server"]
    yield f"group {group}: flin {server['version']}, process {server['pid']}, port {server['port']}"
    for reason in figures["reasons"]:
        yield f"  NOT READY: {reason['text']}"
    for warning in figures["warnings"]:
        yield f"  WARNING: {warning['text']}"
    for name, fact in _facts(figures):
        yield f"  {name:<12}{fact}"
    yield ""


def _facts(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    server = figures["server"]
    clients, commands, memory, cpu = server["clients"], server["commands"], server["memory"], server["cpu"]
    yield "directory", f"{server['directory']}, sync {server['sync']}"
    if replica := server["replica"]:
        lag = f", {replica['lag_ms'] / 1000:.1f} s behind" if replica["role"] == "follower" else ""
        yield (
            "replica",
            (
                f"{replica['role']}{lag}, epoch {replica['epoch']}, entry {replica['index']:,}, "
                f"{replica['voting_nodes']} nodes vote"
            ),
        )
    yield "up since", f"{server['uptime_seconds']:.0f} s"
    keys = [f"{number:,} in database {database}" for database, number in server["keyspace"]["keys"].items()]
    yield "keys", ", ".join(keys) or "none"
    yield "commands", f"{commands['processed']:,} in all, {commands['per_second']:,} in the last second"
    p50, p99 = (quantile(server["ticks"].get("counts", []), share) for share in (0.5, 0.99))
    if p50 is not None and p99 is not None:
        yield "ticks", f"half within {1000 * p50:.3f} ms, 99 % within {1000 * p99:.3f} ms, since the start"
    yield "clients", f"{clients['connected']:,} of at most {clients['maximum']:,}, {clients['blocked']:,} wait"
    yield "memory", f"{human_size(memory['resident_bytes'])} resident, limit {human_size(memory['limit_bytes'])}"
    yield "processor", f"{cpu['user_seconds']:.1f} s in Flin, {cpu['system_seconds']:.1f} s in the kernel"
    for name, path in (("tables", "engine.tables.bytes"), ("values", "engine.value_files.bytes"),
                       ("log", "engine.disk.wal_bytes"), ("disk free", "engine.disk.free_bytes")):  # fmt: skip
        size = figure_at(figures, path)
        if size is not None:
            yield name, human_size(size)
