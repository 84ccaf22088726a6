"""Collections read from an engine, a snapshot or a write batch: the host of views, which never writes.

No server runs beside an embedded program, and pieces are unique for ever, so a meta and the pieces that it names fit
together, although they are read one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from flin.engine.buffers import BytesLike, as_bytes, as_stored
from flin.engine.entry import TOMBSTONE, Entry, Live, Page
from flin.errors import ConflictError, CorruptionError, FormatVersionError
from flin.objects.layout import HASH, LIST, LONG_STRING, SET, SORTED_SET, STREAM
from flin.objects.live_object import LiveObject
from flin.objects.long_string import LongString
from flin.objects.thresholds import Thresholds

if TYPE_CHECKING:
    from flin.objects.host import Host, HostReads
    from flin.objects.live_object import Objects

Read: TypeAlias = Callable[[bytes], Live | None]
Pages: TypeAlias = Callable[[bytes, bytes, bool, int | None], Iterator[Page]]

Kind = TypeVar("Kind", bound=LiveObject)

_NAMES: Final = {
    0: "string",
    HASH: "hash",
    LIST: "list",
    SET: "set",
    SORTED_SET: "sorted_set",
    STREAM: "stream",
    LONG_STRING: "string",
}
"""Those of the calls that read them."""


class Reading:
    """Objects and their host (live_object.py, host.py) in one, without the calls of those that change something: each
    object is made for one call and then forgotten."""

    namespace: Final = 0

    def __init__(self, read: Read, pages: Pages, now_ms: Callable[[], int]) -> None:
        self._read = read
        self._pages = pages
        self._now_ms = now_ms
        self.thresholds: Final = Thresholds()

    # For views.

    def type_of(self, key: BytesLike) -> str | None:
        """None: there is no such key. FormatVersionError for a type of later days."""
        entry = self.entry(as_bytes("a key", key))
        return None if entry is None else _name(entry)

    def find(self, key: bytes, kind: type[Kind]) -> Kind | None:
        """The key's collection as it is now; ConflictError if the key holds another type."""
        entry = self.entry(key)
        if entry is None:
            return None
        if type(entry) is not tuple or entry[2] != kind.TAG:
            raise ConflictError(f"the key {key!r} holds a {_shown(_name(entry))}, not a {_shown(_NAMES[kind.TAG])}")
        found = kind(cast("Objects", self), key)
        found.load(entry[0], entry[1])
        return found

    def long_string(self, entry: Live) -> bytes:
        """The text of its own entry."""
        assert type(entry) is tuple
        found = LongString(cast("Objects", self), b"")
        found.load(entry[0], entry[1])
        return found.whole()

    # For objects.

    @property
    def host(self) -> Host:
        reads: HostReads = self  # mypy: it has all of them
        return cast("Host", reads)

    @property
    def large_bytes(self) -> int:
        return 0  # nothing is kept

    def grown(self, key: bytes) -> None:
        """Nothing is kept."""

    def entry(self, key: bytes) -> Live | None:
        entry = self.own_entry(key)
        return None if type(entry) is tuple and 0 != entry[1] <= self._now_ms() else entry

    def own_entry(self, key: bytes) -> Live | None:
        return self._read(as_stored(key))

    def piece(self, stored: bytes) -> bytes | None:
        found = self._read(stored)
        if found is None or type(found) is bytes:
            return found
        raise CorruptionError("a piece of a collection", 0, "it has a tag or an expiry")

    def pieces(self, stored: Sequence[bytes]) -> list[bytes | None]:
        return [*map(self.piece, stored)]

    neighbours = pieces

    def pieces_in_memory(self, stored: Sequence[bytes]) -> None:
        """The engine knows."""

    def page(self, start: bytes, stop: bytes, count: int, *, reverse: bool = False) -> Page:
        keys: list[bytes] = []
        entries: list[Entry] = []
        for some_keys, some_entries in self._pages(start, stop, reverse, count):
            for key, entry in zip(some_keys, some_entries, strict=True):
                if entry is not TOMBSTONE:
                    keys.append(key)
                    entries.append(entry)
            if len(keys) >= count:
                break
        return keys[:count], entries[:count]

    def frozen_pages(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        return self._pages(start, stop, reverse, None)

    @property
    def batch(self) -> int:
        return 0

    def is_pending(self, key: bytes) -> bool:
        return False


def _name(entry: Live) -> str:
    tag = entry[2] if type(entry) is tuple else 0
    name = _NAMES.get(tag)
    if name is None:
        raise FormatVersionError("a value", f"tag {tag} is of a newer Flin")
    return name


def _shown(name: str) -> str:
    return name.replace("_", " ")
