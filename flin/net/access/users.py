"""All users by name. The default user is always there: it is the one that a client is before it has logged in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from flin.errors import FlinError
from flin.net.access import rules
from flin.net.access.user import User

DEFAULT: Final = b"default"


class Users:
    """all_channels_by_default: whether a new user begins with `allchannels` (`acl-pubsub-default`)."""

    def __init__(self, password: bytes = b"", all_channels_by_default: Callable[[], bool] = lambda: False) -> None:
        self._all_channels_by_default = all_channels_by_default
        self.default = self.unrestricted_default()
        self._by_name = {DEFAULT: self.default}
        if password:
            self.set_default_password(password)

    def heir(self, all_channels_by_default: Callable[[], bool]) -> Users:
        """For the next server of this process: the same users."""
        made = Users(all_channels_by_default=all_channels_by_default)
        made.default, made._by_name = self.default, self._by_name
        return made

    def unrestricted_default(self) -> User:
        """The default user of a server without rules: on, without a password, allowed everything."""
        user = User(DEFAULT)
        for word in (b"on", b"nopass", b"~*", b"&*", b"+@all"):
            rules.apply(user, word)
        user.compile()
        return user

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[User]:
        """In order of name."""
        return (self._by_name[name] for name in sorted(self._by_name))

    def find(self, name: bytes) -> User | None:
        return self._by_name.get(name)

    @property
    def needs_password(self) -> bool:
        """Whether a client has to log in: it cannot be the default user without a password."""
        return not (self.default.has_nopass and self.default.is_on)

    def set_default_password(self, password: bytes) -> None:
        """`requirepass`: the default user's only password; after an empty one, it has none and needs none."""
        for word in (b"resetpass", b">" + password if password else b"nopass"):
            rules.apply(self.default, word)

    def authenticate(self, name: bytes, password: bytes) -> User | None:
        user = self._by_name.get(name)
        return user if user is not None and user.accepts(password) else None

    def new_user(self, name: bytes) -> User:
        """One that may do nothing, and is not among the others yet."""
        return User(name, is_all_channels=self._all_channels_by_default())

    def drafted(self, name: bytes, words: Iterable[bytes]) -> User:
        """The user of this name, or a new one, as it is after these rules; what is in force does not change.

        Raises BadRule with the rule that is none, and CommandError for a pattern that takes too many steps."""
        known = self._by_name.get(name)
        draft = self.new_user(name) if known is None else known.copy()
        self.apply_all(draft, words)
        draft.compile()
        return draft

    def apply_all(self, user: User, words: Iterable[bytes]) -> None:
        """Change a user by these rules. Raises BadRule."""
        for word in words:
            try:
                rules.apply(user, word, all_channels_by_default=self._all_channels_by_default())
            except rules.RuleError as error:
                raise BadRule(word, str(error)) from None

    def put(self, draft: User) -> User:
        """Put a drafted user into force. Returns it as sessions know it."""
        known = self._by_name.setdefault(draft.name, draft)
        if known is not draft:
            known.become(draft)
        return known

    def remove(self, name: bytes) -> User | None:
        """The user that was there; not the default user."""
        return self._by_name.pop(name, None)

    def replace_all(self, drafts: Iterable[User]) -> list[User]:
        """ACL LOAD: these in place of all others. The default user stays the same object, with the rules of its draft,
        or as it is without any. Returns those that are gone."""
        gone = [user for name, user in self._by_name.items() if name != DEFAULT]
        self._by_name = {DEFAULT: self.default}
        self.default.become(self.unrestricted_default())
        for draft in drafts:
            self.put(draft)
        return gone


class BadRule(FlinError):
    """A word that is no rule, and Redis's text about it."""

    def __init__(self, rule: bytes, reason: str) -> None:
        super().__init__(f"{rule!r}: {reason}")
        self.rule = rule
        self.reason = reason
