"""A group of replicas in virtual time: places, leases and a log, under faults, over the twin of etcd in memory.

The replicas' part is the real one (`Place`, `Lease`). Requests are sent, executed and answered at three moments, the
second perhaps after the sender has given up, or never. Machines' clocks run at rates of their own; processes are
stopped, killed, started again; links are cut. Each client's write is an entry; a read shows how many the replica has.

After every event these must hold:

- no two replicas have a lease, each by its own clock;
- no epoch has two leaders;
- a read shows every write that was acknowledged before it;
- each acknowledged write is in the log, once.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf

from flin.cluster.etcd.key_value import Get, KeyValueStore, ModRevision, Operation, Outcome, Put
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.keys import AliveValue, AppliedValue, Keys, LeaderValue, ReplicasValue
from flin.cluster.node.succession import Succession
from flin.cluster.replica.lease import Lease
from flin.cluster.replica.takeover import APPLIED_SECONDS, Kind, Myself, Place, Request, Role

KEYS = Keys("simulated")
GROUP = 0
PATIENCE = 2.0
"""Seconds after which a request is given up."""


@dataclass(frozen=True)
class Faults:
    """Chances per second and node, and what a network does."""

    kill: float = 0.02
    stop: float = 0.02
    cut: float = 0.02
    hand_over: float = 0.01
    lost: float = 0.05
    slow: float = 0.05
    """Of each request, and of each answer."""
    rate: float = 0.04
    """Clocks run faster or slower by so much."""


CALM = Faults(0, 0, 0, 0, 0, 0)


class Simulation:
    """`broken` says what was wrong, first things first."""

    def __init__(
        self,
        seed: int,
        names: str = "abc",
        place: type[Place] = Place,
        lease: type[Lease] = Lease,
        *,
        buries_the_living: bool = False,
    ) -> None:
        """buries_the_living: supervisors give the places of processes away that only stand still."""
        self.buries_the_living = buries_the_living
        self.random = random.Random(seed)
        self.now = 0.0
        self.store: KeyValueStore = MemoryKeyValues().client()
        self.place, self.lease = place, lease
        self.faults = Faults()
        self.broken: list[str] = []
        self.acknowledged: list[int] = []
        self.leaders: dict[int, str] = {}
        self.led_at: list[float] = []
        self.longest_gap = 0.0
        self.claims = 0
        self.buried = 0
        """Leaders that had died, and whose supervisors gave their places away."""
        self.followed = 0
        """Leaders that went on as followers."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.store.txn((), (Put(KEYS.replicas(GROUP), ReplicasValue(tuple(names), names[0]).encode()),), timeout=1)
        self.nodes: list[Machine] = []
        self.nodes += [Machine(self, name) for name in names]

    def leading(self) -> Machine:
        name = leader_of(self).node
        return next(each for each in self.nodes if each.name == name)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), call))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end and not self.broken:
            self.now, _, call = heapq.heappop(self._events)
            call()
        self.now = end

    def acknowledge(self, number: int) -> None:
        gap = self.now - self.led_at[-1] if self.led_at else 0
        self.longest_gap = max(self.longest_gap, gap)
        self.led_at.append(self.now)
        self.acknowledged.append(number)

    def check(self) -> None:
        """Call while something could be wrong: a lease may be held."""
        holders = [node.name for node in self.nodes if node.is_serving()]
        if len(holders) > 1:
            self.broken.append(f"{holders} serve at {self.now:.3f}")

    def check_log(self) -> None:
        kept = {pair.value for pair in self.store.get(*KEYS.log(GROUP), timeout=1).pairs}
        lost = [number for number in self.acknowledged if b"%d" % number not in kept]
        if lost:
            self.broken.append(f"lost {lost[:3]}")

    def chance(self, per_second: float, step: float) -> bool:
        return self.random.random() < per_second * step


