"""The output of a connection: its replies of this tick, and those held until the WAL is synced (`always`).

Replies leave in order: once some are held, later ones wait for them.
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
"""The output of one tick: the position up to which the WAL must be synced first, the replies, and (should the sync
fail) what they answer. A bare tuple, since every reply in `always` makes one: a named one takes 300 ns."""


NOTHING_HELD: Final[deque[Held]] = deque(maxlen=0)
"""In the place of a queue, which takes 0.6 KB and is needed in `always` alone."""


class Output:
    """`pieces` and `turns` are the same two lists forever: others append to them directly."""

    __slots__ = (
        "has_messages",
        "held",
        "held_bytes",
        "is_in_tick",
        "pieces",
        "remarks",
        "shown",
        "transcript",
        "turns",
    )

    def __init__(self, remarks: list[Remark]) -> None:
        """remarks: the session's."""
        self.pieces: list[bytes] = []
        self.remarks = remarks
        self.transcript = Transcript(remarks)
        self.turns = self.transcript.turns
        self.shown = NOTHING  # the position up to which the WAL must be synced before this tick's replies may leave
        self.is_in_tick = False  # the tick knows that this connection replies
        self.has_messages = False  # perhaps some of the pieces are: looked at where they are held
        self.held = NOTHING_HELD
        self.held_bytes = 0

    def take(self) -> bytes:
        """The tick has ended, and nothing needs to be held: returns all replies, held ones first, to be sent."""
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
        """The tick has ended: hold its replies until the WAL is synced up to the position, or up to what they show if
        that is less."""
        self.is_in_tick = False
        if self.pieces:
            data = b"".join(self.pieces)
            transcript = self.transcript.taken()
            if self.has_messages:
                self.has_messages = False
                transcript.note_messages(self.pieces)
            self.pieces.clear()
            if self.held is NOTHING_HELD:
                self.held = deque()
            self.held.append((min(position, self.shown), data, transcript))
            self.held_bytes += len(data)
        else:
            self.transcript.clear()
        self.shown = NOTHING

    def take_held(self, synced_position: int) -> bytes:
        """The held replies that may leave now, in order."""
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
        """Replace this tick's replies about the batch by those that the judge lets leave."""
        self.pieces[:] = self.transcript.judged(self.pieces, judge, batch)

    def replace_held(self, number: int, judge: Judge) -> None:
        """The sync of the held output at this place has failed: it may leave at once, as the judge wants it."""
        _, old, transcript = self.held[number]
        data = b"".join(transcript.judged(transcript.pieces_of(old), judge))
        self.held_bytes += len(data) - len(old)
        self.held[number] = NOTHING, data, transcript

    def clear(self) -> None:
        """Discard all: the connection is gone."""
        self.pieces.clear()
        self.held = NOTHING_HELD
        self.held_bytes = 0
        self.transcript.clear()
