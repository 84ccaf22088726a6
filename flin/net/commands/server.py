"""Commands about the server: CONFIG, INFO, FLUSHALL, SLOWLOG, MEMORY, SHUTDOWN."""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.arguments import parse_int32
from flin.net.command import Flag, Keys
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.context import Context
from flin.net.glob import compile_glob
from flin.net.info import render_info
from flin.net.numbers import maybe_int64, parse_int64
from flin.net.registry import command, container
from flin.net.replies import NOTHING, OK, Slices, Value, syntax_error

_ADMIN: Final = Flag.ADMIN | Flag.NOSCRIPT | Flag.LOADING | Flag.STALE
_ANYTIME: Final = Flag.LOADING | Flag.STALE
_DANGEROUS: Final = ("keyspace", "dangerous")

DEFAULT_SLOWLOG_ENTRIES: Final = 10
"""What SLOWLOG GET shows without a count, as Redis."""

ENTRY_BYTES: Final = 175
"""What a memtable entry costs beyond its key and value, as engine.memtable counts it."""


@command(
    "time",
    arity=1,
    flags=_ANYTIME | Flag.FAST,
    group="server",
    since="2.6.0",
    complexity="O(1)",
    summary="Returns the server's time.",
)
def time_(context: Context, args: list[bytes]) -> Value:
    # The store's clock ends at milliseconds; no client needs more of a server's time.
    now_ms = context.services.store.now_ms()
    return [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)]


@command(
    "dbsize",
    arity=1,
    flags=Flag.READONLY | Flag.FAST,
    group="server",
    since="1.0.0",
    complexity="O(1), after writes at most the memtables' size once",
    summary="Returns the number of keys in the database.",
    categories=("keyspace",),
)
def dbsize(context: Context, args: list[bytes]) -> Slices:
    return (yield from context.keyspace.count())


def _flush_mode(args: list[bytes]) -> None:
    if len(args) > 2 or (len(args) == 2 and args[1].lower() not in (b"async", b"sync")):
        raise syntax_error()


@command(
    "flushdb",
    arity=-1,
    flags=Flag.WRITE,
    group="server",
    since="1.0.0",
    complexity="O(1): one range delete",
    summary="Deletes all keys of the database.",
    categories=_DANGEROUS,
)
def flushdb(context: Context, args: list[bytes]) -> Value:
    _flush_mode(args)
    context.keyspace.clear()
    return OK


@command(
    "flushall",
    arity=-1,
    flags=Flag.WRITE,
    group="server",
    since="1.0.0",
    complexity="O(1): the store begins a new version",
    summary="Deletes all keys of all databases.",
    categories=_DANGEROUS,
)
def flushall(context: Context, args: list[bytes]) -> Value:
    _flush_mode(args)
    context.services.databases.clear()
    return OK


@command(
    "swapdb",
    arity=3,
    flags=Flag.WRITE | Flag.FAST,
    group="server",
    since="4.0.0",
    complexity="O(N) for N watched keys of both",
    summary="Exchanges the keys of two databases, at once for all clients.",
    categories=_DANGEROUS,
)
def swapdb(context: Context, args: list[bytes]) -> Value:
    first = parse_int32(args[1], "ERR invalid first DB index")
    second = parse_int32(args[2], "ERR invalid second DB index")
    services = context.services
    if not (0 <= first < services.config.databases and 0 <= second < services.config.databases):
        raise CommandError("ERR DB index is out of range")
    if first == second:
        return OK
    if not first or not second:
        raise CommandError("ERR database 0 cannot be swapped: its keys are those of flin.engine.open")
    services.databases.swap(first, second)
    return OK


@command(
    "info",
    arity=-1,
    flags=_ANYTIME,
    group="server",
    since="1.0.0",
    complexity="O(1)",
    summary="Returns figures about the server.",
    categories=("dangerous",),
)
def info(context: Context, args: list[bytes]) -> Slices:
    return (yield from render_info(context.services, [section.lower().decode("latin-1") for section in args[1:]]))


@command(
    "shutdown",
    arity=-1,
    flags=Flag.ADMIN | Flag.NOSCRIPT | Flag.LOADING | Flag.STALE | Flag.NO_MULTI | Flag.ALLOW_BUSY,
    group="server",
    since="1.0.0",
    complexity="O(N) where N is what the memtables hold",
    summary="Ends the server cleanly.",
)
def shutdown(context: Context, args: list[bytes]) -> Value:
    options = [argument.lower() for argument in args[1:]]
    if any(option not in (b"nosave", b"save", b"now", b"force", b"abort") for option in options):
        raise syntax_error()
    if b"nosave" in options and b"save" in options:
        raise syntax_error()
    if b"abort" in options:
        if len(options) > 1:
            raise syntax_error()
        raise CommandError("ERR No shutdown in progress.")
    context.services.stop()
    context.session.close_after_reply = True
    return NOTHING


container("config", group="server", since="2.0.0", summary="Commands about the configuration.")


