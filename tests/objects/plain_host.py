"""A host (flin/objects/host.py) over two dicts: the store, and the batch above it. It asserts what it is promised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from flin.engine.entry import TOMBSTONE, Entry, Live, Page


class PlainHost:
    """Users' keys and stored keys of pieces are keys of the same dicts, as they are in namespace 0."""

    namespace = 0

    def __init__(self) -> None:
        self.store: dict[bytes, Live] = {}
        self.points: dict[bytes, Entry] = {}
        self.batch = 0
        self.version = 0
        self.reads = 0  # pieces read, one by one and in pages
        self._cleared: list[tuple[bytes, bytes]] = []  # ranges that the batch deletes, below its points
        self._unsettled: list[Callable[[], None]] = []

    # Batches.

    def commit(self) -> None:
        for settle in self._unsettled:
            settle()
        self.store = self._all()
        self._empty()
        self.batch += 1

    def refuse(self) -> None:
        """The caller forgets all objects."""
        self._empty()

    def settle(self) -> None:
        for settle in self._unsettled:
            settle()
        self._unsettled.clear()

    def _empty(self) -> None:
        self.points.clear()
        self._cleared.clear()
        self._unsettled.clear()

    def _all(self) -> dict[bytes, Live]:
        found: dict[bytes, Entry] = {
            key: entry
            for key, entry in self.store.items()
            if not any(start <= key < stop for start, stop in self._cleared)
        }
        found.update(self.points)
        return {key: entry for key, entry in found.items() if entry is not TOMBSTONE}

    # Reads.

    def entry(self, key: bytes) -> Live | None:
        return self._all().get(key)

    own_entry = entry

    def piece(self, stored: bytes) -> bytes | None:
        self.reads += 1
        found = self._all().get(stored)
        assert found is None or type(found) is bytes
        return found

    def pieces(self, stored: Sequence[bytes]) -> list[bytes | None]:
        return [*map(self.piece, stored)]

    neighbours = pieces

    def piece_in_memory(self, stored: bytes) -> bytes | None:
        found = self.points.get(stored)
        return found if type(found) is bytes else None

    def pieces_in_memory(self, stored: Sequence[bytes]) -> list[bytes] | None:
        """The batch is written lately."""
        found = [self.points.get(key) for key in stored]
        values = [value for value in found if type(value) is bytes]
        return values if len(values) == len(found) else None

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Page:
        found = self._all()
        keys = sorted((key for key in found if start <= key < stop), reverse=reverse)[:count]
        self.reads += len(keys)
        return keys, [found[key] for key in keys]

    def frozen_pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        return iter([self.page(start, stop, 1 << 30, reverse=reverse)])

    # Changes.

    def put_piece(self, stored: bytes, value: bytes) -> None:
        self.points[stored] = value

    def put_pieces(self, stored: Iterable[bytes], values: Collection[bytes]) -> None:
        self.points.update(zip(stored, values, strict=True))

    def delete_piece(self, stored: bytes) -> None:
        self.points[stored] = TOMBSTONE

    def delete_each(self, stored: Iterable[bytes]) -> None:
        for key in stored:
            self.delete_piece(key)

    def take_back_piece(self, stored: bytes) -> None:
        assert stored not in self.store, "it would come back"
        del self.points[stored]

    def delete_pieces(self, start: bytes, stop: bytes) -> None:
        for key in [key for key in self.points if start <= key < stop]:
            del self.points[key]
        self._cleared.append((start, stop))

    def is_pending(self, key: bytes) -> bool:
        return key in self.points

    def put_own(self, key: bytes, entry: Live, size_bytes: int) -> None:
        self.points[key] = entry

    def tell_changed(self, key: bytes) -> None:
        pass

    def delete_own(self, key: bytes) -> None:
        self.points[key] = TOMBSTONE

    def settle_own(self, key: bytes, entry: Live) -> None:
        self.points[key] = entry

    def settle_later(self, settle: Callable[[], None]) -> None:
        self._unsettled.append(settle)

    def take_version(self) -> int:
        self.version += 1
        return self.version
