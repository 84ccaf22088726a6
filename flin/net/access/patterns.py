"""Patterns of keys and channels, compiled: most end in their only star, and are prefixes then, which cost a tenth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from flin.net.wire.glob import compile_glob

_PREFIX: Final = re.compile(rb"([^*?\[\\]+)\*")


def compiled(patterns: Iterable[bytes]) -> Callable[[bytes], bool]:
    """Whether bytes match one of the globs. Raises CommandError for a pattern that takes too many steps to read; what
    is returned raises it where a long key makes the search too costly."""
    prefixes: list[bytes] = []
    globs: list[Callable[[bytes], bool]] = []
    for pattern in patterns:
        found = _PREFIX.fullmatch(pattern)
        if found is not None:
            prefixes.append(found[1])
        elif pattern == b"*":
            globs.append(bool)  # Redis's matching: it fits all but the empty key
        else:
            globs.append(compile_glob(pattern).matches)
    heads = tuple(prefixes)
    if not globs:
        return lambda key: key.startswith(heads)
    if len(globs) == 1 and not heads:
        return globs[0]

    def matches(key: bytes) -> bool:
        if key.startswith(heads):
            return True
        for fits in globs:  # noqa: SIM110 - any() with a generator costs as much as a glob
            if fits(key):
                return True
        return False

    return matches
