"""Whether a server is ready, and what a person should look at: judged from its figures, and from nothing else.

A *reason* takes a server out of service (`/ready` is 503): it cannot do what its clients ask. A *warning* does not: it
becomes a reason if nobody acts. Each says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FREE_SHARE: Final = 0.1
"""A merge writes its output before its inputs go: with less room than that free it may fail, and then all else does."""

FULL_SHARE: Final = 0.9
"""A share of the clients, or of what their buffers may take."""

MEMORY_SHARE: Final = 1.25
"""Beyond the limit: what Python and its libraries keep free counts, too."""


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    """Stable, for alerts and scripts."""
    text: str


def reasons_of(state: Mapping[str, Any]) -> list[Finding]:
    """Why a server in this state is not ready. state: `server.state` of the figures."""
    found = []
    if state["is_stopping"]:
        found.append(Finding("stopping", "the server is stopping: it answers what it has read, and ends"))
    if state["read_only_reason"]:
        found.append(
            Finding(
                "read-only",
                f"nothing is written any more: {state['read_only_reason']}. Look at the disk, then start the server "
                "again: every answered write that was durable is there",
            )
        )
    if state["background_error"]:
        found.append(
            Finding("background", f"flushes or merges fail: {state['background_error']}. They are tried again")
        )
    if state["stall"]["stopped"]:
        found.append(
            Finding(
                "stalled", f"writers wait: {state['stall']['reason']}. If it lasts, the disk or the CPU is too slow"
            )
        )
    if state["has_long_script"]:
        found.append(Finding("long-script", "a long script runs, and everything waits for it: SCRIPT KILL ends it"))
    return found


def warnings_of(figures: Mapping[str, Any]) -> list[Finding]:
    """What to look at, though the server is in service. figures: with `server`, `engine`, `disk_total_bytes`."""
    server, engine = figures["server"], figures["engine"]
    state, clients, memory = server["state"], server["clients"], server["memory"]
    found = []
    if state["corruption_errors"]:
        found.append(
            Finding("corruption", f"damage was read: {state['corruption_last']}. Run flin check; see docs/repair.md")
        )
    free, total = engine.get("disk", {}).get("free_bytes"), figures.get("disk_total_bytes")
    if free is not None and total and free < FREE_SHARE * total:
        found.append(Finding("disk", f"{free >> 20:,} MiB of the disk are free, of {total >> 20:,}: make room"))
    if state["stall"]["delay_seconds"]:
        found.append(Finding("slowed", f"writers are slowed: {state['stall']['reason']}"))
    if clients["connected"] > FULL_SHARE * clients["maximum"]:
        found.append(Finding("clients", f"{clients['connected']} clients of at most {clients['maximum']} (maxclients)"))
    if clients["buffered_bytes"] > FULL_SHARE * clients["buffers_limit_bytes"]:
        found.append(
            Finding("buffers", "the clients' buffers are nearly full: the largest client is closed next. CLIENT LIST")
        )
    if memory["resident_bytes"] > MEMORY_SHARE * memory["limit_bytes"] + memory["startup_bytes"]:
        found.append(
            Finding("memory", f"the process takes {memory['resident_bytes'] >> 20:,} MiB: MEMORY DOCTOR says more")
        )
    if not server["saving"]["is_last_save_good"]:
        found.append(Finding("save", "the last save or backup failed: the log says why"))
    if not server["saving"]["is_last_compaction_good"]:
        found.append(Finding("compaction", "the last compaction on demand failed: the log says why"))
    return found
