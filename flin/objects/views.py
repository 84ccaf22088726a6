"""The views, by one name for the engine's face, which loads them late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flin.engine.entry import Live
from flin.objects.hash_view import HashView
from flin.objects.layout import LONG_STRING
from flin.objects.list_view import ListView
from flin.objects.reading import Reading
from flin.objects.set_view import SetView
from flin.objects.sorted_set_view import SortedSetView
from flin.objects.stream_view import StreamView

READERS: Final[dict[int, Callable[[Reading, Live], bytes]]] = {LONG_STRING: Reading.long_string}
"""By the tag: what puts a value together that is no collection."""

__all__ = ["READERS", "HashView", "ListView", "Reading", "SetView", "SortedSetView", "StreamView"]
