"""Copies that move between four real nodes under load, while the node that gives, the one that takes and the acting
controller are killed with -9, each at steps of the move.

    python -m tests.cluster.killed_moves --moves 12 --seed 1

A move stands still at each step where somebody is to be killed, so no kill misses it. Who was killed starts again. In
the end the move is over (it is made, or given up), its clients saw nothing wrong, all copies are equal by their
digests, and no node holds a part of a copy. Twelve moves kill each of the three at each step.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from flin.cluster.etcd.key_value import KeyValueError, Pair
from flin.testing.cluster.failover import Run, World
from flin.testing.cluster.faults import Scene
from flin.testing.cluster.load import Load, cluster_client
from flin.testing.cluster.machine import Machine
from flin.testing.cluster.nodes import Nodes
from flin.testing.process import wait_until

STEPS: Final = (
    "chosen",  # the map says that a copy comes; the node that takes it does nothing yet
    "handing",  # the old copy leads, and is about to hand over
    "handed",  # another one leads; the old one is about to follow
    "half",  # some of the copy is there
    "whole",  # all of it, but not in its place
    "installed",  # it is in its place, and nobody knows
    "counting",  # it is abreast; the controller is about to say that it counts
    "leaving",  # the controller is about to say that the old copy counts no more
    "ending",  # the map says so; its process still runs
    "removing",  # that has ended, and its directory is there
    "renamed",  # it has its last name, and is about to be removed
)
"""At each the process that is about to go on waits as long as there is a file that says so."""

GIVER, TAKER, CONTROLLER = VICTIMS = ("the giver", "the taker", "the controller")

LEADER_STEPS: Final = {"handing", "handed"}
"""They are of moves of a copy that leads."""

TURN: Final = 4
"""Moves in which each step has its turn once: at most three in one."""

LIGHT: Final = partial(Load, threads=2, tasks=2, pause=0.05)
"""Some 60 calls a second: what is looked at is the move, and who was killed must come back."""

VALUES: Final = 100
VALUE_BYTES: Final = 20_000
"""So a copy has some two million bytes, and the log, of which one is kept, does not reach back to its beginning."""

HALF_BYTES: Final = 1_000_000

PAUSE_SECONDS: Final = 0.2
"""Of two kills one comes up to so much after the step goes on."""

ANSWER_SECONDS: Final = 2.0
"""Then another member of etcd is asked."""

TAKER_SECONDS: Final = 12.0
"""A node that is to take a copy may be away for so long here: longer than its start takes on a busy machine."""


# In the nodes' processes.


def wait_here(step: str) -> None:
    """As long as the test says so, and lives: who started this process ends with it."""
    held, parent = Path(f"hold-{step}"), os.getppid()
    if held.exists():
        Path(f"at-{step}").touch()
        while held.exists() and os.getppid() == parent:
            time.sleep(0.01)


def be_held() -> None:
    """In each process of a node: it waits at steps, copies in small pieces, and looks more often."""
    if "flin serve, worker" in " ".join(sys.orig_argv):
        _hold_replica()
    else:
        _hold_node()


def _hold_replica() -> None:
    from flin.cluster.log import log_bounds
    from flin.cluster.replica import checkpoint_transfer, pulse, takeover
    from flin.cluster.replica.checkpoint_transfer import CheckpointTransfer
    from flin.cluster.replica.replica import Replica

    append, install = checkpoint_transfer._append, CheckpointTransfer._install
    cede, hand_over = Replica._cede, Replica._hand_over

    def append_held(path: str, data: bytes) -> None:
        append(path, data)
        if sum(each.stat().st_size for each in os.scandir(os.path.dirname(path))) > HALF_BYTES:
            wait_here("half")

    def install_held(transfer: CheckpointTransfer) -> None:
        wait_here("whole")
        install(transfer)
        wait_here("installed")

    def is_going(replica: Replica) -> bool:
        value = replica.place.replicas
        return value is not None and value.going == replica._worker.node

    async def cede_held(replica: Replica) -> bool:
        if is_going(replica):
            await asyncio.to_thread(wait_here, "handing")
        return await cede(replica)

    async def hand_over_held(replica: Replica, target: tuple[str, str] | None) -> bool:
        is_known = await hand_over(replica, target)
        if is_going(replica):
            await asyncio.to_thread(wait_here, "handed")
        return is_known

    _change(
        (log_bounds, "MAX_UNFLUSHED_BYTES", 1 << 20), (checkpoint_transfer, "PIECE_BYTES", 64 << 10),
        (takeover, "SETTLED_SECONDS", 1.0), (pulse, "APPLIED_SECONDS", 1.0),
        (checkpoint_transfer, "_append", append_held), (CheckpointTransfer, "_install", install_held),
        (Replica, "_cede", cede_held), (Replica, "_hand_over", hand_over_held),
    )  # fmt: skip


def _hold_node() -> None:
    from flin.cluster.keys import ReplicasValue, group_of
    from flin.cluster.log import log_keeper
    from flin.cluster.node import moves, node, node_supervisor, old_copies
    from flin.cluster.node.controller import Controller
    from flin.cluster.node.node_supervisor import NodeSupervisor
    from flin.cluster.node.old_copies import OldCopies
    from flin.cluster.replica import checkpoint_giver
    from flin.cluster.workers.fleet import State
    from flin.engine.disk.fs import OsFileSystem

    put, change_to, go = Controller._put, NodeSupervisor._change_to, OldCopies._go

    def put_held(controller: Controller, key: bytes, value: Any, *arguments: Any) -> None:
        if isinstance(value, ReplicasValue):
            before = controller.map.replicas.get(group_of(key), value)
            if before.coming and before.coming in value.nodes:
                wait_here("counting")
            if before.going and before.going not in value.nodes:
                wait_here("leaving")
        put(controller, key, value, *arguments)

    async def change_to_held(supervisor: NodeSupervisor, held: set[int]) -> None:
        running = {group for group, each in enumerate(supervisor._fleet.members) if each.state is not State.ENDED}
        if held - running:
            await asyncio.to_thread(wait_here, "chosen")
        if running - held:
            await asyncio.to_thread(wait_here, "ending")
        await change_to(supervisor, held)

    def go_held(copies: OldCopies, *arguments: Any) -> bool:
        wait_here("removing")
        return go(copies, *arguments)

    class Disk(OsFileSystem):
        def sync_directory(self, path: str) -> None:
            super().sync_directory(path)
            wait_here("renamed")

    _change(
        (log_keeper, "KEEP_SECONDS", 1.0), (node, "KEEP_SECONDS", 1.0), (node, "STEP_SECONDS", 0.3),
        (node_supervisor, "LOOK_SECONDS", 0.3), (moves, "TAKER_SECONDS", TAKER_SECONDS),
        (checkpoint_giver, "GIVEN_SECONDS", 5.0), (Controller, "_put", put_held),
        (NodeSupervisor, "_change_to", change_to_held), (OldCopies, "_go", go_held), (old_copies, "OsFileSystem", Disk),
    )  # fmt: skip


def _change(*changes: tuple[object, str, object]) -> None:
    for change in changes:
        setattr(*change)


# Around them.


class Kill(NamedTuple):
    step: str
    victim: str


def kills_of(number: int) -> list[Kill]:
    """Those of a move. Four moves have all steps, twelve have all victims at each."""
    turn, steps = divmod(number, TURN)
    return [
        Kill(step, VICTIMS[(place + steps + turn + 1) % len(VICTIMS)]) for place, step in enumerate(STEPS[steps::TURN])
    ]


class Moves:
    """Moves of the one group of four nodes, one after the other."""

    def __init__(self, nodes: Nodes, seed: int, out: TextIO) -> None:
        self.counted: Counter[Kill] = Counter()
        """Kills, each where and whom it should."""
        self.given_up = 0
        self._nodes = nodes
        self._seed = seed
        self._out = out
        self._map = Map(nodes)
        self._run = Run(nodes, nodes.folder, World.OWN, LIGHT)

    def close(self) -> None:
        self._map.close()

    def fill(self) -> None:
        """So much that a copy takes a while, and the log does not go back to its beginning."""
        chance = random.Random(self._seed)
        client = cluster_client(self._nodes.addresses)
        for number in range(VALUES):
            client.set(f"filling:{number}", chance.randbytes(VALUE_BYTES // 2).hex())
        client.close()
        wait_until(lambda: self._map.oldest() > VALUES // 2, "the log is truncated", poll_seconds=0.1)

    def make(self, number: int) -> None:
        """One move under load. AssertionError if anything is wrong."""

        def move(scene: Scene) -> None:
            self._move(kills_of(number), scene)

        self._run.episode(move, self._seed + number)
        self._check_copies()

    def check_all(self) -> None:
        """What clients wrote amid all moves is there."""
        self._run.check_all()

    def _move(self, kills: Sequence[Kill], scene: Scene) -> None:
        """Asked for again if it was given up, or was over before all have been killed who should be."""
        left = [*kills]
        before = self._map.replicas()
        giver, taker = self._between(left, before, scene)
        while taker.name not in self._map.replicas():
            for each in left:
                self._path("hold", each.step).touch()
            self._say(f"group 0 moves from {giver.name} to {taker.name}")
            self._ask("move", "0", giver.name, taker.name)
            while kill := self._reached(left, giver, taker):
                left.remove(kill)
                self._kill(kill, left, giver, taker, scene.chance)
            for each in left:
                self._release(each.step)
            wait_until(lambda: self._is_over(giver, taker), "the move is over", poll_seconds=0.1)
            now = {*self._map.replicas()}
            assert now in ({*before}, {*before, taker.name} - {giver.name}), (before, now)
            if now == {*before}:
                self.given_up += 1
                self._say("it is given up")

    def _is_over(self, giver: Machine, taker: Machine) -> bool:
        """Nothing moves, and who has no copy any more has no part of one."""
        if self._map.is_moving():
            return False
        return not self._parts(giver if taker.name in self._map.replicas() else taker)

    def _between(self, kills: Sequence[Kill], holders: Sequence[str], scene: Scene) -> tuple[Machine, Machine]:
        """From whom to whom. Who acts as controller is another one, if it can be."""
        machines = {each.name: each for each in self._nodes.machines}
        controller = self._map.controller()
        leader = self._map.preferred()
        wait_until(lambda: self._nodes.machine_of(scene.leader(0)).name == leader, "it leads", poll_seconds=0.1)
        is_leaders = any(kill.step in LEADER_STEPS for kill in kills)
        others = [name for name in holders if name not in (leader, controller)] or [leader]
        giver = leader if is_leaders else scene.chance.choice(others)
        [taker] = {*machines} - {*holders}
        return machines[giver], machines[taker]

    def _reached(self, left: Sequence[Kill], giver: Machine, taker: Machine) -> Kill | None:
        """Waits until the move stands at a step; None: it is over."""
        found: list[Kill] = []

        def is_there() -> bool:
            found[:] = [kill for kill in left if self._path("at", kill.step).exists()]
            return bool(found) or self._is_over(giver, taker)

        wait_until(is_there, f"the move goes on to one of {[kill.step for kill in left]}", poll_seconds=0.05)
        return found[0] if found else None

    def _kill(self, kill: Kill, left: Sequence[Kill], giver: Machine, taker: Machine, chance: random.Random) -> None:
        """left: those that are still to come."""
        machines = {each.name: each for each in self._nodes.machines}
        named = {GIVER: giver, TAKER: taker}
        victim = named[kill.victim] if kill.victim in named else machines[self._map.controller()]
        if chance.random() < 0.5:
            self._release(kill.step)
            time.sleep(chance.uniform(0, PAUSE_SECONDS))
        victim.kill()
        self._say(f"{kill.step}: {kill.victim} is killed, {victim.name}")
        self.counted[kill] += 1
        self._release(kill.step)
        if kill == ("half", TAKER):  # it stays away for long, once
            for each in left:  # what it has taken is removed by the same steps as an old copy
                self._release(each.step)
            wait_until(lambda: not self._map.is_moving(), "a move to one that is away is given up", poll_seconds=0.1)
        victim.start()
        victim.wait_until_ready()

    def _check_copies(self) -> None:
        """Where there should be one there is one, all are equal, and nothing else is left."""
        holders = self._map.replicas()
        for machine in self._nodes.machines:
            expected = ["group-00"] if machine.name in holders else []
            wait_until(
                lambda machine=machine, expected=expected: self._parts(machine) == expected,  # type: ignore[misc]
                f"{machine.name} holds {expected}, and nothing else", poll_seconds=0.1,
            )  # fmt: skip
        wait_until(lambda: self._ask("check", is_asked=True) == 0, "the copies are equal", poll_seconds=0.2)

    def _parts(self, machine: Machine) -> list[str]:
        """Copies and parts of some in a node's directory, those that it gives among them."""
        folder = self._nodes.folder / "flin-data" / machine.name
        return sorted(each.name for pattern in ("group-*", "copies/*") for each in folder.glob(pattern))

    def _ask(self, *words: str, is_asked: bool = False) -> int:
        """`flin cluster`, by the first node. is_asked: it may refuse."""
        from flin.cli.main import main as flin

        http = next(word for word in self._nodes.machines[0].words if word.startswith("-http=")).partition("=")[2]
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            code = flin(["cluster", *words, "--http", http])
        assert is_asked or code == 0, out.getvalue()
        return code

    def _path(self, what: str, step: str) -> Path:
        return self._nodes.folder / f"{what}-{step}"

    def _release(self, step: str) -> None:
        self._path("hold", step).unlink(missing_ok=True)
        self._path("at", step).unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class Map:
    """What etcd says of the one group, whichever of its members is there."""

    def __init__(self, nodes: Nodes) -> None:
        from flin.cluster.etcd.etcd import EtcdKeyValueStore
        from flin.cluster.etcd.etcd_channels import Access
        from flin.cluster.keys import Keys

        record = json.loads((nodes.folder / "flin-data" / "node1" / "node.json").read_bytes())
        self._keys = Keys(record["cluster"])
        self._store = EtcdKeyValueStore(tuple(nodes.etcd_urls), Access())

    def close(self) -> None:
        self._store.close()

    def _found(self, *keys: Any, limit: int = 0) -> Sequence[Pair]:
        """As soon as a member answers: one of them has just been killed."""
        found: list[Sequence[Pair]] = []

        def is_answered() -> bool:
            with suppress(KeyValueError):
                found.append(self._store.get(*keys, limit=limit, timeout=ANSWER_SECONDS).pairs)
            return bool(found)

        wait_until(is_answered, "etcd answers", poll_seconds=0.1)
        return found[0]

    def _value(self, key: bytes) -> Mapping[str, Any]:
        return dict(json.loads(self._found(key)[0].value))

    def replicas(self) -> list[str]:
        return list(self._value(self._keys.replicas(0))["nodes"])

    def preferred(self) -> str:
        return str(self._value(self._keys.replicas(0))["preferred"])

    def is_moving(self) -> bool:
        value = self._value(self._keys.replicas(0))
        return bool(value["coming"] or value["going"])

    def controller(self) -> str:
        return str(self._value(self._keys.controller)["node"])

    def oldest(self) -> int:
        """The number of the oldest entry of the log."""
        from flin.cluster.keys import entry_number_of

        found = self._found(*self._keys.log(0), limit=1)
        return entry_number_of(found[0].key) if found else 0


@contextmanager
def moving(folder: Path, seed: int, out: TextIO) -> Iterator[Moves]:
    """Four new nodes with copies to move."""
    program = f"import sys; sys.path[:0] = {sys.path!r}; from tests.cluster.killed_moves import be_held; be_held()"
    nodes = Nodes(folder, 1, more=program, count=4)
    try:
        nodes.start()
        moves = Moves(nodes, seed, out)
        try:
            moves.fill()
            yield moves
        finally:
            moves.close()
        nodes.stop()
    finally:
        nodes.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.killed_moves")
    parser.add_argument("--moves", type=int, default=len(VICTIMS) * TURN)
    parser.add_argument("--first", type=int, default=0, help="number of the first one, which says who is killed where")
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    asked = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="flin-moves-"))
    os.chdir(folder)
    with moving(folder, asked.seed, sys.stdout) as moves:
        for number in range(asked.first, asked.first + asked.moves):
            began = time.monotonic()
            moves.make(number)
            print(f"move {number}: {time.monotonic() - began:.0f} s", flush=True)
        moves.check_all()
        print(f"{moves.counted.total()} kills, {moves.given_up} moves given up: nothing was lost")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
