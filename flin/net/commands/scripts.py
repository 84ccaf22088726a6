"""FUNCTION FLUSH. Flin has no functions, but the test suites and tools of clients delete all before they begin."""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.command.registry import command, container
from flin.net.commands.help import unknown_or_wrong_arity
from flin.net.run.context import Context
from flin.net.wire.replies import OK, Value

GROUP: Final = "scripting"

container("function", GROUP, "Commands about functions.")


@command("function|flush", -2, "write noscript")
def function_flush(context: Context, args: list[bytes]) -> Value:
    """Answers OK: there are no functions."""
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    if len(args) == 3 and args[2].lower() not in (b"async", b"sync"):
        raise CommandError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    return OK
