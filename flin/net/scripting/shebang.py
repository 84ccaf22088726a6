"""A script's first line, where it is `#!lua flags=no-writes,allow-oom`: what the script says of itself. Pure."""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from flin.errors import CommandError
from flin.net.wire.replies import shown

SHEBANG: Final = b"#!"


class ScriptFlag(IntFlag):
    """The names are Redis's, in lower case and with hyphens. Two have no effect here: Flin keeps serving when memory is
    short, and has no stale replica."""

    NONE = 0
    NO_WRITES = 1
    ALLOW_OOM = 2
    ALLOW_STALE = 4
    NO_CLUSTER = 8
    ALLOW_CROSS_SLOT_KEYS = 16
    COMPATIBILITY = 32  # no shebang: what it may do is checked call by call, and its keys may be of several slots


_BY_NAME: Final = {
    (flag.name or "").lower().replace("_", "-").encode(): flag for flag in ScriptFlag if flag < ScriptFlag.COMPATIBILITY
}


def flags_named(names: bytes) -> ScriptFlag:
    """The flags of names with commas between. CommandError as Redis words it."""
    flags = ScriptFlag.NONE
    for name in names.split(b",") if names else ():
        if name not in _BY_NAME:
            raise CommandError(f"ERR Unexpected flag in script shebang: {shown(name)}")
        flags |= _BY_NAME[name]
    return flags


def parse_shebang(source: bytes) -> tuple[ScriptFlag, bytes]:
    """The flags of a script, and its Lua: an empty line stands in place of the shebang, so that errors name the same
    lines. CommandError as Redis words it."""
    if not source.startswith(SHEBANG):
        return ScriptFlag.COMPATIBILITY, source
    line, newline, rest = source.partition(b"\n")
    if not newline:
        raise CommandError("ERR Invalid script shebang")
    engine, *options = line.split() or [b""]
    if engine != b"#!lua":
        raise CommandError(f"ERR Unexpected engine in script shebang: {shown(engine)}")
    flags = ScriptFlag.NONE
    for option in options:
        name, equals, value = option.partition(b"=")
        if name != b"flags" or not equals:
            raise CommandError(f"ERR Unknown lua shebang option: {shown(option)}")
        flags |= flags_named(value)
    return flags, b"\n" + rest
