"""LOLWUT: a picture, and the version."""

from __future__ import annotations

from typing import Final

import flin
from flin.net.command.arguments import parse_int32
from flin.net.command.registry import command
from flin.net.run.context import Context
from flin.net.wire.replies import Value, Verbatim

GROUP: Final = "server"

LEVELS: Final = 5
MAX_LEVELS: Final = 8


@command("lolwut", -1, "readonly fast")
def lolwut(context: Context, args: list[bytes]) -> Value:
    """Draws a merge tree, and says the version."""
    words = args[1:]
    if len(words) >= 2 and words[0].lower() == b"version":
        parse_int32(words[1])
        words = words[2:]
    levels = min(MAX_LEVELS, max(1, parse_int32(words[0]))) if words else LEVELS
    return Verbatim(f"{_tree(levels)}\nFlin ver. {flin.__version__}\n".encode())


def _tree(levels: int) -> str:
    """Runs that merge, four into one: newest at the top, as in the engine."""
    width = 1 << levels
    lines = []
    for level in range(levels):
        run = 1 << level
        runs = " ".join("▁▂▃▄▅▆▇█"[min(level, 7)] * run for _ in range(max(1, width // (run * 2))))
        lines.append(runs[: 2 * width].center(2 * width).rstrip())
    return "\n".join(lines)
