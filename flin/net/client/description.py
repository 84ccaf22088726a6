"""A client as one line of text: in CLIENT LIST, CLIENT INFO and ACL LOG."""

from __future__ import annotations

from typing import Final

from flin.net.client.session import Closure, Session
from flin.net.command.registry import find_by_path
from flin.net.messages.tracking import Mode
from flin.net.wire.resp import encode_requests

SESSION_BYTES: Final = 24 * 1024
"""Bytes of an idle connection: session, parser (hiredis keeps 16 KiB), transport. Measured, rounded up."""


def describe(session: Session, steady_ms: int, request: list[bytes] | None = None) -> bytes:
    """A line of CLIENT LIST, with Redis's fields in Redis's order. request: the one that the session is running."""
    output_bytes = session.link.output_bytes()
    # Redis's buffer still holds the running request: here it is a list already.
    input_bytes = session.link.input_bytes() + (0 if request is None else len(encode_requests([request])))
    # The name as in the table: the client's own words could hold spaces, and look like other fields.
    command = find_by_path(session.last_command.decode("latin-1").lower())
    subscribed = (0, 0, 0) if session.subscriptions is None else [*map(len, session.subscriptions.names)]
    fields = {
        "id": session.id,
        "addr": session.address,
        "laddr": session.local_address,
        "fd": session.peer.descriptor,
        "name": session.name.decode(),
        "age": (steady_ms - session.created_ms) // 1000,
        "idle": (steady_ms - session.last_ms) // 1000,
        "flags": _flags_of(session),
        "db": session.database,
        "sub": subscribed[0],
        "psub": subscribed[1],
        "ssub": subscribed[2],
        "multi": -1 if session.queue is None else len(session.queue),
        "qbuf": input_bytes,
        "qbuf-free": 0,
        "argv-mem": 0,
        "multi-mem": session.queue_bytes,
        "rbs": 0,
        "rbp": 0,
        "obl": 0,
        "oll": 0,
        "omem": output_bytes,
        "tot-mem": SESSION_BYTES + input_bytes + output_bytes,
        "events": "rw" if output_bytes else "r",
        "cmd": "NULL" if command is None else command.name,
        "user": session.user.name.decode("latin-1"),
        "redir": -1 if session.tracker is None else session.tracker.redirect,
        "resp": session.protocol,
        "lib-name": session.library_name.decode(),
        "lib-ver": session.library_version.decode(),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()).encode("latin-1", "replace")


def _flags_of(session: Session) -> str:
    """Redis's letters in Redis's order."""
    tracker = session.tracker
    states = {
        "O": session.closed_by & Closure.MONITOR,
        "P": session.subscriptions is not None,
        "x": session.queue is not None,
        "b": session.is_waiting,
        "t": tracker is not None,
        "R": tracker is not None and tracker.is_broken,
        "B": tracker is not None and tracker.mode & Mode.BCAST,
        "d": session.is_dirty,
        "c": session.close_after_reply,
        "U": session.local_address.startswith("/"),
        "r": session.is_readonly,
        "e": session.is_no_evict,
    }
    return "".join(letter for letter, is_so in states.items() if is_so) or "N"
