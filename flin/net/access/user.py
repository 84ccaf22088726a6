"""A user: whether it may log in, with which passwords, and its selectors. `may_run` is the question that every request
of a restricted user, and every command of its scripts, is put.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from flin.net.access.denial import Denial
from flin.net.access.selector import Selector
from flin.net.command.command import Command


class User:
    """Sessions hold it while it is changed: `become` puts other rules into it at once."""

    __slots__ = ("has_nopass", "is_on", "is_unrestricted", "name", "passwords", "sanitizes", "selectors")

    def __init__(self, name: bytes, *, is_all_channels: bool = False) -> None:
        self.name = name
        self.is_on = False
        self.has_nopass = False
        self.passwords: dict[bytes, None] = {}  # SHA-256, in hexadecimal
        self.sanitizes: bool | None = None  # which of Redis's two words about RESTORE was said last; Flin always checks
        self.selectors = [Selector(is_all_channels=is_all_channels)]  # the first is its own, others are in parentheses
        self.is_unrestricted = False

    def copy(self) -> User:
        """One that rules can change while this one stays in force."""
        other = User(self.name)
        other.become(self)
        other.passwords = dict(self.passwords)
        other.selectors = [selector.copy() for selector in self.selectors]
        return other

    def become(self, other: User) -> None:
        """Take over all that is said of another, but its name."""
        self.is_on, self.has_nopass = other.is_on, other.has_nopass
        self.passwords, self.sanitizes = other.passwords, other.sanitizes
        self.selectors, self.is_unrestricted = other.selectors, other.is_unrestricted

    def compile(self) -> None:
        """After changes. Raises CommandError for a pattern that takes too many steps."""
        for selector in self.selectors:
            selector.compile()
        self.is_unrestricted = any(selector.is_unrestricted for selector in self.selectors)

    def accepts(self, password: bytes) -> bool:
        """Whether one may log in with it; each is compared in constant time."""
        if not self.is_on:
            return False
        if self.has_nopass:
            return True
        given = password_hash(password)
        return any([hmac.compare_digest(given, known) for known in self.passwords])  # noqa: C419 - all, whichever fits

    def may_run(self, command: Command, request: list[bytes]) -> Denial | None:
        """None if it may; else the denial of the selector that came furthest."""
        worst: Denial | None = None
        for selector in self.selectors:
            denial = selector.check(command, request)
            if denial is None:
                return None
            if worst is None or (denial.kind, denial.position) > (worst.kind, worst.position):
                worst = denial
        return worst

    def may_run_columns(self, command: Command, columns: Sequence[tuple[bytes, ...]]) -> bool:
        """Whether one selector allows all requests of a pipeline of one command; columns: one for each argument. False
        where that cannot be told at once."""
        return any(selector.allows_columns(command, columns) for selector in self.selectors)

    def reads_every_key(self, command: Command, request: list[bytes]) -> bool:
        """Whether one selector allows the request and to read whatever key (SORT's BY and GET name keys as they go)."""
        return any(
            selector.reads_every_key() and selector.check(command, request) is None for selector in self.selectors
        )

    def allows_range(self, start: bytes, stop: bytes, wanted: int) -> bool:
        """Whether one selector allows that of every key from start to stop."""
        return any(selector.allows_range(start, stop, wanted) for selector in self.selectors)

    def allows_channels(self, channels: Iterable[bytes], *, are_patterns: bool = False) -> bool:
        """Whether it may be subscribed to all of them: each is allowed by some selector."""
        return all(
            any(selector.allows_channel(channel, is_pattern=are_patterns) for selector in self.selectors)
            for channel in channels
        )


def password_hash(password: bytes) -> bytes:
    """SHA-256 in hexadecimal, as ACL LIST and files of users show passwords."""
    return hashlib.sha256(password).hexdigest().encode()
