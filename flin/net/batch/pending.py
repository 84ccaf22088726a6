"""The pending batch: what the commands of a tick have written and the engine has not taken yet.

Commands of all connections write into one batch, which every later command reads first. At the end of the tick, or when
it holds 1 MiB, it becomes one frame of the WAL (`commit`). If the engine refuses it, nothing of it was ever there.

The clock that decides expiry is here too, since reads and writes must go by the same one: it is read once for all
requests of a chunk, so that a command or a transaction happens at one moment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from flin.engine.boundaries import add, ranges_of
from flin.engine.entry import Entry
from flin.engine.key import PIECES_START
from flin.errors import FlinError, LimitError
from flin.net.batch.piece_order import PieceOrder
from flin.net.batch.refusal import Refusal
from flin.net.batch.reply_barrier import ReplyBarrier
from flin.objects.layout import PREFIX_BYTES

if TYPE_CHECKING:
    from flin.net.batch.journal import BatchNotes
    from flin.net.batch.store import StoreLike

logger = logging.getLogger(__name__)

BATCH_ENTRIES: Final = 1024
"""With values of at most SHORT_BYTES this bounds a batch to about 1 MiB."""

SHORT_BYTES: Final = 1024
"""Values up to this length are only counted; longer ones are added up in `large_bytes`."""

BATCH_BYTES: Final = 1 << 20
"""A longer frame makes every waiting reply wait longer and gains nothing: the WAL write is one copy either way."""

SHORT_ENTRY_BYTES: Final = 1 << 16
"""Far above key and value of nearly every short entry: entries counted at this size cannot pass a limit unseen."""

REPORT_MS: Final = 10_000
"""From one line of diagnostics to the next of its kind: a full disk refuses every batch, and a line for each (several
MB a second) would fill the disk that lacks room."""

EFFECT_BYTES: Final = 300
"""An effect by itself: a closure with its cells, and its place in the list."""

READY: Final = 1 << 62
"""This bit of `large_bytes` says that a key is ready (`note_ready`)."""

Savepoint: TypeAlias = tuple[dict[bytes, Entry], list[bytes], int]


class BatchListener(Protocol):
    """Who is told what became of a batch, once it is emptied."""

    def batch_committed(self) -> None: ...

    def batch_refused(self, refusal: Refusal) -> None:
        """The engine did not take the batch: it is as if nobody had written it."""


class Pending:
    """`points` and `ranges` are one dict and one list forever, emptied by each commit; their keys are stored keys."""

    __slots__ = (
        "_listeners",
        "_reported",
        "_store",
        "_unreported",
        "batches",
        "clock",
        "effect_bytes",
        "effects",
        "failures",
        "in_transaction",
        "journals",
        "large_bytes",
        "now_ms",
        "on_refused",
        "pieces",
        "points",
        "ranges",
        "reply_barrier",
        "script_ns",
        "unsettled",
    )

    def __init__(self, store: StoreLike, *, is_always: bool = False) -> None:
        """is_always: the sync mode is `always`; then it is noted which keys are not durable yet."""
        self.points: dict[bytes, Entry] = {}
        self.pieces = PieceOrder(self.points)
        self.ranges: list[bytes] = []  # boundaries of what the batch deletes, older than its points
        self.large_bytes = 0
        self.in_transaction = False  # EXEC runs: its writes stay in one frame, so nothing may commit in between
        self.clock = store.now_ms
        self.now_ms = store.now_ms()
        self.batches = 0  # committed ones
        self.failures = 0
        self.effects: list[Callable[[], None]] | None = None  # of a step that may still be taken back
        self.effect_bytes = 0  # what they hold, about
        self.script_ns = 0  # that the scripts of this transaction have run
        self.reply_barrier = ReplyBarrier(self.points, self.ranges) if is_always else None
        self.journals: list[BatchNotes] = []  # of commands that read in slices, mostly
        self.unsettled: list[Callable[[], None]] = []  # called once, before the next commit or savepoint
        self.on_refused: Callable[[], None] = _nothing  # the readers of the batch forget what they read
        self._reported: tuple[type[Exception] | None, int] = (None, 0)  # the refusal that was logged last, and when
        self._unreported = 0  # those since
        self._listeners: tuple[BatchListener, ...] = ()  # in the order in which they are told
        self._store = store

    def listen(self, listener: BatchListener, *, first: bool = False) -> None:
        """Tell the listener what becomes of each batch, after the others or before them."""
        self._listeners = (listener, *self._listeners) if first else (*self._listeners, listener)

    def forget(self, listener: BatchListener) -> None:
        """Tell the listener no more. It may call this while it is being told."""
        self._listeners = tuple(other for other in self._listeners if other is not listener)

    def refresh_clock(self) -> None:
        self.now_ms = self.clock()

    @property
    def is_full(self) -> bool:
        """Whether to commit, between two commands: the writes of one command stay in one frame."""
        return len(self.points) >= BATCH_ENTRIES or self.large_bytes >= BATCH_BYTES

    def note_ready(self) -> None:
        """A key for which somebody waits is ready: dispatch looks after this command. The one test behind every
        command, whether the batch is large, serves for both."""
        self.large_bytes |= READY

    def clear_ready(self) -> None:
        """Somebody has looked."""
        self.large_bytes &= READY - 1

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Delete the stored keys from start (inclusive) to stop (exclusive)."""
        points = self.points
        for key in [key for key in points if start <= key < stop]:
            del points[key]
        self.pieces.forget()
        add(self.ranges, start, stop)

    def commit(self) -> None:
        """Make the batch a frame now; the engine may refuse it."""
        points, ranges = self.points, self.ranges
        if not points and not ranges:
            return
        if self.unsettled:
            self.settle()
        for journal in self.journals:
            journal.note(points, ranges)
        try:
            if len(points) == 1 and not ranges and type(value := next(iter(points.values()))) is bytes:
                position = self._store.put(next(iter(points)), value)
            else:
                position = self._store.commit(points, ranges_of(ranges) if ranges else ())
        except Exception as error:  # whatever it is, the replies of this tick are still owed
            self._refuse(error)
            return
        if self.reply_barrier is not None:
            self.reply_barrier.note_commit(position)
        points.clear()
        self.pieces.forget()
        ranges.clear()
        self.large_bytes = 0
        self.batches += 1
        for listener in self._listeners:
            listener.batch_committed()

    def drop(self, error: Exception) -> None:
        """Refuse the batch before the engine sees it."""
        if self.points or self.ranges:
            for journal in self.journals:  # who has read from it reads again
                journal.note(self.points, self.ranges)
            self._refuse(error)

    def settle(self) -> None:
        """Let those who owe the batch something write it."""
        for settle in self.unsettled:
            settle()
        self.unsettled.clear()

    def _refuse(self, error: Exception) -> None:
        self._report(error)
        self.failures += 1
        refusal = Refusal(set(self.points), tuple(self.ranges), error)
        self.points.clear()
        self.pieces.forget()
        self.ranges.clear()
        self.large_bytes = 0
        self.unsettled.clear()
        self.on_refused()
        for listener in self._listeners:
            listener.batch_refused(refusal)

    def _report(self, error: Exception) -> None:
        kind, at_ms = self._reported
        if kind is type(error) and 0 <= self.now_ms - at_ms < REPORT_MS:  # less than 0: the clock was set back
            self._unreported += 1
            return
        unexpected = None if isinstance(error, FlinError) else error
        since = f" ({self._unreported} more since the last report)" if self._unreported else ""
        logger.error("a batch of %d writes was refused: %s%s", len(self.points), error, since, exc_info=unexpected)
        self._reported = (type(error), self.now_ms)
        self._unreported = 0

    # The writes of a step (a transaction, a script) are in one frame, or nowhere: see data/savepoint.py.

    def after_step(self, effect: Callable[[], None], size_bytes: int = 0) -> None:
        """Do now what others see of a command beside its writes (a publication, a message); within a step, once that is
        kept. If it is taken back, nobody sees anything. size_bytes: of what the effect holds."""
        if self.effects is None:
            effect()
        else:
            self.effects.append(effect)
            self.effect_bytes += EFFECT_BYTES + size_bytes

    def savepoint(self) -> Savepoint:
        """The pending batch as it is now."""
        if self.unsettled:
            self.settle()
        return dict(self.points), list(self.ranges), self.large_bytes

    def roll_back(self, savepoint: Savepoint) -> None:
        """Make the pending batch again what it was at the savepoint."""
        points, ranges, self.large_bytes = savepoint
        self.points.clear()
        self.points.update(points)
        self.pieces.forget()
        self.ranges[:] = ranges
        self.unsettled.clear()  # at the savepoint nothing was owed

    def changed_since(self, savepoint: Savepoint) -> set[bytes] | None:
        """The stored keys that the batch holds otherwise than at the savepoint, and of pieces also the prefixes that
        they share with the others of their collection; None: ranges of them."""
        points, ranges, _ = savepoint
        if ranges != self.ranges:
            return None
        changed = {key for key, entry in self.points.items() if points.get(key) is not entry}
        changed |= points.keys() - self.points.keys()
        changed |= {key[:PREFIX_BYTES] for key in changed if key >= PIECES_START}
        return changed

    def check_size(self, maximum: int) -> None:
        """LimitError if the pending batch has more bytes than this."""
        if self.large_bytes + SHORT_ENTRY_BYTES * len(self.points) > maximum:  # else no need to add them up
            size = sum(map(len, self.points)) + sum(map(_size_of, self.points.values()))
            if size > maximum:
                raise LimitError("the size of its writes in bytes", size, maximum)


def _nothing() -> None:
    """Nobody has read from the batch."""


def _size_of(entry: Entry) -> int:
    if type(entry) is bytes:
        return len(entry)
    return len(entry[0]) if type(entry) is tuple else 0
