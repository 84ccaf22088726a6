"""What the server counts, for INFO."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Final

COUNTED_PREFIXES: Final = 128
"""A handler's own prefixes are few; a flood of made-up ones must not grow without bound."""

PREFIX_CHARACTERS: Final = 31
"""A first word that is longer is none, as in Redis: a script may make one of megabytes."""


@dataclass(slots=True)
class Counters:
    """Counts since the start or CONFIG RESETSTAT."""

    connections: int = 0
    rejected_connections: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # by prefix
    internal_errors: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    cold_reads: int = 0
    clients_closed_for_output: int = 0
    protocol_errors: int = 0
    evicted_keys: int = 0

    def reset(self) -> None:
        """Set all to zero, in place: connections hold a reference."""
        for field_ in fields(self):
            setattr(self, field_.name, {} if field_.name == "errors" else 0)

    def count_error(self, text: str) -> None:
        prefix = _prefix_of(text)
        if prefix in self.errors or len(self.errors) < COUNTED_PREFIXES:
            self.errors[prefix] = self.errors.get(prefix, 0) + 1

    def uncount_error(self, text: str) -> None:
        """Whoever replies with this error counts it again."""
        prefix = _prefix_of(text)
        if prefix in self.errors:
            self.errors[prefix] -= 1


def _prefix_of(text: str) -> str:
    """The first word: INFO shows it on one line. Without another one, ERR."""
    found = re.match(f"[^ \r\n]{{0,{PREFIX_CHARACTERS - 1}}}(?=[ \r\n])", text)
    return found[0] if found else "ERR"
