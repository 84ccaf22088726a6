"""A file of the simulated disk: its bytes, those that the disk is known to hold, and the pending writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PendingWrite:
    order: int
    start: int
    stop: int
    before: bytes  # the bytes that it wrote over: shorter than its own if it made the file longer

    @property
    def size(self) -> int:
        return self.stop - self.start


class SimulatedFile:
    """The file that a name leads to: its bytes, and how many of them are known to be on the disk."""

    __slots__ = ("content", "lost", "synced", "writes")

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.synced = len(content)  # how many bytes there were at the last sync
        self.lost: list[tuple[int, int, bytes]] = []  # (start, stop, what the disk holds there) after a failed sync
        self.writes: list[PendingWrite] = []

    def write(self, order: int, data: bytes | bytearray | memoryview, start: int) -> None:
        """Add a pending write at or before the end of the file."""
        stop = start + len(data)
        self.writes.append(PendingWrite(order, start, stop, bytes(self.content[start:stop])))
        self.content[start:stop] = data
        self.lost = [piece for lost in self.lost for piece in _outside(lost, start, stop)]

    def durable(self) -> bytes:
        """The bytes that survive any power cut, without what a failed sync lost at the very end."""
        image = self.image(0)
        size = len(image)
        for start, stop, held in reversed(self.lost):
            size = start + len(held) if stop >= size else size
        return bytes(image[:size])

    def image(self, kept: int) -> bytearray:
        """What the disk holds with the first `kept` pending writes: zeros where a failed sync lost new bytes."""
        image = bytearray(self.content)
        for write in reversed(self.writes[kept:]):
            image[write.start : write.stop] = write.before
        self.without_lost(image)
        return image

    def without_lost(self, image: bytearray) -> None:
        for start, stop, held in self.lost:
            if start < len(image):
                image[start:stop] = held.ljust(stop - start, b"\0")[: len(image) - start]

    def mark_durable(self) -> None:
        self.synced = len(self.content)
        self.writes.clear()

    def lose_pending(self) -> None:
        """A sync failed: the kernel marks the pages clean without having written them."""
        durable = self.image(0)
        for write in self.writes:
            held = bytes(durable[write.start : write.stop])
            self.lost = [piece for lost in self.lost for piece in _outside(lost, write.start, write.stop)]
            self.lost.append((write.start, write.stop, held))
        self.lost.sort()
        self.mark_durable()


def _outside(lost: tuple[int, int, bytes], start: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
    """The parts of a lost stretch that lie outside the bounds."""
    first, last, held = lost
    if first < start:
        yield first, min(last, start), held[: max(0, start - first)]
    if last > stop:
        begin = max(first, stop)
        yield begin, last, held[begin - first :]
