"""What the supervisor does about its workers, without any process."""

from __future__ import annotations

import signal
from random import Random

import pytest

from flin.cluster.workers.fleet import (
    ANEW,
    END_SECONDS,
    LATER_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_STARTS,
    STABLE_SECONDS,
    Abandon,
    Announce,
    Ending,
    Expire,
    Finish,
    Fleet,
    Member,
    Note,
    Signal,
    Start,
    State,
    Step,
    delay_after,
)

CLEAN = Ending(0)
KILLED = Ending(-signal.SIGKILL)
LIMIT = Expire(END_SECONDS)


def fleet(count: int = 2) -> Fleet:
    return Fleet([Member() for _ in range(count)])


def ready(count: int = 2) -> Fleet:
    made = fleet(count)
    for number in range(count):
        made.note_ready(number, 0.0)
    return made


def quiet(steps: list[Step]) -> list[Step]:
    return [step for step in steps if not isinstance(step, Note)]


def texts(steps: list[Step]) -> list[str]:
    return [step.text for step in steps if isinstance(step, Note)]


def test_whom_nobody_misses_is_started_when_the_others_are_ready() -> None:
    made = fleet(4)
    made.later = {1, 3}
    late = [Start(number, LATER_SECONDS) for number in (1, 3)]
    assert made.begin() == [Start(0, 0), Start(2, 0), *late]
    assert made.note_ready(0, 1.0) == []
    assert made.note_ready(2, 1.0) == [Start(1, 0), Start(3, 0)]
    assert not made.note_started(1), "its time came later"
    assert made.note_ready(1, 2.0) == []
    assert made.note_ready(3, 2.0) == [Announce()]


def test_who_waits_for_long_holds_nobody_up() -> None:
    made = fleet(3)
    made.later = {1, 2}
    made.begin()
    assert made.note_started(1)
    assert made.note_ready(1, 6.0) == [], "the first one is not ready"
    assert made.note_ready(0, 7.0) == [Start(2, 0)]
    assert made.stop()[-3:] == [Signal(1, signal.SIGTERM), Signal(2, signal.SIGTERM), LIMIT]


def test_who_was_to_come_later_does_not_come_after_the_end() -> None:
    made = fleet(2)
    made.later = {1}
    made.begin()
    made.stop()
    assert not made.note_started(1)
    assert made.note_end(0, CLEAN, 1.0) == [Finish("")]


def test_all_are_started_and_then_announced_once() -> None:
    made = fleet(3)
    assert made.begin() == [Start(0, 0), Start(1, 0), Start(2, 0)]
    assert made.note_ready(2, 1.0) == made.note_ready(0, 1.0) == []
    assert made.note_ready(1, 1.0) == [Announce()]


@pytest.mark.parametrize("ending", [KILLED, Ending(3), Ending(1, "group-01/MANIFEST: corrupt at offset 0")])
def test_a_start_that_fails_ends_all_with_its_reason(ending: Ending) -> None:
    made = fleet()
    made.note_ready(0, 0.0)
    assert quiet(made.note_end(1, ending, 1.0)) == [Abandon(0), Abandon(1), Signal(0, signal.SIGTERM), LIMIT]
    assert made.note_end(0, CLEAN, 1.0) == [Finish(f"worker 1: {ending}")]


@pytest.mark.parametrize("ending", [CLEAN, Ending(-signal.SIGTERM), Ending(-signal.SIGINT)])
def test_a_signal_to_all_processes_during_the_start_is_no_failure(ending: Ending) -> None:
    """Whoever is told first: the supervisor's own signal may come last."""
    made = fleet()
    made.note_ready(0, 0.0)
    steps = made.note_end(1, ending, 1.0)
    assert texts(steps) == ["worker 1 was told to end during the start, so all end"]
    assert quiet(steps) == [Abandon(0), Abandon(1), Signal(0, signal.SIGTERM), LIMIT]
    assert made.stop() == []
    assert made.note_end(0, CLEAN, 1.0) == [Finish("")]


