"""The lease of versions of collections (objects/versions.py), kept in the batch that takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flin.objects.layout import NEXT_VERSION, decode_next_version, encode_next_version
from flin.objects.versions import Versions

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.batch.refusal import Refusal
    from flin.net.batch.store import StoreLike


class VersionLease:
    """One for all databases: a version is unique in a directory."""

    def __init__(self, store: StoreLike, pending: Pending) -> None:
        kept = store.read(NEXT_VERSION)
        assert kept is None or type(kept) is bytes
        self._versions = Versions(0 if kept is None else decode_next_version(kept))
        self._pending = pending
        self._said: int | None = None  # by the batch that is committed next
        self._is_listening = False

    def take(self) -> int:
        version, said = self._versions.take()
        if said is not None:
            self._pending.points[NEXT_VERSION] = encode_next_version(said)
            self._pending.unsettled.append(self._note_said)
            if not self._is_listening:
                self._is_listening = True
                self._pending.listen(self)
        return version

    def _note_said(self) -> None:
        entry = self._pending.points.get(NEXT_VERSION)
        self._said = decode_next_version(entry) if type(entry) is bytes else None

    def rolled_back(self) -> None:
        """A part of the batch was taken back, perhaps with what `_note_said` has seen."""
        self._note_said()

    def batch_committed(self) -> None:
        if self._said is not None:
            self._versions.committed(self._said)
        self._end()

    def batch_refused(self, refusal: Refusal) -> None:
        self._end()

    def _end(self) -> None:
        self._said = None
        self._is_listening = False
        self._pending.forget(self)
