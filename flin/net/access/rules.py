"""The words of ACL SETUSER and of files: each changes a user. Their errors are Redis's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from flin.net.access.selector import ANY, Selector
from flin.net.access.universe import universe
from flin.net.access.user import User, password_hash
from flin.net.command.categories import CATEGORIES
from flin.net.command.key_specs import READS, WRITES

UNKNOWN_NAME: Final = "Unknown command or category name in ACL"
SYNTAX: Final = "Syntax error"
BEHIND_ALL_KEYS: Final = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. "
    "Try 'resetkeys' to start with an empty list of patterns"
)
BEHIND_ALL_CHANNELS: Final = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. "
    "Try 'resetchannels' to start with an empty list of channels"
)
NO_SUCH_PASSWORD: Final = "The password you are trying to remove from the user does not exist"
BAD_HASH: Final = "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
DEEP_FIRST_ARGUMENT: Final = "Allowing first-arg of a subcommand is not supported"

_SPACES: Final = re.compile(rb"[\s\0]")
_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_KEY_RULE: Final = re.compile(rb"%([RWrw]{1,2})(?:~(.*))?", re.DOTALL)


class RuleError(ValueError):
    """A word is no rule. str() is Redis's text."""


class UnmatchedParenthesis(ValueError):
    """A selector that begins and does not end. str() is its beginning."""


def merged(words: Iterable[bytes]) -> list[bytes]:
    """The words with those of a selector joined to one: `(+get`, `~a)`. Raises UnmatchedParenthesis."""
    result: list[bytes] = []
    opened: list[bytes] = []
    for word in words:
        if opened:
            opened.append(word)
        elif word.startswith(b"(") and not word.endswith(b")"):
            opened = [word]
            continue
        else:
            result.append(word)
            continue
        if word.endswith(b")"):
            result.append(b" ".join(opened))
            opened = []
    if opened:
        raise UnmatchedParenthesis(opened[0].decode("latin-1"))
    return result


def apply(user: User, rule: bytes, *, all_channels_by_default: bool = False) -> None:
    """Change a user by one rule. Raises RuleError, and may have changed part of it then: apply rules to a copy.
    all_channels_by_default: what `reset` and new selectors begin with (`acl-pubsub-default`)."""
    word = rule.lower()
    if word in _FLAGS:
        _set_flag(user, word)
    elif word == b"clearselectors":
        del user.selectors[1:]
    elif word == b"reset":
        _reset(user, all_channels_by_default=all_channels_by_default)
    elif rule[:1] in (b">", b"#"):
        user.passwords.setdefault(_hash_of(rule))
        user.has_nopass = False
    elif rule[:1] in (b"<", b"!"):
        hashed = _hash_of(rule)
        if hashed not in user.passwords:
            raise RuleError(NO_SUCH_PASSWORD)
        del user.passwords[hashed]
    elif rule.startswith(b"(") and rule.endswith(b")"):
        selector = Selector(is_all_channels=all_channels_by_default)
        for part in rule[1:-1].split():
            _apply_to_selector(selector, part)
        user.selectors.append(selector)
    elif rule:
        _apply_to_selector(user.selectors[0], rule)


_FLAGS: Final = (b"on", b"off", b"nopass", b"resetpass", b"sanitize-payload", b"skip-sanitize-payload")


def _set_flag(user: User, word: bytes) -> None:
    if word in (b"on", b"off"):
        user.is_on = word == b"on"
    elif word in (b"nopass", b"resetpass"):
        user.has_nopass = word == b"nopass"
        user.passwords.clear()
    else:
        user.sanitizes = word == b"sanitize-payload"


def _reset(user: User, *, all_channels_by_default: bool) -> None:
    user.is_on = user.has_nopass = False
    user.passwords.clear()
    user.sanitizes = True
    user.selectors = [Selector(is_all_channels=all_channels_by_default)]


def _hash_of(rule: bytes) -> bytes:
    if rule[:1] in (b">", b"<"):
        return password_hash(rule[1:])
    if _HASH.fullmatch(rule[1:]) is None:
        raise RuleError(BAD_HASH)
    return rule[1:]


def _apply_to_selector(selector: Selector, rule: bytes) -> None:
    word = rule.lower()
    if word in (b"allkeys", b"~*"):
        selector.is_all_keys = True
        selector.keys.clear()
    elif word == b"resetkeys":
        selector.is_all_keys = False
        selector.keys.clear()
    elif word in (b"allchannels", b"&*"):
        selector.is_all_channels = True
        selector.channels.clear()
    elif word == b"resetchannels":
        selector.is_all_channels = False
        selector.channels.clear()
    elif word in (b"allcommands", b"+@all", b"nocommands", b"-@all"):
        selector.set_all_commands(allowed=word in (b"allcommands", b"+@all"))
    elif rule[:1] in (b"~", b"%"):
        _add_key_pattern(selector, rule)
    elif rule[:1] == b"&":
        _add_channel_pattern(selector, rule[1:])
    elif rule[:2] in (b"+@", b"-@"):
        category = word[2:].decode("latin-1")
        if category not in CATEGORIES:
            raise RuleError(UNKNOWN_NAME)
        selector.set_category(category, allowed=rule[:1] == b"+")
    elif rule[:1] in (b"+", b"-"):
        _set_command(selector, rule, allowed=rule[:1] == b"+")
    else:
        raise RuleError(SYNTAX)


def _add_key_pattern(selector: Selector, rule: bytes) -> None:
    if selector.is_all_keys:
        raise RuleError(BEHIND_ALL_KEYS)
    flags, pattern = ANY, rule[1:]
    if rule[:1] == b"%":
        found = _KEY_RULE.fullmatch(rule)
        letters = b"" if found is None else found[1].upper()
        if found is None or letters in (b"RR", b"WW"):
            raise RuleError(SYNTAX)
        flags = (READS if b"R" in letters else 0) | (WRITES if b"W" in letters else 0)
        pattern = found[2] or b""
    if _SPACES.search(pattern):
        raise RuleError(SYNTAX)
    selector.keys[pattern] = selector.keys.get(pattern, 0) | flags


def _add_channel_pattern(selector: Selector, pattern: bytes) -> None:
    if selector.is_all_channels:
        raise RuleError(BEHIND_ALL_CHANNELS)
    if _SPACES.search(pattern):
        raise RuleError(SYNTAX)
    selector.channels.setdefault(pattern)


def _set_command(selector: Selector, rule: bytes, *, allowed: bool) -> None:
    name = rule[1:].lower().decode("latin-1")
    if not allowed or "|" not in name:
        if name not in universe():
            raise RuleError(UNKNOWN_NAME)
        selector.set_command(name, allowed=allowed)
        return
    parent, _, last = name.rpartition("|")
    if parent not in universe():
        raise RuleError(UNKNOWN_NAME)
    if "|" in parent:
        raise RuleError(DEEP_FIRST_ARGUMENT)
    if not last:
        raise RuleError(SYNTAX)
    if len(universe()[parent].with_subcommands) > 1:
        if name not in universe():
            raise RuleError(UNKNOWN_NAME)
        selector.set_command(name, allowed=True)
        return
    selector.allow_first_argument(parent, rule.rpartition(b"|")[2])
