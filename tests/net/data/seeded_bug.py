"""A seeded bug: a function that patches the code. Its docstring is the rule that it breaks; a hunt must catch it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

Patch: TypeAlias = pytest.MonkeyPatch
Hunt: TypeAlias = Callable[[], None]
Bug: TypeAlias = Callable[[Patch], None]

_OWN_MISTAKE: Final = re.compile(r"\b(TypeError|AttributeError|NameError|UnboundLocalError|ImportError)\b")
"""What a patch that no longer fits raises: that is not a violation."""


def check_caught(bug: Bug, hunt: Hunt, patch: Patch) -> None:
    bug(patch)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is, the hunt has found something
        hunt()
    assert not _OWN_MISTAKE.search(repr(caught.value)), f"the patch no longer fits: {caught.value!r}"
