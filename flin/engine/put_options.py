"""The options of writes, for the faces that hand them on to an engine or a batch."""

from __future__ import annotations

from typing import TypedDict

from flin.engine.writable_view import Ttl


class PutOptions(TypedDict, total=False):
    """The options of a put. A batch has no `sync`."""

    ttl: Ttl | None
    sync: bool | None


class SyncOption(TypedDict, total=False):
    """The option of a delete. A batch has none."""

    sync: bool | None
