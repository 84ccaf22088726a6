"""The line: frames cut anywhere, and what a tick lets leave."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from flin.errors import StorageError
from flin.net.batch.refusal import Refusal
from flin.net.cluster.board import Board, new_board
from flin.net.messages.line import HEADER, Frames, Line, encode_frame

MESSAGES = [(b"c", b"one"), (b"", b""), (b"c" * 300, b""), (b"", b"\r\n" * 5000), (b"news", b"x")]


@pytest.mark.parametrize("seed", range(20))
def test_frames_cut_anywhere(seed: int) -> None:
    chance = random.Random(seed)
    messages = chance.choices(MESSAGES, k=30)
    data = b"".join(encode_frame(*message) for message in messages)
    frames = Frames()
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        size = chance.choice((1, 2, 7, 8, 9, 400, 9000))
        found += frames.feed(data[at : at + size])
        at += size
    assert found == messages
    assert frames.feed(b"") == []


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_messages_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    frames = Frames()
    data = b"".join(
        chance.choice((encode_frame(b"c", b"x"), chance.randbytes(9), HEADER.pack(chance.randrange(20), 0)))
        for _ in range(40)
    )
    try:
        for channel, payload in frames.feed(data):
            assert type(channel) is type(payload) is bytes
    except ValueError as error:
        assert "a message of" in str(error)


class Scene:
    """The line of worker 0 of two, of which the other listens."""

    def __init__(self, kind: type[Line]) -> None:
        descriptor = new_board(2)
        self.board = Board(descriptor, 2)
        os.close(descriptor)
        self.board.set_listening(1, True)
        self.entered = 0
        self.sent: list[tuple[list[int], int, list[tuple[bytes, bytes]]]] = []
        self.line = kind(self.board, 0, self._enter, self._send)

    def _enter(self, line: Line) -> None:
        self.entered += 1

    def _send(self, workers: list[int], data: bytes, number: int) -> None:
        self.sent.append((workers, number, Frames().feed(data)))

    def publish(self, batch: int, *payloads: bytes) -> None:
        self.line.add(batch, len(payloads), b"".join(encode_frame(b"c", payload) for payload in payloads))

    def payloads(self) -> list[bytes]:
        sent, self.sent = self.sent, []
        assert all((workers, number) == ([1], len(messages)) for workers, number, messages in sent)
        return [payload for _, _, messages in sent for _, payload in messages]


def they_leave_with_their_tick(scene: Scene) -> None:
    scene.publish(0, b"a")
    scene.publish(0, b"b", b"c")
    assert (scene.entered, scene.payloads()) == (1, [])
    scene.line.release()
    assert scene.payloads() == [b"a", b"b", b"c"]
    scene.publish(0, b"d")
    assert scene.entered == 2
    scene.line.release()
    scene.line.release()
    assert scene.payloads() == [b"d"]


def those_of_a_refused_batch_do_not(scene: Scene) -> None:
    scene.publish(3, b"of batch 3")
    scene.line.mark(4)
    scene.publish(4, b"of batch 4")
    scene.line.refuse(4, Refusal((), (), StorageError("write", "wal", "full")))
    scene.publish(4, b"afterwards")
    scene.line.release()
    assert scene.payloads() == [b"of batch 3", b"afterwards"]


def they_are_held_until_the_log_is_synced(scene: Scene) -> None:
    scene.publish(0, b"a")
    assert scene.line.hold(10, 5)
    scene.publish(1, b"b")
    assert scene.line.hold(20, 5)
    assert not scene.payloads()
    assert scene.line.release_held(10)
    assert scene.payloads() == [b"a"]
    scene.publish(2, b"c")
    scene.line.release()  # all is synced meanwhile
    assert scene.payloads() == [b"b", b"c"]
    assert not scene.line.hold(30, 25), "nothing was said"


def a_sync_that_fails_takes_them_along(scene: Scene) -> None:
    for number, position in enumerate((10, 20, 30)):
        scene.publish(number, b"%d" % position)
        scene.line.hold(position, 0)
    scene.line.refuse_held(10)
    assert scene.payloads() == [b"10"]
    assert not scene.line.release_held(1000)
    assert not scene.payloads()


def only_those_who_listen_get_them(scene: Scene) -> None:
    assert scene.line.is_heard
    scene.board.clear(1)
    assert not scene.line.is_heard
    scene.line.note_listening(True)
    assert not scene.line.is_heard, "its own subscribers are not its neighbours'"
    assert scene.board.is_heard(1)


RULES = (
    they_leave_with_their_tick,
    those_of_a_refused_batch_do_not,
    they_are_held_until_the_log_is_synced,
    a_sync_that_fails_takes_them_along,
    only_those_who_listen_get_them,
)


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule: Callable[[Scene], None]) -> None:
    rule(Scene(Line))


class LeavesAtOnce(Line):
    def add(self, batch: int, number: int, frames: bytes) -> None:
        self._deliver(number, frames)


class EntersForEach(Line):
    def add(self, batch: int, number: int, frames: bytes) -> None:
        self._is_in_tick = False
        super().add(batch, number, frames)


class StaysInTick(Line):
    def release(self) -> None:
        super().release()
        self._is_in_tick = True


class KeepsWhatIsRefused(Line):
    def refuse(self, batch: int, refusal: Refusal) -> None:
        pass


class DropsAllAtARefusal(Line):
    def refuse(self, batch: int, refusal: Refusal) -> None:
        self._frames.clear()


class HoldsNothing(Line):
    def hold(self, position: int, synced_position: int) -> bool:
        self.release()
        return False


class OvertakesWhatIsHeld(Line):
    def release(self) -> None:
        self._deliver(*self._taken())
        self._release_held()


class SendsWhatIsNotSynced(Line):
    def refuse_held(self, synced_position: int) -> None:
        self._release_held()


class HearsItself(Line):
    @property
    def is_heard(self) -> bool:
        return self.board.is_heard(-1)


@pytest.mark.parametrize(
    "bug",
    [
        LeavesAtOnce,
        EntersForEach,
        StaysInTick,
        KeepsWhatIsRefused,
        DropsAllAtARefusal,
        HoldsNothing,
        OvertakesWhatIsHeld,
        SendsWhatIsNotSynced,
        HearsItself,
    ],
)
def test_seeded_bugs_are_found(bug: type[Line]) -> None:
    found = 0
    for rule in RULES:
        try:
            rule(Scene(bug))
        except AssertionError:
            found += 1
    assert found
