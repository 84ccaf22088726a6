"""A live object: a collection in memory, between the commands that use it and the batch that its changes go to.

A *packed* object holds its elements. Its first change since the last commit puts a placeholder into the batch, an empty
value with its tag and expiry, so that TYPE, TTL and WRONGTYPE need to know nothing of it; `encode` gives the value that
takes its place before the commit. So sixteen changes in one round encode once. A *spread* object holds its meta, and
puts each changed element into the batch at once; its meta is what `encode` gives. limits.py says when one becomes the
other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final, Protocol

from flin.engine.entry import Live, make_entry
from flin.engine.slot import slot_of
from flin.objects.host import Host
from flin.objects.layout import SPREAD, anchor_key, elements_prefix, form_of, was_large
from flin.objects.limits import is_too_large_to_pack
from flin.objects.meta import Meta, decode_meta
from flin.objects.thresholds import Thresholds

BASE_BYTES: Final = 600
"""An object with its dict, its key and its places in `live` and `dirty`, about."""


class Objects(Protocol):
    """The live objects of a database, as one of them knows them."""

    @property
    def host(self) -> Host: ...

    @property
    def thresholds(self) -> Thresholds: ...

    @property
    def large_bytes(self) -> int:
        """How much memory one object may take for its elements, if that makes it fast."""

    def touch(self, changed: LiveObject, size_bytes: int = 0) -> None:
        """It has changed. size_bytes: what its value adds to the batch, about; 0 if its pieces were put."""

    def grown(self, key: bytes) -> None:
        """The key's object may hold more in memory, though it has not changed."""

    def delete(self, emptied: LiveObject) -> None:
        """It has lost its last element."""

    def abandon(self, whole: LiveObject) -> None:
        """A spread one has lost all of its elements at once: the reaper deletes its pieces."""


class LiveObject(ABC):
    """One key's collection. `objects` are its database's."""

    TAG: ClassVar[int]

    __slots__ = (
        "_rewrites",
        "charged_bytes",
        "expires_at_ms",
        "held_bytes",
        "is_dirty",
        "key",
        "meta",
        "objects",
        "prefix",
        "was_large",
    )

    def __init__(self, objects: Objects, key: bytes) -> None:
        self.objects: Final = objects
        self.key: Final = key
        self.expires_at_ms = 0
        self.meta: Meta | None = None  # of a spread one
        self.prefix = b""  # of a spread one's elements
        self.was_large = False  # ever, by Redis's thresholds: OBJECT ENCODING asks
        self.is_dirty = False
        self.charged_bytes = 0  # of the database's room
        self.held_bytes = 0  # of the elements in memory, about; of a packed one: of its value
        self._rewrites = 0  # commits of it while it is live and packed

    def load(self, value: bytes, expires_at_ms: int) -> None:
        """Take over what the key's own entry says."""
        self.expires_at_ms = expires_at_ms
        self.was_large = was_large(value)
        if form_of(value, type(self).__name__) == SPREAD:
            self._begin_spread(decode_meta(self.TAG, value))
        else:
            self.held_bytes = len(value)
            self.load_packed(value)

    @property
    def is_packed(self) -> bool:
        return self.meta is None

    @abstractmethod
    def load_packed(self, value: bytes) -> None: ...

    @abstractmethod
    def encode_packed(self) -> bytes: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def charge_bytes(self) -> int:
        """What it costs in memory, about."""

    @property
    @abstractmethod
    def encoding(self) -> bytes:
        """OBJECT ENCODING."""

    def encode(self) -> bytes:
        """The value of the key's own entry."""
        if self.meta is None:
            self._rewrites += 1
            return self.encode_packed()
        self.meta.was_large = self.was_large
        return self.meta.encode()

    def is_too_large_to_pack(self) -> bool:
        """Whether a packed one should become spread."""
        return is_too_large_to_pack(len(self), self.held_bytes, self._rewrites)

    def own_entry(self) -> Live:
        """What takes the placeholder's place before a commit."""
        return make_entry(self.encode(), self.expires_at_ms, self.TAG)

    @property
    def outlives_commit(self) -> bool:
        """Whether it stays in memory when it has settled."""
        return True

    def anchor(self) -> bytes:
        """The stored key of a spread object's anchor."""
        assert self.meta is not None
        return anchor_key(self.objects.host.namespace, self.meta.slot, self.meta.version)

    def become_spread(self, meta: Meta) -> None:
        """From now on elements are pieces; the caller puts those that there are."""
        self._begin_spread(meta)
        self.objects.host.put_piece(self.anchor(), self.key)

    def new_place(self) -> tuple[int, int]:
        """Slot and version of one that becomes spread."""
        return slot_of(self.key), self.objects.host.take_version()

    def _begin_spread(self, meta: Meta) -> None:
        self.meta = meta
        self.prefix = elements_prefix(self.objects.host.namespace, meta.slot, meta.version)
