"""Commands about the server: CONFIG, INFO, FLUSHALL, SLOWLOG, SHUTDOWN."""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.command.arguments import parse_int32
from flin.net.command.registry import command, container
from flin.net.commands.help import declare_help, unknown_or_wrong_arity
from flin.net.commands.info import render_info
from flin.net.run.context import Context
from flin.net.run.slot_gate import check_alone
from flin.net.settings.options import ConfigError
from flin.net.settings.rewriting import rewrite
from flin.net.wire.glob import compile_glob
from flin.net.wire.numbers import maybe_int64
from flin.net.wire.replies import NOTHING, OK, Slices, Value, syntax_error

GROUP: Final = "server"

_ADMIN: Final = "admin noscript loading stale"
_ANYTIME: Final = "loading stale"
_DANGEROUS: Final = "keyspace dangerous"

DEFAULT_SLOWLOG_ENTRIES: Final = 10
"""Entries that SLOWLOG GET shows without a count, as in Redis."""


@command("time", 1, f"{_ANYTIME} fast")
def time_(context: Context, args: list[bytes]) -> Value:
    # The store's clock ends at milliseconds; no client needs more of a server's time.
    """Returns the server's time."""
    now_ms = context.services.store.now_ms()
    return [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)]


@command("dbsize", 1, "readonly fast counts_keys", categories="keyspace")
def dbsize(context: Context, args: list[bytes]) -> Slices:
    """Returns the number of keys in the database."""
    return (yield from context.keyspace.count())


def _flush_mode(args: list[bytes]) -> None:
    if len(args) > 2 or (len(args) == 2 and args[1].lower() not in (b"async", b"sync")):
        raise syntax_error()


@command("flushdb", -1, "write", categories=_DANGEROUS)
def flushdb(context: Context, args: list[bytes]) -> Value:
    """Deletes all keys of the database."""
    _flush_mode(args)
    context.keyspace.clear()
    return OK


@command("flushall", -1, "write", categories=_DANGEROUS)
def flushall(context: Context, args: list[bytes]) -> Value:
    """Deletes all keys of all databases."""
    _flush_mode(args)
    context.services.databases.clear()
    return OK


@command("swapdb", 3, "write fast", categories=_DANGEROUS)
def swapdb(context: Context, args: list[bytes]) -> Value:
    """Exchanges the keys of two databases, at once for all clients."""
    check_alone(context.services.slot_gate, "SWAPDB")
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


@command("info", -1, _ANYTIME, categories="dangerous")
def info(context: Context, args: list[bytes]) -> Slices:
    """Returns figures about the server."""
    return (yield from render_info(context.services, [section.lower().decode("latin-1") for section in args[1:]]))


@command("shutdown", -1, "admin noscript loading stale no_multi allow_busy")
def shutdown(context: Context, args: list[bytes]) -> Value:
    """Ends the server cleanly."""
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


container("config", GROUP, "Commands about the configuration.")


@command("config|get", -3, _ADMIN)
def config_get(context: Context, args: list[bytes]) -> Value:
    """Returns the values of parameters."""
    found: dict[bytes, bytes] = {}
    for pattern in args[2:]:
        glob = compile_glob(pattern.lower())
        chosen = context.services.config.get(glob.matches)
        # A parameter asked for by its name is called as the client called it, as in Redis.
        found.update(zip([pattern], chosen.values(), strict=False) if glob.literal is not None else chosen)
    return found


@command("config|set", -4, _ADMIN)
def config_set(context: Context, args: list[bytes]) -> Value:
    """Changes parameters."""
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


@command("config|rewrite", 2, _ADMIN)
def config_rewrite(context: Context, args: list[bytes]) -> Value:
    """Puts what CONFIG SET has changed into the configuration file."""
    config = context.services.config
    if not config.options.config_file:
        raise CommandError("ERR The server is running without a config file")
    try:
        rewrite(config)
    except ConfigError as error:
        raise CommandError(f"ERR Rewriting config file: {error}") from error
    except OSError as error:
        raise CommandError(f"ERR Rewriting config file: {error.strerror}") from error
    return OK


@command("config|resetstat", 2, _ADMIN)
def config_resetstat(context: Context, args: list[bytes]) -> Value:
    """Sets the counters of INFO to zero."""
    context.services.reset_counters()
    return OK


declare_help("config", GROUP)
container("slowlog", GROUP, "Commands about the slowest commands.")


@command("slowlog|get", -2, f"admin {_ANYTIME}")
def slowlog_get(context: Context, args: list[bytes]) -> Value:
    """Returns the newest slow commands."""
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


@command("slowlog|len", 2, f"admin {_ANYTIME}")
def slowlog_len(context: Context, args: list[bytes]) -> Value:
    """Returns the number of slow commands that are kept."""
    return len(context.services.slowlog.entries)


@command("slowlog|reset", 2, f"admin {_ANYTIME}")
def slowlog_reset(context: Context, args: list[bytes]) -> Value:
    """Forgets the slow commands."""
    context.services.slowlog.entries.clear()
    return OK


declare_help("slowlog", GROUP)
