"""Handshakes on a loop that runs when it is told to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from flin.net.serve.handshakes import AT_ONCE, PATIENCE_SECONDS, SECONDS, Handshakes
from tests.net.fake_peer import FakeTimer


class Loop:
    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.timers: list[tuple[float, FakeTimer]] = []
        self.now = 0.0

    def call_soon(self, callback: Callable[[], object], /) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[..., Any], /, *args: object) -> FakeTimer:
        timer = FakeTimer(callback)
        self.timers.append((delay, timer))
        return timer

    def time(self) -> float:
        return self.now

    def round(self) -> None:
        due, self.soon = self.soon, []
        for callback in due:
            callback()

    def expire(self) -> None:
        due, self.timers = self.timers, []
        for _, timer in due:
            if timer.function is not None:
                timer.function()


class Client:
    def __init__(self, handshakes: Handshakes) -> None:
        self._handshakes = handshakes
        self.has_begun = False
        self.has_given_up = False

    def begin(self) -> None:
        self.has_begun = True

    def give_up(self) -> None:
        self.has_given_up = True
        self._handshakes.end(self)


def test_one_begins_in_each_round_and_at_most_so_many_are_under_way() -> None:
    loop = Loop()
    handshakes = Handshakes(loop)
    clients = [Client(handshakes) for _ in range(AT_ONCE + 10)]
    for client in clients:
        handshakes.expect(client)
        handshakes.line_up(client)
    for number in range(AT_ONCE + 10):
        assert sum(client.has_begun for client in clients) == min(number, AT_ONCE)
        loop.round()
    assert not clients[AT_ONCE].has_begun
    handshakes.end(clients[3])
    loop.round()
    assert clients[AT_ONCE].has_begun
    assert not clients[AT_ONCE + 1].has_begun
    assert len(handshakes) == AT_ONCE + 9


def test_those_under_way_end_in_time_and_those_in_line_take_their_places() -> None:
    loop = Loop()
    handshakes = Handshakes(loop)
    clients = [Client(handshakes) for _ in range(AT_ONCE + 3)]
    for client in clients:
        handshakes.expect(client)
        handshakes.line_up(client)
    for _ in range(AT_ONCE):
        loop.round()
    assert {delay for delay, timer in loop.timers if timer.function is not None} == {SECONDS, PATIENCE_SECONDS}
    loop.expire()
    assert all(client.has_given_up for client in clients[:AT_ONCE])
    assert not any(client.has_given_up for client in clients[AT_ONCE:]), "to stand in line costs no time"
    for _ in range(3):
        loop.round()
    assert all(client.has_begun for client in clients[AT_ONCE:])


def test_those_that_do_not_go_on_keep_nobody_out() -> None:
    loop = Loop()
    handshakes = Handshakes(loop)
    clients = [Client(handshakes) for _ in range(AT_ONCE + 3)]
    for client in clients:
        handshakes.expect(client)
        handshakes.line_up(client)
    for number in range(AT_ONCE):
        loop.now = number / 1024
        loop.round()
    (alarm,) = [timer for delay, timer in loop.timers if delay == PATIENCE_SECONDS - loop.now]
    loop.now = PATIENCE_SECONDS + 1 / 1024  # of the first two
    assert alarm.function is not None
    alarm.function()
    for _ in range(3):
        loop.round()
    assert [client.has_begun for client in clients[AT_ONCE:]] == [True, True, False]
    assert not any(client.has_given_up for client in clients), "they still have their time"
    assert len(handshakes) == AT_ONCE + 3
    handshakes.end(clients[0])
    loop.round()
    assert not clients[-1].has_begun, "it had no place any more"
    handshakes.end(clients[5])
    loop.round()
    assert clients[-1].has_begun


def test_one_that_sends_nothing_takes_no_place() -> None:
    loop = Loop()
    handshakes = Handshakes(loop)
    silent = [Client(handshakes) for _ in range(3 * AT_ONCE)]
    for client in silent:
        handshakes.expect(client)
    other = Client(handshakes)
    handshakes.expect(other)
    handshakes.line_up(other)
    loop.round()
    assert other.has_begun
    loop.expire()
    assert all(client.has_given_up for client in silent)
    assert len(handshakes) == 0


def test_one_that_leaves_the_line() -> None:
    loop = Loop()
    handshakes = Handshakes(loop)
    first, second = Client(handshakes), Client(handshakes)
    for client in (first, second):
        handshakes.expect(client)
        handshakes.line_up(client)
    handshakes.end(first)
    handshakes.end(first)
    loop.round()
    assert (first.has_begun, second.has_begun) == (False, True)
    assert not loop.soon, "nobody waits any more"
    handshakes.close()
    assert second.has_given_up
    assert len(handshakes) == 0


def test_failures_are_counted_and_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    handshakes = Handshakes(loop)
    with caplog.at_level(logging.WARNING, "flin"):
        for number in range(5):
            handshakes.fail(f"10.0.0.{number}:1", "no shared cipher")
        loop.now = 2.0
        handshakes.fail("10.0.0.9:1", "nothing came")
    assert [record.getMessage() for record in caplog.records] == [
        "no TLS handshake with 10.0.0.0:1: no shared cipher",
        "no TLS handshake with 10.0.0.9:1: nothing came (and 4 others)",
    ]
    assert handshakes.failures == 6
