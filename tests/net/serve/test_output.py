"""A connection's output: in order, held while it shows anything that is not durable, replaced reply by reply."""

from __future__ import annotations

from flin.net.batch.reply_barrier import EVERYTHING, NOTHING
from flin.net.serve.output import Output


def say(output: Output, request: bytes, reply: bytes, shown: int) -> None:
    output.is_in_tick = True
    output.turns.append((0, [[request]]))
    output.pieces.append(reply)
    output.shown = max(output.shown, shown)


def test_without_syncs_all_of_a_tick_leaves() -> None:
    output = Output([])
    pieces, turns = output.pieces, output.turns
    assert output.take() == b""
    say(output, b"a", b"+1\r\n", NOTHING)
    say(output, b"b", b"+2\r\n", NOTHING)
    assert output.take() == b"+1\r\n+2\r\n"
    assert (output.pieces, output.turns, output.is_in_tick) == ([], [], False)
    assert output.pieces is pieces, "others append to it"
    assert output.turns is turns


def test_held_until_its_position_and_after_what_is_held() -> None:
    output = Output([])
    say(output, b"set", b"+OK\r\n", EVERYTHING)
    output.hold(100)
    say(output, b"get", b"+1\r\n", NOTHING)
    output.hold(200)
    say(output, b"get", b"+2\r\n", EVERYTHING)
    output.hold(200)
    assert output.held_bytes == 13
    assert output.take_held(99) == b""
    assert output.take_held(100) == b"+OK\r\n+1\r\n", "the read waits behind the write, and for nothing else"
    assert output.held_bytes == 4
    say(output, b"get", b"+3\r\n", NOTHING)
    assert output.take() == b"+2\r\n+3\r\n", "everything is durable"
    assert (output.held_bytes, len(output.held)) == (0, 0)


def test_a_tick_that_says_nothing_holds_nothing() -> None:
    output = Output([])
    output.turns.append((0, [[b"waits"]]))
    output.hold(100)
    assert not output.held
    assert output.turns == []


def test_what_is_held_is_replaced_when_its_sync_fails() -> None:
    remarks: list[None] = []
    output = Output(remarks)  # type: ignore[arg-type]
    say(output, b"set", b"+OK\r\n", EVERYTHING)
    say(output, b"ping", b"+PONG\r\n", EVERYTHING)
    remarks.append(None)
    output.hold(100)
    assert remarks == [], "the next tick begins anew"
    assert not output.held[0][2].is_of_one_database
    output.replace_held(0, lambda request, reply: b"-MISCONF\r\n" if request == [b"set"] else reply)
    assert output.held_bytes == len(b"-MISCONF\r\n+PONG\r\n")
    assert output.take_held(0) == b"-MISCONF\r\n+PONG\r\n"
    assert output.held_bytes == 0


def test_a_lost_connection_keeps_nothing() -> None:
    output = Output([])
    say(output, b"set", b"+OK\r\n", EVERYTHING)
    output.hold(100)
    say(output, b"set", b"+OK\r\n", EVERYTHING)
    output.clear()
    assert (output.pieces, output.turns, len(output.held), output.held_bytes) == ([], [], 0, 0)
