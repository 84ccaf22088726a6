"""CLIENT TRACKING and its kin: client-side caching (messages/tracking.py)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.client.session import Closure
from flin.net.command.registry import command
from flin.net.messages.tracking import NOBODY, Mode, Tracker
from flin.net.wire.numbers import parse_int64
from flin.net.wire.replies import OK, Value, shown, syntax_error

if TYPE_CHECKING:
    from flin.net.client.session import Session
    from flin.net.run.context import Context
    from flin.net.run.services import Services

GROUP: Final = "connection"

_ALWAYS: Final = "noscript loading stale"

_SWITCH: Final = "before disabling tracking for this client, and then re-enabling it with a different mode."
_MODES: Final = {b"bcast": Mode.BCAST, b"optin": Mode.OPTIN, b"optout": Mode.OPTOUT, b"noloop": Mode.NOLOOP}


@command("client|tracking", -3, _ALWAYS)
def client_tracking(context: Context, args: list[bytes]) -> Value:
    """Whether the client is told of changes of the keys that it may have cached."""
    services, session = context.services, context.session
    mode, redirect, prefixes = _options(services, args)
    switch = args[2].lower()
    if switch == b"on":
        _check(session.tracker, mode, prefixes)
        _start(services, session, mode, redirect, prefixes)
    elif switch == b"off":
        session.end(Closure.TRACKING)
    else:
        raise syntax_error()
    return OK


def _options(services: Services, args: list[bytes]) -> tuple[Mode, int, list[bytes]]:
    mode, redirect, prefixes = Mode.DEFAULT, NOBODY, []
    position = 3
    while position < len(args):
        option = args[position].lower()
        has_value = position + 1 < len(args)
        if option == b"redirect" and has_value:
            if redirect:
                raise CommandError("ERR A client can only redirect to a single other client")
            redirect = parse_int64(args[position + 1])
            if redirect not in services.clients.sessions:
                raise CommandError("ERR The client ID you want redirect to does not exist")
            position += 2
        elif option == b"prefix" and has_value:
            prefixes.append(args[position + 1])
            position += 2
        elif option in _MODES:
            mode |= _MODES[option]
            position += 1
        else:
            raise syntax_error()
    return mode, redirect, prefixes


def _check(tracker: Tracker | None, mode: Mode, prefixes: Sequence[bytes]) -> None:
    """CommandError if the options do not go together, or with the mode of now; in Redis's order."""
    if prefixes and not mode & Mode.BCAST:
        raise CommandError("ERR PREFIX option requires BCAST mode to be enabled")
    if tracker is not None and (tracker.mode ^ mode) & Mode.BCAST:
        raise CommandError(f"ERR You can't switch BCAST mode on/off {_SWITCH}")
    if mode & Mode.BCAST and mode & (Mode.OPTIN | Mode.OPTOUT):
        raise CommandError("ERR OPTIN and OPTOUT are not compatible with BCAST")
    if mode & Mode.OPTIN and mode & Mode.OPTOUT:
        raise CommandError("ERR You can't specify both OPTIN mode and OPTOUT mode")
    if tracker is not None:
        for one, other in ((Mode.OPTIN, Mode.OPTOUT), (Mode.OPTOUT, Mode.OPTIN)):
            if tracker.mode & one and mode & other:
                raise CommandError(f"ERR You can't switch OPTIN/OPTOUT mode {_SWITCH}")
    _check_overlap(() if tracker is None else sorted(tracker.prefixes), prefixes)


def _check_overlap(existing: Sequence[bytes], prefixes: Sequence[bytes]) -> None:
    """CommandError about the first pair that overlaps, in Redis's order."""
    # Whatever begins with a prefix follows it in order: so neighbours tell whether any do.
    in_order = sorted((*existing, *prefixes))
    found = next(((one, other) for one, other in pairwise(in_order) if other.startswith(one)), None)
    if found is None:
        return
    if len(in_order) > MOST_COMPARED:
        raise _overlapping(found[1], "another provided prefix", found[0])
    for number, prefix in enumerate(prefixes):
        for other in existing:
            if _overlap(prefix, other):
                raise _overlapping(prefix, "an existing prefix", other)
        for other in prefixes[number + 1 :]:
            if _overlap(prefix, other):
                raise _overlapping(prefix, "another provided prefix", other)


