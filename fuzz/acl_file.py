"""Files of users under arbitrary bytes.

Invariant: any bytes are the users of a file, or AclFileError, which names a line; nothing else escapes. Users that were
read are written as a file that makes the very same users again: names, passwords, commands, patterns, selectors.

The first byte of an input chooses what the rest is: a file as it is, or rules, one for each byte, so that long lines of
rules that mean something are reached.
"""

from __future__ import annotations

from typing import Any, Final

import flin.net.commands.every  # noqa: F401 - rules name the commands that are declared
from flin.net.access.acl_file import AclFileError, parse, render
from flin.net.access.selector import Selector
from flin.net.access.user import User
from flin.net.access.users import Users
from flin.net.command.categories import CATEGORIES

_FIXED: Final = (
    b"on", b"off", b"nopass", b"resetpass", b">a", b"<a", b"#" + b"0" * 64, b"sanitize-payload", b"reset", b"\n",
    b"clearselectors", b"~*", b"~a*", b"%R~a*", b"%W~*", b"%RW~*", b"~[a", b"resetkeys", b"&*", b"&c?",
    b"resetchannels", b"(+get ~b*)", b"(", b"+set", b")", b"+@all", b"-@all", b"+get", b"-set", b"+config|get",
    b"-config", b"+select|1", b"+SELECT|1", b"+debug|a|b", b"-select|1", b"+psync", b"+nothing", b"", b"user",
    b"user a", b"\nuser b", b"\r", b"\t",
)  # fmt: skip
_RULES: Final = (
    *_FIXED,
    *(sign + category.encode() for category in CATEGORIES for sign in (b"+@", b"-@")),
)


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    users = Users()
    if kind >= b"\x80":
        rest = b"user default " + b" ".join(_RULES[byte % len(_RULES)] for byte in rest[:200])
    try:
        found = parse(rest, "file", users)
    except AclFileError as error:
        assert "file:" in str(error) or " line " in str(error), error
        return
    again = parse(render(found), "file", users)
    assert list(map(_facts, again)) == list(map(_facts, found))
    users.replace_all(found)
    assert [user.name for user in users] == sorted({b"default", *(user.name for user in found)})


def _facts(user: User) -> Any:
    # What was never said is what a new user has.
    selectors = list(map(_facts_of, user.selectors))
    return (user.name, user.is_on, user.has_nopass, list(user.passwords), user.sanitizes, selectors)


def _facts_of(selector: Selector) -> Any:
    arguments = {name: words for name, words in selector.first_arguments.items() if name not in selector.names}
    return (
        selector.is_all_commands,
        selector.takes_future,
        selector.names,
        arguments,
        (selector.is_all_keys, selector.keys),
        (selector.is_all_channels, selector.channels),
    )
