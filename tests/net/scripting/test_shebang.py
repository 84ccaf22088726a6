"""The first line of a script."""

from __future__ import annotations

import pytest

from flin.errors import CommandError
from flin.net.scripting.shebang import ScriptFlag, parse_shebang


@pytest.mark.parametrize(
    ("source", "flags", "lua"),
    [
        (b"return 1", ScriptFlag.COMPATIBILITY, b"return 1"),
        (b"", ScriptFlag.COMPATIBILITY, b""),
        (b"#!lua\nreturn 1", ScriptFlag.NONE, b"\nreturn 1"),
        (b"#!lua flags=\nreturn 1", ScriptFlag.NONE, b"\nreturn 1"),
        (b"#!lua flags=no-writes\r\nreturn 1", ScriptFlag.NO_WRITES, b"\nreturn 1"),
        (
            b"#!lua  flags=no-writes,allow-oom  flags=allow-stale\n",
            ScriptFlag.NO_WRITES | ScriptFlag.ALLOW_OOM | ScriptFlag.ALLOW_STALE,
            b"\n",
        ),
        (
            b"#!lua flags=no-cluster,allow-cross-slot-keys\nx",
            ScriptFlag.NO_CLUSTER | ScriptFlag.ALLOW_CROSS_SLOT_KEYS,
            b"\nx",
        ),
    ],
)
def test_what_it_says(source: bytes, flags: ScriptFlag, lua: bytes) -> None:
    assert parse_shebang(source) == (flags, lua)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"#!lua", "ERR Invalid script shebang"),
        (b"#!foo\n", "ERR Unexpected engine in script shebang: #!foo"),
        (b"#!\n", "ERR Unexpected engine in script shebang: #!"),
        (b"#! lua\n", "ERR Unexpected engine in script shebang: #!"),
        (b"#!luaflags\n", "ERR Unexpected engine in script shebang: #!luaflags"),
        (b"#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
        (b"#!lua flags\n", "ERR Unknown lua shebang option: flags"),
        (b"#!lua flags=foo\n", "ERR Unexpected flag in script shebang: foo"),
        (b"#!lua flags=no-writes,\n", "ERR Unexpected flag in script shebang: "),
        (b"#!lua flags=compatibility\n", "ERR Unexpected flag in script shebang: compatibility"),
    ],
)
def test_what_is_wrong(source: bytes, error: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_shebang(source)
    assert str(raised.value) == error
