"""The arguments of a command: from the notation of syntax_table.py to what COMMAND DOCS tells, and to a line of text.

value              a string; value:i an integer, :d a double, :p a pattern, :u a Unix time, :k0 a key (0: of the first
                   key specification)
EX=seconds:i       the word EX, then an integer
NX                 the word itself; sorting!ALPHA where the argument has another name, equal!"=" for other characters
(name: a | b)      one of them
{name: a b}        one after the other
a? a* a+           it may be left out; it may be repeated; and then with its word each time
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from flin.net.command.syntax_table import TABLE

_TYPES: Final = {
    "": "string",
    "i": "integer",
    "d": "double",
    "p": "pattern",
    "u": "unix-time",
    "k": "key",
}
_FLAGS: Final = {"?": "optional", "*": "multiple", "+": "multiple_token"}

_WORD: Final = re.compile(
    r"""(?P<name>[^\s(){}|?*+!="]+?)(?::(?P<type>[idpuk])(?P<spec>\d+)?)?(?P<end>[?*+]*)(?=[\s)}|]|$)"""
)
_PURE: Final = re.compile(r"""(?P<name>[^\s(){}|?*+!="]+)!(?:"(?P<odd>[^"]*)"|(?P<token>[A-Z0-9_-]+))(?P<end>[?*+]*)""")
_TOKEN: Final = re.compile(r"(?P<token>[A-Z0-9_-]+)=")
_OPEN: Final = re.compile(r"(?P<kind>[({])(?P<name>[^\s(){}|]+): ")
_END: Final = re.compile(r"(?P<end>[?*+]*)")
_UPPER: Final = re.compile(r"[A-Z][A-Z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Argument:
    """type: as COMMAND DOCS has it. token: the word before it, or the word itself. spec: a key's specification."""

    name: str
    type: str
    token: str | None = None
    spec: int | None = None
    flags: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()

    def described(self) -> dict[bytes, Any]:
        """An element of COMMAND DOCS' arguments."""
        shown: dict[bytes, Any] = {b"name": self.name.encode(), b"type": self.type.encode()}
        if self.spec is not None:
            shown[b"key_spec_index"] = self.spec
        if self.token is not None:
            shown[b"token"] = self.token.encode()
        if self.flags:
            shown[b"flags"] = frozenset(self.flags)
        if self.arguments:
            shown[b"arguments"] = [argument.described() for argument in self.arguments]
        return shown

    def text(self) -> str:
        """For people: [EX seconds | PX milliseconds]."""
        is_optional = "optional" in self.flags
        one = self._one(is_inner=is_optional)
        if "multiple" in self.flags:
            again = one if self.token is None or "multiple_token" in self.flags else self._body(is_inner=False)
            if is_optional and "multiple_token" not in self.flags:
                return f"[{one} …]"
            return f"[{one} [{again} …]]" if is_optional else f"{one} [{again} …]"
        return f"[{one}]" if is_optional else one

    def _one(self, *, is_inner: bool) -> str:
        body = self._body(is_inner=is_inner and self.token is None)
        if self.token is None:
            return body
        return self.token or '""' if self.type == "pure-token" else f"{self.token} {body}"

    def _body(self, *, is_inner: bool) -> str:
        if self.type == "oneof":
            choices = " | ".join(argument.text() for argument in self.arguments)
            return choices if is_inner else f"<{choices}>"
        if self.type == "block":
            return " ".join(argument.text() for argument in self.arguments)
        return self.name


class _Reader:
    """One line of the table. The table is right: a test reads all of it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def several(self, separator: str, end: str) -> tuple[Argument, ...]:
        found = [self._one()]
        while self._at < len(self._text) and self._text[self._at] != end:
            assert self._text.startswith(separator, self._at), self._text[self._at :]
            self._at += len(separator)
            found.append(self._one())
        return tuple(found)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _one(self) -> Argument:
        pure = self._take(_PURE)
        if pure is not None:
            token = pure["token"] if pure["odd"] is None else pure["odd"]
            return Argument(pure["name"], "pure-token", token, flags=_flags(pure["end"]))
        before = self._take(_TOKEN)
        token = None if before is None else before["token"]
        group = self._take(_OPEN)
        if group is not None:
            is_choice = group["kind"] == "("
            inner = self.several(" | " if is_choice else " ", ")" if is_choice else "}")
            self._at += 1
            end = self._take(_END)
            assert end is not None
            kind = "oneof" if is_choice else "block"
            return Argument(group["name"], kind, token, flags=_flags(end["end"]), arguments=inner)
        word = self._take(_WORD)
        assert word is not None, self._text[self._at :]
        flags = _flags(word["end"])
        if token is None and word["type"] is None and _UPPER.fullmatch(word["name"]):
            return Argument(word["name"].lower(), "pure-token", word["name"], flags=flags)
        spec = None if word["spec"] is None else int(word["spec"])
        return Argument(word["name"], _TYPES[word["type"] or ""], token, spec, flags)


def _flags(marks: str) -> tuple[str, ...]:
    return tuple(_FLAGS[mark] for mark in marks)


@cache
def _rows() -> dict[str, str]:
    lines = TABLE.strip("\n").replace("\n    ", " ").splitlines()
    return {name: syntax for name, _, syntax in (line.partition(" ") for line in lines)}


@cache
def arguments_of(name: str) -> tuple[Argument, ...]:
    """The arguments of a command or subcommand ("client|kill"), without its name."""
    syntax = _rows().get(name)
    return () if syntax is None else _Reader(syntax).several(" ", "")


def names() -> set[str]:
    """Those whose arguments are known: all that have any."""
    return set(_rows())