@command(
    "config|get",
    arity=-3,
    flags=_ADMIN,
    group="server",
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
    summary="Returns the values of parameters.",
)
def config_get(context: Context, args: list[bytes]) -> Value:
    found: dict[bytes, bytes] = {}
    for pattern in args[2:]:
        glob = compile_glob(pattern.lower())
        chosen = context.services.config.get(glob.matches)
        # A parameter asked for by its name is called as the client called it, as in Redis.
        found.update(zip([pattern], chosen.values(), strict=False) if glob.literal is not None else chosen)
    return found


@command(
    "config|set",
    arity=-4,
    flags=_ADMIN,
    group="server",
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
    summary="Changes parameters.",
)
def config_set(context: Context, args: list[bytes]) -> Value:
    if len(args) % 2:
        raise syntax_error()
    changes: dict[bytes, bytes] = {}
    for name, value in zip(args[2::2], args[3::2], strict=True):
        if name.lower() in changes:
            raise CommandError(
                f"ERR CONFIG SET failed (possibly related to argument '{name.decode('latin-1')}') - duplicate parameter"
            )
        changes[name.lower()] = value
    context.services.config.set(changes)
    context.services.clients.refresh()
    return OK


@command(
    "config|resetstat",
    arity=2,
    flags=_ADMIN,
    group="server",
    since="2.0.0",
    complexity="O(1)",
    summary="Sets the counters of INFO to zero.",
)
def config_resetstat(context: Context, args: list[bytes]) -> Value:
    context.services.reset_counters()
    return OK


declare_help("config", group="server", since="5.0.0")
container("slowlog", group="server", since="2.2.12", summary="Commands about the slowest commands.")


@command(
    "slowlog|get",
    arity=-2,
    flags=Flag.ADMIN | _ANYTIME,
    group="server",
    since="2.2.12",
    complexity="O(N) where N is the number of entries returned",
    summary="Returns the newest slow commands.",
)
def slowlog_get(context: Context, args: list[bytes]) -> Value:
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    count = DEFAULT_SLOWLOG_ENTRIES
    if len(args) == 3:
        number = maybe_int64(args[2])
        if number is None or number < -1:
            raise CommandError("ERR count should be greater than or equal to -1")
        count = number
    entries = list(context.services.slowlog.entries)
    return [
        [entry.id, entry.at_seconds, entry.microseconds, entry.args, entry.address, entry.name]
        for entry in (entries if count < 0 else entries[:count])
    ]


@command(
    "slowlog|len",
    arity=2,
    flags=Flag.ADMIN | _ANYTIME,
    group="server",
    since="2.2.12",
    complexity="O(1)",
    summary="Returns the number of slow commands that are kept.",
)
def slowlog_len(context: Context, args: list[bytes]) -> Value:
    return len(context.services.slowlog.entries)


@command(
    "slowlog|reset",
    arity=2,
    flags=Flag.ADMIN | _ANYTIME,
    group="server",
    since="2.2.12",
    complexity="O(N) where N is the number of entries in the slowlog",
    summary="Forgets the slow commands.",
)
def slowlog_reset(context: Context, args: list[bytes]) -> Value:
    context.services.slowlog.entries.clear()
    return OK


declare_help("slowlog", group="server", since="6.2.0")
container("memory", group="server", since="4.0.0", summary="Commands about memory.")


@command(
    "memory|usage",
    arity=-3,
    flags=Flag.READONLY,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Estimates what a key takes in memory while it is in a memtable.",
    keys=Keys(2, 2, 1),
)
def memory_usage(context: Context, args: list[bytes]) -> Value:
    position = 3
    while position < len(args):
        if args[position].lower() != b"samples" or position + 1 == len(args):
            raise syntax_error()
        if parse_int64(args[position + 1]) < 0:
            raise syntax_error()
        position += 2
    entry = context.keyspace.entry(args[2])
    if entry is None:
        return None
    value = entry[0] if type(entry) is tuple else entry
    assert type(value) is bytes
    return len(args[2]) + len(value) + ENTRY_BYTES


declare_help("memory", group="server", since="4.0.0")

# Flin has neither functions nor scripts: test suites and tools of clients empty both before they begin.
container("function", group="scripting", since="7.0.0", summary="Commands about functions.")
container("script", group="scripting", since="2.6.0", summary="Commands about scripts.")


@command(
    "function|flush",
    arity=-2,
    flags=Flag.WRITE | Flag.NOSCRIPT,
    group="scripting",
    since="7.0.0",
    complexity="O(1)",
    summary="Answers OK: there are no functions.",
)
def function_flush(context: Context, args: list[bytes]) -> Value:
    if len(args) > 3:
        raise unknown_or_wrong_arity(args)
    if len(args) == 3 and args[2].lower() not in (b"async", b"sync"):
        raise CommandError("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    return OK


@command(
    "script|flush",
    arity=-2,
    flags=Flag.NOSCRIPT,
    group="scripting",
    since="2.6.0",
    complexity="O(1)",
    summary="Answers OK: there are no scripts.",
)
def script_flush(context: Context, args: list[bytes]) -> Value:
    if len(args) > 3 or (len(args) == 3 and args[2].lower() not in (b"async", b"sync")):
        raise CommandError("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    return OK
