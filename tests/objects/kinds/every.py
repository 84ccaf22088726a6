"""All kinds, by their tags."""

from __future__ import annotations

from typing import Any, Final

from tests.objects.kinds.hash_kind import HashKind
from tests.objects.kinds.kind import Kind
from tests.objects.kinds.list_kind import ListKind
from tests.objects.kinds.long_string_kind import LongStringKind
from tests.objects.kinds.set_kind import SetKind
from tests.objects.kinds.sorted_set_kind import SortedSetKind
from tests.objects.kinds.stream_kind import StreamKind

_ALL: Final[list[Kind[Any, Any]]] = [
    HashKind(),
    ListKind(),
    LongStringKind(),
    SetKind(),
    SortedSetKind(),
    StreamKind(),
]

KINDS: Final = {kind.made.TAG: kind for kind in _ALL}
