"""A file of users (`aclfile`), in Redis's format: a line each, `user NAME RULES…`, as ACL LIST shows them.

    user default off
    user alice on #2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90 ~cached:* resetchannels -@all +get

There are no comments; passwords may be given as `>password`, and are written as SHA-256. A file is read whole or not at
all, and all that is wrong with it is told by lines. It is written beside the old one, synced, and renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from flin.errors import CommandError, FlinError
from flin.net.access.description import described
from flin.net.access.rules import UNKNOWN_NAME, UnmatchedParenthesis, merged
from flin.net.access.user import User
from flin.net.access.users import BadRule, Users
from flin.net.settings.whole_file import write_whole

_BLANKS: Final = b" \t\r\n"
_SPACES: Final = re.compile(rb"[\s\0]")
_NOTHING_CHANGED: Final = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"


class AclFileError(FlinError):
    """The file cannot be read, or is no file of users. str() is Redis's text, which names the lines."""


def render(users: Iterable[User]) -> bytes:
    """The lines of a file that makes these users again."""
    return b"".join(b"user %b %b\n" % (user.name, described(user)) for user in users)


def parse(data: bytes, name: str, users: Users) -> list[User]:
    """The users of a file, compiled. name: the file's, for the text of AclFileError. users: whose defaults new ones
    have; it does not change."""
    found: dict[bytes, User] = {}
    errors: list[str] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        words = line.strip(_BLANKS).split(b" ")
        if words != [b""]:
            errors += _read_line(words, f"{name}:{number}", users, found)
    if errors:
        raise AclFileError("".join(errors) + _NOTHING_CHANGED)
    return list(found.values())


def _read_line(words: list[bytes], place: str, users: Users, found: dict[bytes, User]) -> list[str]:
    """Add the user of a line; what is wrong with it."""
    if words[0] != b"user" or len(words) < 2:
        return [f"{place} should start with user keyword followed by the username. "]
    name = words[1]
    if _SPACES.search(name):
        return [f"{place}: username '{_text(name)}' contains invalid characters. "]
    if name in found:
        return [f"WARNING: Duplicate user '{_text(name)}' found on line {place.rpartition(':')[2]}. "]
    user = found[name] = users.new_user(name)
    try:
        rules = merged(words[2:])
    except UnmatchedParenthesis:
        return [f"{place}: Unmatched parenthesis in selector definition."]
    errors: list[str] = []
    for rule in rules:
        error = _apply(users, user, rule.strip(_BLANKS), place)
        # Of other mistakes only the first is told: what follows may be wrong because of it.
        if error is not None and (UNKNOWN_NAME in error or not any(UNKNOWN_NAME not in known for known in errors)):
            errors.append(error)
    if not errors:
        try:
            user.compile()
        except CommandError as error:
            errors.append(f"{place}: {str(error).removeprefix('ERR ')}. ")
    return errors


def _apply(users: Users, user: User, rule: bytes, place: str) -> str | None:
    try:
        users.apply_all(user, [rule])
    except BadRule as error:
        if error.reason == UNKNOWN_NAME:  # no rule of this kind holds a secret
            return f"{place}: Error in applying operation '{_text(rule)}': {error.reason}. "
        return f"{place}: {error.reason}. "
    return None


def _text(part: bytes) -> str:
    return part.decode("latin-1").replace("\r", " ")


def load(path: str, users: Users) -> list[User]:
    """Read the file and put its users in place of all others. Returns those that are gone. Raises AclFileError, and
    then nothing has changed."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise AclFileError(f"Error loading ACLs, opening file '{path}': {error.strerror}") from error
    return users.replace_all(parse(data, path, users))


def save(path: str, users: Iterable[User]) -> None:
    """Raises OSError; the old file is whole then. The new one is only readable for its owner, unless the old one was
    for others."""
    write_whole(path, render(users))
