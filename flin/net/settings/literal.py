"""A value as TOML writes it, on one line."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = '"…"'
"""In the place of a password."""


def literal(value: object) -> str:
    r"""
    >>> literal(True), literal(7), literal('a"b'), literal(("127.0.0.1", "::1"))
    ('true', '7', '"a\\"b"', '["127.0.0.1", "::1"]')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(literal, value))}]"
    if not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'
