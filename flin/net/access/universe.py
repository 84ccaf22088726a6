"""The commands that rules may name: those of Flin, and those of Redis 7.0 that Flin does not have.

A file of users that was made for Redis says `-@all +migrate +ping`, say. Such rules are kept and shown as they
are, although there is nothing here that they could allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from flin.net.command.categories import categories
from flin.net.command.command import Command
from flin.net.command.facts import FACTS
from flin.net.command.registry import all_commands


@dataclass(frozen=True, slots=True)
class Named:
    """A command as rules see it. with_subcommands: its own name, and those of its subcommands. in_redis: Redis 7.0 has
    it. The others, newer ones and Flin's own, must not affect by which categories rules are worded."""

    name: str
    categories: frozenset[str]
    with_subcommands: tuple[str, ...]
    in_redis: bool


_ABSENT: Final = """
keyspace write slow dangerous: migrate restore-asking
"""
"""Their categories in Redis 7.0, then their names. What is declared meanwhile needs no row."""


def _in_redis(command: Command) -> bool:
    facts = FACTS.get(command.name)
    return command.group != "flin" and (facts is None or tuple(map(int, facts.since.split("."))) < (7, 1))


@lru_cache(maxsize=1)
def universe() -> dict[str, Named]:
    """All of them, by name, in order of name. The registry must be whole."""
    found: dict[str, frozenset[str]] = {}
    for line in _ABSENT.strip().splitlines():
        words, _, names = line.partition(": ")
        found.update(dict.fromkeys(names.split(), frozenset(words.split())))
    others: set[str] = set()
    for command in all_commands():
        for each in (command, *(command.subcommands or {}).values()):
            found[each.name] = frozenset(categories(each))
            if not _in_redis(each):
                others.add(each.name)
    subcommands: dict[str, list[str]] = {}
    for name in sorted(found):
        subcommands.setdefault(name.partition("|")[0], []).append(name)
    return {
        name: Named(name, found[name], (name,) if "|" in name else tuple(subcommands[name]), name not in others)
        for name in sorted(found)
    }
