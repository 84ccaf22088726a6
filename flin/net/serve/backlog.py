"""The backlog of a connection: what it has read and not run yet. Parsed requests, and after them unparsed chunks: a
GET takes 40 bytes in a chunk, several times as many as a list of arguments.
"""

from __future__ import annotations

from collections import deque
from typing import Final

CHUNK_OVERHEAD_BYTES: Final = 64
"""Bytes that a waiting chunk costs: the object and its place in the queue."""


NO_CHUNKS: Final[deque[bytes]] = deque(maxlen=0)
"""In the place of a queue, which takes 0.6 KB: few clients ever need one."""


class Backlog:
    """`chunk_bytes` is what the chunks take in memory."""

    __slots__ = ("chunk_bytes", "chunks", "requests")

    def __init__(self) -> None:
        self.requests: list[list[bytes]] = []
        self.chunks = NO_CHUNKS
        self.chunk_bytes = 0

    def keep(self, data: bytes) -> None:
        """Keep a chunk that arrived while nothing could be run."""
        if self.chunks is NO_CHUNKS:
            self.chunks = deque()
        self.chunks.append(data)
        self.chunk_bytes += len(data) + CHUNK_OVERHEAD_BYTES

    def next_chunk(self) -> bytes:
        data = self.chunks.popleft()
        self.chunk_bytes -= len(data) + CHUNK_OVERHEAD_BYTES
        return data

    def take_requests(self) -> list[list[bytes]]:
        requests, self.requests = self.requests, []
        return requests

    def clear(self) -> None:
        self.requests = []
        self.chunks = NO_CHUNKS
        self.chunk_bytes = 0

    def size_bytes(self) -> int:
        return sum(len(part) for request in self.requests for part in request) + self.chunk_bytes
