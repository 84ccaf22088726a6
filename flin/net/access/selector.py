"""A selector: commands, with the keys and channels that they may touch. A user has one, and perhaps further ones.

It holds what rules have said (rules.py changes it) and, after `compile`, what checks need: commands as a set of
`Command` objects, and for each thing that can be needed of a key (to read it, to write it) one predicate. What `check`
does is Redis's: a command that names no keys is checked for none, and one pattern alone must allow all that is done
with a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from flin.engine.key import prefix_stop
from flin.net.access.denial import Denial, Kind
from flin.net.access.patterns import compiled
from flin.net.access.universe import universe
from flin.net.command.command import Command, Flag
from flin.net.command.key_specs import READS, WRITES
from flin.net.command.registry import find_by_path

ANY: Final = READS | WRITES

Matches = Callable[[bytes], bool]


class _Compiled(NamedTuple):
    commands: frozenset[Command]
    first_arguments: dict[Command, frozenset[bytes]]
    keys: tuple[Matches, Matches, Matches, Matches]
    """By what is needed: nothing, READS, WRITES, both."""
    channels: Matches
    channel_patterns: frozenset[bytes]


class Selector:
    __slots__ = (
        "_compiled",
        "channels",
        "first_arguments",
        "is_all_channels",
        "is_all_commands",
        "is_all_keys",
        "keys",
        "names",
        "takes_future",
    )

    def __init__(self, *, is_all_channels: bool = False) -> None:
        self.is_all_commands = False
        self.takes_future = False  # the last word about all commands was +@all: rules are shown from there on
        self.names: set[str] = set()  # of the commands that are allowed
        self.first_arguments: dict[str, list[bytes]] = {}  # `+select|0`: allowed with this argument only
        self.is_all_keys = False
        self.keys: dict[bytes, int] = {}  # pattern -> READS, WRITES or both
        self.is_all_channels = is_all_channels
        self.channels: dict[bytes, None] = {}
        self._compiled: _Compiled | None = None

    def copy(self) -> Selector:
        """One that can be changed; it is not compiled."""
        other = Selector(is_all_channels=self.is_all_channels)
        other.is_all_commands, other.takes_future = self.is_all_commands, self.takes_future
        other.names = set(self.names)
        other.first_arguments = {name: list(words) for name, words in self.first_arguments.items()}
        other.is_all_keys, other.keys = self.is_all_keys, dict(self.keys)
        other.channels = dict(self.channels)
        return other

    @property
    def is_unrestricted(self) -> bool:
        return self.is_all_commands and self.is_all_keys and self.is_all_channels

    # Its commands.

    def set_command(self, name: str, *, allowed: bool) -> None:
        """A command with its subcommands, or one subcommand."""
        for each in universe()[name].with_subcommands:
            self.first_arguments.pop(each, None)
        if allowed:
            self.names.update(universe()[name].with_subcommands)
        else:
            self.names.difference_update(universe()[name].with_subcommands)
            self.is_all_commands = False

    def set_category(self, category: str, *, allowed: bool) -> None:
        for named in universe().values():
            if category in named.categories:
                self.set_command(named.name, allowed=allowed)

    def set_all_commands(self, *, allowed: bool) -> None:
        self.is_all_commands = self.takes_future = allowed
        self.names = set(universe()) if allowed else set()
        self.first_arguments.clear()

    def allow_first_argument(self, name: str, word: bytes) -> None:
        """`+select|0`: the command is allowed if this is its first argument, in any case of letters."""
        words = self.first_arguments.setdefault(name, [])
        if word.lower() not in (known.lower() for known in words):
            words.append(word)

    # What it allows.

    def compile(self) -> None:
        """After changes. Raises CommandError for a pattern that takes too many steps."""
        self.is_all_commands = self.takes_future and len(self.names) == len(universe())
        found = {name: find_by_path(name) for name in (*self.names, *self.first_arguments)}
        nothing, reads, writes, both = (
            compiled([glob for glob, flags in self.keys.items() if flags & wanted == wanted])
            for wanted in (0, READS, WRITES, ANY)
        )
        self._compiled = _Compiled(
            frozenset(command for name in self.names if (command := found[name]) is not None),
            {
                command: frozenset(word.lower() for word in words)
                for name, words in self.first_arguments.items()
                if (command := found[name]) is not None
            },
            (nothing, reads, writes, both),
            compiled(self.channels),
            frozenset(self.channels),
        )

    def check(self, command: Command, request: list[bytes]) -> Denial | None:
        """Why it does not allow the request; None: it does."""
        rules = self._compiled
        assert rules is not None
        if not (
            self.is_all_commands
            or command in rules.commands
            or command.flags & Flag.NO_AUTH
            or self._allows_first_argument(rules, command, request)
        ):
            return Denial(Kind.COMMAND, command.name.encode())
        if not self.is_all_keys:
            only_key = command.only_key
            if only_key is not None and only_key[0] < len(request) <= only_key[2]:
                position, wanted, _ = only_key
                if not rules.keys[wanted](request[position]):
                    return Denial(Kind.KEY, request[position], position)
            elif command.key_specs:
                for use, positions in command.touches(request):
                    allows = rules.keys[use.needs]
                    for position in positions:
                        if not allows(request[position]):
                            return Denial(Kind.KEY, request[position], position)
        if command.channels is None or self.is_all_channels or not command.channels.is_checked:
            return None
        return self._check_channels(rules, command, request)

    def allows_columns(self, command: Command, columns: Sequence[tuple[bytes, ...]]) -> bool:
        """Whether it allows all requests with these arguments, a column for each. False where that is not simple."""
        rules = self._compiled
        assert rules is not None
        if not (self.is_all_commands or command in rules.commands):
            return False
        if command.channels is not None and not self.is_all_channels:
            return False
        if self.is_all_keys or not command.key_specs:
            return True
        only_key = command.only_key
        if only_key is None or len(columns) >= only_key[2]:
            return False
        position, wanted, _ = only_key
        return all(map(rules.keys[wanted], columns[position - 1]))

    def _allows_first_argument(self, rules: _Compiled, command: Command, request: list[bytes]) -> bool:
        words = rules.first_arguments.get(command)
        return words is not None and len(request) > 1 and request[1].lower() in words

    def _check_channels(self, rules: _Compiled, command: Command, request: list[bytes]) -> Denial | None:
        assert command.channels is not None
        for number, channel in enumerate(command.channels.of(request)):
            if not self.allows_channel(channel, is_pattern=command.channels.are_patterns):
                return Denial(Kind.CHANNEL, channel, command.channels.first + number)
        return None

    def allows_channel(self, channel: bytes, *, is_pattern: bool) -> bool:
        """Whether one may subscribe to it: a pattern only if it is allowed letter by letter."""
        if self.is_all_channels:
            return True
        rules = self._compiled
        assert rules is not None
        return channel in rules.channel_patterns if is_pattern else rules.channels(channel)

    def reads_every_key(self) -> bool:
        return self.is_all_keys or bool(self.keys.get(b"*", 0) & READS)

    def allows_range(self, start: bytes, stop: bytes, wanted: int) -> bool:
        """Whether it allows that of every key from start to stop (exclusive; empty: no end): if one pattern is a prefix
        of them all. (What other patterns would add up to, nobody looks at.)"""
        return self.is_all_keys or any(
            flags & wanted == wanted and _is_within(start, stop, pattern[:-1])
            for pattern, flags in self.keys.items()
            if pattern.endswith(b"*") and not _SPECIAL.intersection(pattern[:-1])
        )


_SPECIAL: Final = frozenset(b"*?[\\")


def _is_within(start: bytes, stop: bytes, prefix: bytes) -> bool:
    """Whether all keys from start to stop begin with the prefix."""
    end = prefix_stop(prefix) if prefix else None
    return start >= prefix and (end is None or (stop != b"" and stop <= end))
