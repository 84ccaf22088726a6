"""Nodes that are broken on purpose, each by one function that is changed in its processes: what the faults on real
nodes must refuse.

    python -m tests.cluster.broken_nodes lease_ignored --seed 3

says after how many faults it was refused, and by what. Two that chance hardly finds are in stopped_leaders.py.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from flin.testing.cluster.failover import World, run
from flin.testing.cluster.faults import (
    Fault,
    end_all,
    end_amid_lost_answers,
    jump_clock_of_one,
    kill_leader,
    kill_leader_that_came_back,
    late_requests,
    stop_leader,
)


def change(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)


def reply_before_commit() -> None:
    """All is taken to be in the log at once, and comes there half a second later."""
    import threading

    from flin.cluster.log.leader import GroupLog

    def append_later(log: GroupLog) -> None:
        time.sleep(0.5)
        log._rounds.join(log._append_all)

    def sync(log: GroupLog, position: int) -> None:
        threading.Thread(target=append_later, args=(log,), daemon=True).start()

    change(GroupLog, "synced", property(lambda log: log._frames.position))
    change(GroupLog, "sync", sync)


def nothing_compared() -> None:
    """An append puts its entries, whoever leads and whatever is there."""
    from flin.cluster.etcd.key_value import Put
    from flin.cluster.log.replicated_log import Fence, ReplicatedLog

    def append(log: ReplicatedLog, fence: Fence, number: int, entries: Sequence[bytes], timeout: float) -> None:
        log.store.txn((), [Put(log._key(number + place), data) for place, data in enumerate(entries)], timeout=timeout)

    change(ReplicatedLog, "append", append)


def lease_ignored() -> None:
    """Who leads answers, however long ago it renewed its lease."""
    from flin.cluster.replica.lease import Lease

    change(Lease, "is_held", lambda lease: lease.until > float("-inf"))


def unknown_is_refused() -> None:
    """A write whose outcome is not known is told as one that was not executed."""
    from flin.net.serve import judge

    change(judge, "UNCERTAIN", "CLUSTERDOWN nobody knows")


def replies_kept() -> None:
    """Cached replies of a leader outlive its time: when it leads again, they are there."""
    from flin.cluster.replica.replica import Replica

    real = Replica._serve
    kept: dict[bytes, bytes] = {}

    async def serve(replica: Replica, *, is_leading: bool) -> None:
        await real(replica, is_leading=is_leading)
        if is_leading:
            nonlocal kept
            hot = replica.server.services.databases.keyspaces[0].hot
            hot.young.update(kept)
            kept = hot.young

    change(Replica, "_serve", serve)


def index_too_high() -> None:
    """Tables tell of one entry more than they hold."""
    from flin.cluster.log.leader import INDEX_KEY, GroupLog, encode_index
    from flin.engine.entry import Entry

    def last_words(log: GroupLog) -> Mapping[bytes, Entry]:
        return {INDEX_KEY: encode_index(log.index + 1)}

    change(GroupLog, "last_words", last_words)


def follower_sweeps() -> None:
    """A replica that follows deletes what has expired, by its own clock."""
    from flin.cluster.replica.replica import Replica

    real = Replica._prepare

    def prepare(replica: Replica) -> None:
        real(replica)
        replica._store.holds_sweep = False

    change(Replica, "_prepare", prepare)


class Broken(NamedTuple):
    """What was broken, what shows it, and within how many faults."""

    bug: Callable[[], None]
    faults: tuple[Fault, ...]
    tries: int
    world: World = World.OWN
    groups: int = 1


NODES: Final = {
    each.bug.__name__: each
    for each in (
        Broken(reply_before_commit, (kill_leader,), 6),
        Broken(nothing_compared, (late_requests,), 12, world=World.LINKED),
        Broken(lease_ignored, (stop_leader,), 20),
        Broken(unknown_is_refused, (end_amid_lost_answers,), 8, world=World.LINKED),
        Broken(replies_kept, (kill_leader_that_came_back,), 6),
        Broken(follower_sweeps, (jump_clock_of_one,), 12),
        Broken(index_too_high, (end_all,), 12),
    )
}


def refused(name: str, folder: Path, seed: int) -> str:
    """What refused it, and the first words of why. AssertionError: nothing did."""
    broken, out = NODES[name], io.StringIO()
    program = f"import sys; sys.path[:0] = {sys.path!r}; from tests.cluster.broken_nodes import {name} as bug; bug()"
    try:
        run(
            folder, broken.faults, broken.tries, seed, out,
            world=broken.world, groups=broken.groups, more=program,
        )  # fmt: skip
    except AssertionError as error:
        if "…" not in out.getvalue():  # it did not even begin
            raise
        said = re.sub(r"\s+", " ", str(error))[:300]
        return f"{name}: refused at fault {out.getvalue().count('…')}: {type(error).__name__} {said}"
    raise AssertionError(f"{name} was not refused within {broken.tries} faults: {out.getvalue()}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.broken_nodes")
    parser.add_argument("bug", choices=NODES)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(refused(asked.bug, Path(folder), asked.seed))


if __name__ == "__main__":
    main()