def test_one_that_dies_is_started_again() -> None:
    made = ready()
    steps = made.note_end(1, KILLED, 5.0)
    assert texts(steps) == ["worker 1: ended by SIGKILL; it is started again in 0.1 s"]
    assert quiet(steps) == [Start(1, 0.1)]
    assert made.note_started(1)
    assert texts(made.note_ready(1, 6.0)) == ["worker 1 is ready again"]


def test_one_that_begins_anew_is_no_error_and_no_vain_start() -> None:
    made = fleet()
    for number in range(2 * MAX_STARTS):
        steps = made.note_end(1, Ending(ANEW), 0.0)
        assert steps[0] == Note(f"worker 1 begins anew; it is started again in {delay_after(number + 1):g} s")
        assert steps[1:] == [Start(1, delay_after(number + 1))]
        assert made.note_started(1)


def test_deaths_in_a_row_take_longer_and_a_long_life_is_forgiven() -> None:
    made = ready()
    delays = []
    now = 0.0
    for _ in range(9):
        delays += [step.after_seconds for step in made.note_end(0, KILLED, now) if isinstance(step, Start)]
        made.note_started(0)
        made.note_ready(0, now)
        now += STABLE_SECONDS - 1
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS]
    assert quiet(made.note_end(0, KILLED, now + 1)) == [Start(0, 0.1)]


def test_one_that_cannot_get_ready_again_ends_all_with_its_reason() -> None:
    made = ready()
    steps = made.note_end(0, KILLED, 0.0)
    for number in range(MAX_STARTS):
        assert quiet(steps) == [Start(0, delay_after(number + 1))]
        assert made.note_started(0)
        steps = made.note_end(0, Ending(1, "the disk is full"), 0.0)
    assert quiet(steps) == [Abandon(0), Abandon(1), Signal(1, signal.SIGTERM), LIMIT]
    assert made.note_end(1, CLEAN, 0.0) == [Finish("worker 0 could not be started 5 times: the disk is full")]


def test_a_start_that_succeeds_is_counted_no_more() -> None:
    made = ready()
    for _ in range(3 * MAX_STARTS):
        assert isinstance(made.note_end(0, KILLED, 0.0)[-1], Start)
        made.note_started(0)
        assert isinstance(made.note_end(0, KILLED, 0.0)[-1], Start)
        made.note_started(0)
        made.note_ready(0, 0.0)


def test_one_that_was_told_to_end_stays_away() -> None:
    made = ready()
    steps = made.note_end(0, CLEAN, 0.0)
    assert texts(steps) == ["worker 0 was told to end, and its slots are served no more till all are started anew"]
    assert quiet(steps) == [Abandon(0)]
    assert quiet(made.note_end(1, CLEAN, 0.0)) == [Abandon(1), Finish("")]


def test_stop_while_some_wait_and_some_start() -> None:
    made = ready(4)
    made.note_end(1, KILLED, 0.0)
    made.note_end(2, KILLED, 0.0)
    made.note_started(2)
    made.note_end(3, CLEAN, 0.0)
    assert made.stop() == [
        *[Abandon(number) for number in range(4)],
        Signal(0, signal.SIGTERM),
        Signal(2, signal.SIGTERM),
        LIMIT,
    ]
    assert made.stop() == []
    assert not made.note_started(1), "its time comes after the end"
    assert made.note_end(2, Ending(-signal.SIGTERM), 0.0) == []
    assert made.note_end(0, CLEAN, 0.0) == [Finish("")]


def test_who_would_begin_anew_may_end_instead() -> None:
    made = ready()
    made.stop()
    assert made.note_end(0, Ending(ANEW), 1.0) == []
    assert made.note_end(1, CLEAN, 1.0) == [Finish("")]
    made = ready()
    made.stop()
    made.note_end(0, Ending(1, "a bug"), 1.0)
    assert made.note_end(1, Ending(ANEW), 1.0) == [Finish("worker 0: a bug")]


