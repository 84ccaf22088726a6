"""What may befall a cluster, each as a function that breaks it, waits as long as chance says, and heals it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, permutations
from operator import gt
from time import sleep
from typing import Final

from flin.testing import process
from flin.testing.cluster.machine import Machine, etcd_delete, etcd_figures, etcd_put
from flin.testing.cluster.nodes import NODES, Nodes, Replica, key_of, until_told
from flin.testing.cluster.wall_clock import WallClock
from flin.testing.process import PATIENCE_SECONDS, HangError, wait_until

LEASE_SECONDS: Final = 4.0

MAX_STOP_SECONDS: Final = 2 * LEASE_SECONDS
"""A stop lasts less than a lease, about one, or more than one."""

RETURN_SECONDS: Final = 40.0
"""Within which a group comes back to the node that should lead it: it leads for ten seconds elsewhere, at least."""

JUMP_SECONDS: Final = 3600
"""How far wall clocks jump."""

GIVING_UP_SECONDS: Final = 4.0
"""After a SIGTERM: within this time a leader that cannot reach etcd has told its clients so."""

KEPT_BYTES: Final = 8 << 20
"""A disk with so little left is full for whoever keeps a reserve, and not for the etcd on it."""

JUNK_BYTES: Final = 200_000
"""What etcd is filled with, at once."""

PAIRS: Final = [*permutations(range(NODES), 2)]
"""Who sends, who receives."""


@dataclass
class Scene:
    """What a fault is done to, and the chance that chooses."""

    nodes: Nodes
    chance: random.Random
    keys: list[str] = field(default_factory=list)
    """What else must be equal in all replicas afterwards."""

    def group(self) -> int:
        return self.chance.randrange(self.nodes.groups)

    def machine(self) -> Machine:
        return self.chance.choice(self.nodes.machines)

    def leader(self, group: int) -> Replica:
        """Waits until there is one."""
        until_told(lambda: self.nodes.leader(group) is not None, f"group {group} is led")
        found = self.nodes.leader(group)
        return self.leader(group) if found is None else found

    def leader_pid(self, group: int) -> int:
        return self._pid(lambda: self.leader(group), f"the leader of group {group}")

    def follower_pid(self, group: int) -> int:
        return self._pid(lambda: self.chance.choice(self.nodes.followers(group)), f"a follower of group {group}")

    def _pid(self, find: Callable[[], Replica], what: str) -> int:
        """That of a replica which answers: for a moment nodes may name one that is gone, or none."""
        for _ in range(int(PATIENCE_SECONDS)):
            try:
                return self.nodes.pid(find())
            except Exception:  # whatever a client raises
                sleep(1)
        raise AssertionError(f"{what} does not answer")

    def pause(self, longest: float) -> None:
        sleep(self.chance.uniform(0, longest))


def kill_leader(scene: Scene) -> None:
    """kill -9 of the process that leads a group."""
    process.kill(scene.leader_pid(scene.group()))


def kill_leader_again(scene: Scene) -> None:
    """And of the next one, as soon as it leads or a moment later."""
    group = scene.group()
    process.kill(scene.leader_pid(group))
    scene.pause(LEASE_SECONDS)
    process.kill(scene.leader_pid(group))


def kill_leader_that_came_back(scene: Scene) -> None:
    """kill -9 of a leader, and of its process again once the group has come back to its node: who led meanwhile leads
    again, in the same process."""
    group = scene.group()
    first = scene.leader(group)
    process.kill(scene.leader_pid(group))
    until_told(lambda: scene.leader(group) != first, f"group {group} has another leader")
    with suppress(HangError):  # it was not the preferred one
        until_told(lambda: scene.leader(group) == first, f"group {group} has come back", RETURN_SECONDS)
    scene.pause(2)
    process.kill(scene.leader_pid(group))


def kill_follower(scene: Scene) -> None:
    """kill -9 of a process that follows."""
    process.kill(scene.follower_pid(scene.group()))


def kill_machine(scene: Scene) -> None:
    """kill -9 of all processes of a node; it stays away for a while."""
    machine = scene.machine()
    machine.kill()
    scene.pause(MAX_STOP_SECONDS)
    machine.start()


def kill_supervisor(scene: Scene) -> None:
    """kill -9 of a node's first process alone: the others end by themselves."""
    machine = scene.machine()
    pids = machine.processes()
    process.kill(pids[0])
    wait_until(lambda: not any(map(process.is_alive, pids)), f"the processes of {machine.name} end")
    machine.kill()
    machine.start()


