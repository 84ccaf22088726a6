"""A running server as the target: RESTORE in pipelines. The replies to one are read once the next is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flin.errors import ImportDataError, PeerError
from flin.rdb import dump
from flin.rdb.value import Value
from flin.transfer.link import Link, pack
from flin.transfer.record import Item, Library, Request
from flin.transfer.relay import Relay
from flin.transfer.server_source import PIPELINE_BYTES, SCAN_COUNT, Dumped, Page, ServerSource, value_of

_BUSY: Final = "BUSYKEY"


class ServerTarget:
    """`put` pages, then `settle`; `added` and `skipped` count keys."""

    def __init__(self, link: Link, now_ms: int, *, skips: bool) -> None:
        """skips: keys that are there stay as they are; otherwise they are replaced."""
        self.link: Final = link
        self._reader: Final = ServerSource(link, now_ms)
        self._skips: Final = skips
        self._sent: list[bytes] = []  # keys whose replies are to come
        self.added = 0
        self.skipped = 0

    def count(self, database: int) -> int:
        self.settle()
        return self._reader.count(database)

    def put(self, page: Page) -> None:
        """PeerError if the server refuses a key, or is gone."""
        if not page.dumped:
            return
        if page.database != self._reader.database:
            self.settle()
            self._reader.select(page.database)
        options = [b"ABSTTL"] if self._skips else [b"ABSTTL", b"REPLACE"]
        requests = [
            [b"RESTORE", key, b"%d" % expires_at_ms, self._payload(each), *options]
            for each in page.dumped
            for key, _, expires_at_ms in (each,)
        ]
        before, self._sent = self._sent, [each.key for each in page.dumped]
        self.link.send(pack(requests))
        self._read(before)

    def add_all(self, items: Iterable[Item | Request], relay: Relay | None = None) -> None:
        """Add the items of a file; requests after them go to `relay`. PeerError; ImportDataError for what only a
        database can run."""
        page = Page(0, [], b"")
        size = 0
        for item in items:
            if isinstance(item, Request):
                if relay is not None:
                    self.put(page)
                    self.settle()
                    page = Page(0, [], b"")
                    relay.run(item)
                    continue
                reason = "an append-only file is imported into a directory; or give it to `redis-cli --pipe`"
                raise ImportDataError(str(self.link.address), item.place, reason)
            if isinstance(item, Library):
                self.add_library(item)
                continue
            if page.dumped and (
                item.database != page.database or len(page.dumped) == SCAN_COUNT or size >= PIPELINE_BYTES
            ):
                self.put(page)
                page, size = Page(item.database, [], b""), 0
            page = page._replace(database=item.database)
            page.dumped.append(Dumped(item.key, item.dumped(), item.expires_at_ms))
            size += len(page.dumped[-1].payload)
        self.put(page)
        self.settle()

    @property
    def databases(self) -> list[int]:
        """Those that had keys at the beginning."""
        return list(self._reader.databases)

    def _payload(self, dumped: Dumped) -> bytes:
        """One of a later Redis is written anew, so that any from 7.0 on takes it."""
        version = int.from_bytes(dumped.payload[-dump.FOOTER_BYTES : -dump.CRC_BYTES], "little")
        if version <= dump.VERSION:
            return dumped.payload
        return dump.encode(value_of(dumped, str(self.link.address)))

    def _read(self, keys: list[bytes]) -> None:
        for key, reply in zip(keys, self.link.replies(len(keys)), strict=True):
            if not self.link.is_error(reply):
                self.added += 1
            elif self._skips and str(reply).startswith(_BUSY):
                self.skipped += 1
            else:
                raise PeerError(str(self.link.address), f"it answers to RESTORE of the key {key!r}: {reply}")

    def settle(self) -> None:
        """All replies are there."""
        before, self._sent = self._sent, []
        self._read(before)

    def add_library(self, library: Library) -> None:
        self.settle()
        reply = self.link.maybe(b"FUNCTION", b"LOAD", *([] if self._skips else [b"REPLACE"]), library.source)
        if self.link.is_error(reply) and not (self._skips and "already exists" in str(reply)):
            raise self.link.refused(b"FUNCTION LOAD", reply)

    def values(self, database: int, keys: list[bytes]) -> list[Value | None]:
        self.settle()
        address = str(self.link.address)
        found = self._reader.values(database, keys)
        return [None if each is None else value_of(each, address) for each in found]