@dataclass
class Machine:
    """A node: its clock, its link, and one worker, which may be started again."""

    simulation: Simulation
    name: str
    cut_until: float = -inf
    stopped_until: float = -inf
    worker: Worker | None = None
    starts: int = 0
    alive: int = 0
    slow_requests: float = 0
    """Seconds that each takes longer."""
    slow_answers: float = 0

    def __post_init__(self) -> None:
        choose = self.simulation.random
        self.rate = 1 + choose.uniform(-1, 1) * self.simulation.faults.rate
        self.offset = choose.uniform(0, 1e6)
        self.succession = Succession(self.simulation.store, KEYS, self.name, lambda: (), self.clock)
        self.start()
        self.beat()
        self.step()

    def clock(self) -> float:
        return self.offset + self.rate * self.simulation.now

    def start(self) -> None:
        self.starts += 1
        self.worker = Worker(self, f"{self.name}{self.starts}")
        self.worker.show()
        self.worker.pulse()

    def is_serving(self) -> bool:
        """A stopped process answers nothing: it looks at the clock when it goes on."""
        worker = self.worker
        is_running = self.simulation.now >= self.stopped_until
        return worker is not None and is_running and worker.place.role is Role.LEADING and worker.lease.is_held()

    def beat(self) -> None:
        """The supervisor's sign of life."""
        simulation = self.simulation
        self.alive += 1
        if simulation.now >= self.cut_until:
            put = Put(KEYS.alive(self.name), AliveValue(self.alive, "").encode())
            simulation.store.txn((), (put,), timeout=1)
        simulation.after(1, self.beat)

    def step(self) -> None:
        """Now and then something goes wrong here; and a client reads."""
        simulation, faults, step = self.simulation, self.simulation.faults, 0.05
        worker, choose = self.worker, simulation.random
        if simulation.chance(faults.cut, step):
            self.cut_until = simulation.now + choose.expovariate(1 / 4)
        if simulation.chance(faults.stop, step):
            self.stopped_until = simulation.now + choose.expovariate(1 / 5)
            if worker is not None and simulation.buries_the_living:
                self.bury(worker.start)
        if worker is not None and simulation.chance(faults.kill, step):
            self.worker = None
            simulation.after(choose.uniform(0, 0.5), lambda: self.bury(worker.start))
            simulation.after(choose.uniform(0.2, 3), self.start)
        elif worker is not None and simulation.chance(faults.hand_over, step):
            worker.wants_end = True
        if self.is_serving() and worker is not None and worker.has_caught_up:
            worker.read()
        simulation.check()
        simulation.after(step, self.step)

    def bury(self, start: str) -> None:
        """The supervisor sees that this process has ended."""
        if self.simulation.now >= self.cut_until:
            self.simulation.buried += bool(self.succession.pass_on(GROUP, start))

    def when_running(self, call: Callable[[], None]) -> None:
        """At once, or when the process goes on."""
        if self.simulation.now >= self.stopped_until:
            call()
        else:
            self.simulation.after(self.stopped_until - self.simulation.now, lambda: self.when_running(call))


