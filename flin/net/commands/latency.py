"""LATENCY: which events took long, and how the times of each command are spread."""

from __future__ import annotations

from typing import Any, Final

from flin.errors import CommandError
from flin.net.client.latency import Event
from flin.net.client.sparkline import sparkline
from flin.net.command.command import Command
from flin.net.command.registry import command, container, every_command, find_by_path
from flin.net.commands.help import declare_help
from flin.net.run.context import Context
from flin.net.wire.replies import Value, Verbatim, shown

GROUP: Final = "server"

_ADMIN: Final = "admin noscript loading stale"

container("latency", GROUP, "Commands about what takes long.")


@command("latency|doctor", 2, _ADMIN)
def latency_doctor(context: Context, args: list[bytes]) -> Value:
    """Says in words what the events that took long may mean."""
    services = context.services
    threshold = services.config.latency_monitor_threshold
    if not threshold:
        return Verbatim(
            b"Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on; then the "
            b'events "command" and "fast-command" are the commands that take at least so long.\n'
        )
    if not services.latency.events:
        return Verbatim(b"No command has taken %d milliseconds or longer since LATENCY RESET.\n" % threshold)
    lines = [f"{name.decode()}: {_summary(event)}" for name, event in sorted(services.latency.events.items())]
    lines.append(
        "SLOWLOG GET shows which commands these were. Those over many elements are the usual cause, or a machine that "
        "has too little time for this process. While such a command runs, all other clients wait."
    )
    return Verbatim("\n".join([*lines, ""]).encode())


def _summary(event: Event) -> str:
    times = [sample.milliseconds for sample in event.samples]
    return (
        f"{len(times)} times, {sum(times) // len(times)} ms on average, {event.longest} ms at most since LATENCY RESET."
    )


@command("latency|graph", 3, _ADMIN)
def latency_graph(context: Context, args: list[bytes]) -> Value:
    """Draws the times of an event."""
    event = context.services.latency.events.get(args[2])
    if event is None:
        raise CommandError(f"ERR No samples available for event '{shown(args[2])}'")
    now = context.now_ms // 1000
    times = [sample.milliseconds for sample in event.samples]
    head = f"{args[2].decode('latin-1')} - high {max(times)} ms, low {min(times)} ms (all time high {event.longest} ms)"
    bars = sparkline(times, [_age(now - sample.at_seconds) for sample in event.samples])
    return Verbatim("\n".join([head, "-" * 80, *bars, ""]).encode("latin-1"))


def _age(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit:
            return f"{seconds // unit}{name}"
    return f"{max(0, seconds)}s"


@command("latency|history", 3, _ADMIN)
def latency_history(context: Context, args: list[bytes]) -> Value:
    """Returns the times of an event."""
    event = context.services.latency.events.get(args[2])
    return [] if event is None else [[sample.at_seconds, sample.milliseconds] for sample in event.samples]


@command("latency|latest", 2, _ADMIN)
def latency_latest(context: Context, args: list[bytes]) -> Value:
    """Returns the newest and the longest time of each event."""
    return [
        [name, event.samples[-1].at_seconds, event.samples[-1].milliseconds, event.longest]
        for name, event in context.services.latency.events.items()
    ]


@command("latency|reset", -2, _ADMIN)
def latency_reset(context: Context, args: list[bytes]) -> Value:
    """Forgets events, or all of them."""
    return context.services.latency.reset(args[2:])


@command("latency|histogram", -2, _ADMIN)
def latency_histogram(context: Context, args: list[bytes]) -> Value:
    """Returns how the times of commands are spread, for each power of two of microseconds."""
    if len(args) == 2:
        return {found.name.encode(): _histogram(found) for found in every_command() if found.histogram}
    spread: dict[bytes, Any] = {}
    for name in args[2:]:
        named = find_by_path(name.decode("latin-1").lower())
        if named is None:
            continue
        # A container's name stands for all of its subcommands.
        for found in [named] if named.subcommands is None else named.subcommands.values():
            if found.histogram:
                spread[found.name.encode()] = _histogram(found)
    return spread


def _histogram(found: Command) -> dict[bytes, Any]:
    """Cumulative, as in Redis. A command of constant time is timed now and then, so its calls are fewer here."""
    counts: dict[int, int] = {}
    calls = 0
    for bucket, count in sorted(found.histogram.items()):
        calls += count
        counts[1 << bucket] = calls
    return {b"calls": calls, b"histogram_usec": counts}


declare_help("latency", GROUP)
