"""Reads of a leader that wait for a proof of its place: `--read-concern strict`."""

from __future__ import annotations

import pytest

from flin.errors import FencedError
from flin.net.batch.confirmed_store import ConfirmedStore
from flin.net.batch.refusal import LAPSED, UNCERTAIN
from tests.net.fake_peer import Clients
from tests.net.fake_store import FakeStore
from tests.net.role import FakeRole
from tests.net.serve.test_lease import SlowExecutor


class Leader(Clients):
    def __init__(self) -> None:
        self.asked = SlowExecutor()
        self.confirmed = 0
        self.plain = FakeStore()
        super().__init__(ConfirmedStore(self.plain, self.confirm), role=FakeRole(), executor=self.asked)

    def confirm(self) -> None:
        self.confirmed += 1

    def answer(self, error: Exception | None = None) -> None:
        self.asked.run(error)
        self.loop.run()


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_one_proof_serves_all_that_came_meanwhile(leader: Leader) -> None:
    peers = [leader.connect() for _ in range(6)]
    for peer in peers[:2]:
        assert peer.ask(b"GET a") == b""
    assert peers[2].ask(b"SET a 1") == b""
    leader.answer()
    assert [peer.read_all() for peer in peers[:3]] == [b"$-1\r\n", b"$-1\r\n", b"+OK\r\n"]
    assert leader.confirmed == 1
    assert leader.plain.syncs == 1
    for _ in range(3):
        for peer in peers:
            peer.say(b"GET a")
        leader.loop.run()
        assert [peer.read_all() for peer in peers] == [b""] * 6
        leader.answer()
        assert [peer.read_all() for peer in peers] == [b"$1\r\n1\r\n"] * 6
    assert leader.confirmed == 4


def test_what_ran_after_the_question_waits_for_the_next(leader: Leader) -> None:
    first, second = leader.connect(), leader.connect()
    first.ask(b"GET a")
    (future, call), leader.asked.waiting = leader.asked.waiting[0], []
    call()  # the proof is there, and the loop has not been told of it
    second.ask(b"GET a")
    future.set_result(None)
    leader.loop.run()
    assert first.read_all() == b"$-1\r\n"
    assert second.read_all() == b""
    leader.answer()
    assert second.read_all() == b"$-1\r\n"


def test_without_a_proof_nothing_is_told(leader: Leader) -> None:
    reader, writer = leader.connect(), leader.connect()
    reader.ask(b"GET a")
    writer.ask(b"SET a 1")
    leader.answer(FencedError("group 1", "another node leads"))
    assert reader.read_all() == b"-%b\r\n" % LAPSED.encode()
    assert writer.read_all() == b"-%b\r\n" % UNCERTAIN.encode()
