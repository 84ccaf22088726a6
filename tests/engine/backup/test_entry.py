"""The entries of a backup's catalogue: a table run in both directions, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flin.engine.backup import entry as entry_format
from flin.engine.backup.entry import Entry, StoredFile
from flin.engine.catalog.manifest import Manifest, encode
from flin.engine.catalog.version import Version
from flin.engine.table.meta import TableMeta
from flin.errors import CorruptionError, FormatVersionError

TABLE = TableMeta("00000003-0000.2.sst", 0, 429, 2, 0, 0, 1, b"ab", b"ac", 5, 9, 6, ((0, 2),))
MANIFEST = Manifest(bytes(range(16)), 2, 1, 4, 3, 700, 10, 1_700_000_000_000, Version((((TABLE,),),), {0: 2}))
FILES = (StoredFile("00000003-0000.2.sst", 429, "deadbeef" * 4), StoredFile("00000003.2.wal", 132, "00000007"))
ENTRY = Entry(7, 1_700_000_000_000, 9, 537, 0, MANIFEST.database_id, encode(MANIFEST), b"", FILES)


def _changed(change: Callable[[Any], None], *, resealed: bool = True) -> bytes:
    content = json.loads(entry_format.encode(ENTRY))
    change(content)
    if resealed:
        content["crc32"] = entry_format._checksum(content["entry"])
    return json.dumps(content).encode()


def test_there_and_back() -> None:
    data = entry_format.encode(ENTRY)
    assert entry_format.decode(data, "e", 7) == ENTRY
    assert entry_format.decode(_changed(lambda _: None), "e", 7) == ENTRY, "blanks do not matter"


def test_any_flipped_bit_is_found_or_harmless() -> None:
    data = entry_format.encode(ENTRY)
    for bit in range(0, 8 * len(data), 3):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert entry_format.decode(bytes(flipped), "e", 7) == ENTRY
        except (CorruptionError, FormatVersionError):
            continue


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["entry"].update(number=8), "number 8"),
        (lambda c: c["entry"].update(number=True), "number is no number"),
        (lambda c: c["entry"].update(sequence=-1), "sequence is no number"),
        (lambda c: c["entry"].update(database_id="00" * 16), "another database"),
        (lambda c: c["entry"]["files"].pop(0), "not those of its manifest"),
        (lambda c: c["entry"]["files"].reverse(), "order of their names"),
        (lambda c: c["entry"]["files"].append(["00000009.2.wal", 1, "0000000G"]), "no checksum"),
        (lambda c: c["entry"]["files"].append(["00000009.2.wal", 1, "0" * 16]), "no checksum"),
        (lambda c: c["entry"]["files"].append(["00000009.2.wal", 0, "00000000"]), "no size"),
        (lambda c: c["entry"]["files"].append(["../../etc/passwd", 1, "00000000"]), "not the name of a file"),
        (lambda c: c["entry"]["files"].append(["MANIFEST.7.tmp", 1, "00000000"]), "not the name of a file"),
        (lambda c: c["entry"]["files"].append([]), "no entry"),
        (lambda c: c["entry"].update(files=7), "no entry"),
        (lambda c: c["entry"].update(manifest="!"), "no entry"),
        (lambda c: c["entry"].update(manifest="AAAA"), "shorter than its header"),
        (lambda c: c["entry"].update(more=1), "fields"),
        (lambda c: c.update(more=1), "fields"),
        (lambda c: c.update(flin_backup="1"), "fields"),
        (lambda c: c.pop("flin_backup"), "no entry"),
        (lambda c: c.update(entry=[]), "no entry"),
    ],
)
def test_what_contradicts_itself_is_corrupt(change: Callable[[Any], None], reason: str) -> None:
    def careful(content: Any) -> None:
        change(content)
        content.setdefault("entry", {})

    with pytest.raises(CorruptionError, match=reason):
        entry_format.decode(_changed(careful), "e", 7)


def test_the_checksum_covers_every_field() -> None:
    with pytest.raises(CorruptionError, match="checksum"):
        entry_format.decode(_changed(lambda c: c["entry"].update(made_at_ms=1), resealed=False), "e", 7)
    for data in (b"", b"[]", b"null", b"7", b"\xff", b"[" * 100_000):
        with pytest.raises(CorruptionError):
            entry_format.decode(data, "e", 7)


def test_the_first_format_is_read() -> None:
    assert entry_format.decode(_changed(lambda c: c.update(flin_backup=1)), "e", 7) == ENTRY


def test_a_newer_format() -> None:
    with pytest.raises(FormatVersionError, match="newer Flin"):
        entry_format.decode(_changed(lambda c: c.update(flin_backup=3, entry={})), "e", 7)
