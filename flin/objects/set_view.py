"""A set as an embedded program reads it: a set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from flin.engine.buffers import BytesLike, as_bytes
from flin.objects.reading import Reading
from flin.objects.set import Set


class SetView(AbstractSet[bytes]):
    """Members, in no promised order. An iteration sees one state. `view & other` and its like are plain sets. See
    TypedKeys for absent keys."""

    def __init__(self, reading: Reading, key: BytesLike) -> None:
        self._reading = reading
        self._key = as_bytes("a key", key)
        self._found()

    def _found(self) -> Set | None:
        return self._reading.find(self._key, Set)

    def __contains__(self, member: object) -> bool:
        found = self._found()
        return found is not None and as_bytes("a member", member) in found

    def __len__(self) -> int:
        found = self._found()
        return 0 if found is None else len(found)

    def __iter__(self) -> Iterator[bytes]:
        found = self._found()
        return iter(()) if found is None else (member for page in found.element_pages() for member in page)

    @classmethod
    def _from_iterable(cls, members: Iterable[bytes]) -> AbstractSet[bytes]:  # type: ignore[override]
        return set(members)

    def __repr__(self) -> str:
        return f"<SetView {self._key!r}>"
