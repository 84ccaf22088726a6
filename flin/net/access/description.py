"""Users as text: as rules that make them again (ACL LIST, files), and as what ACL GETUSER shows.

Which commands a selector allows is kept as a set, not as the words that made it, so words are found again as Redis
finds them: begin with all commands or none, whichever a future command would get; apply the category that fits best as
long as one fits more commands than not; then name single commands.
"""

from __future__ import annotations

from typing import Any, Final

from flin.net.access.selector import ANY, Selector
from flin.net.access.universe import universe
from flin.net.access.user import User
from flin.net.command.categories import CATEGORIES
from flin.net.command.key_specs import READS, WRITES

_PREFIXES: Final = {READS: b"%R~", WRITES: b"%W~", ANY: b"~"}


def described(user: User) -> bytes:
    """The user's rules in one line, as in ACL LIST, without `user` and its name."""
    own, *further = user.selectors
    words = [*flags(user), *(b"#" + known for known in user.passwords), *_rules(own)]
    return b" ".join([*words, *(b"(" + b" ".join(_rules(selector)) + b")" for selector in further)])


def flags(user: User) -> list[bytes]:
    words = [b"on" if user.is_on else b"off"]
    if user.has_nopass:
        words.append(b"nopass")
    if user.sanitizes is not None:
        words.append(b"sanitize-payload" if user.sanitizes else b"skip-sanitize-payload")
    return words


def details(user: User) -> dict[bytes, Any]:
    """What ACL GETUSER answers."""
    own, *further = user.selectors
    return {
        b"flags": dict.fromkeys(flags(user)).keys(),
        b"passwords": list(user.passwords),
        **_parts(own),
        b"selectors": [_parts(selector) for selector in further],
    }


def _parts(selector: Selector) -> dict[bytes, Any]:
    return {
        b"commands": commands(selector),
        b"keys": b" ".join(_keys(selector)),
        b"channels": b" ".join(_channels(selector)),
    }


def _rules(selector: Selector) -> list[bytes]:
    leave = [] if selector.is_all_channels else [b"resetchannels"]
    return [*_keys(selector), *leave, *_channels(selector), commands(selector)]


def _keys(selector: Selector) -> list[bytes]:
    if selector.is_all_keys:
        return [b"~*"]
    # `~*` would mean "all keys", behind which no pattern may come.
    return [
        (b"%RW~" if (glob, kind) == (b"*", ANY) else _PREFIXES[kind]) + glob for glob, kind in selector.keys.items()
    ]


def _channels(selector: Selector) -> list[bytes]:
    return [b"&*"] if selector.is_all_channels else [b"&" + pattern for pattern in selector.channels]


def commands(selector: Selector) -> bytes:
    """The rules about commands."""
    all_names = universe()
    adds = not selector.takes_future
    words = ["-@all" if adds else "+@all"]
    left, made = selector.copy(), Selector()
    made.set_all_commands(allowed=not adds)
    members = {
        category: [named.name for named in all_names.values() if category in named.categories and named.in_redis]
        for category in CATEGORIES
    }
    applied: set[str] = set()
    while (best := _best_category(left, members, applied, adds=adds)) is not None:
        made.set_category(best, allowed=adds)
        left.set_category(best, allowed=not adds)
        applied.add(best)
        words.append(("+@" if adds else "-@") + best)
    for name in all_names:
        allowed = name in selector.names
        if allowed != (name in made.names):
            words.append(("+" if allowed else "-") + name)
            made.set_command(name, allowed=allowed)
        if not allowed:
            words += [f"+{name}|{word.decode('latin-1')}" for word in selector.first_arguments.get(name, ())]
    return " ".join(words).encode("latin-1")


def _best_category(left: Selector, members: dict[str, list[str]], applied: set[str], *, adds: bool) -> str | None:
    """The one that leaves the fewest commands wrong, of those that leave more right than wrong."""
    best, least, most = None, len(universe()) + 1, 0
    for category, names in members.items():
        if category in applied:
            continue
        allowed = sum(name in left.names for name in names)
        right = allowed if adds else len(names) - allowed
        wrong = len(names) - right
        if right > wrong and (wrong < least or (wrong == least and right > most)):
            best, least, most = category, wrong, right
    return best
