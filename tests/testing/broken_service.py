"""A replicated service in virtual time, right and broken on purpose: what the checker must accept, and refuse.

A leader holds a state; its writes are in the log once they are committed, some moments after they ran, and only then
are they answered. At a failover another leader takes the log over; what was not committed is forgotten. Each class of
BUGS breaks one rule, as a server could.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

from flin.testing.cluster.history import Call, Command, Outcome, Reply
from flin.testing.cluster.linearizable import State, apply

Answer = tuple[Outcome, tuple[Reply, ...]]


class Service:
    """Right."""

    failover_chance = 0.02
    loss_chance = 0.03

    def __init__(self, chance: random.Random) -> None:
        self.random = chance
        self.log: list[tuple[str, tuple[Command, ...]]] = []
        self.uncommitted: list[tuple[str, tuple[Command, ...]]] = []
        self.states: dict[str, State] = {}
        self.old_states: dict[str, State] = {}
        """What the deposed leader has."""

    def execute(self, name: str, commands: tuple[Command, ...]) -> tuple[Reply, ...]:
        self.states[name], replies = apply(self.states.get(name, ()), commands)
        if any(command[0] != "GET" for command in commands):
            self.uncommitted.append((name, commands))
        return replies

    def commit(self) -> None:
        self.log += self.uncommitted
        self.uncommitted = []

    def fail_over(self) -> None:
        """The new leader has the log and no more."""
        self.old_states = dict(self.states)
        self.uncommitted = []
        self.states = {}
        for name, commands in self.log:
            self.states[name], _ = apply(self.states.get(name, ()), commands)

    def serve(self, name: str, commands: tuple[Command, ...]) -> Answer:
        chance = self.random.random()
        if chance < self.failover_chance:
            return self.serve_amid_failover(name, commands)
        if chance < self.failover_chance + self.loss_chance:  # the answer, or the request, is lost
            if self.random.random() < 0.5:
                self.execute(name, commands)
                self.commit()
            return Outcome.UNKNOWN, ()
        replies = self.execute(name, commands)
        self.commit()
        return Outcome.DONE, replies

    def serve_amid_failover(self, name: str, commands: tuple[Command, ...]) -> Answer:
        """It ran; whether it was committed nobody learns. Or the lease had lapsed already, and it was refused."""
        if self.random.random() < 0.3:
            self.fail_over()
            return Outcome.REFUSED, ()
        self.execute(name, commands)
        if self.random.random() < 0.5:
            self.commit()
        self.fail_over()
        return Outcome.UNKNOWN, ()


class ReplyBeforeCommit(Service):
    def serve_amid_failover(self, name: str, commands: tuple[Command, ...]) -> Answer:
        replies = self.execute(name, commands)
        self.fail_over()
        return Outcome.DONE, replies


class UnknownToldAsRefused(Service):
    """The client may send it again, so it is counted twice."""

    def serve_amid_failover(self, name: str, commands: tuple[Command, ...]) -> Answer:
        _, replies = super().serve_amid_failover(name, commands)
        return Outcome.REFUSED, replies


class NoFence(Service):
    """The deposed leader's last entry comes into the log, and over what the new one has."""

    def serve(self, name: str, commands: tuple[Command, ...]) -> Answer:
        if self.random.random() < self.failover_chance and name in self.old_states:
            self.states[name], replies = apply(self.old_states[name], commands)
            return Outcome.DONE, replies
        return super().serve(name, commands)


class NoLease(Service):
    """The deposed leader answers reads."""

    def serve(self, name: str, commands: tuple[Command, ...]) -> Answer:
        if all(command[0] == "GET" for command in commands) and self.random.random() < 0.3:
            return Outcome.DONE, apply(self.old_states.get(name, ()), commands)[1]
        return super().serve(name, commands)


class IndexTooHigh(Service):
    """The new leader lacks an entry."""

    def fail_over(self) -> None:
        if self.log:
            self.log.pop(self.random.randrange(max(0, len(self.log) - 3), len(self.log)))
        super().fail_over()


class AppliesTwice(Service):
    """Not the absolute value of the frame, but the command again."""

    def fail_over(self) -> None:
        super().fail_over()
        for name, commands in self.log[-1:]:
            self.states[name], _ = apply(self.states.get(name, ()), commands)


class HalfOfATransaction(Service):
    def fail_over(self) -> None:
        if self.log:
            name, commands = self.log.pop()
            self.log.append((name, commands[:1]))
        super().fail_over()


class CachedReplies(Service):
    """Ready replies are kept over a failover."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.cached: dict[tuple[str, tuple[Command, ...]], tuple[Reply, ...]] = {}

    def fail_over(self) -> None:
        self.cached = {(name, (("GET", key),)): (value,) for name, state in self.states.items() for key, value in state}
        super().fail_over()

    def serve(self, name: str, commands: tuple[Command, ...]) -> Answer:
        if ready := self.cached.pop((name, commands), None):
            return Outcome.DONE, ready
        return super().serve(name, commands)


BUGS = [
    ReplyBeforeCommit, UnknownToldAsRefused, NoFence, NoLease, IndexTooHigh, AppliesTwice, HalfOfATransaction,
    CachedReplies,
]  # fmt: skip


def run(service: Service, clients: int, calls: int, objects: int = 6) -> list[Call]:
    """What the clients saw. Each has one request under way; requests run in another order than they were sent in."""
    chance = service.random
    history: list[Call] = []
    numbers = count()
    work: list[tuple[int, int, Callable[[int], None]]] = []

    def later(now: int, do: Callable[[int], None]) -> None:
        heapq.heappush(work, (now + chance.randrange(1, 100), next(numbers), do))

    def send(client: int) -> Callable[[int], None]:
        def begin(now: int) -> None:
            name = f"{{{chance.randrange(objects)}}}"
            commands = some_commands(chance, name, next(numbers))

            def arrive(at: int) -> None:
                outcome, replies = service.serve(name, commands)

                def end(then: int) -> None:
                    history.append(Call(str(client), name, commands, now, then, outcome, replies))
                    if len(history) < calls:
                        later(then, begin)

                later(at, end)

            later(now, arrive)

        return begin

    for client in range(clients):
        later(0, send(client))
    while work:
        now, _, do = heapq.heappop(work)
        do(now)
    return history


def some_commands(chance: random.Random, name: str, number: int) -> tuple[Command, ...]:
    """A request to the keys of a tag: a count, a string that grows, and a register."""
    choices: list[tuple[Command, ...]] = [
        (("INCR", f"{name}n"),),
        (("APPEND", f"{name}s", f"{number:05};"),),
        (("SET", f"{name}r", str(number)),),
        (("INCR", f"{name}n"), ("INCR", f"{name}m")),
        (("GET", f"{name}{chance.choice('nsrm')}"),),
        (("GET", f"{name}n"), ("GET", f"{name}m")),
    ]
    return chance.choice(choices)
