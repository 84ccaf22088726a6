"""SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF: see run/saving.py for what they do here."""

from __future__ import annotations

from typing import Final

from flin.engine.disk.memory_fs import MEMORY
from flin.errors import CommandError, FlinError
from flin.net.command.registry import command
from flin.net.run.context import Context
from flin.net.run.saving import IN_PROGRESS
from flin.net.wire.replies import OK, Slices, Value, syntax_error

GROUP: Final = "server"

_ADMIN: Final = "admin noscript no_async_loading"


@command("save", 1, f"{_ADMIN} no_multi")
def save(context: Context, args: list[bytes]) -> Slices:
    """Makes every write so far durable and, with --backup-dir, adds a backup; then answers."""
    check_files(context)
    saving = context.services.saving
    if saving.save.is_running:
        raise CommandError(IN_PROGRESS)
    yield  # the tick ends: what came before is committed
    failures: list[FlinError] = []

    def load() -> None:
        try:
            saving.save_now()
        except FlinError as error:
            failures.append(error)

    yield load  # in a thread
    if failures:
        raise failures[0]
    return OK


@command("bgsave", -1, _ADMIN)
def bgsave(context: Context, args: list[bytes]) -> Value:
    """Makes every write so far durable and, with --backup-dir, adds a backup, in the background."""
    if len(args) > 2 or (len(args) == 2 and args[1].lower() != b"schedule"):
        raise syntax_error()
    check_files(context)
    if not context.services.saving.begin_save():
        raise CommandError(IN_PROGRESS)
    return "Background saving started"


@command("lastsave", 1, "loading stale fast", categories="admin dangerous")
def lastsave(context: Context, args: list[bytes]) -> Value:
    """Returns when SAVE or BGSAVE last made everything durable, or the server's start."""
    return context.services.saving.saved_at_seconds


@command("bgrewriteaof", 1, _ADMIN)
def bgrewriteaof(context: Context, args: list[bytes]) -> Value:
    """Compacts the database in the background."""
    if not context.services.saving.begin_compaction():
        raise CommandError("ERR Background append only file rewriting already in progress")
    return "Background append only file rewriting started"


def check_files(context: Context) -> None:
    """CommandError for who relies on a save of what is in memory only."""
    if context.services.config.options.dir == MEMORY:
        raise CommandError(
            f"ERR the database is in memory only (flin serve --dir {MEMORY}): there is nothing to save to"
        )
