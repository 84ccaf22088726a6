"""Versions of etcd: which are new enough, and which may lose what they have answered."""

from __future__ import annotations

import re
from typing import Final

Version = tuple[int, ...]

LEAST: Final = (3, 4)
"""Learners came with it: members that get everything and have no vote."""

FLAWED, MENDED = (3, 5, 0), (3, 5, 6)
"""From the first one on, below the second one. A member that is killed (till 3.5.3, etcd-io/etcd issue 13766), or
killed while it defragments (till 3.5.6, pull request 14730), may come back with other data than the other members have.
Flin's members are killed with their node, and defragmented."""


def version_of(text: str) -> Version:
    """What it says of itself; (): nothing that is understood.

    >>> version_of("etcd Version: 3.4.23"), version_of("3.6.0-rc.1"), version_of("git")
    ((3, 4, 23), (3, 6, 0), ())
    """
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return () if found is None else tuple(map(int, found.groups()))


def flaw_of(version: Version) -> str:
    """Why it should not be used; empty: no reason is known, or not even the version.

    >>> flaw_of((3, 5, 1))
    'etcd 3.5.1 may lose data when it is killed: use 3.4, or 3.5.6 and later'
    """
    if () < version < LEAST:
        return f"etcd {_shown(version)} is too old: at least {_shown(LEAST)} is needed"
    if FLAWED <= version < MENDED:
        return f"etcd {_shown(version)} may lose data when it is killed: use 3.4, or {_shown(MENDED)} and later"
    return ""


def _shown(version: Version) -> str:
    return ".".join(map(str, version))
