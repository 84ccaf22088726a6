"""The databases in a directory: the one that it is, or those of its groups."""

from __future__ import annotations

from dataclasses import dataclass

from flin.cluster.workers.groups import Group, read_groups
from flin.engine.disk.fs import FileSystem


@dataclass(frozen=True, slots=True)
class Place:
    """One database. `group` is None where it is one by itself, also where it is a group's that is named alone."""

    directory: str
    group: Group | None = None


def places_in(directory: str, fs: FileSystem | None = None) -> list[Place]:
    """Raises what `read_groups` raises."""
    groups = read_groups(directory, fs)
    return [Place(str(group.directory), group) for group in groups] if groups else [Place(directory)]
