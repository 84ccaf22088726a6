"""The command reference is up to date, and complete."""

from __future__ import annotations

from pathlib import Path

from flin.net.command.registry import all_commands
from flin.net.commands.reference import render

DOCUMENT = Path(__file__).parents[3] / "docs" / "commands.md"


def test_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), (
        "run python -m flin.net.commands.reference > docs/commands.md"
    )


def test_every_command_is_there() -> None:
    text = render()
    for command in all_commands():
        for shown in command.subcommands.values() if command.subcommands else [command]:
            assert f"| `{shown.name.upper().replace('|', ' ')}` |" in text
