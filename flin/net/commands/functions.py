"""FCALL, FCALL_RO and FUNCTION. What a library is stands in scripting/functions.py, what a run does in
scripting/script_run.py."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from flin.errors import CommandError
from flin.net.command.arguments import keys_after_number
from flin.net.command.registry import command, container, find_by_path
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.run.gates import check_writes
from flin.net.scripting.functions import Function, Functions, Library
from flin.net.scripting.script_run import ScriptRun
from flin.net.wire.glob import compile_glob
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Map, Value, shown

if TYPE_CHECKING:
    from flin.net.run.context import Context

GROUP: Final = "scripting"

_KEYS: Final = keys_after_number(2)
POLICIES: Final = (b"FLUSH", b"APPEND", b"REPLACE")


# Untimed: as EVAL.
@command("fcall", -3, "untimed noscript stale skip_monitor no_mandatory_keys movablekeys may_replicate", _KEYS)
def fcall(context: Context, args: list[bytes]) -> Value:
    """Calls a function of a library as one step."""
    return _call(context, args, reads_only=False)


@command("fcall_ro", -3, "untimed readonly noscript stale skip_monitor no_mandatory_keys movablekeys", _KEYS)
def fcall_ro(context: Context, args: list[bytes]) -> Value:
    """Calls a function of a library that writes nothing."""
    return _call(context, args, reads_only=True)


def _says_it_reads(context: Context, args: list[bytes]) -> bool:
    """Whether the function has the flag no-writes: then it runs while writes are paused."""
    with suppress(CommandError):  # which its run will answer
        return context.services.part(Functions).find(args[1]).is_reader
    return False


_fcall: Final = find_by_path("fcall")
assert _fcall is not None
_fcall.says_it_reads = _says_it_reads


def _call(context: Context, args: list[bytes], *, reads_only: bool) -> Value:
    functions = context.services.part(Functions)
    function = functions.find(args[1])
    number = parse_int64(args[2], "ERR Bad number of keys provided")
    if number > len(args) - 3:
        raise CommandError("ERR Number of keys can't be greater than number of args")
    if number < 0:
        raise CommandError("ERR Number of keys can't be negative")
    if not function.is_reader:
        _check_writer(context, reads_only=reads_only)
    run = ScriptRun(context, args, functions.call, function, function.name, number, function.flags, is_function=True)
    run.reads_only = reads_only or function.is_reader
    return run.on_loop()


def _check_writer(context: Context, *, reads_only: bool) -> None:
    """What a function says of itself is checked before it begins. CommandError as Redis words it."""
    services = context.services
    if reads_only:
        raise CommandError("ERR Can not execute a script with write flag using *_ro command.")
    if not services.clients.gates_open:
        check_writes(context, has_waited=context.has_waited or services.pending.in_transaction)


container("function", GROUP, "Commands about functions.")


@command("function|load", -3, "write denyoom noscript")
def function_load(context: Context, args: list[bytes]) -> Value:
    """Adds a library of functions, or with REPLACE puts it in another's place; returns its name."""
    for option in args[2:-1]:
        if option.lower() != b"replace":
            raise CommandError(f"ERR Unknown option given: {shown(option)}")
    return context.services.part(Functions).load(args[-1], replaces=len(args) > 3)


@command("function|delete", 3, "write noscript")
def function_delete(context: Context, args: list[bytes]) -> Value:
    """Deletes a library and its functions."""
    context.services.part(Functions).delete(args[2])
    return OK


@command("function|flush", -2, "write noscript")
def function_flush(context: Context, args: list[bytes]) -> Value:
    """Deletes all libraries."""
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    if len(args) == 3 and args[2].lower() not in (b"async", b"sync"):
        raise CommandError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    context.services.part(Functions).flush()
    return OK


@command("function|list", -2, "noscript")
def function_list(context: Context, args: list[bytes]) -> Value:
    """Lists the libraries, or those whose names match LIBRARYNAME's pattern; WITHCODE with their sources."""
    pattern, with_code, at = None, False, 2
    while at < len(args):
        option = args[at].lower()
        if option == b"withcode" and not with_code:
            with_code = True
        elif option == b"libraryname" and pattern is None:
            at += 1
            if at == len(args):
                raise CommandError("ERR library name argument was not given")
            pattern = args[at]
        else:
            raise CommandError(f"ERR Unknown argument {shown(args[at])}")
        at += 1
    matches = compile_glob(b"*" if pattern is None else pattern.lower()).matches
    libraries = context.services.part(Functions).libraries.values()
    return [_described(library, with_code=with_code) for library in libraries if matches(library.name.lower())]


def _described(library: Library, *, with_code: bool) -> Value:
    found: dict[bytes, Any] = {
        b"library_name": library.name,
        b"engine": b"LUA",
        b"functions": [_function(function) for function in library.functions],
    }
    if with_code:
        found[b"library_code"] = library.source
    return found


def _function(function: Function) -> Value:
    flags = Map([(name.decode(), None) for name in dict.fromkeys(function.flag_names)], is_set=True)
    return {b"name": function.name, b"description": function.description, b"flags": flags}


@command("function|stats", 2, "noscript allow_busy")
def function_stats(context: Context, args: list[bytes]) -> Value:
    """Tells which function runs, and how many there are."""
    functions, running = context.services.part(Functions), None
    job = context.services.long_script.job
    if isinstance(job, ScriptRun) and job.is_function:
        running = {
            b"name": job.label,
            b"command": job.request,
            b"duration_ms": context.services.long_script.duration_ms(),
        }
    libraries = functions.libraries
    counts = {
        b"libraries_count": len(libraries),
        b"functions_count": sum(len(library.functions) for library in libraries.values()),
    }
    return {b"running_script": running, b"engines": {b"LUA": counts}}


@command("function|kill", 2, "noscript allow_busy")
def function_kill(context: Context, args: list[bytes]) -> Value:
    """Ends the function that runs; what it has written is taken back."""
    context.services.long_script.kill(is_function=True)
    return OK


@command("function|dump", 2, "noscript")
def function_dump(context: Context, args: list[bytes]) -> Value:
    """Returns all libraries as a payload for FUNCTION RESTORE."""
    return context.services.part(Functions).dump()


@command("function|restore", -3, "write denyoom noscript")
def function_restore(context: Context, args: list[bytes]) -> Value:
    """Adds the libraries of a payload: all of them, or none."""
    if len(args) > 4:
        raise unknown_or_wrong_arity(args)
    policy = args[3].upper() if len(args) == 4 else b"APPEND"
    if policy not in POLICIES:
        raise CommandError("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
    context.services.part(Functions).restore(args[2], policy)
    return OK


declare_help("function", GROUP)