def test_stop_before_anything_is_ready() -> None:
    made = fleet()
    assert quiet(made.stop())[2:] == [Signal(0, signal.SIGTERM), Signal(1, signal.SIGTERM), LIMIT]
    assert made.note_end(0, Ending(-signal.SIGTERM), 0.0) == []
    assert made.note_end(1, Ending(-signal.SIGTERM), 0.0) == [Finish("")]


def test_an_end_that_is_not_clean_is_told() -> None:
    made = ready(3)
    made.stop()
    made.note_end(0, KILLED, 0.0)
    made.note_end(1, Ending(1, "the disk is full"), 0.0)
    assert made.note_end(2, CLEAN, 0.0) == [Finish("worker 0: ended by SIGKILL")]


def test_those_that_do_not_end_are_killed() -> None:
    made = ready(3)
    assert made.stop()[-1] == LIMIT
    made.note_end(1, CLEAN, 0.0)
    steps = made.expire()
    assert texts(steps) == [f"worker {number} did not end within 60 s, so it is killed" for number in (0, 2)]
    assert quiet(steps) == [Signal(0, signal.SIGKILL), Signal(2, signal.SIGKILL)]
    made.note_end(2, KILLED, 0.0)
    assert made.note_end(0, KILLED, 0.0) == [Finish("worker 0 did not end within 60 s")]
    assert made.expire() == []


def test_signals_reach_those_that_are_ready() -> None:
    made = ready(3)
    made.note_end(1, KILLED, 0.0)
    assert made.pass_on(signal.SIGHUP) == [Signal(0, signal.SIGHUP), Signal(2, signal.SIGHUP)]
    made.note_started(1)
    assert made.pass_on(signal.SIGHUP) == [Signal(0, signal.SIGHUP), Signal(2, signal.SIGHUP)]


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (Ending(3), "ended with exit code 3"),
        (Ending(-9), "ended by SIGKILL"),
        (Ending(-40), "ended by signal 40"),
        (Ending(1, "why"), "why"),
    ],
)
def test_endings_as_text(ending: Ending, text: str) -> None:
    assert str(ending) == text


def live(made: Fleet, seed: int) -> None:
    """A life by chance, with processes of a model: whoever is started lives until it ends, whoever gets SIGTERM ends
    some time. AssertionError if the fleet does what makes no sense, or does not end with the last process."""
    random = Random(seed)
    alive: set[int] = set()
    told: set[int] = set()
    due: set[int] = set()
    finished: list[Finish] = []

    def take(steps: list[Step]) -> None:
        for step in steps:
            assert not finished
            if isinstance(step, Start):
                assert step.number not in alive | due
                (due if step.after_seconds else alive).add(step.number)
            elif isinstance(step, Signal):
                assert step.number in alive
                told.add(step.number)
            elif isinstance(step, Finish):
                finished.append(step)
        assert bool(finished) == (not alive and (not due or made.is_stopping))
        assert not made.is_stopping or alive <= told, "it waits for one that was not told to end"

    take(made.begin())
    for turn in range(400):
        if finished:
            break
        if turn == 300 or random.random() < 0.01:
            take(made.stop())
        elif due and random.random() < 0.5:
            number = due.pop()
            if made.note_started(number):
                assert not made.is_stopping
                alive.add(number)
        elif alive:
            number = random.choice(sorted(alive))
            if made.members[number].state is State.STARTING and random.random() < 0.8:
                take(made.note_ready(number, turn))
            elif random.random() < 0.3 or made.is_stopping:
                alive.remove(number)
                take(made.note_end(number, random.choice([CLEAN, KILLED, KILLED, Ending(1, "why")]), turn))
    assert finished
    assert not alive
    assert all(member.state is State.ENDED for member in made.members)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_it_ends_once_with_the_last_process(seed: int) -> None:
    live(fleet(3), seed)


