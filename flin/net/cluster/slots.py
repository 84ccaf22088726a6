"""Hash slots: the 16,384 parts into which Redis Cluster divides the keys. The engine divides them so, too, so the slot
of a key is computed there."""

from __future__ import annotations

from flin.engine.slot import BRACE, SLOTS, hash_tag, slot_of

__all__ = ["BRACE", "SLOTS", "hash_tag", "slot_of"]
