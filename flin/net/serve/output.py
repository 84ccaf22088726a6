"""The output of a connection: what it has said in this tick, and what is held until the WAL is synced (`always`).

Replies leave in order: once something is held, what is said later waits behind it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from flin.net.batch.reply_barrier import NOTHING
from flin.net.client.transcript import Judge, Transcript

if TYPE_CHECKING:
    from flin.net.client.session import Remark

ALL: Final = 1 << 62
"""A position beyond every other."""


Held: TypeAlias = tuple[int, bytes, Transcript]
"""The output of one tick: up to which position the WAL must be synced before it may leave, the replies, and what they
answer, should the sync fail. A bare tuple, since every reply in `always` makes one: a named one takes 300 ns."""


class Output:
    """`pieces` and `turns` are one list each forever: they are appended to directly."""

    __slots__ = ("held", "held_bytes", "is_in_tick", "pieces", "remarks", "shown", "transcript", "turns")

    def __init__(self, remarks: list[Remark]) -> None:
        """remarks: the session's."""
        self.pieces: list[bytes] = []
        self.remarks = remarks
        self.transcript = Transcript(remarks)
        self.turns = self.transcript.turns
        self.shown = NOTHING  # in this tick: until the WAL is synced so far it may not leave
        self.is_in_tick = False  # the tick has been told that something is said
        self.held: deque[Held] = deque()
        self.held_bytes = 0

    def take(self) -> bytes:
        """The tick has ended, and nothing needs to be held: all that was said in it or before, to be sent."""
        self.is_in_tick = False
        self.shown = NOTHING
        self.turns.clear()
        if self.remarks:
            self.remarks.clear()
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return self.take_held(ALL) + data if self.held else data

    def hold(self, position: int) -> None:
        """The tick has ended: hold what was said in it until the WAL is synced up to the position, or up to what it
        shows if that is less."""
        self.is_in_tick = False
        if self.pieces:
            data = b"".join(self.pieces)
            self.pieces.clear()
            self.held.append((min(position, self.shown), data, self.transcript.taken()))
            self.held_bytes += len(data)
        else:
            self.transcript.clear()
        self.shown = NOTHING

    def take_held(self, synced_position: int) -> bytes:
        """What may leave now, in order."""
        held = self.held
        if not held or held[0][0] > synced_position:
            return b""
        _, data, _ = held.popleft()
        if held and held[0][0] <= synced_position:
            parts = [data]
            while held and held[0][0] <= synced_position:
                parts.append(held.popleft()[1])
            data = b"".join(parts)
        self.held_bytes -= len(data)
        return data

    def judge(self, judge: Judge, batch: int) -> None:
        """Keep of what was said in this tick about the batch only what the judge lets leave."""
        self.pieces[:] = self.transcript.judged(self.pieces, judge, batch)

    def replace_held(self, number: int, judge: Judge) -> None:
        """The sync of the held output at this place has failed: it leaves at once, as the judge wants it."""
        _, old, transcript = self.held[number]
        data = b"".join(transcript.judged([old], judge))
        self.held_bytes += len(data) - len(old)
        self.held[number] = NOTHING, data, transcript

    def clear(self) -> None:
        """Nobody takes it any more."""
        self.pieces.clear()
        self.held.clear()
        self.held_bytes = 0
        self.transcript.clear()
