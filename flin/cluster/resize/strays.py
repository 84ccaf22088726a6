"""Keys that lie in a group's database and belong to another: no client of the cluster finds them, and a copy to another
number of groups refuses them. A server writes some only if it is given the group's directory as its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flin.cluster.workers.groups import Group
from flin.engine.entry import Page
from flin.engine.key import USER_END, user_key
from flin.engine.slot import slot_of


class Strays:
    """Those of one group, found while its entries pass."""

    def __init__(self, group: Group) -> None:
        self._slots = range(group.first, group.last + 1)
        self._count = 0
        self._example = b""

    def passing(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Pass the pages on."""
        for page in pages:
            for stored in page[0]:
                if stored >= USER_END:
                    break
                if slot_of(user_key(stored)) not in self._slots:
                    self._count += 1
                    self._example = user_key(stored)
            yield page

    def problems(self) -> list[str]:
        """One, or none, once all have passed."""
        if not self._count:
            return []
        what = "1 key belongs to another group" if self._count == 1 else f"{self._count:,} keys belong to other groups"
        return [f"{what}, such as {self._example!r} of slot {slot_of(self._example)}"]
