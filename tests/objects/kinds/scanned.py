"""What a scan of a hash or a set in steps of two shows, in order."""

from __future__ import annotations

from typing import TypeVar

from flin.objects.unordered import Unordered

Element = TypeVar("Element", bytes, tuple[bytes, bytes])


def scanned(found: Unordered[Element]) -> list[Element]:
    elements: list[Element] = []
    after: bytes | None = None
    while True:
        some, after = found.scan(after, 2)
        elements += some
        if after is None:
            return sorted(elements)
