"""The checker: is there an order of the calls, each at one moment between its beginning and its end, that explains all
replies?

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's improvements ("Testing for
Linearizability", 2017): calls take effect just in time, when one of them ends, and what was tried once, the same calls
done and the same state, is not tried again. A call that only reads, and fits, takes effect at once: it changes nothing,
so whatever may follow it later may follow it now. Objects are checked apart, since a history is linearizable if each of
its objects is (Herlihy and Wing).

A call whose outcome is unknown is open for ever: it may take effect at any later time, or never. Of open calls that do
the same, the one that began first is tried alone: it may stand wherever a later one may. One that was refused must not
have taken effect, so it has no place in the order.

An example. a sets x to 1, and while it does b reads nothing, then 1: the order is b's first read, a's write, b's second
read. If b read 1 and then nothing, no order would explain it, as b's reads follow each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from flin.testing.cluster.history import Call, Command, Outcome, Reply, by_object

MAX_STEPS: Final = 2_000_000
"""For one object, some 20 s: histories that are linearizable need few more steps than they have calls. A
search that has not ended by then has decided nothing, which is told as an error and never as a success."""

NEIGHBOURS: Final = 12
"""Calls that an explanation shows."""

State = tuple[tuple[str, str], ...]
"""The object's keys and values, sorted."""


class NotLinearizable(AssertionError):
    """No order explains what the clients saw: an acknowledged write was lost, or done twice, or a read was stale."""


class Undecided(AssertionError):
    """The search was given up. Fewer calls for each object, or fewer of unknown outcome, make it shorter."""


def check(calls: Iterable[Call], max_steps: int = MAX_STEPS) -> int:
    """The number of objects, each found to be linearizable. Raises NotLinearizable, Undecided."""
    objects = by_object(calls)
    for name, own in objects.items():
        check_object(name, own, max_steps)
    return len(objects)


def check_object(name: str, calls: Sequence[Call], max_steps: int = MAX_STEPS) -> None:
    """Calls of one object, which is empty at first."""
    done = [call for call in calls if call.outcome is Outcome.DONE]
    unknown = [call for call in calls if call.outcome is Outcome.UNKNOWN and any(map(_writes, call.commands))]
    search = _Search([*done, *unknown], len(done))
    for _ in range(max_steps):
        if search.step():
            return
        if search.is_over:
            raise NotLinearizable(f"{name}: {search.explanation()}")
    raise Undecided(f"{name}: not decided after {max_steps} steps, {len(done)} calls done, {len(unknown)} unknown")


def apply(state: State, commands: Iterable[Command]) -> tuple[State, tuple[Reply, ...]]:
    """What the commands make of the state, and what they answer, as Redis would."""
    values = dict(state)
    replies = tuple(_apply(values, command) for command in commands)
    return tuple(sorted(values.items())), replies


def _apply(values: dict[str, str], command: Command) -> Reply:
    match command:
        case "GET", key:
            return values.get(key)
        case "SET", key, value:
            values[key] = value
            return "OK"
        case "GETSET", key, value:
            before = values.get(key)
            values[key] = value
            return before
        case "INCR", key:
            return _apply(values, ("INCRBY", key, "1"))
        case "INCRBY", key, number:
            values[key] = str(int(values.get(key, "0")) + int(number))
            return int(values[key])
        case "APPEND", key, piece:
            values[key] = values.get(key, "") + piece
            return len(values[key])
        case "DEL", key:
            return 0 if values.pop(key, None) is None else 1
    raise ValueError(f"the model does not know {command}")


def _writes(command: Command) -> bool:
    return command[0] != "GET"


class _Node(NamedTuple):
    """Where the search is: before an event, with some of the calls under way done."""

    event: int
    done: frozenset[int]
    """Calls whose end is still to come, and open ones."""
    state: State


class _Search:
    """Depth first. The calls below `completed` have an end, the others are open."""

    def __init__(self, calls: Sequence[Call], completed: int) -> None:
        self._calls = calls
        self._completed = completed
        self._reads = frozenset(number for number, call in enumerate(calls) if not any(map(_writes, call.commands)))
        self._events = _events(calls, completed)
        self._under_way = list(_under_way(self._events))
        self._tried: set[_Node] = set()
        self._deepest = _Node(0, frozenset(), ())
        self._stack: list[Iterator[_Node]] = [iter((self._deepest,))]

    @property
    def is_over(self) -> bool:
        return not self._stack

    def step(self) -> bool:
        """Try one place more. True when all calls that have ended have their place."""
        node = next(self._stack[-1], None)
        if node is None:
            self._stack.pop()
            return False
        node = self._advanced(node)
        if node.event == len(self._events):
            return True
        if node in self._tried:
            return False
        self._tried.add(node)
        if node.event >= self._deepest.event:
            self._deepest = node
        self._stack.append(self._next(node))
        return False

    def _advanced(self, node: _Node) -> _Node:
        """On to the first end of a call that has no place yet."""
        event, done, state = node
        while event < len(self._events):
            call, is_end = self._events[event]
            if is_end:
                if call not in done:
                    break
                done -= {call}
            event += 1
        return _Node(event, done, state)

    def _next(self, node: _Node) -> Iterator[_Node]:
        """What may take effect now: a read that fits, and then nothing else; or first the call that ends here, since
        then nothing else has to; the open ones last, since most of them never do."""
        opened: set[tuple[Command, ...]] = set()
        under_way = [number for number in self._under_way[node.event] if number not in node.done]
        for number in under_way:
            call = self._calls[number]
            if number in self._reads and apply(node.state, call.commands)[1] == call.replies:
                yield _Node(node.event, node.done | {number}, node.state)
                return
        for number in under_way:
            if number in self._reads:
                continue
            call = self._calls[number]
            if number >= self._completed:
                if call.commands in opened:
                    continue
                opened.add(call.commands)
            state, replies = apply(node.state, call.commands)
            if number >= self._completed or replies == call.replies:
                yield _Node(node.event, node.done | {number}, state)

    def explanation(self) -> str:
        """Where the search came furthest."""
        event, done, state = self._deepest
        ending = self._calls[self._events[event][0]]
        told = sorted(self._calls, key=lambda call: call.began)
        place = told.index(ending)
        around = told[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]
        lines = [f"  {'>' if call is ending else ' '} {call}" for call in around]
        taken = "; ".join(str(self._calls[number]) for number in sorted(done)) or "none"
        return (
            f"no order explains {ending}\n  a last state: {dict(state)}, done of those under way: {taken}\n"
            + "\n".join(lines)
        )


def _events(calls: Sequence[Call], completed: int) -> list[tuple[int, bool]]:
    """Beginnings and ends, as (call, is its end), by time. At one time beginnings come first: the calls overlap."""
    found = [(call.began, 0, number) for number, call in enumerate(calls)]
    found += [(call.ended, 1, number) for number, call in enumerate(calls[:completed])]
    return [(number, bool(is_end)) for _, is_end, number in sorted(found)]


def _under_way(events: Sequence[tuple[int, bool]]) -> Iterator[tuple[int, ...]]:
    """Before each event, the calls that have begun and not ended: the one that ends now, those that end later by their
    ends, the open ones by their beginnings."""
    ends = {call: place for place, (call, is_end) in enumerate(events) if is_end}
    now: list[int] = []
    for call, is_end in events:
        yield tuple(now)
        if is_end:
            now.remove(call)
        else:
            now.append(call)
            now.sort(key=lambda each: ends.get(each, len(events)))  # stable: open ones stay by their beginnings
