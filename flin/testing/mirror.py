"""A mirror: the copy of a database that somebody keeps who sees only its events (`Engine.watch`), across restarts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flin.engine.engine import Engine
from flin.engine.feed import Event, Feed
from flin.errors import FeedGapError


@dataclass(slots=True)
class Mirror:
    durable: bool
    """Whether it takes only events that no power cut takes away."""
    entries: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    """Values and expiries (ms, 0: none), by key."""
    sequence: int = 0
    _feed: Feed | None = None
    _engine: Engine | None = None

    def copy(self) -> Mirror:
        """What it would have after a crash of its own program."""
        return replace(self, entries=dict(self.entries), _feed=None, _engine=None)

    def follow(self, engine: Engine, *, keeps_all: bool) -> None:
        """Apply what was committed since. If events are gone, and need not be kept, read everything anew."""
        try:
            if self._engine is not engine:
                self._feed, self._engine = engine.watch(since=self.sequence, durable=self.durable), engine
            assert self._feed is not None
            while (event := self._feed.poll()) is not None:
                self._apply(event)
            self.sequence = self._feed.sequence
        except FeedGapError as gap:
            assert gap.since <= gap.last, f"an event came of what the database does not hold: {gap}"
            assert not keeps_all, f"events that must be kept are gone: {gap}"
            self._start_anew(engine)

    def close(self) -> None:
        """Watch no more: an open feed that has fallen behind keeps segments."""
        if self._feed is not None:
            self._feed.close()

    def check(self, engine: Engine, latest_ms: int) -> None:
        """AssertionError unless the engine shows the same. Who expired at `latest_ms` may be gone for good."""
        now_ms = engine._now_ms()
        shown = dict(engine.scan())
        for key in shown.keys() | self.entries.keys():
            value, expires_at_ms = self.entries.get(key, (None, 0))
            if 0 != expires_at_ms <= now_ms:
                value = None
            may_be_gone = 0 != expires_at_ms <= latest_ms and key not in shown
            assert shown.get(key) == value or may_be_gone, (
                f"{key!r} is {shown.get(key)!r}, by its events up to {self.sequence} {value!r}"
            )

    def _apply(self, event: Event) -> None:
        assert event.sequence > self.sequence >= 0, f"{event} after {self.sequence}"
        assert event.commit <= event.sequence
        self.sequence = event.sequence
        if event.kind == "put":
            assert event.value is not None
            self.entries[event.key] = event.value, event.expires_at_ms
        elif event.kind == "delete_range":
            stop = event.stop
            gone = [key for key in self.entries if event.key <= key and (stop is None or key < stop)]
            for key in gone:
                del self.entries[key]
        else:
            self.entries.pop(event.key, None)

    def _start_anew(self, engine: Engine) -> None:
        """As a program does: note where the feed is, then read everything."""
        if self.durable:
            engine.sync()
        self._feed, self._engine = engine.watch(durable=self.durable), engine
        self.sequence = self._feed.sequence
        now_ms = engine._now_ms()
        self.entries = {}
        for key, value in engine.scan():
            ttl = engine.ttl(key)
            self.entries[key] = value, 0 if ttl is None else now_ms + round(ttl * 1000)
