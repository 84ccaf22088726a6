"""The version set: the present manifest, its writer, and the numbers of jobs (LevelDB's VersionSet)."""

from __future__ import annotations

from threading import RLock

from flin.engine.catalog.manifest import Manifest, ManifestWriter


class VersionSet:
    """The version set of a store. All of it is guarded by `lock`, the edit lock, as are the store's tables."""

    __slots__ = ("lock", "manifest", "next_job", "writer")

    def __init__(self, manifest: Manifest, writer: ManifestWriter) -> None:
        self.lock = RLock()
        self.manifest = manifest
        self.writer = writer
        self.next_job = manifest.next_job
