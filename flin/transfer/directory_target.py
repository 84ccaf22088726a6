"""The database of a closed directory as the target of a move: batches of the engine."""

from __future__ import annotations

from typing import Final

from flin.engine.engine import Engine
from flin.rdb import dump
from flin.rdb.value import String, Value
from flin.transfer.exporting import NO_LIMIT, record_of_entry
from flin.transfer.importing import Import
from flin.transfer.record import STRING, Library
from flin.transfer.server_source import Page, maybe_text, record


class DirectoryTarget:
    """`put` pages, then `settle`; `added` and `skipped` count keys."""

    def __init__(self, engine: Engine, address: str, *, skips: bool, is_new: bool = False) -> None:
        """address: of the source, for errors. skips: keys that are there stay as they are. is_new: there are none."""
        self._address: Final = address
        self._adding: Final = Import(engine, address, skips=skips, is_new=is_new)

    @property
    def added(self) -> int:
        return self._adding.added

    @property
    def skipped(self) -> int:
        return self._adding.skipped

    def count(self, database: int) -> int:
        return self._adding.count(database)

    def put(self, page: Page) -> None:
        """ImportDataError for a value that Flin does not have; what a write raises."""
        add, database, address = self._adding.add, page.database, self._address
        keys: list[bytes] = []
        texts: list[bytes] = []
        for dumped in page.dumped:
            if not dumped.expires_at_ms and (text := maybe_text(dumped.payload)) is not None:
                keys.append(dumped.key)
                texts.append(text)
            else:
                add(record(dumped, database, address, decodes=True))
        if keys:
            self._adding.add_strings(database, keys, texts)

    def settle(self) -> None:
        """All of it is durable."""
        self._adding.end()

    def add_library(self, library: Library) -> None:
        self._adding.add(library)

    def values(self, database: int, keys: list[bytes]) -> list[Value | None]:
        return [self._value(database, key) for key in keys]

    def _value(self, database: int, key: bytes) -> Value | None:
        keyspace = self._adding.keyspace(database)
        entry = keyspace.entry(key)
        if entry is None:
            return None
        found = record_of_entry(keyspace, key, entry)
        return String(found.payload) if found.kind == STRING else dump.decode(found.payload, NO_LIMIT)