MOST_COMPARED: Final = 1000
"""Prefixes of which each is compared with each, to tell of the pair that Redis tells of: some 50 ms."""


def _overlap(one: bytes, other: bytes) -> bool:
    return one.startswith(other) or other.startswith(one)


def _overlapping(prefix: bytes, what: str, other: bytes) -> CommandError:
    return CommandError(
        f"ERR Prefix '{shown(prefix)}' overlaps with {what} '{shown(other)}'. "
        "Prefixes for a single client must not overlap."
    )


def _start(services: Services, session: Session, mode: Mode, redirect: int, prefixes: list[bytes]) -> None:
    if mode & Mode.BCAST and not prefixes:
        prefixes = [b""]
    if session.tracker is None:
        session.begin(Closure.TRACKING, lambda: _stop(services, session))
    session.tracker = services.tracking.start(session, mode, redirect, prefixes)
    if mode & Mode.BCAST and not mode & Mode.NOLOOP:  # then nobody asks what it reads, nor who writes
        session.open_gates(Closure.TRACKING, server_gates_open=services.clients.gates_open)
    else:
        session.close_gates(Closure.TRACKING)


def _stop(services: Services, session: Session) -> None:
    services.tracking.stop(session)
    session.tracker = None
    session.open_gates(Closure.TRACKING, server_gates_open=services.clients.gates_open)


@command("client|caching", 3, _ALWAYS)
def client_caching(context: Context, args: list[bytes]) -> Value:
    """Whether the keys of the next command are tracked: YES with OPTIN, NO with OPTOUT."""
    tracker = context.session.tracker
    if tracker is None:
        raise CommandError(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            "enabled"
        )
    found = _CACHING.get(args[2].lower())
    if found is None:
        raise syntax_error()
    word, mode = found
    if not tracker.mode & mode:
        raise CommandError(f"ERR CLIENT CACHING {word} is only valid when tracking is enabled in {mode.name} mode.")
    tracker.is_caching = True
    return OK


_CACHING: Final = {b"yes": ("YES", Mode.OPTIN), b"no": ("NO", Mode.OPTOUT)}


@command("client|getredir", 2, _ALWAYS)
def client_getredir(context: Context, args: list[bytes]) -> Value:
    """Returns the number of the client that is told in its place; 0: none; -1: it does not track."""
    return _redirect_of(context.session.tracker)


def _redirect_of(tracker: Tracker | None) -> int:
    return -1 if tracker is None else tracker.redirect


@command("client|trackinginfo", 2, _ALWAYS)
def client_trackinginfo(context: Context, args: list[bytes]) -> Value:
    """Describes how the client tracks."""
    tracker = context.session.tracker
    return {
        b"flags": dict.fromkeys(_flags_of(tracker)).keys(),
        b"redirect": _redirect_of(tracker),
        b"prefixes": [] if tracker is None else sorted(tracker.prefixes),
    }


def _flags_of(tracker: Tracker | None) -> list[bytes]:
    if tracker is None:
        return [b"off"]
    flags = {
        b"on": True,
        b"bcast": tracker.mode & Mode.BCAST,
        b"optin": tracker.mode & Mode.OPTIN,
        b"caching-yes": tracker.mode & Mode.OPTIN and tracker.is_caching,
        b"optout": tracker.mode & Mode.OPTOUT,
        b"caching-no": tracker.mode & Mode.OPTOUT and tracker.is_caching,
        b"noloop": tracker.mode & Mode.NOLOOP,
        b"broken_redirect": tracker.is_broken,
    }
    return [flag for flag, is_set in flags.items() if is_set]
