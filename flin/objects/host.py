"""The host: what a database shows of itself to the objects in it. The server's databases are hosts, and tests' models.

Keys are users' keys here; a piece (an element, an anchor, the next version) goes by its stored key. Reads see the
pending batch first; each may raise ColdRead, so an object reads all that it needs before its first change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from flin.engine.entry import Live, Page


class HostReads(Protocol):
    """What objects read with; a host that never writes has no more."""

    @property
    def namespace(self) -> int:
        """Whose stored keys these are: a part of the stored key of each piece."""

    def entry(self, key: bytes) -> Live | None:
        """The key's own entry; None if there is none, or it has expired."""

    def own_entry(self, key: bytes) -> Live | None:
        """The key's own entry, also one that has expired and was not swept yet."""

    def piece(self, stored: bytes) -> bytes | None:
        """The value of a piece."""

    def pieces(self, stored: Sequence[bytes]) -> list[bytes | None]:
        """The values of some pieces: faster than one by one where they are in memory."""

    def neighbours(self, stored: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values of some pieces, ascending, with few others between them: faster still."""

    def pieces_in_memory(self, stored: Sequence[bytes]) -> Sequence[bytes] | None:
        """The values of some pieces, if all of them were written lately; None says nothing."""

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Page:
        """The first `count` pieces of [start, stop), or the last ones, downwards; fewer only if there are no more."""

    def frozen_pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        """All pieces of [start, stop) as of this call, in order, in reverse downwards; other commands may run between
        two pages."""

    @property
    def batch(self) -> int:
        """The number of the present batch: after a commit it is another."""

    def is_pending(self, key: bytes) -> bool:
        """Whether the batch holds the key's own entry."""


class Host(HostReads, Protocol):
    def piece_in_memory(self, stored: bytes) -> bytes | None:
        """The value of a piece, if it was written lately; None says nothing."""

    def put_piece(self, stored: bytes, value: bytes) -> None: ...

    def put_pieces(self, stored: Iterable[bytes], values: Collection[bytes]) -> None:
        """At least one."""

    def delete_piece(self, stored: bytes) -> None: ...

    def delete_each(self, stored: Iterable[bytes]) -> None:
        """`delete_piece` for each."""

    def take_back_piece(self, stored: bytes) -> None:
        """Delete a piece that this batch has put, and that the store does not hold: nothing of it is left."""

    def delete_pieces(self, start: bytes, stop: bytes) -> None:
        """Delete all pieces of [start, stop) by one range delete: for many of them."""

    def put_own(self, key: bytes, entry: Live, size_bytes: int) -> None:
        """A collection has changed: its key's own entry, for now. Whoever observes the key is told."""

    def tell_changed(self, key: bytes) -> None:
        """It has changed again since `put_own`: whoever observes the key is told."""

    def delete_own(self, key: bytes) -> None:
        """A collection has lost its last element."""

    def settle_own(self, key: bytes, entry: Live) -> None:
        """The entry that takes the place of what `put_own` was given; nobody is told."""

    def settle_later(self, settle: Callable[[], None]) -> None:
        """Call this before the batch is committed, once."""

    def take_version(self) -> int:
        """A number that no collection ever had, or will have."""
