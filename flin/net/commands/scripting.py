"""EVAL and its kin, and SCRIPT. What a run does stands in scripting/script_run.py."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.command.arguments import keys_after_number
from flin.net.command.registry import command, container, find_by_path
from flin.net.commands.help import declare_help
from flin.net.scripting.script_run import ScriptRun
from flin.net.scripting.scripts import NO_SCRIPT, SHA_LENGTH, Script, Scripts
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import NOT_AN_INTEGER, OK, Value

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "scripting"

_KEYS: Final = keys_after_number(2)
_DIGITS: Final = {b"%d" % number: number for number in range(10)}

# Untimed: a script that takes long enough for the slow log tells of itself (ScriptRun).
_RUNS: Final = "untimed noscript stale skip_monitor no_mandatory_keys movablekeys may_replicate"
_READS: Final = "untimed readonly noscript stale skip_monitor no_mandatory_keys movablekeys"


@command("eval", -3, _RUNS, _KEYS)
def eval_(context: Context, args: list[bytes]) -> Value:
    """Runs a Lua script as one step."""
    scripts = context.services.part(Scripts)
    return _run(context, args, scripts, scripts.evaluated)


@command("evalsha", -3, _RUNS, _KEYS)
def evalsha(context: Context, args: list[bytes]) -> Value:
    """Runs a Lua script that the server knows, by its SHA-1."""
    scripts = context.services.part(Scripts)
    _check_length(args[1])
    return _run(context, args, scripts, scripts.find)


@command("eval_ro", -3, _READS, _KEYS)
def eval_ro(context: Context, args: list[bytes]) -> Value:
    """Runs a Lua script that writes nothing."""
    scripts = context.services.part(Scripts)
    return _run(context, args, scripts, scripts.evaluated, reads_only=True)


@command("evalsha_ro", -3, _READS, _KEYS)
def evalsha_ro(context: Context, args: list[bytes]) -> Value:
    """Runs a Lua script that writes nothing, by its SHA-1."""
    scripts = context.services.part(Scripts)
    _check_length(args[1])
    return _run(context, args, scripts, scripts.find, reads_only=True)


def _check_length(sha: bytes) -> None:
    """What cannot be a SHA-1 is told before a wrong number of keys, as in Redis."""
    if len(sha) != SHA_LENGTH:
        raise CommandError(NO_SCRIPT)


def _says_it_reads(context: Context, args: list[bytes]) -> bool:
    """Whether the script has the flag no-writes: then it runs while writes are paused."""
    scripts = context.services.part(Scripts)
    with suppress(CommandError):  # which its run will answer
        is_source = args[0].lower() == b"eval"
        return (scripts.evaluated(args[1]) if is_source else scripts.find(args[1])).is_reader
    return False


for _name in ("eval", "evalsha"):
    _declared = find_by_path(_name)
    assert _declared is not None
    _declared.says_it_reads = _says_it_reads


def _run(
    context: Context, args: list[bytes], scripts: Scripts, find: Callable[[bytes], Script], *, reads_only: bool = False
) -> Value:
    number = _DIGITS.get(args[2])
    if number is None:
        number = parse_int64(args[2], NOT_AN_INTEGER)
    if number > len(args) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if number < 0:
        raise CommandError("ERR Number of keys can't be negative")
    script = find(args[1])  # not before: a request with a wrong number leaves no script in the cache
    if script.is_declared:
        scripts.check_writer(context, reads_only=reads_only)
    run = ScriptRun(context, args, scripts.lua.run, script.chunk, script.sha, number, script.flags)
    run.reads_only = reads_only or script.is_reader
    return run.on_loop()


container("script", GROUP, "Commands about scripts.")

_ABOUT: Final = "noscript"


@command("script|load", 3, f"{_ABOUT} stale")
def script_load(context: Context, args: list[bytes]) -> Value:
    """Keeps a script until SCRIPT FLUSH, and returns its SHA-1."""
    return context.services.part(Scripts).load(args[2])


@command("script|exists", -3, _ABOUT)
def script_exists(context: Context, args: list[bytes]) -> Value:
    """Returns for each SHA-1 whether the server knows its script."""
    scripts = context.services.part(Scripts)
    return [int(scripts.exists(sha)) for sha in args[2:]]


@command("script|flush", -2, _ABOUT)
def script_flush(context: Context, args: list[bytes]) -> Value:
    """Forgets all scripts."""
    if len(args) > 3 or (len(args) == 3 and args[2].lower() not in (b"async", b"sync")):
        raise CommandError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    context.services.part(Scripts).flush()
    return OK


@command("script|kill", 2, f"{_ABOUT} allow_busy")
def script_kill(context: Context, args: list[bytes]) -> Value:
    """Ends the script that runs; what it has written is taken back."""
    context.services.long_script.kill(is_function=False)
    return OK


@command("script|debug", 3, _ABOUT)
def script_debug(context: Context, args: list[bytes]) -> Value:
    """Refuses to debug scripts; takes NO."""
    mode = args[2].lower()
    if mode not in (b"yes", b"sync", b"no"):
        raise CommandError("ERR Use SCRIPT DEBUG YES/SYNC/NO")
    if mode != b"no":
        raise CommandError("ERR SCRIPT DEBUG is not supported: Flin has no debugger of scripts")
    return OK


declare_help("script", GROUP)
