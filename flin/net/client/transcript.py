"""A transcript: which requests of one connection were answered in this tick, and with what.

Nearly always it is thrown away unread. But if the engine does not take the tick's batch, or a sync fails, some of the
replies must not leave (judge.py says which). They wait as pieces of bytes, so the pieces are split into replies
again, and the replies matched with the requests, in order: each request that has run has exactly one.

A batch may be committed in the middle of a tick. Replies from before are final: all of those of turns that began in an
earlier batch, and those before the mark in the turn that was under way. Example, with two batches:

    turns  (7, [SET a, SET b])  (7, [GET a, SET large, GET b])  (8, mark: 3 pieces)
    if batch 8 is refused, only the reply to the last GET b is looked at

Messages (messages/message.py) stand among the replies, each a piece of its own, and match no request. Those of a batch
that is refused are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeAlias

from flin.net.messages.message import Message
from flin.net.wire.resp import split_replies

if TYPE_CHECKING:
    from flin.net.client.session import Remark
    from flin.net.command.command import Command
    from flin.net.wire.columns import Column

Judge = Callable[[list[bytes], bytes], bytes]
"""Takes a request that was answered, and its reply; returns the reply that may leave."""


Columns: TypeAlias = "tuple[bytes, list[Column], int]"
"""A pipeline that ran as columns (wire/columns.py): the name, the other arguments, and how many of the first requests
have run. A bare tuple, since it is made for every such pipeline: a named one takes 300 ns."""


class Transcript:
    """The transcript of one tick. `turns` is appended to directly: the number of the batch in which the turn began, and
    its requests. Requests that have not run may follow in the last turn: there is no reply to match them with."""

    __slots__ = ("messages", "remarks", "turns")

    def __init__(self, remarks: list[Remark] | None = None) -> None:
        """remarks: the session's, which appends to them."""
        self.turns: list[tuple[int, list[list[bytes]] | Columns | int]] = []  # int: a mark, the pieces before it
        self.remarks: list[Remark] = [] if remarks is None else remarks
        self.messages: list[tuple[int, int]] = []  # of held output: where in it each message begins and ends

    def taken(self) -> Transcript:
        """A new transcript with the contents of this one, which keeps its lists, now empty."""
        taken = Transcript()
        taken.turns = self.turns.copy()
        self.turns.clear()
        if self.remarks:
            taken.remarks = self.remarks.copy()
            self.remarks.clear()
        return taken

    def requests(self) -> Iterator[tuple[int, list[bytes]]]:
        """Each request with the number of the batch in which its turn began."""
        for batch, turn in self.turns:
            if isinstance(turn, int):
                continue
            if isinstance(turn, tuple):
                name, columns, number = turn
                rows = zip(*[column[:number] for column in columns], strict=True)
                turn = [[name, *row] for row in rows]
            for request in turn:
                yield batch, request

    def cut_last_turn(self, number: int) -> None:
        """Only this number of the last turn's requests have run."""
        for index in range(len(self.turns) - 1, -1, -1):
            batch, turn = self.turns[index]
            if type(turn) is list:
                self.turns[index] = batch, turn[:number]
                return

    def mark(self, batch: int, pieces: int) -> None:
        """In the middle of a turn a batch was committed, and this one begins after `pieces` pieces."""
        self.turns.append((batch, pieces))

    def transaction_of(self, request: list[bytes]) -> list[tuple[Command, list[bytes]]] | None:
        """The requests that this EXEC ran, or this script; None: it is neither, or showed nothing of the batch."""
        about = self._remark_of(request)
        return None if isinstance(about, int) else about

    def _remark_of(self, request: list[bytes]) -> list[tuple[Command, list[bytes]]] | int | None:
        return next((remark[1] for remark in self.remarks if remark is not None and remark[0] is request), None)

    def _frames_of(self, request: list[bytes]) -> int:
        """How many frames its reply is: SUBSCRIBE answers with one for each channel. In EXEC they stand in its array as
        they do in Redis, where its length counts one for each request; when the request was queued the reply was
        QUEUED."""
        about = self._remark_of(request)
        if isinstance(about, int):
            queues = [remark[1] for remark in self.remarks if remark is not None and not isinstance(remark[1], int)]
            return 1 if any(queued is request for queue in queues for _, queued in queue) else about
        return 1 if about is None else 1 + sum(self._more_frames_of(queued) for _, queued in about)

    def _more_frames_of(self, queued: list[bytes]) -> int:
        about = self._remark_of(queued)
        return about - 1 if isinstance(about, int) else 0

    @property
    def is_of_one_database(self) -> bool:
        """Whether all its requests ran in the database and the protocol that the session has now."""
        return None not in self.remarks

    def clear(self) -> None:
        self.turns.clear()
        self.remarks.clear()

    def note_messages(self, pieces: list[bytes]) -> None:
        """The pieces are joined and held: note where the messages are among them."""
        end = 0
        for piece in pieces:
            begin, end = end, end + len(piece)
            if type(piece) is Message:
                self.messages.append((begin, end))

    def pieces_of(self, held: bytes) -> list[bytes]:
        """What is held as pieces again, as far as messages are to be told from replies."""
        pieces: list[bytes] = []
        after = 0
        for begin, end in self.messages:
            pieces += (held[after:begin], Message(held[begin:end]))
            after = end
        return [*pieces, held[after:]]

    def judged(
        self, pieces: list[bytes], judge: Judge, batch: int | None = None, *, keeps_messages: bool = False
    ) -> list[bytes]:
        """The pieces, with the replies (of one batch, or all) as the judge lets them leave, and without its
        messages."""
        marks = [index for index, (began, turn) in enumerate(self.turns) if type(turn) is int and began == batch]
        before = self.turns[marks[-1]][1] if marks else 0
        assert type(before) is int
        frames = _frames(pieces[:before])
        settled = len(frames)
        frames += _frames(pieces[before:])
        replies = iter([number for number, frame in enumerate(frames) if type(frame) is not Message])
        for began, request in self.requests():
            numbers = list(islice(replies, self._frames_of(request)))
            if numbers and numbers[0] >= settled and (marks or batch is None or began == batch):
                reply = b"".join([frames[number] for number in numbers])
                for number in numbers:
                    frames[number] = b""
                frames[numbers[0]] = judge(request, reply)
        if marks:
            assert batch is not None
            self.turns[marks[-1]] = batch, settled  # counted in the pieces as they are now
        if keeps_messages:
            return frames
        return [frame for frame in frames if type(frame) is not Message or (batch is not None and frame.batch != batch)]


def _frames(pieces: list[bytes]) -> list[bytes]:
    """The replies and messages that these pieces are. A message never stands within a reply."""
    frames: list[bytes] = []
    for is_message, run in groupby(pieces, lambda piece: type(piece) is Message):
        of_run = list(run)
        frames += of_run if is_message else split_replies(b"".join(of_run))
    return frames