class Worker:
    """One process."""

    def __init__(self, machine: Machine, start: str) -> None:
        simulation = machine.simulation
        self.machine, self.start = machine, start
        self.lease = simulation.lease(machine.clock)
        myself = Myself(GROUP, machine.name, start)
        self.myself = myself
        self.place = simulation.place(KEYS, myself, self.lease)
        self.has_caught_up = False
        self.wants_end = False
        self.handover: Request | None = None
        self.target = ("", "")
        self.entries = 0
        self.unknown: tuple[int, bytes] | None = None

    @property
    def is_current(self) -> bool:
        return self.machine.worker is self

    # Its place.

    def show(self) -> None:
        """Its process is there."""
        machine, simulation = self.machine, self.machine.simulation
        if self.is_current:
            if simulation.now >= max(machine.cut_until, machine.stopped_until):
                put = Put(KEYS.applied(GROUP, machine.name), AppliedValue(0, self.start).encode())
                simulation.store.txn((), (put,), timeout=1)
            simulation.after(APPLIED_SECONDS, self.show)

    def pulse(self) -> None:
        if self.is_current:
            self.machine.when_running(self._pulse)

    def _pulse(self) -> None:
        now = self.machine.clock()
        place, simulation = self.place, self.machine.simulation
        if self.wants_end and place.role is Role.LEADING and self.has_caught_up and self.handover is None:
            target = place.target(now)
            if target is not None and self.unknown is None:
                self.lease.end()
                self.target = target
                self.handover = place.handover(target)
        request = self.handover or place.request(now)
        simulation.claims += request.kind is Kind.CLAIM
        self.send(
            request.compares, request.success, request.failure, lambda outcome, sent: self.note(request, outcome, sent)
        )

    def note(self, request: Request, outcome: Outcome | None, sent_at: float) -> None:
        place, simulation = self.place, self.machine.simulation
        if outcome is not None:
            was = place.role
            place.note(request, outcome, sent_at, self.machine.clock())
            if place.role is Role.LEADING and was is Role.FOLLOWING:
                self.begin_to_lead()
        if place.role is Role.ENDED:
            if self.handover is not None and self.handover is request and self.has_given_its_place():
                self.follow()
                return
            self.machine.worker = None
            simulation.after(0.5, self.machine.start)
            return
        simulation.after(0 if outcome is None else place.pause(), self.pulse)

    def has_given_its_place(self) -> bool:
        leader = self.place.leader
        return leader is not None and leader.start == self.target[1]

    def follow(self) -> None:
        """What it wrote is known, and so is who leads: the same process goes on, with a new place."""
        self.machine.simulation.followed += 1
        self.machine.worker = worker = Worker(self.machine, self.start)
        worker.show()
        worker.pulse()

    def begin_to_lead(self) -> None:
        assert self.place.leader is not None
        simulation, epoch = self.machine.simulation, self.place.leader.epoch
        if simulation.leaders.setdefault(epoch, self.start) != self.start:
            simulation.broken.append(f"epoch {epoch} has two leaders")
        self.catch_up()

    def catch_up(self) -> None:
        """List the log to its end, and ask again if there is no answer."""

        def listed(outcome: Outcome | None, _: float) -> None:
            if outcome is None:
                self.catch_up()
                return
            self.entries = len(outcome.found[0].pairs)
            self.has_caught_up = True
            self.write()

        self.send((), (Get(*KEYS.log(GROUP)),), (), listed)

    # Its clients.

    def read(self) -> None:
        simulation = self.machine.simulation
        if self.entries < len(simulation.acknowledged):
            simulation.broken.append(f"{self.start} reads what is old at {simulation.now:.3f}")

    def write(self) -> None:
        """One append is on its way; the next follows it."""
        if not self.is_current or self.handover is not None or self.place.role is not Role.LEADING:
            return
        if self.unknown is None:
            if self.wants_end:
                self.machine.simulation.after(0.2, lambda: self.machine.when_running(self.write))
                return
            self.unknown = self.entries, b"%d" % self.machine.simulation.random.getrandbits(60)
        number, value = self.unknown
        entry = KEYS.entry(GROUP, number)
        leads = ModRevision(KEYS.leader(GROUP), self.place.leader_revision)
        self.send(
            (leads, ModRevision(entry, 0)),
            (Put(entry, value),),
            (Get(KEYS.leader(GROUP)), Get(entry)),
            lambda outcome, _: self.written(outcome, value),
        )

    def written(self, outcome: Outcome | None, value: bytes) -> None:
        simulation = self.machine.simulation
        is_there = outcome is not None and (
            outcome.succeeded or any(pair.value == value for pair in outcome.found[1].pairs)
        )
        if is_there:
            self.entries += 1
            self.unknown = None
            simulation.acknowledge(int(value))
        elif outcome is not None:
            return  # fenced
        simulation.after(0.1, lambda: self.machine.when_running(self.write))

    # The network.

    def send(
        self,
        compares: tuple[ModRevision, ...],
        success: tuple[Operation, ...],
        failure: tuple[Operation, ...],
        receive: Callable[[Outcome | None, float], None],
    ) -> None:
        """receive is told the outcome, and when the request was sent; or None, when it is given up."""
        machine, simulation, sent_at = self.machine, self.machine.simulation, self.machine.clock()
        is_open = True

        def arrive(outcome: Outcome | None) -> None:
            nonlocal is_open
            if is_open and self.is_current:
                is_open = False
                receive(outcome, sent_at)

        def execute() -> None:
            outcome = simulation.store.txn(compares, success, failure, timeout=1)
            if simulation.now >= machine.cut_until and not simulation.chance(simulation.faults.lost, 1):
                wait = machine.slow_answers + self.delay()
                simulation.after(wait, lambda: machine.when_running(lambda: arrive(outcome)))

        if simulation.now >= machine.cut_until and not simulation.chance(simulation.faults.lost, 1):
            simulation.after(machine.slow_requests + self.delay(), execute)
        simulation.after(PATIENCE, lambda: machine.when_running(lambda: arrive(None)))

    def delay(self) -> float:
        choose, faults = self.machine.simulation.random, self.machine.simulation.faults
        return choose.uniform(0.001, 0.02) if choose.random() >= faults.slow else choose.expovariate(1 / 1.5)


def leader_of(simulation: Simulation) -> LeaderValue:
    return LeaderValue.decode(simulation.store.get(KEYS.leader(GROUP), timeout=1).pairs[0].value)
