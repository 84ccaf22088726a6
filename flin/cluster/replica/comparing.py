"""Whether the replicas of a group are equal: a digest of each at the same entry of the log.

    the leader     lets no write begin for a moment, waits until its last one is in the log, freezes its state: entry N
    each follower  freezes its state as soon as it has applied N
    the leader     lets writes go on; then all compute at leisure, each in a thread of its own

The first half answers for one replica, in its process. The second asks all of them, from anywhere.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flin.admin.source import BAD, BUSY, AskError
from flin.cluster.joining import JoinError, post
from flin.cluster.log.digest import digest
from flin.errors import CorruptionError, StorageError
from flin.net.client.pause import PauseKind

if TYPE_CHECKING:
    from flin.cluster.log.leader import GroupLog
    from flin.engine.read.read_state import ReadState
    from flin.engine.tree.store import Store
    from flin.net.server import Server

Answer = Callable[[Mapping[str, Any]], Awaitable[Any]]

PAUSE_MS: Final = 3000
"""No write of a client begins on a leader for so long at most: its followers need a few milliseconds."""

EXPIRY_MARGIN_MS: Final = 600_000
"""What expires within ten minutes is not compared: a replica whose clock is ahead may have dropped it already."""

FREEZE_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.005

DIGEST_SECONDS: Final = 600.0
"""All of a replica is read: 1 GiB in some 20 s."""


class Comparable:
    """The answers of one replica, on its loop."""

    def __init__(self, store: Store, log: GroupLog) -> None:
        self._store = store
        self._log = log
        self._frozen: ReadState | None = None

    def answers(self, server: Server) -> dict[str, Answer]:
        """Those of the server that has begun."""
        return {
            "freeze": lambda arguments: self._freeze(server, arguments["entry"]),
            "thaw": lambda arguments: self._thaw(server),
            "digest": lambda arguments: self._digest(arguments["now_ms"]),
        }

    async def _freeze(self, server: Server, entry: int | None) -> dict[str, int]:
        """entry: freeze there; None: the leader chooses it."""
        is_leading = self._log.epoch > 0
        if is_leading != (entry is None):
            raise AskError("the group has another leader now: ask again", BUSY)
        pause = server.services.pause
        if is_leading:
            pause.begin(PauseKind.WRITE, PAUSE_MS)
        deadline = asyncio.get_running_loop().time() + FREEZE_SECONDS
        while not (self._is_settled() if entry is None else self._log.index >= entry):
            if asyncio.get_running_loop().time() > deadline:
                if is_leading:
                    pause.end()
                raise AskError(f"it does not get to the end of what is written within {FREEZE_SECONDS:g} s", BUSY)
            await asyncio.sleep(POLL_SECONDS)
        if entry is not None and self._log.index != entry:
            raise AskError(f"it is at entry {self._log.index} already, not at {entry}: ask again", BUSY)
        self._frozen = self._store.freeze()
        return {"entry": self._log.index, "now_ms": self._log.clock_ms() + EXPIRY_MARGIN_MS}

    def _is_settled(self) -> bool:
        """Whether all that the store holds is in the log."""
        return self._store.position == self._store.synced_position

    async def _thaw(self, server: Server) -> dict[str, Any]:
        server.services.pause.end()
        return {}

    async def _digest(self, now_ms: int) -> dict[str, str]:
        state, self._frozen = self._frozen, None
        if state is None:
            raise AskError("its state is not frozen: freeze it first", BAD)
        try:
            return {"digest": await asyncio.to_thread(digest, state, now_ms)}
        except (CorruptionError, StorageError) as error:
            raise AskError(
                f"this copy cannot be read: {error}. End its node, remove {self._store.directory}, and start the node: "
                "it takes another node's copy"
            ) from error


# Asking all of them.


@dataclass(frozen=True, slots=True)
class Asked:
    """How nodes are asked."""

    secret: bytes
    context: ssl.SSLContext | None

    def ask(self, address: str, what: str, group: int, timeout: float = 10.0, **arguments: Any) -> dict[str, Any]:
        """JoinError, also if it cannot be reached."""
        body = json.dumps({"what": what, "group": group, **arguments}).encode()
        try:
            found = post(address, "/cluster/replica", body, self.secret, self.context, timeout)
        except OSError as error:
            raise JoinError(f"{address} does not answer: {error.strerror or error}; start that node") from error
        answer: dict[str, Any] = json.loads(found)
        return answer


@dataclass(frozen=True, slots=True)
class Compared:
    """One group."""

    group: int
    entry: int
    digests: dict[str, str]
    """By node. Empty: it could not be asked; `problem` says why."""
    problem: str = ""

    @property
    def is_equal(self) -> bool:
        return not self.problem and len({*self.digests.values()}) == 1


def compared(asked: Asked, group: int, leader: str, replicas: list[str], addresses: Mapping[str, str]) -> Compared:
    """addresses: each node's `http`. Nodes that cannot be reached are a problem, as is a group that changes its leader
    meanwhile."""
    followers = [name for name in replicas if name != leader]
    try:
        began = asked.ask(addresses[leader], "freeze", group, entry=None)
        entry, now_ms = began["entry"], began["now_ms"]
        try:
            for name in followers:
                asked.ask(addresses[name], "freeze", group, entry=entry)
        finally:
            asked.ask(addresses[leader], "thaw", group)
        with ThreadPoolExecutor(len(replicas)) as threads:
            digests = {
                name: threads.submit(asked.ask, addresses[name], "digest", group, DIGEST_SECONDS, now_ms=now_ms)
                for name in (leader, *followers)
            }
            return Compared(group, entry, {name: each.result()["digest"] for name, each in digests.items()})
    except (JoinError, KeyError) as error:
        return Compared(group, 0, {}, f"not compared: {error}")