def kill_all(scene: Scene) -> None:
    """kill -9 of all nodes."""
    machines = [*scene.nodes.machines]
    scene.chance.shuffle(machines)
    for machine in machines:
        machine.kill()
    for machine in machines:
        machine.start()


def kill_etcd_leader(scene: Scene) -> None:
    """kill -9 of the etcd that leads."""
    machine = _of_etcd_leader(scene)
    if (pid := machine.etcd()) is not None:
        process.kill(pid)


def stop_leader(scene: Scene) -> None:
    """SIGSTOP of the process that leads a group, for about a lease, then SIGCONT."""
    _stop(scene, [scene.leader_pid(scene.group())])


def stop_machine(scene: Scene) -> None:
    """SIGSTOP of a whole node."""
    _stop(scene, scene.machine().processes())


def stop_supervisor(scene: Scene) -> None:
    """SIGSTOP of a node's first process: its workers go on."""
    _stop(scene, scene.machine().processes()[:1])


def stop_etcd_leader(scene: Scene) -> None:
    """SIGSTOP of the etcd that leads."""
    pid = _of_etcd_leader(scene).etcd()
    _stop(scene, [] if pid is None else [pid])


def end_machine(scene: Scene) -> None:
    """SIGTERM of a node, which hands its groups over; then it starts again."""
    machine = scene.machine()
    code = machine.end()
    assert code == 0, (code, machine.printed())
    machine.start()


def fail_over(scene: Scene) -> None:
    """CLUSTER FAILOVER to a replica that follows, as an operator sends it."""
    group = scene.group()
    until_told(lambda: scene.nodes.followers(group), f"group {group} has followers")
    _lead(scene, scene.chance.choice(scene.nodes.followers(group)))


def _lead(scene: Scene, chosen: Replica) -> None:
    until_told(lambda: _is_begun(scene, chosen), f"{chosen} is told to lead")
    until_told(lambda: scene.leader(chosen.group).place == chosen.place, f"{chosen} leads")


def _is_begun(scene: Scene, chosen: Replica) -> bool:
    with suppress(Exception):  # it does not answer yet, or does not see its leader
        return bool(scene.nodes.fail_over(chosen))
    return False


def end_all(scene: Scene) -> None:
    """SIGTERM of all nodes at once; then they start again."""
    machines = [*scene.nodes.machines]
    scene.chance.shuffle(machines)
    for machine in machines:
        machine.terminate()
        scene.pause(0.5)
    for machine in machines:
        code = machine.wait_until_ended()
        assert code == 0, (code, machine.printed())
    for machine in machines:
        machine.start()


def kill_amid_handover(scene: Scene) -> None:
    """SIGTERM of a node, and kill -9 while it hands over."""
    machine = scene.machine()
    machine.terminate()
    scene.pause(1.5)
    machine.kill()
    machine.start()


def stop_amid_handover(scene: Scene) -> None:
    """SIGTERM of a node whose leader is stopped meanwhile."""
    group = scene.group()
    leader = scene.leader(group)
    machine, pid = scene.nodes.machine_of(leader), scene.leader_pid(group)
    machine.terminate()
    scene.pause(0.3)
    _stop(scene, [pid])
    machine.kill()
    machine.start()


def jump_clock(scene: Scene) -> None:
    """The wall clock of all goes an hour on, or back; then it is right again."""
    _jump(scene, scene.nodes.clocks)


