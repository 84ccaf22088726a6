"""The views, by one name for the engine's face, which loads them late."""

from __future__ import annotations

from flin.objects.hash_view import HashView
from flin.objects.list_view import ListView
from flin.objects.reading import Reading
from flin.objects.set_view import SetView
from flin.objects.sorted_set_view import SortedSetView

__all__ = ["HashView", "ListView", "Reading", "SetView", "SortedSetView"]
