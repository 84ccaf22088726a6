"""The names of the files in a database's directory. A name is data: whatever does not parse is not Flin's.

    LOCK                              held while an engine has the directory open
    KEYS                              of an encrypted database: the keys of its files (data_keys.py)
    KEYS.new                          a file of keys being written
    MANIFEST                          what makes up the database (manifest.py)
    MANIFEST.<epoch>.tmp              a manifest being written
    <number>.<epoch>.wal              a WAL segment (wal/frames.py)
    <number>-<part>.<epoch>.sst       an SSTable written by job <number> (sstable.py)
    <number>-<part>.<epoch>.val       values that job <number> collected; its content is a segment
    <number>.<epoch>.condensed        a segment for flush <number> alone, gone when it ends (condensing.py)

    groups.json                       not of a database: it makes a directory one of groups, each with its own database
    group-<number>                    one of these databases
    resize-unfinished                 what `flin resize` has written so far, or left when it was interrupted
    copy-unfinished                   there while a database is copied or imported into the directory
    REPLICA                           there if the database is a replica, a copy of a log that others hold, too

Numbers rise and are never used twice in one epoch; the epoch rises with every writable open. So files of an
orphaned helper of an earlier process can never collide with new ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LOCK: Final = "LOCK"
KEYS: Final = "KEYS"
NEW_KEYS: Final = "KEYS.new"
MANIFEST: Final = "MANIFEST"
GROUPS: Final = "groups.json"
UNFINISHED: Final = "resize-unfinished"
UNFINISHED_COPY: Final = "copy-unfinished"
REPLICA: Final = "REPLICA"

_WAL: Final = re.compile(r"([0-9]{8,20})\.([0-9]{1,20})\.wal")
_TABLE: Final = re.compile(r"([0-9]{8,20})-([0-9]{4,10})\.([0-9]{1,20})\.sst")
_VALUES: Final = re.compile(r"([0-9]{8,20})-([0-9]{4,10})\.([0-9]{1,20})\.val")
_CONDENSED: Final = re.compile(r"([0-9]{8,20})\.([0-9]{1,20})\.condensed")
_GROUP: Final = re.compile(r"group-[0-9]{2,5}")
_TEMPORARY: Final = re.compile(r"MANIFEST\.([0-9]{1,20})\.tmp")
_NUMBERS: Final = 1 << 63

COLLECTED: Final = 1 << 63
"""From here on files have the numbers that collected values are in; below are segments."""
_PART_BITS: Final = 20


@dataclass(frozen=True, slots=True)
class FileName:
    role: str  # "wal", "table", "value", "condensed", "temporary"
    number: int
    part: int
    epoch: int


def wal_name(number: int, epoch: int) -> str:
    return f"{number:08d}.{epoch}.wal"


def table_name(number: int, part: int, epoch: int) -> str:
    return f"{number:08d}-{part:04d}.{epoch}.sst"


def value_name(number: int, part: int, epoch: int) -> str:
    return f"{number:08d}-{part:04d}.{epoch}.val"


def condensed_name(number: int, epoch: int) -> str:
    return f"{number:08d}.{epoch}.condensed"


def collected_number(number: int, part: int) -> int:
    """How pointers call the file of values that a job collected: the topmost bit tells it from a segment's number."""
    return COLLECTED | number << _PART_BITS | part


def maybe_value_number(name: str) -> int | None:
    """How pointers call the file; None if it can hold no values."""
    parsed = maybe_parse(name)
    if parsed is None or parsed.role not in ("wal", "value"):
        return None
    return parsed.number if parsed.role == "wal" else collected_number(parsed.number, parsed.part)


def group_name(number: int) -> str:
    return f"group-{number:02d}"


def is_group_name(name: str) -> bool:
    return _GROUP.fullmatch(name) is not None


def temporary_name(epoch: int) -> str:
    return f"{MANIFEST}.{epoch}.tmp"


def maybe_parse(name: str) -> FileName | None:
    """What a file's name says, or None if Flin does not write such names."""
    if match := _WAL.fullmatch(name):
        found = FileName("wal", int(match[1]), 0, int(match[2]))
        canonical = wal_name(found.number, found.epoch)
    elif match := _TABLE.fullmatch(name):
        found = FileName("table", int(match[1]), int(match[2]), int(match[3]))
        canonical = table_name(found.number, found.part, found.epoch)
    elif match := _VALUES.fullmatch(name):
        found = FileName("value", int(match[1]), int(match[2]), int(match[3]))
        canonical = value_name(found.number, found.part, found.epoch)
        if found.number >> (63 - _PART_BITS) or found.part >> _PART_BITS:
            return None  # no pointer can name it
    elif match := _CONDENSED.fullmatch(name):
        found = FileName("condensed", int(match[1]), 0, int(match[2]))
        canonical = condensed_name(found.number, found.epoch)
    elif match := _TEMPORARY.fullmatch(name):
        found = FileName("temporary", 0, 0, int(match[1]))
        canonical = temporary_name(found.epoch)
    else:
        return None
    # One name per number: no second one with more zeros. And all numbers fit the 64 bits that files have for them.
    return found if name == canonical and max(found.number, found.epoch) < _NUMBERS else None