class StartsAtTheEnd(Fleet):
    def note_started(self, number: int) -> bool:
        return super().note_started(number) or True


class FinishesWithTheFirst(Fleet):
    def _maybe_finish(self) -> list[Step]:
        return [Finish(self.problem)] if any(each.state is State.ENDED for each in self.members) else []


class ForgetsThoseThatStart(Fleet):
    def stop(self) -> list[Step]:
        starting = {number for number, each in enumerate(self.members) if each.state is State.STARTING}
        return [step for step in super().stop() if not (isinstance(step, Signal) and step.number in starting)]


class WaitsForThoseThatWait(Fleet):
    def stop(self) -> list[Step]:
        waiting = [each for each in self.members if each.state is State.WAITING]
        steps = super().stop()
        for each in waiting:
            each.state = State.WAITING
        return steps


class TellsTheDead(Fleet):
    def stop(self) -> list[Step]:
        is_first = not self.is_stopping
        steps = super().stop()
        everybody: list[Step] = [Signal(number, signal.SIGTERM) for number in range(len(self.members))]
        return everybody + [step for step in steps if not isinstance(step, Signal)] if is_first else steps


@pytest.mark.parametrize(
    "bug", [StartsAtTheEnd, FinishesWithTheFirst, ForgetsThoseThatStart, WaitsForThoseThatWait, TellsTheDead]
)
def test_seeded_bugs_are_found(bug: type[Fleet]) -> None:
    found = 0
    for seed in range(100):
        try:
            live(bug([Member() for _ in range(3)]), seed)
        except AssertionError:
            found += 1
    assert found


def test_members_that_are_wanted_later() -> None:
    made = Fleet([Member(), Member(State.ENDED), Member(State.ENDED)])
    assert made.begin() == [Start(0, 0)]
    assert made.add(0) == []
    assert made.note_ready(0, 0.0) == [Announce()]
    assert made.add(1) == [Start(1, 0)]
    assert made.add(1) == []
    made.note_ready(1, 0.0)
    assert quiet(made.stop()) == [
        Abandon(0),
        Abandon(1),
        Abandon(2),
        *(Signal(n, signal.SIGTERM) for n in (0, 1)),
        LIMIT,
    ]
    assert made.add(2) == []
    made.note_end(0, CLEAN, 1.0)
    assert made.note_end(1, CLEAN, 1.0) == [Finish("")]


def test_members_that_are_not_wanted_any_more() -> None:
    made = ready(3)
    assert made.remove(1) == [Signal(1, signal.SIGTERM)]
    assert made.remove(1) == []
    assert texts(made.note_end(1, CLEAN, 1.0)) == ["worker 1 is not needed here any more"]
    assert made.remove(1) == []
    assert made.add(1) == [Start(1, 0)]
    assert made.remove(1) == [Signal(1, signal.SIGTERM)], "it is starting, and dies of it"
    assert quiet(made.note_end(1, Ending(-signal.SIGTERM), 2.0)) == []
    made.note_end(2, KILLED, 3.0)
    assert quiet(made.remove(2)) == [], "it waits for its start"
    assert not made.note_started(2)
    assert made.add(2) == [Start(2, 0)]
    assert quiet(made.stop())[-3:] == [Signal(0, signal.SIGTERM), Signal(2, signal.SIGTERM), LIMIT]


def test_one_that_somebody_told_to_end_is_not_added_again() -> None:
    made = ready()
    made.note_end(0, CLEAN, 0.0)
    assert made.add(0) == []


def test_nobody_depends_on_one_that_came_later() -> None:
    made = Fleet([Member(State.ENDED), Member(State.ENDED)])
    assert made.begin() == [Announce()], "there is nothing to be waited for"
    made.add(1)
    for _ in range(2 * MAX_STARTS):
        assert isinstance(made.note_end(1, Ending(1, "the disk is full"), 0.0)[-1], Start)
        assert made.note_started(1)
