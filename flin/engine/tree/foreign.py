"""Whether a directory belongs to another program: checked before anything is written, so a mistake changes nothing.

A directory is opened by mistake easily: the path of another program's database, a missing one, a source tree whose
MANIFEST is a list of files. Pure functions over the names; opening.py calls them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_MARKS: Final = {
    # The first that fits names it: a RocksDB has all that a LevelDB has, and more.
    "a RocksDB database": ("CURRENT", r"IDENTITY|OPTIONS-[0-9]+"),
    "a Pebble database": (r"marker\.manifest\..+",),
    "a LevelDB database": ("CURRENT", r"MANIFEST-[0-9]+"),
    "a Badger database": (r"KEYREGISTRY|[0-9]+\.vlog",),
    "an LMDB database": (r"data\.mdb",),
    "a WiredTiger database": ("WiredTiger", r"WiredTiger\.wt"),
    "another program's database": (r"MANIFEST-[0-9]+",),
}
"""By program: the files of every such directory, one for each pattern."""


def maybe_foreign(names: Iterable[str]) -> str | None:
    """The program that a directory belongs to by its files' names, with these names; None if they fit none."""
    names = sorted(names)
    for kind, patterns in _MARKS.items():
        found = [next((name for name in names if re.fullmatch(pattern, name)), None) for pattern in patterns]
        if None not in found:
            return f"{kind} ({', '.join(name for name in found if name)})"
    return None
