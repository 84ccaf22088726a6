"""The feed and readers over a damaged log.

Invariant: whatever the bytes change in the segments of a good database, a feed from any event on gives the very events
that were committed, one after the other without a hole, up to the end of what was recovered; or it stops with
FeedGapError or CorruptionError. A reader shows a state that the writer once had, before and after a refresh, or raises
CorruptionError. Nothing else escapes.

The first byte of an input is the event to begin after. Then each four bytes change a segment: which one, where, how.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import flin.engine
from flin.engine.feed import Event
from flin.errors import CorruptionError, FeedGapError, FormatVersionError
from flin.testing import ManualClock, SimulatedDisk, killed

PATH: Final = "/db"
ALLOWED: Final = (CorruptionError, FormatVersionError)


class History(NamedTuple):
    disk: SimulatedDisk
    segments: list[str]
    events: list[Event]
    states: list[dict[bytes, bytes]]


def one_input(data: bytes) -> None:
    history = _history()
    disk = killed(history.disk)
    for at in range(1, len(data) - 3, 4):
        _change(disk, history.segments[data[at] % len(history.segments)], *data[at + 1 : at + 4])
    _read(history, disk)
    try:
        db = _opened(disk)
    except ALLOWED:
        return
    try:
        _watch(history, db, data[0] % (len(history.events) + 2) if data else 0)
    finally:
        db.close()


def _watch(history: History, db: Any, since: int) -> None:
    after = since
    try:
        feed = db.watch(since=since)
        while (event := feed.poll()) is not None:
            assert event.sequence == after + 1, f"{event} after {after}"
            assert event == history.events[after], f"{event} instead of {history.events[after]}"
            after = event.sequence
    except (FeedGapError, *ALLOWED):
        return
    contents: dict[bytes, bytes] = {}
    for event in history.events[:after]:
        _apply(contents, event)
    assert dict(db) == contents, "the events up to its end are not what the database holds"


def _read(history: History, disk: SimulatedDisk) -> None:
    try:
        reader = _opened(disk, read_only=True)
    except ALLOWED:
        return
    try:
        for _ in range(2):
            assert dict(reader) in history.states, "a reader shows what never was"
            reader.refresh()
    except ALLOWED:
        pass
    finally:
        reader.close()


def _change(disk: SimulatedDisk, path: str, high: int, low: int, how: int) -> None:
    content = bytearray(disk.read(path))
    at = (high << 8 | low) % max(1, len(content))
    if how == 0:
        disk.lose(path)
        disk.write(path, bytes(content[:at]))
    elif how < 8:
        disk.write(path, bytes(content[:at] + bytes(how * 16) + content[at:]))
    else:
        content[at : at + 1] = bytes([content[at] ^ how]) if content else b""
        disk.write(path, bytes(content))


def _opened(disk: SimulatedDisk, **options: Any) -> Any:
    clock = ManualClock()
    defaults: dict[str, Any] = {"runner": "inline", "value_threshold": 64, "wal_retention": "1gb"}
    return flin.engine.open(PATH, fs=disk, clock_ms=clock, **defaults | options)


@cache
def _history() -> History:
    """Three flushed segments, one of which is a value file, and two that are live."""
    disk = SimulatedDisk()
    db = _opened(disk, sync="never")
    feed, contents = db.watch(), dict[bytes, bytes]()
    events: list[Event] = []
    states = [dict(contents)]
    for step in range(25):
        if step % 5 == 4:
            db.delete_range(b"%d" % (step % 3), b"%d" % (step % 3 + 1))
        elif step % 3:
            db.put(b"%d" % (step % 4), b"%d" % step * 40)
        else:
            db.put_many({b"%d" % (step % 7): b"%d" % step, b"k%d" % step: b""})
        while (event := feed.poll()) is not None:
            events.append(event)
            _apply(contents, event)
        states.append(dict(contents))
        if step in (6, 12, 17):
            db.flush()
    db.close(flush=False)
    db = _opened(disk, sync="never")
    db.put(b"last", b"1")
    events += list(iter(db.watch(since=len(events)).poll, None))
    states.append(dict(db))
    whole = killed(disk)
    db.close()
    segments = [f"{PATH}/{name}" for name in whole.names(PATH) if name.endswith(".wal")]
    return History(whole, segments, events, states)


def _apply(contents: dict[bytes, bytes], event: Event) -> None:
    if event.kind == "delete_range":
        for key in [key for key in contents if event.key <= key and (event.stop is None or key < event.stop)]:
            del contents[key]
    elif event.value is None:
        contents.pop(event.key, None)
    else:
        contents[event.key] = event.value
