"""Random rules of users, sensible and not."""

from __future__ import annotations

import random

from flin.net.command.categories import CATEGORIES

_KEYS = [b"z:*", b"l:*", b"h:*", b"s:*", b"k*", b"{tag}*", b"?:[0-3]", b"*", b"*:1", b"", b"\\k*", b"g:*", b"x:*"]
_CHANNELS = [b"news:*", b"c*", b"*", b"a", b"[ab]*", b"k*"]
_NAMES = [
    b"get", b"set", b"del", b"mget", b"zadd", b"zrange", b"lpush", b"blpop", b"hset", b"config", b"config|get",
    b"client", b"client|id", b"object|encoding", b"object", b"acl|whoami", b"acl", b"sort", b"sort_ro", b"ping",
    b"publish", b"subscribe", b"psubscribe", b"exec", b"multi", b"xread", b"xgroup|create", b"zunionstore", b"select",
    b"eval", b"psync", b"cluster|info", b"georadius", b"bitfield", b"exists", b"copy", b"rename", b"lmove", b"getset",
]  # fmt: skip
_FIRST_ARGUMENTS = [b"select|1", b"select|0", b"get|k", b"debug|object", b"SELECT|1", b"type|x"]
_WIDE = [
    b"+@all", b"-@all", b"allcommands", b"nocommands", b"allkeys", b"resetkeys", b"resetkeys", b"allchannels",
    b"resetchannels", b"resetchannels",
]  # fmt: skip
_BAD = [
    b"nonsense", b"+nothing", b"-nothing", b"+@nothing", b"+get|", b"+config|", b"+config|get|x", b"+config|nothing",
    b"-select|0", b"%x~a", b"%~a", b"%RR~a", b"~a b", b"&a b", b"#abc", b"#" + b"A" * 64, b"<no such", b"!" + b"0" * 64,
    b"(", b")", b"(+get", b"(nonsense)", b"(on)", b"((+get))", b"+", b"-", b"@read", b"+@", b"(>pass)",
]  # fmt: skip
_USER = [
    b"on", b"off", b"nopass", b"resetpass", b">one", b">two", b"<one", b"<two", b"#" + b"a" * 64, b"!" + b"a" * 64,
    b"sanitize-payload", b"skip-sanitize-payload", b"clearselectors", b"ON", b"",
]  # fmt: skip


class RuleGenerator:
    def __init__(self, source: random.Random) -> None:
        self.random = source

    def rules(self, most: int = 6) -> list[bytes]:
        """One to `most` words; one in eight of such lists has a bad one."""
        words = [self._user() if self.random.random() < 0.2 else self._selector() for _ in range(self._number(most))]
        if self.random.random() < 0.25:
            words.append(b"(" + b" ".join(self._selector() for _ in range(self._number(3))) + b")")
        if self.random.random() < 0.1:
            words.append(b"reset")
        if self.random.random() < 0.12:
            words.insert(self.random.randrange(len(words) + 1), self.random.choice(_BAD))
        return words

    def _number(self, most: int) -> int:
        return self.random.randint(1, most)

    def _user(self) -> bytes:
        return self.random.choice(_USER)

    def _selector(self) -> bytes:
        pick = self.random.choice
        kind = self.random.random()
        if kind < 0.3:
            return pick([b"+", b"+", b"-"]) + pick(_NAMES)
        if kind < 0.55:
            return pick([b"+@", b"+@", b"-@"]) + pick(CATEGORIES).encode()
        if kind < 0.6:
            return b"+" + pick(_FIRST_ARGUMENTS)
        if kind < 0.85:
            return pick([b"~", b"%R~", b"%W~", b"%RW~", b"%wr~"]) + pick(_KEYS)
        if kind < 0.93:
            return b"&" + pick(_CHANNELS)
        return pick(_WIDE)
