"""Whether a server is ready, and what a person should look at: judged from its figures, and from nothing else.

A *reason* takes a server out of service (`/ready` is 503): it cannot do what its clients ask. A *warning* does not: it
may become a reason if nobody acts. The states of docs/alarms.md are reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flin.net.cluster.role import forming

FULL_SHARE: Final = 0.9
"""A share of the clients, or of what their buffers may take."""

LAG_MS: Final = 10_000
"""A follower that is further behind is of little use: by default it sends readers to the leader (max_lag)."""

SKEW_MS: Final = 500
"""Keys expire by the leader's clock: by so much earlier or later after a change of leader."""

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
    if state["has_long_script"]:
        found.append(Finding("long-script", "a long script runs, and everything waits for it: SCRIPT KILL ends it"))
    if state["lacks_lease"]:
        found.append(
            Finding(
                "lease",
                "it leads without a lease: etcd does not answer it, so it answers nobody. If that lasts, no majority "
                "of the nodes runs: start the others; or etcd is full: `flin cluster status`",
            )
        )
    return found + [Finding(name, text) for name, text in state["alarms"].items()]


def warnings_of(server: Mapping[str, Any]) -> list[Finding]:
    """What to look at, though the server is in service. server: `server` of the figures."""
    state, clients, memory, saving = server["state"], server["clients"], server["memory"], server["saving"]
    stall = state["stall"]
    found = []
    if state["low_disk"]:
        found.append(Finding("disk", state["low_disk"]))
    if stall["stopped"] and "stalled" not in state["alarms"]:
        found.append(Finding("stopped", f"writers wait: {stall['reason']}"))
    if stall["delay_seconds"]:
        found.append(Finding("slowed", f"writers are slowed: {stall['reason']}"))
    found += _warnings_of_replica(server["replica"])
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
    if not saving["is_last_save_good"]:
        found.append(Finding("save", "the last save or backup failed: the log says why"))
    if not saving["is_last_compaction_good"]:
        found.append(Finding("compaction", "the last compaction on demand failed: the log says why"))
    return found


def _warnings_of_replica(replica: Mapping[str, Any]) -> list[Finding]:
    """replica: `replica` of the figures; empty: it is none."""
    if not replica:
        return []
    found = []
    if text := forming(replica["voting_nodes"]):
        found.append(Finding("forming", f"{text}: start as many nodes as it says (docs/nodes.md)"))
    if replica["lag_ms"] > LAG_MS:
        found.append(Finding("lag", f"it is {replica['lag_ms'] / 1000:,.0f} s behind its leader"))
    if abs(replica["skew_ms"]) > SKEW_MS:
        found.append(Finding("skew", f"its clock is {replica['skew_ms']} ms from its leader's: run NTP"))
    return found
