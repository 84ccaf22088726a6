"""notify-keyspace-events: which classes of keyspace events clients may listen to, as Redis's letters.

K  by key: __keyspace@0__:KEY        E  by event: __keyevent@0__:EVENT
g  keys of any type (DEL, EXPIRE)    $ l s h z t  strings, lists, sets, hashes, sorted sets, streams
x  keys that have expired            n  keys that are new       m  reads of keys that are not there
e  evicted keys   d  modules: no event is ever sent      A  all of g$lshzxetd
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final


class EventClass(IntFlag):
    """By the names of their letters; STRING's is $."""

    NONE = 0
    KEYSPACE = 1
    KEYEVENT = 2
    GENERIC = 4
    STRING = 8
    LIST = 16
    SET = 32
    HASH = 64
    SORTED_SET = 128
    EXPIRED = 256
    EVICTED = 512
    STREAM = 1024
    MODULE = 2048
    NEW = 4096
    MISS = 8192


_LETTERS: Final = {
    "g": EventClass.GENERIC,
    "$": EventClass.STRING,
    "l": EventClass.LIST,
    "s": EventClass.SET,
    "h": EventClass.HASH,
    "z": EventClass.SORTED_SET,
    "x": EventClass.EXPIRED,
    "e": EventClass.EVICTED,
    "t": EventClass.STREAM,
    "d": EventClass.MODULE,
}
"""The classes that A stands for."""

_ALL: Final = EventClass(sum(_LETTERS.values()))
_WAYS: Final = {"K": EventClass.KEYSPACE, "E": EventClass.KEYEVENT, "m": EventClass.MISS}
_KNOWN: Final = {"A": _ALL, "n": EventClass.NEW, **_LETTERS, **_WAYS}


def parse_classes(raw: bytes) -> EventClass:
    """Raises ValueError as Redis words it."""
    classes = EventClass.NONE
    for letter in raw.decode("latin-1"):
        found = _KNOWN.get(letter)
        if found is None:
            raise ValueError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        classes |= found
    return classes


def show_classes(classes: EventClass) -> bytes:
    """In the order in which Redis shows them. Beside A it shows no n."""
    if classes & _ALL == _ALL:
        text = "A"
    else:
        text = "".join(letter for letter, found in {**_LETTERS, "n": EventClass.NEW}.items() if classes & found)
    return (text + "".join(letter for letter, found in _WAYS.items() if classes & found)).encode()


def heard(classes: EventClass) -> EventClass:
    """The classes without those that reach nobody: events without a way (K or E), ways without an event."""
    ways = classes & (EventClass.KEYSPACE | EventClass.KEYEVENT)
    return classes if ways and classes != ways else EventClass.NONE
