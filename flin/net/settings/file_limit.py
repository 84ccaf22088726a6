"""How many clients fit into the files that the operating system lets this process open.

The engine keeps a quarter of them for its open tables, whatever the number; segments, pipes and the rest need a few
more. Clients get what is left. Checked at the start and by CONFIG SET maxclients: clients that took the engine's files
would stop flushes, and with them writes.
"""

from __future__ import annotations

import resource
from typing import Final

OTHER_FILES: Final = 128
"""In addition to tables and clients: a few segments for each shard, the helper's pipes, locks, standard streams."""


def clients_within(files: int) -> int:
    """How many clients fit alongside the engine, at least one."""
    return max(1, files - files // 4 - OTHER_FILES)


def files_for(clients: int) -> int:
    """The smallest limit in which this many clients fit."""
    return (clients + OTHER_FILES - 1) * 4 // 3 + 1


def make_room(clients: int) -> int:
    """Raise the process's limit as far as needed and allowed. Returns how many of these clients fit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = files_for(clients)
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return clients if soft == unlimited else min(clients, clients_within(soft))


def check_clients(clients: int) -> None:
    """Raises ValueError, as Redis words it, if not all of these clients fit."""
    fitting = make_room(clients)
    if fitting < clients:
        raise ValueError(
            f"The operating system is not able to handle the specified number of clients, try with {fitting}"
        )
