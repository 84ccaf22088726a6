"""ACL: users, their rules, and what was denied."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Final

from flin.errors import CommandError
from flin.net.access import acl_file
from flin.net.access.acl_file import AclFileError
from flin.net.access.description import described, details
from flin.net.access.rules import UnmatchedParenthesis, merged
from flin.net.access.user import User
from flin.net.access.users import DEFAULT, BadRule
from flin.net.client.session import Session
from flin.net.command.categories import CATEGORIES, categories
from flin.net.command.registry import command, container, every_command, find_for
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.run.context import Context
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Value, shown, wrong_arity

GROUP: Final = "server"

logger = logging.getLogger(__name__)

_ANYONE: Final = "noscript loading stale"
_ADMIN: Final = f"admin {_ANYONE}"
_SPACES: Final = re.compile(rb"[\s\0]")

_DEFAULT_BITS: Final = 256
_MOST_BITS: Final = 4096
_DEFAULT_ENTRIES: Final = 10
"""Entries that ACL LOG shows without a count, as in Redis."""

container("acl", GROUP, "Commands about users and what they may do.")


@command("acl|whoami", 2, _ANYONE)
def acl_whoami(context: Context, args: list[bytes]) -> Value:
    """Returns the name of the connection's user."""
    return context.session.user.name


@command("acl|users", 2, _ADMIN)
def acl_users(context: Context, args: list[bytes]) -> Value:
    """Lists the users' names."""
    return [user.name for user in context.services.users]


@command("acl|list", 2, _ADMIN)
def acl_list(context: Context, args: list[bytes]) -> Value:
    """Lists the users with their rules."""
    return [b"user %b %b" % (user.name, described(user)) for user in context.services.users]


@command("acl|getuser", 3, _ADMIN)
def acl_getuser(context: Context, args: list[bytes]) -> Value:
    """Returns the rules of a user."""
    user = context.services.users.find(args[2])
    return None if user is None else details(user)


@command("acl|setuser", -3, f"{_ADMIN} skip_slowlog")
def acl_setuser(context: Context, args: list[bytes]) -> Value:
    """Makes or changes a user by rules, all of them or none."""
    name = args[2]
    if _SPACES.search(name):
        raise CommandError("ERR Usernames can't contain spaces or null characters")
    users = context.services.users
    try:
        user = users.put(users.drafted(name, merged(args[3:])))
    except UnmatchedParenthesis as error:
        raise CommandError(f"ERR Unmatched parenthesis in acl selector starting at '{_line(str(error))}'.") from None
    except BadRule as error:
        rule = _line(error.rule.decode("latin-1"))
        raise CommandError(f"ERR Error in ACL SETUSER modifier '{rule}': {error.reason}") from None
    context.services.clients.refresh()
    _close_eavesdroppers(context, user)
    return OK


def _close_eavesdroppers(context: Context, user: User) -> None:
    """Close the connections of a user that are subscribed to what it may no longer hear."""
    for session in list(context.services.clients.sessions.values()):
        if session.user is user and session.subscriptions is not None:
            channels, patterns, shards = session.subscriptions.names
            if not (user.allows_channels([*channels, *shards]) and user.allows_channels(patterns, are_patterns=True)):
                _close(context, session)


def _line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


@command("acl|deluser", -3, _ADMIN)
def acl_deluser(context: Context, args: list[bytes]) -> Value:
    """Deletes users, and closes their connections."""
    names = args[2:]
    if DEFAULT in names:
        raise CommandError("ERR The 'default' user cannot be removed")
    removed = [user for user in map(context.services.users.remove, names) if user is not None]
    close_sessions(context, removed)
    return len(removed)


def close_sessions(context: Context, gone: list[User]) -> None:
    """Close the connections of users that are no more; the one that asks for it gets its reply first."""
    for session in list(context.services.clients.sessions.values()):
        if session.user in gone:
            _close(context, session)


def _close(context: Context, session: Session) -> None:
    if session is context.session:
        session.close_after_reply = True
    else:
        session.link.abort()


@command("acl|load", 2, _ADMIN)
def acl_load(context: Context, args: list[bytes]) -> Value:
    """Reads the users from the file of users, all of them or none."""
    try:
        gone = acl_file.load(_path(context), context.services.users)
    except AclFileError as error:
        raise CommandError(f"ERR {_line(str(error))}") from None
    context.services.clients.refresh()
    close_sessions(context, gone)
    _close_eavesdroppers(context, context.services.users.default)
    return OK


@command("acl|save", 2, _ADMIN)
def acl_save(context: Context, args: list[bytes]) -> Value:
    """Writes the users to the file of users."""
    path = _path(context)
    try:
        acl_file.save(path, context.services.users)
    except OSError as error:
        logger.error("the users could not be saved in %s: %s", path, error)
        raise CommandError(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
        ) from None
    return OK


def _path(context: Context) -> str:
    path = context.services.config.options.aclfile
    if not path:
        raise CommandError(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL "
            "SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in "
            "order to store users in the Redis configuration."
        )
    return path


@command("acl|cat", -2, _ANYONE)
def acl_cat(context: Context, args: list[bytes]) -> Value:
    """Lists the categories, or the commands of one."""
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    if len(args) == 2:
        return list(map(str.encode, CATEGORIES))
    category = args[2].lower().decode("latin-1")
    if category not in CATEGORIES:
        raise CommandError(f"ERR Unknown category '{shown(args[2])}'")
    everything = set(every_command())
    return sorted(found.name.encode() for found in everything if category in categories(found))


@command("acl|genpass", -2, _ANYONE)
def acl_genpass(context: Context, args: list[bytes]) -> Value:
    """Makes a password of random bits, in hexadecimal."""
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    bits = _DEFAULT_BITS if len(args) == 2 else parse_int64(args[2])
    if not 0 < bits <= _MOST_BITS:
        raise CommandError(
            "ERR ACL GENPASS argument must be the number of bits for the output password, "
            f"a positive number up to {_MOST_BITS}"
        )
    digits = (bits + 3) // 4
    return secrets.token_hex((digits + 1) // 2)[:digits].encode()


@command("acl|dryrun", -4, _ADMIN)
def acl_dryrun(context: Context, args: list[bytes]) -> Value:
    """Tells whether a user may run a command, without running it."""
    user = context.services.users.find(args[2])
    if user is None:
        raise CommandError(f"ERR User '{shown(args[2])}' not found")
    request = args[3:]
    found = find_for(request)
    if found is None:
        raise CommandError(f"ERR Command '{shown(request[0])}' not found")
    if not found.minimum <= len(request) <= found.maximum:
        raise wrong_arity(found.name)
    denial = user.may_run(found, request)
    return OK if denial is None else denial.explanation


@command("acl|log", -2, _ADMIN)
def acl_log(context: Context, args: list[bytes]) -> Value:
    """Lists what was denied, newest first, or forgets it."""
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    log = context.services.denials
    count = _DEFAULT_ENTRIES
    if len(args) == 3:
        if args[2].lower() == b"reset":
            log.entries.clear()
            return OK
        count = max(0, parse_int64(args[2]))
    now_ms = context.now_ms
    return [
        {
            b"count": entry.count,
            b"reason": entry.reason.name.lower().encode(),
            b"context": entry.context.encode(),
            b"object": entry.what,
            b"username": entry.user,
            b"age-seconds": (now_ms - entry.at_ms) / 1000,
            b"client-info": entry.client,
        }
        for entry in log.entries[:count]
    ]


declare_help("acl", GROUP)
