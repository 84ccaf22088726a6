"""A kind of collection as random tests know it: how one is changed at random, its plain model, and their comparison.

The tests that hold for all kinds take them from every.py: live objects over an engine (test_live_objects.py), power
cuts and seeded bugs (collections_run.py). A new kind is one file here and one row there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import Final, Generic, TypeVar

from flin.objects.live_object import LiveObject
from flin.objects.meta import Meta

Object = TypeVar("Object", bound=LiveObject)
Plain = TypeVar("Plain")

NAMES: Final = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"\xff", b""]
"""Fields, members: few, so that they come again; one that cannot be joined by FF, and one that is empty."""

VALUES: Final = [b"", b"v", b"w" * 9, b"\xff\xff", b"x" * 60, b"y" * 700]
"""Also elements of a list: two or three long ones are too large to be packed together in 4,096 bytes."""


class Kind(ABC, Generic[Object, Plain]):
    """`Plain` is the model, of Python's own types; it is changed in place, and copied by deepcopy."""

    made: type[Object]
    """The objects' class."""

    @abstractmethod
    def empty(self) -> Plain: ...

    @abstractmethod
    def grow(self, found: Object, plain: Plain, random: Random) -> None:
        """Any change of both that leaves at least one element; `found` may be made just now, and `plain` is empty then.
        What the change returns is compared."""

    @abstractmethod
    def change(self, found: Object, plain: Plain, random: Random) -> None:
        """Any change of both that may take elements out, all of them too; there is at least one."""

    @abstractmethod
    def read_all(self, found: Object) -> Plain:
        """By the way that is taken when a command wants all of it; one that was spread may be whole from then on."""

    @abstractmethod
    def compare(self, found: Object, plain: Plain) -> None:
        """By all other reads: element by element, by rank, by range, in steps. It must not become whole by them."""

    @abstractmethod
    def of_packed(self, value: bytes) -> Plain:
        """What the value of a packed one says."""

    @abstractmethod
    def of_pieces(self, meta: Meta, pieces: list[tuple[bytes, bytes]]) -> Plain:
        """What a spread one's pieces say, suffixes and values in the order of the suffixes; it agrees with the meta."""

    def literal(self, plain: Plain) -> object:
        """A Python literal that is the same for equal models, as `of_literal` takes it."""
        return plain

    def of_literal(self, literal: object) -> Plain:
        return literal  # type: ignore[return-value]  # what `literal` has made


def sample(random: Random, names: list[bytes], at_most: int) -> list[bytes]:
    """At least one of the names, each once, in any order."""
    return random.sample(names, random.randint(1, min(at_most, len(names))))
