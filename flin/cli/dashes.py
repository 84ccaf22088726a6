"""Options of `flin serve` with one dash: `-node-id=node1` is `--node-id=node1`, as programs in Go are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flin.net.settings.options import ROWS

_FLAGS: Final = {row.flag[1:] for row in ROWS.values()} | {"-config"}


def with_two_dashes(words: Sequence[str]) -> list[str]:
    """The words of a command line, its options with two dashes.

    >>> with_two_dashes(["serve", "-node-id=node1", "-port", ":6380", "--http=localhost:8080", "-h"])
    ['serve', '--node-id=node1', '--port', ':6380', '--http=localhost:8080', '-h']
    """
    if "serve" not in words[:1]:
        return list(words)
    return [f"-{word}" if word.partition("=")[0] in _FLAGS else word for word in words]