def jump_clock_of_one(scene: Scene) -> None:
    """The wall clock of a node that follows a group. What expires in half an hour has not expired for the group."""
    group = scene.group()
    leading = scene.nodes.machine_of(scene.leader(group))
    number = scene.chance.choice([number for number in range(NODES) if scene.nodes.machines[number] is not leading])
    key = f"{{{key_of(group, scene.nodes.groups)}}}expires:{scene.chance.randrange(1 << 30)}"
    with suppress(Exception):  # the leader has changed: it was not written
        scene.nodes.put(key, JUMP_SECONDS * 1000 // 2)
    scene.keys.append(key)
    _jump(scene, [scene.nodes.clocks[number]])


def _jump(scene: Scene, clocks: Sequence[WallClock]) -> None:
    ahead = scene.chance.choice((-JUMP_SECONDS, JUMP_SECONDS))
    for clock in clocks:
        clock.set_ahead(ahead)
    scene.pause(3)
    for clock in clocks:
        clock.set_ahead(0)


def lose_answers(scene: Scene) -> None:
    """What a node asks of etcd is done, and it does not learn of it; then all its connections are lost."""
    link = scene.chance.choice(scene.nodes.links)
    link.answers.hold()
    scene.pause(MAX_STOP_SECONDS)
    link.reset()
    link.heal()


def end_amid_lost_answers(scene: Scene) -> None:
    """SIGTERM of a node that is not told what became of its last appends, so it cannot tell its clients."""
    number = scene.chance.randrange(len(scene.nodes.links))
    machine, link = scene.nodes.machines[number], scene.nodes.links[number]
    link.answers.hold()
    scene.pause(1)
    machine.terminate()
    sleep(GIVING_UP_SECONDS)
    machine.kill()
    link.reset()
    link.heal()
    machine.start()


def lose_requests(scene: Scene) -> None:
    """What a node asks of etcd is held for a while, then lost."""
    link = scene.chance.choice(scene.nodes.links)
    link.requests.hold()
    scene.pause(MAX_STOP_SECONDS)
    link.reset()
    link.heal()


def late_requests(scene: Scene) -> None:
    """What a node asks of etcd is held for a while, then arrives: appends of a leader that is none any more."""
    link = scene.chance.choice(scene.nodes.links)
    link.requests.hold()
    scene.pause(MAX_STOP_SECONDS)
    link.heal()


def cut_link(scene: Scene) -> None:
    """Both ways; what is held is late, or lost."""
    link = scene.chance.choice(scene.nodes.links)
    link.cut()
    scene.pause(MAX_STOP_SECONDS)
    if scene.chance.random() < 0.5:
        link.reset()
    link.heal()


def flap_link(scene: Scene) -> None:
    """Lost connections, again and again."""
    link = scene.chance.choice(scene.nodes.links)
    for _ in range(10):
        link.answers.hold()
        scene.pause(0.3)
        link.reset()
        link.heal()
        scene.pause(0.3)


def delay_link(scene: Scene) -> None:
    """Each piece of what goes to and fro is late."""
    link = scene.chance.choice(scene.nodes.links)
    link.requests.delay_seconds = link.answers.delay_seconds = scene.chance.uniform(0.01, 0.3)
    scene.pause(MAX_STOP_SECONDS)
    link.heal()


def kill_etcd_member(scene: Scene) -> None:
    """kill -9 of the etcd that leads, of those that are no node's."""
    etcds = scene.nodes.etcds
    assert etcds is not None
    number = etcds.leader() or 0
    etcds.kill_member(number)
    scene.pause(LEASE_SECONDS)
    etcds.restart(number)


# Networks of the nodes' own.


def cut_node(scene: Scene) -> None:
    """No node reaches one of them, nor does that one any other; clients reach all."""
    victim = scene.chance.randrange(NODES)
    _cut(scene, [pair for pair in PAIRS if victim in pair])


def cut_node_one_way(scene: Scene) -> None:
    """What one node sends the others is lost, or what they send it."""
    victim, place = scene.chance.randrange(NODES), scene.chance.randrange(2)
    _cut(scene, [pair for pair in PAIRS if pair[place] == victim])


def cut_two_nodes(scene: Scene) -> None:
    """Two nodes do not reach each other; the third reaches both."""
    both = set(scene.chance.sample(range(NODES), 2))
    _cut(scene, [pair for pair in PAIRS if set(pair) == both])


def flap_network(scene: Scene) -> None:
    """Some ways between nodes are lost, again and again others."""
    for _ in range(6):
        _cut(scene, [pair for pair in PAIRS if scene.chance.random() < 0.4], LEASE_SECONDS / 2)
        scene.pause(0.5)


def _cut(scene: Scene, pairs: list[tuple[int, int]], longest: float = MAX_STOP_SECONDS) -> None:
    network = scene.nodes.network
    assert network is not None
    for sender, receiver in pairs:
        network.cut(sender, receiver)
    scene.pause(longest)
    network.heal()


# Little room.


def fill_disk(scene: Scene) -> None:
    """The disk of a node is full for a while. An operator starts it again if it has ended for that."""
    disk, machine = scene.nodes.disk, scene.nodes.machines[-1]
    assert disk is not None
    for _ in range(scene.chance.randrange(10, 40)):
        disk.fill()  # what others have freed, too
        sleep(0.2)
    disk.empty()
    sleep(1)
    if not machine.is_running:
        machine.kill()
        machine.start()


def fill_disk_of_leader(scene: Scene) -> None:
    """The disk of a node is full for a while, and all groups that it leads are led by others then."""
    disk, machine, group = scene.nodes.disk, scene.nodes.machines[-1], scene.group()
    assert disk is not None
    until_told(lambda: _replica_on(scene, machine, group), f"{machine.name} has a replica")
    if (replica := _replica_on(scene, machine, group)) is not None and not replica.leads:
        _lead(scene, replica)
    disk.leave(KEPT_BYTES)
    until_told(lambda: not _leads(scene, machine), f"{machine.name} has given its groups away")
    disk.empty()


def _replica_on(scene: Scene, machine: Machine, group: int) -> Replica | None:
    found = [each for each in scene.nodes.replicas() if scene.nodes.machine_of(each) is machine]
    return next((each for each in found if each.group == group), None)


def _leads(scene: Scene, machine: Machine) -> bool:
    return any(each.leads and scene.nodes.machine_of(each) is machine for each in scene.nodes.replicas())


def fill_etcd(scene: Scene) -> None:
    """etcd is full and takes no writes (NOSPACE), till what filled it is deleted. Flin must leave that state by
    itself."""
    url = scene.nodes.etcd_urls[0]
    for number in count():
        if "database space exceeded" in etcd_put(url, f"junk/{number:04}", bytes(JUNK_BYTES)):
            break
    scene.pause(LEASE_SECONDS)

    def is_deleted() -> bool:
        with suppress(OSError):  # it has no turn, or no leader
            etcd_delete(url, "junk/", "junk0")
            return True
        return False

    wait_until(is_deleted, "what fills etcd is deleted")


def kill_amid_truncation(scene: Scene) -> None:
    """kill -9 of a node while what nobody needs of the logs is deleted; meanwhile they are cut, too, so that it must
    take a copy of another."""
    machine = scene.machine()
    _wait_for_more(scene, "etcd_debugging_mvcc_delete_total")
    scene.pause(1)
    machine.kill()
    for _ in range(scene.chance.randrange(4)):
        _wait_for_more(scene, "etcd_debugging_mvcc_delete_total")
    machine.start()


def kill_etcd_amid_compaction(scene: Scene) -> None:
    """kill -9 of an etcd, or of all, while it compacts its history."""
    _wait_for_more(scene, "etcd_debugging_mvcc_db_compaction_keys_total")
    scene.pause(0.2)
    for machine in scene.chance.choice((scene.nodes.machines, [scene.machine()])):
        if (pid := machine.etcd()) is not None:
            process.kill(pid)


def _wait_for_more(scene: Scene, name: str) -> None:
    """Until this figure of an etcd has risen."""
    urls = scene.nodes.etcd_urls
    before = etcd_figures(urls, name)
    wait_until(lambda: any(map(gt, etcd_figures(urls, name), before)), f"{name} rises")


Fault = Callable[[Scene], None]

OWN_ETCD: Final[tuple[Fault, ...]] = (
    kill_leader, kill_machine, stop_leader, kill_etcd_leader, kill_all, end_machine, kill_leader_again, stop_machine,
    kill_follower, kill_amid_handover, stop_etcd_leader, stop_supervisor, kill_supervisor, stop_amid_handover,
    jump_clock, kill_leader_that_came_back, end_all, jump_clock_of_one, fail_over,
)  # fmt: skip
"""For nodes that start an etcd each."""

LINKED: Final[tuple[Fault, ...]] = (
    lose_answers, late_requests, kill_leader, cut_link, flap_link, lose_requests, delay_link, kill_etcd_member,
    stop_leader, kill_machine, end_amid_lost_answers,
)  # fmt: skip
"""For nodes with links to an etcd that is there already."""

NETWORKED: Final[tuple[Fault, ...]] = (
    cut_node, kill_leader, cut_two_nodes, cut_node_one_way, stop_machine, flap_network, kill_etcd_leader,
)  # fmt: skip
"""For nodes that start an etcd each, and have a network."""

SMALL: Final[tuple[Fault, ...]] = (
    fill_etcd, kill_amid_truncation, kill_etcd_amid_compaction, kill_leader, kill_all, fill_disk, fill_disk_of_leader,
)  # fmt: skip
"""For nodes with little room."""


def _stop(scene: Scene, pids: list[int]) -> None:
    with process.stopped(pids):
        scene.pause(MAX_STOP_SECONDS)


def _of_etcd_leader(scene: Scene) -> Machine:
    until_told(lambda: scene.nodes.etcd_leader() is not None, "etcd has a leader")
    return scene.nodes.etcd_leader() or _of_etcd_leader(scene)
