"""A store in memory, which may lose writes: with it the rows must tell right answers from wrong ones."""

from __future__ import annotations

from collections.abc import Iterator


class DictStore:
    """`lose=n` drops every n-th put."""

    def __init__(self, lose: int = 0) -> None:
        self._data: dict[bytes, bytes] = {}
        self._lose = lose
        self._puts = 0
        self.get = self._data.get

    def put(self, key: bytes, value: bytes) -> None:
        self._puts += 1
        if not self._lose or self._puts % self._lose:
            self._data[key] = value

    put_synced = put

    def delete(self, key: bytes) -> None:
        self._data.pop(key, None)

    def put_batch(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            self.put(key, value)

    def scan(self, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self._data.items(), reverse=reverse))

    def seek(self, start: bytes, count: int) -> list[tuple[bytes, bytes]]:
        return sorted(item for item in self._data.items() if item[0] >= start)[:count]

    def close(self) -> None:
        self._data = {}
