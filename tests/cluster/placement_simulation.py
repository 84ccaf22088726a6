"""A whole cluster in virtual time: its controllers, leases, logs, moves and disks, over the twin of etcd in memory.

    python -m tests.cluster.placement_simulation --nodes 1000

The decisions are the real ones: `Controller`, `Place`, `Lease`, `Readiness`, the rules of moves and of the log's floor.
Modelled are what carries them out: processes that start, copies that take seconds, disks, and time, which goes by the
second. Nodes are cut off, stop, are killed and come back, the acting controller among them; a rack loses its disks.

After every second these must hold:

- no two replicas of a group have its lease, and no epoch has two leaders;
- the log of a group has every write that was acknowledged;
- some disk has a whole copy of each group from which the log goes on;
- a group that had as many whole copies as it should has as many of those that count, but for what burnt;
- a copy is removed only where as many others are whole as there should be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from flin.cluster.etcd.key_value import Delete, ModRevision, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AliveValue, AppliedValue, ClusterValue, Keys, NodeValue, ReplicasValue, group_of, name_of
from flin.cluster.log.log_bounds import GroupLogState, floor_of
from flin.cluster.node.controller import Controller
from flin.cluster.node.moves import may_be_removed
from flin.cluster.node.presence import Readiness
from flin.cluster.replica.lease import Lease
from flin.cluster.replica.takeover import APPLIED_SECONDS, Kind, Myself, Place, Request, Role
from flin.cluster.slot_map import SlotMap, leader_of, map_of

KEYS = Keys("simulated")
RACKS = 5
WANTED = 3
LOST_SECONDS = 60
"""Until a node is replaced: the simulation is to be no longer than it must."""
CONTROLLERS = 3
"""Nodes whose controllers take steps. All others would only look, and each looks at the whole map."""
LATE_SECONDS = 3
"""A supervisor may see the map of so long ago."""
FORGIVEN_SECONDS = 10
"""What was abreast so recently counts, though its disk has been lost since: nobody can know."""
CUTS = 0.01
"""For each node and second: its line is cut for some seconds, perhaps for longer than a lease."""
HOT = 100
"""Entries a second of a group whose key is hot, where others have one."""

COPY_BYTES = 1000


@dataclass
class Copy:
    """What lies on a disk."""

    index: int = 0
    durable: int = 0
    is_whole: bool = False


class Replica:
    """A process."""

    def __init__(self, node: Node, group: int, copy: Copy) -> None:
        world = node.world
        self.node, self.group, self.copy = node, group, copy
        self.start = f"{node.name}.{next(world.starts)}"
        self.ready_at = world.now + world.random.uniform(1, 3)
        if not copy.is_whole or copy.durable + 1 < world.floors[group]:
            copy.is_whole = False
            self.ready_at += world.random.uniform(2, 8)
        self.begin_place()
        self.is_abreast = False
        self.told_at = 0.0

    def begin_place(self) -> None:
        world = self.node.world
        self.lease = Lease(lambda: world.now)
        self.place = Place(KEYS, Myself(self.group, self.node.name, self.start), self.lease)

    @property
    def is_ready(self) -> bool:
        return self.node.world.now >= self.ready_at and self.copy.is_whole

    @property
    def leads(self) -> bool:
        return self.place.role is Role.LEADING

    def step(self) -> None:
        world = self.node.world
        if world.now < self.ready_at:
            return
        if not self.copy.is_whole and self.node.free_bytes < COPY_BYTES:
            value = AppliedValue(1, "", has_room=False, refusal="full", needs_bytes=COPY_BYTES)
            world.store.txn((), [Put(KEYS.applied(self.group, self.node.name), value.encode())], timeout=1)
            return
        if not self.copy.is_whole and not world.give(self):
            return
        if not self.leads:
            self.copy.index = world.applied(self.group, self.copy.index)
        leader = world.leading.get(self.group)
        if self.leads or leader is None or not leader.node.is_there or int(world.now) % 2:
            self.ask()
        if self.leads and self.place.leader is not None:
            self.lead()
        self.tell()

    def ask(self) -> None:
        place, world = self.place, self.node.world
        place.index = self.copy.index + 1 if self.leads else 0
        was = place.role
        self.send(place.request(world.now))
        if place.role is Role.LEADING and was is Role.FOLLOWING:
            self.begin_to_lead()
        elif place.role is Role.ENDED:
            self.node.replicas[self.group] = Replica(self.node, self.group, self.copy)

    def send(self, request: Request) -> None:
        world = self.node.world
        if request.kind is Kind.CLAIM:
            world.claims += 1
        outcome = world.store.txn(request.compares, request.success, request.failure, timeout=1)
        self.place.note(request, outcome, world.now, world.now)

    def begin_to_lead(self) -> None:
        world, leader = self.node.world, self.place.leader
        assert leader is not None
        if world.epochs.setdefault((self.group, leader.epoch), self.start) != self.start:
            world.broken.append(f"group {self.group}: epoch {leader.epoch} has two leaders")
        world.leading[self.group] = self
        self.copy.index = world.logged(self.group)

    def lead(self) -> None:
        """Append what clients write, if the fence holds; and hand over, if another one should lead."""
        world, group = self.node.world, self.group
        if self.lease.is_held():
            head = self.copy.index + world.rates.get(group, 1)
            fence = ModRevision(KEYS.leader(group), self.place.leader_revision)
            if world.store.txn([fence], [Put(world.head(group), b"%d" % head)], timeout=1).succeeded:
                self.copy.index = world.acknowledged[group] = head
        target = self.place.target(world.now) if self.node.is_ending else self.place.maybe_target(world.now)
        if target is not None:
            self.lease.end()
            self.send(self.place.handover(target))
            self.begin_place()
            world.handovers += 1

    def tell(self) -> None:
        world = self.node.world
        is_abreast = self.place.is_abreast(self.copy.index + 1)
        if world.now - self.told_at >= APPLIED_SECONDS or (is_abreast and not self.is_abreast):
            self.copy.durable, self.is_abreast, self.told_at = self.copy.index, is_abreast, world.now
            value = AppliedValue(self.copy.durable + 1, self.start, is_abreast)
            world.store.txn((), [Put(KEYS.applied(self.group, self.node.name), value.encode())], timeout=1)


@dataclass
class Node:
    world: World
    name: str
    rack: str
    disk: dict[int, Copy] = field(default_factory=dict)
    replicas: dict[int, Replica] = field(default_factory=dict)
    is_ending: bool = False
    is_burnt: bool = False
    cut_until: float = 0.0
    """It reaches nobody, and does not know it."""
    up_at: float = 0.0
    free_bytes: int = 10 * COPY_BYTES
    beats: int = 0

    @property
    def is_up(self) -> bool:
        return self.world.now >= self.up_at

    @property
    def is_there(self) -> bool:
        return self.is_up and self.world.now >= self.cut_until

    def step(self) -> None:
        world = self.world
        if world.random.random() < CUTS:
            self.cut_until = world.now + world.random.uniform(1, 8)
        self.beats += 1
        world.store.txn(
            (), [Put(KEYS.alive(self.name), AliveValue(self.beats, "s", self.free_bytes).encode())], timeout=1
        )
        seen = world.random.choice(world.seen)
        held = self.held(seen)
        for group in () if self.is_ending else held - self.replicas.keys():
            self.replicas[group] = Replica(self, group, self.disk.setdefault(group, Copy()))
        for group, replica in [*self.replicas.items()]:
            if group in held or replica.leads:
                replica.step()
            else:
                del self.replicas[group]
        for group in [group for group in self.disk if group not in held and group not in self.replicas]:
            self.maybe_remove(group)

    def held(self, seen: Seen) -> set[int]:
        """The groups that need a process here."""
        return seen.hosts.get(self.name, set())

    def may_be_removed(self, value: ReplicasValue, leader: str, there: set[str]) -> bool:
        return may_be_removed(value, self.name, leader, there, WANTED)

    def maybe_remove(self, group: int) -> None:
        """As old_copies.py does: by the map as it is now."""
        world, found = self.world, self.world.found
        there = world.there.get(group, set())
        if self.may_be_removed(found.replicas[group], leader_of(found, group), there):
            world.store.txn((), [Delete(KEYS.applied(group, self.name))], timeout=1)
            del self.disk[group]
            world.check_removed(group, self.name)

    def end(self, seconds: float) -> None:
        """Killed, or what is left after a good end."""
        for replica in self.replicas.values():
            replica.copy.index = replica.copy.durable
        self.replicas, self.is_ending, self.up_at = {}, False, self.world.now + seconds


@dataclass
class Seen:
    """A map, and of it which groups each node hosts."""

    hosts: dict[str, set[int]]
    going: dict[str, set[int]]


class World:
    """`broken` says what was wrong, first things first."""

    def __init__(
        self,
        nodes: int,
        groups: int,
        seed: int,
        controller: type[Controller] = Controller,
        node: type[Node] = Node,
    ) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.values = MemoryKeyValues()
        self.store = self.values.client()
        self.groups = groups
        self.starts = iter(range(1 << 60))
        self.epochs: dict[tuple[int, int], str] = {}
        self.leading: dict[int, Replica] = {}
        self.acknowledged = dict.fromkeys(range(groups), 0)
        self.floors = dict.fromkeys(range(groups), 1)
        self.rates: dict[int, int] = {}
        self.broken: list[str] = []
        self.claims = self.handovers = self.moves = 0
        self.there: dict[int, set[str]] = {}
        self._node = node
        self._formed: set[int] = set()
        self._destroyed: list[tuple[float, str, int]] = []
        self._readiness = Readiness()
        self._controller = controller
        self.controllers: dict[str, Controller] = {}
        self.nodes: dict[str, Node] = {}
        self.store.txn((), [Put(KEYS.cluster, ClusterValue(groups, WANTED).encode())], timeout=1)
        for _ in range(nodes):
            self.join()
        self.found = SlotMap()
        self.seen: deque[Seen] = deque(maxlen=LATE_SECONDS)
        self._look()

    def join(self) -> Node:
        number = len(self.nodes)
        node = self._node(self, f"n{number}", f"r{number % RACKS}")
        value = NodeValue("h", (), labels=(("rack", node.rack),))
        self.store.txn((), [Put(KEYS.node(node.name), value.encode())], timeout=1)
        self.nodes[node.name] = node
        return node

    # What replicas ask.

    def head(self, group: int) -> bytes:
        return KEYS.entry(group, 0)

    def logged(self, group: int) -> int:
        pairs = self.store.get(self.head(group), timeout=1).pairs
        return int(pairs[0].value) if pairs else 0

    def applied(self, group: int, index: int) -> int:
        """How far a follower is a second later: of a hot group it may be somewhat behind."""
        return max(index, self.acknowledged[group] - self.random.randrange(2) * (self.rates.get(group, 1) // HOT))

    def give(self, taker: Replica) -> bool:
        """A copy of another replica, if one is there from which the log goes on."""
        for node in self.nodes.values():
            giver = node.replicas.get(taker.group)
            if giver is not None and node.is_up and giver.is_ready and giver.copy.index + 1 >= self.floors[taker.group]:
                taker.copy.index = taker.copy.durable = giver.copy.index
                taker.copy.is_whole = True
                return True
        if self.floors[taker.group] == 1:
            taker.copy.is_whole = True  # the log has all
        return taker.copy.is_whole

    # Time.

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            if self.broken:
                return
            self.now += 1
            self._control()
            self._look()
            for node in self.nodes.values():
                if node.is_there:
                    node.step()
            if int(self.now) % 10 == 0:
                self._keep()
            self.check()

    def settle(self, limit: int = 3000) -> int:
        """Until nothing moves; how many seconds that took."""
        began = self.now
        quiet = 0
        while quiet < 15 and self.now - began < limit and not self.broken:
            self.run(1)
            quiet = 0 if self.is_moving() else quiet + 1
        if self.now - began >= limit:
            self.broken.append("it does not come to rest")
        return int(self.now - began) - quiet

    def is_moving(self) -> bool:
        values = self.found.replicas.values()
        return len(values) < self.groups or any(
            value.is_moving
            or len(value.nodes) < WANTED
            or not leader_of(self.found, group)
            or not all(self.nodes[name].is_up for name in value.nodes)
            for group, value in self.found.replicas.items()
        )

    def _control(self) -> None:
        up = [node.name for node in self.nodes.values() if node.is_up]
        for name in up[:CONTROLLERS]:
            if name not in self.controllers:
                self.controllers[name] = self._controller(
                    self.values.client(), KEYS, name, name, clock=lambda: self.now, replace_seconds=LOST_SECONDS
                )
            self.controllers[name].step()

    def _look(self) -> None:
        before = self.found.replicas
        self.found = map_of(KEYS, self.store.get(*KEYS.map, timeout=1).pairs)
        self.there = self._readiness.note(self.store.get(*KEYS.all_applied, timeout=1).pairs, self.now)
        hosts, going = dict[str, set[int]](), dict[str, set[int]]()
        for group, value in self.found.replicas.items():
            for name in value.hosts:
                hosts.setdefault(name, set()).add(group)
            if value.going:
                going.setdefault(value.going, set()).add(group)
            old = before.get(group)
            self.moves += bool(value.coming) and (old is None or old.coming != value.coming)
        self.seen.append(Seen(hosts, going))

    def _keep(self) -> None:
        """What log_keeper.py does."""
        applied: dict[int, dict[str, int]] = {}
        for pair in self.store.get(*KEYS.all_applied, timeout=1).pairs:
            group = group_of(pair.key.rpartition(b"/")[0])
            applied.setdefault(group, {})[name_of(pair.key)] = AppliedValue.decode(pair.value).index
        for group, value in self.found.replicas.items():
            state = GroupLogState(self.floors[group], self.acknowledged[group], applied.get(group, {}), value.hosts)
            self.floors[group] = max(self.floors[group], min(floor_of(state, WANTED), max(1, self.acknowledged[group])))
        self.store.compact(self.values.revision, timeout=1)

    # What must hold.

    def whole(self, group: int) -> list[str]:
        return [name for name in self.nodes if self.is_whole(name, group)]

    def is_whole(self, name: str, group: int) -> bool:
        copy = self.nodes[name].disk.get(group)
        return copy is not None and copy.is_whole and copy.durable + 1 >= self.floors[group]

    def check(self) -> None:
        holders: Counter[int] = Counter()
        for node in self.nodes.values():
            for group, replica in node.replicas.items():
                holders[group] += replica.leads and replica.lease.is_held()
        self.broken += [f"group {group} has {count} leaders" for group, count in holders.items() if count > 1]
        for group, value in self.found.replicas.items():
            counting = sum(self.is_whole(name, group) or self.nodes[name].is_burnt for name in value.nodes)
            if counting >= WANTED:
                self._formed.add(group)
            elif group in self._formed:
                self.broken.append(f"{counting} copies of group {group} are whole, of those on {value.nodes}")
        for group, count in self.acknowledged.items():
            if self.logged(group) < count:
                self.broken.append(f"group {group} has lost writes")
            if count and int(self.now) % 10 == 0 and self.floors[group] > 1 and not self.whole(group):
                self.broken.append(f"nobody has a whole copy of group {group}")

    def check_removed(self, group: int, name: str) -> None:
        lately = sum(at >= self.now - FORGIVEN_SECONDS and lost == group for at, _, lost in self._destroyed)
        if len(self.whole(group)) + lately < WANTED:
            self.broken.append(f"{name} removes its copy of group {group}, and {self.whole(group)} have one")

    def uneven(self) -> int:
        """How many copies more one node has than another of its rack."""
        held = Counter(name for value in self.found.replicas.values() for name in value.nodes)
        racks: dict[str, list[int]] = {}
        for node in self.nodes.values():
            if node.is_up:
                racks.setdefault(node.rack, []).append(held[node.name])
        return max(max(counts) - min(counts) for counts in racks.values())

    def together(self) -> int:
        """Groups of which two copies lie in one rack."""
        return sum(
            len({self.nodes[name].rack for name in value.nodes}) < len(value.nodes)
            for value in self.found.replicas.values()
        )

    # What befalls it.

    def destroy(self, rack: str) -> int:
        """A rack burns: its nodes never come back."""
        gone = [node for node in self.nodes.values() if node.rack == rack]
        for node in gone:
            self._destroyed += [(self.now, node.name, group) for group in node.disk]
            node.end(1e9)
            node.disk, node.is_burnt = {}, True
        return len(gone)

    def kill_some(self, share: float) -> None:
        """Amid whatever they do; they come back."""
        for node in self.random.sample([*self.nodes.values()], max(1, int(len(self.nodes) * share))):
            if node.is_up:
                node.end(self.random.uniform(3, 30))

    def kill_controller(self) -> None:
        for name, each in self.controllers.items():
            if each.is_acting and self.nodes[name].is_up:
                self.nodes[name].end(20)

    def upgrade(self, parts: int) -> None:
        """All nodes, rack by rack, so many parts of it one after the other: each hands over what it leads, and is
        away."""
        for rack in sorted({node.rack for node in self.nodes.values()}):
            nodes = [node for node in self.nodes.values() if node.rack == rack and node.is_up]
            size = -(-len(nodes) // parts)
            for start in range(0, len(nodes), size):
                for node in nodes[start : start + size]:
                    node.is_ending = True
                self.run(4)
                for node in nodes[start : start + size]:
                    node.end(6)
                self.run(12)


Report = Callable[[str], None]


def story(world: World, joining: int, parts: int, report: Report = lambda line: None) -> None:
    """All that may befall it, one after the other, and a rest after each."""

    def told(what: str, act: Callable[[], object]) -> None:
        if world.broken:
            return
        moves, claims, handovers = world.moves, world.claims, world.handovers
        act()
        seconds = world.settle()
        report(
            f"{what}: at rest after {seconds} s; {world.moves - moves} copies moved, {world.claims - claims} claims, "
            f"{world.handovers - handovers} handovers; unevenness {world.uneven()}"
        )

    told(f"{len(world.nodes)} nodes and {world.groups} groups begin", lambda: None)
    told(f"{joining} nodes join", lambda: [world.join() for _ in range(joining)])
    told("a key of group 0 is hot", lambda: world.rates.update({0: HOT}))
    told("rolling upgrade", lambda: world.upgrade(parts))

    def kills() -> None:
        world.join()
        for _ in range(parts):
            world.run(6)
            world.kill_some(0.05)
            world.kill_controller()

    told("kills amid moves, the controller among them", kills)
    told(f"rack r1 is lost for good, {sum(node.rack == 'r1' for node in world.nodes.values())} nodes",
         lambda: world.destroy("r1"))  # fmt: skip
    world.run(30)
    if not world.broken and world.together():
        world.broken.append(f"{world.together()} groups have two copies in one rack")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.placement_simulation", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=0, help="0: one for each node")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    began = time.process_time()
    joining = max(1, given.nodes // 10)
    world = World(given.nodes - joining, given.groups or given.nodes, given.seed)
    start = world.now
    story(world, joining, 4, lambda line: print(line, flush=True))
    acknowledged = sum(world.acknowledged.values())
    print(f"{int(world.now - start)} s of virtual time, {acknowledged} writes acknowledged, {len(world.epochs)} epochs")
    print(f"{time.process_time() - began:.0f} s of processor time")
    print("\n".join(world.broken[:10]) or "all held")
    return bool(world.broken)


if __name__ == "__main__":
    sys.exit(main())
