"""The classes of collections, by the tag of the key's own entry."""

from __future__ import annotations

from typing import Final

from flin.objects.hash import Hash
from flin.objects.list import List
from flin.objects.live_object import LiveObject
from flin.objects.set import Set
from flin.objects.sorted_set import SortedSet
from flin.objects.stream import Stream

KINDS: Final[dict[int, type[LiveObject]]] = {kind.TAG: kind for kind in (Hash, List, Set, SortedSet, Stream)}
