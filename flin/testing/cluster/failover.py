"""Breaks a cluster of three nodes under load, again and again, and checks what its clients saw: nothing that was
acknowledged is lost or done twice, no read is stale, writes go on afterwards, and the replicas are equal.

    python -m flin.testing.cluster.failover --faults 400 --seed 1
    python -m flin.testing.cluster.failover --networked --only cut_node,cut_two_nodes

A fault is chosen by its seed, and so are the pauses within it; what the machine does between them is not. Each has
objects of its own: its load ends, every object is read, and their histories are checked. All objects are read once more
at the very end.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

from flin.testing.cluster.bystanders import Bystanders
from flin.testing.cluster.episode import Episode, told
from flin.testing.cluster.faults import LINKED, NETWORKED, OWN_ETCD, SMALL, Fault, Scene, fill_disk, fill_disk_of_leader
from flin.testing.cluster.history import Call, Outcome, Reply, write_history
from flin.testing.cluster.linearizable import check
from flin.testing.cluster.link import Links
from flin.testing.cluster.load import Load, Objects, called, cluster_client, reading
from flin.testing.cluster.network import Network
from flin.testing.cluster.nodes import GROUPS, NODES, Nodes, group_of, slot_of
from flin.testing.cluster.small import SmallDisk, program
from flin.testing.process import HangError

OBJECTS: Final = 18
"""Under load at once: of six groups three each."""

CALLS_OF_GROUP: Final = 25
"""So many before a fault, and after it, on average: then the load is in full swing."""

READ_TRIES: Final = 50
"""A read at the end may come amid an election that nobody waits for."""

PAUSE_SECONDS: Final = 0.2


class World(StrEnum):
    """What the nodes live in."""

    OWN = "own"
    """Each has an etcd, on one machine."""
    LINKED = "linked"
    """They have links to an etcd that is there already."""
    NETWORKED = "networked"
    """Each has an etcd, and an address in a network: as root."""
    SMALL = "small"
    """Each has an etcd, and little room."""


FAULTS: Final = {World.OWN: OWN_ETCD, World.LINKED: LINKED, World.NETWORKED: NETWORKED, World.SMALL: SMALL}


class Run:
    """Faults on one cluster. `kept` is what all objects held at the end of their load."""

    def __init__(
        self,
        nodes: Nodes,
        folder: Path,
        world: World,
        load: Callable[[Sequence[tuple[str, int]], Objects], Load] = Load,
    ) -> None:
        self.nodes = nodes
        self._load = load
        self._world = world
        self._folder = folder
        self._kept: dict[str, tuple[Reply, ...]] = {}

    def episode(self, fault: Fault, seed: int) -> Episode:
        """One fault. AssertionError if anything is wrong; then the history is kept in `folder`."""
        objects = Objects(f"{fault.__name__}:{seed}", OBJECTS, seed, self.nodes.groups)
        load = self._load(self.nodes.addresses, objects)
        scene = Scene(self.nodes, random.Random(seed))
        bystanders = Bystanders(objects, self.nodes.places, self.nodes.groups)
        calls = CALLS_OF_GROUP * self.nodes.groups
        load.start()
        bystanders.start()
        try:
            load.goes_on(calls)
            fault(scene)
            self.nodes.wait_until_led()
            load.goes_on(calls)
        finally:
            bystanders.stop()
            load.stop()
        assert not load.problems, load.problems
        self.nodes.wait_until_whole()
        history = [*objects.history, *self._read(objects.all)]
        self._kept |= {call.object: call.replies for call in history[len(objects.history) :]}
        write_history(self._folder / "history", history)
        check(history)
        self.nodes.wait_until_equal([*scene.keys, *(key for name in objects.all for _, key in reading(name))])
        by_group: dict[int, list[Call]] = {}
        for call in objects.history:
            by_group.setdefault(group_of(slot_of(call.object), self.nodes.groups), []).append(call)
        return told(fault.__name__, seed, by_group, self._world)

    def check_all(self) -> int:
        """Read all objects of all faults again. AssertionError if one is not what it was."""
        for call in self._read(list(self._kept)):
            before = self._kept[call.object]
            assert call.replies == before, f"{call.object} was {before}, and is {call.replies}"
        self.nodes.wait_until_equal(key for name in self._kept for _, key in reading(name))
        return len(self._kept)

    def _read(self, names: Sequence[str]) -> list[Call]:
        left, calls = list(names), []
        for _ in range(READ_TRIES):
            with suppress(Exception):  # no node could be reached
                client = cluster_client(self.nodes.addresses)
                answers = [called("end", name, reading(name), client) for name in left]
                client.close()
                calls += [call for call in answers if call.outcome is Outcome.DONE]
                left = [call.object for call in answers if call.outcome is not Outcome.DONE]
                if not left:
                    return calls
            time.sleep(PAUSE_SECONDS)
        raise HangError(f"these cannot be read: {left}")


@contextmanager
def _nodes(folder: Path, groups: int, world: World, more: str) -> Iterator[Nodes]:
    """A new cluster, until the block ends."""
    with ExitStack() as held:
        links = held.enter_context(Links()) if world is World.LINKED else None
        network = held.enter_context(Network(NODES)) if world is World.NETWORKED else None
        last = folder / "flin-data" / f"node{NODES}"
        disk = held.enter_context(SmallDisk(last)) if world is World.SMALL else None
        more += program() if world is World.SMALL else ""
        nodes = Nodes(folder, groups, links=links, network=network, disk=disk, more=more)
        held.callback(nodes.kill)
        nodes.start()
        yield nodes


def run(
    folder: Path, faults: Sequence[Fault], count: int, seed: int, out: TextIO, seconds: float = float("inf"),
    world: World = World.OWN, groups: int = GROUPS, more: str = "",
    on_episode: Callable[[Episode], object] = lambda episode: None,
) -> list[Episode]:  # fmt: skip
    """So many faults, in turn, on a new cluster; or fewer if the time is over. Raises AssertionError; on_episode
    is told what went well before that."""
    episodes: list[Episode] = []
    deadline = time.monotonic() + seconds
    with ExitStack() as held:
        nodes = held.enter_context(_nodes(folder, groups, world, more))
        done = Run(nodes, folder, world)
        if nodes.disk is not None and not nodes.disk.is_there:  # it cannot be mounted here
            faults = [fault for fault in faults if fault not in (fill_disk, fill_disk_of_leader)]
        for number in range(count):
            if time.monotonic() > deadline:
                break
            fault = faults[(seed + number) % len(faults)]
            print(f"{fault.__name__} {seed + number} …", end="", file=out, flush=True)
            began = time.monotonic()
            it = done.episode(fault, seed + number)
            episodes.append(it)
            on_episode(it)
            print(
                f" {it.calls} calls, {it.unknown} unknown, {it.refused} refused, longest gap {it.gap_seconds:g} s, "
                f"{time.monotonic() - began:.0f} s in all",
                file=out, flush=True,
            )  # fmt: skip
        print(f"{done.check_all()} objects are what they were, in all replicas", file=out, flush=True)
        nodes.stop()
    return episodes


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    options = _parser().parse_args(arguments)
    faults = FAULTS[options.world]
    if options.only:
        faults = tuple(fault for fault in faults if fault.__name__ in options.only.split(","))
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that all processes are ended
    if options.directory:
        Path(options.directory).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="flin-failover-", dir=options.directory))
    episodes: list[Episode] = []
    try:
        run(
            folder, faults, options.faults, options.seed, out, options.seconds, options.world, options.groups,
            on_episode=episodes.append,
        )  # fmt: skip
    except AssertionError as error:
        print(f"\n{'HANGS' if isinstance(error, HangError) else 'VIOLATION'}\n{error}\nkept: {folder}", file=out)
        return 1
    finally:
        if options.json:
            options.json.write_text(json.dumps([asdict(each) for each in episodes], indent=1), encoding="utf-8")
    shutil.rmtree(folder)
    print(f"{len(episodes)} faults: nothing was lost", file=out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flin.testing.cluster.failover",
        description="Break a cluster of three nodes under load and check what its clients saw.",
        epilog="Exit code: 0 nothing was lost, 1 a violation, or something hangs (its folder is kept), 2 wrong usage.",
    )
    add = parser.add_argument
    add("--faults", type=int, default=25, help="number of faults (default 25)")
    add("--seconds", type=float, default=float("inf"), help="stop after this time, even with fewer faults")
    add("--seed", type=int, default=0, help="seed of the first fault (default 0)")
    add("--groups", type=int, default=GROUPS, help=f"groups of the cluster (default {GROUPS})")
    texts = {World.LINKED: "links to an etcd that is there already", World.NETWORKED: "networks (as root)",
            World.SMALL: "little room"}  # fmt: skip
    for world, text in texts.items():
        add(
            f"--{world}", dest="world", action="store_const", const=world, default=World.OWN,
            help=f"nodes with {text}: {', '.join(sorted(fault.__name__ for fault in FAULTS[world]))}",
        )  # fmt: skip
    add(
        "--only",
        metavar="FAULT,...",
        help=f"without the above: {', '.join(sorted(each.__name__ for each in OWN_ETCD))}",
    )
    add("--directory", metavar="DIR", help="for the nodes' directories (default: the system's temporary directory)")
    add("--json", metavar="FILE", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
