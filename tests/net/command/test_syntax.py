"""The arguments of commands: their notation, and what people are shown."""

from __future__ import annotations

import pytest

import flin.net.commands.every  # noqa: F401 - declares them
from flin.net.command.registry import with_subcommands
from flin.net.command.syntax import Argument, arguments_of, names


def test_every_line_is_read_whole() -> None:
    for name in names():
        assert arguments_of(name), name


def test_a_command_without_arguments() -> None:
    assert arguments_of("dbsize") == ()
    assert arguments_of("nosuch") == ()


def test_a_key_with_its_word() -> None:
    assert arguments_of("lolwut") == (Argument("version", "integer", "VERSION", None, ("optional",)),)
    by = arguments_of("sort")[1]
    assert by == Argument("pattern", "pattern", "BY", 1, ("optional",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("get", "key"),
        ("mset", "key value [key value …]"),
        ("del", "key [key …]"),
        ("eval", "script numkeys [key …] [arg …]"),
        ("expire", "key seconds [NX | XX | GT | LT]"),
        (
            "xadd",
            "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value …]",
        ),
        ("sort_ro", "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern …]] [ASC | DESC] [ALPHA]"),
        ("geoadd", "key [NX | XX] [CH] longitude latitude member [longitude latitude member …]"),
        ("client|setinfo", "<LIB-NAME libname | LIB-VER libver>"),
    ],
)
def test_as_text(name: str, text: str) -> None:
    assert " ".join(argument.text() for argument in arguments_of(name)) == text


def test_a_command_that_needs_arguments_has_them() -> None:
    without = {
        found.name
        for found in with_subcommands()
        if found.minimum > 1 + found.name.count("|") and not arguments_of(found.name)
    }
    assert without == {"command|getkeys", "command|getkeysandflags", "debug"}, "Redis tells none of these either"
