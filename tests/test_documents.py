"""The figures and bytes in the documents, compared with the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.engine.catalog import manifest as manifest_format
from flin.engine.catalog.manifest import Manifest
from flin.engine.catalog.version import Version
from flin.engine.disk.file_name import condensed_name, maybe_parse
from flin.engine.entry import TOMBSTONE
from flin.engine.memtable import Memtable
from flin.engine.table.meta import TableMeta
from flin.engine.wal import frames as wal_frames
from flin.engine.wal import replay as wal_replay
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader
from flin.net.settings.options import ServerOptions
from flin.net.settings.reading import options_from_text
from flin.objects import packed
from flin.objects.layout import LIST, Owner, elements_prefix, in_order_suffix, parse_element
from flin.objects.list_position import FIRST_INDEX
from flin.objects.meta import ListMeta, decode_meta
from flin.objects.score import encode_score
from flin.testing import SimulatedDisk
from tests import configuration_page, options_page
from tests.engine.wal_segment import Segment
from tests.source import ROOT

DATABASE_ID = bytes(range(16))


def _bytes_of(heading: str) -> bytes:
    """The annotated bytes that follow a heading of docs/formats.md: offset, up to 16 bytes, what they are."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    block = text.partition(f"# {heading}\n")[2].partition("```\n")[2].partition("```")[0]
    data = bytearray()
    for line in block.splitlines():
        offset, row = re.match(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)(?:  |$)", line).groups()  # type: ignore[union-attr]
        assert int(offset, 16) == len(data), line
        data += bytes.fromhex(row)
    assert data, heading
    return bytes(data)


def test_the_segment_of_the_document() -> None:
    header = SegmentHeader(DATABASE_ID, 2, b"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8", 300, 5, 1, 300, 300)
    segment = Segment(header).put(b"key", b"value").commit({b"a": b"1", b"bc": b"23"})
    segment.commit({b"k": TOMBSTONE, b"s": (b"v", 1_700_000_000_000, 0)}, [(b"a", b"c")]).sync().end()
    data = _bytes_of("A segment, byte by byte")
    assert data == bytes(segment.data)
    assert wal_frames.decode_header(data, "w") == header
    part = Memtable()
    done = wal_replay.replay(data, header, "w", part, start=HEADER_BYTES, end=len(data))
    assert (done.stop_reason, done.closed, done.operations) == ("", True, 6)
    assert part.entries == {b"key": b"value", b"k": TOMBSTONE, b"s": (b"v", 1_700_000_000_000, 0)}


def test_the_manifest_of_the_document() -> None:
    table = TableMeta("00000003-0000.2.sst", 0, 429, 2, 0, 0, 1, b"ab", b"ac", 5, 9, 6, ((0, 2),))
    version = Version((((table,),),), {0: 2})
    expected = Manifest(DATABASE_ID, 2, 1, 4, 3, 700, 10, 1_700_000_000_000, version)
    data = _bytes_of("A manifest, byte by byte")
    assert data == manifest_format.encode(expected)
    assert manifest_format.decode(data, "m") == expected
    assert len(_bytes_of("A table, byte by byte")) == table.length, "it is the table of the manifest"


def test_the_collections_of_the_document() -> None:
    fields = {b"name": b"Ada", b"city": b""}
    data = _bytes_of("A packed hash, byte by byte")
    assert (packed.encode_hash(fields), packed.decode_hash(data)) == (data, fields)
    scores = {b"a": -1.5, b"b\xff": 2.0}
    data = _bytes_of("A packed sorted set, byte by byte")
    assert (packed.encode_sorted_set(scores), packed.decode_sorted_set(data)) == (data, scores)
    meta = ListMeta(12345, 7, 3, FIRST_INDEX - 1, FIRST_INDEX + 2)
    data = _bytes_of("The meta of a list, byte by byte")
    assert (meta.encode(), decode_meta(LIST, data)) == (data, meta)
    data = _bytes_of("A key in order of a sorted set, byte by byte")
    assert elements_prefix(0, 12345, 7) + in_order_suffix(encode_score(-1.5), b"a") == data
    assert parse_element(data) == (Owner(0, 12345, 7), data[14:])


def test_the_file_names_of_the_document() -> None:
    """Every file in a database's directory is one of the nine kinds in the document."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([A-Z<][^`]*)` \|", text.partition("## Files\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert len(told) == 9
    patterns = [re.sub(r"<\w+>", r"[0-9]+", re.escape(name).replace(r"\<", "<").replace(r"\>", ">")) for name in told]
    disk = SimulatedDisk()
    db = flin.engine.open("/db", fs=disk, runner="inline", encryption_key=bytes(32))
    db.put(b"k", b"v")
    db.flush()
    db.put(b"k", b"v")
    for name in [*disk.names("/db"), "MANIFEST.7.tmp", "KEYS.new", condensed_name(7, 1)]:
        assert maybe_parse(name) or name in ("LOCK", "MANIFEST", "KEYS", "KEYS.new")
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name
    db.close()


def test_the_python_of_the_encryption_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "encryption.md").read_text(encoding="utf-8"), re.DOTALL
    )
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 2
    with flin.engine.open("data", encryption_key=names["new_key"]) as db:
        assert db[b"name"] == b"value"


# Pages whose snippets run, in order, as one program.


@pytest.mark.parametrize("name", ["transactions", "options"])
def test_the_snippets_of_the_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for snippet in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(snippet, f"docs/{name}.md", "exec"), names)
    if not names["db"].closed:
        assert names["db"].verify() == []
        names["db"].close()


def test_every_option_is_told() -> None:
    assert options_page.PATH.read_text("utf-8") == options_page.page(), "python -m tests.options_page writes it"


def test_every_option_of_the_server_is_told() -> None:
    text = configuration_page.PATH.read_text("utf-8")
    assert text == configuration_page.with_tables(text), "python -m tests.configuration_page writes it"


def test_the_files_on_the_page_about_configuration_can_be_read() -> None:
    text = configuration_page.PATH.read_text("utf-8")
    found = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found
    for file in found:
        assert options_from_text(file, "flin.toml").check() != ServerOptions()


# README.md


def test_the_summary_of_the_measured_figures() -> None:
    """The first lines say where Flin is fast and where it is slow, by the rows of the table below them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    summary, measured = " ".join(text.partition("## Start")[0].split()), text.partition("## Measured")[2]
    embedded, served = measured.partition("| served |")[::2]
    row = re.compile(r"^\| (\S[^|]*\S) \|(?:[^|\n]*\|){2,3} (\d+\.\d\d) \|[^|\n]*\|$", re.MULTILINE)
    ratios = dict(row.findall(embedded))
    against_redis = [ratio for _, ratio in row.findall(served)]
    named = re.findall(r"`([^`]+)` (\d+\.\d\d)", summary)
    assert len(named) >= 8
    assert {name: ratios[name] for name, _ in named} == dict(named)
    slower = sum(float(ratio) < 1 for ratio in ratios.values())
    assert f"faster in {len(ratios) - slower} of {len(ratios)} rows" in summary
    assert f"slower** in the other {slower} rows" in summary
    faster = sum(float(ratio) >= 1 for ratio in against_redis)
    assert f"faster than Redis in {faster} of {len(against_redis)} rows; the ratios are " in summary
    assert f"from {min(against_redis)} to {max(against_redis)}." in summary


# docs/stats.md

OPEN_ENDED = {"compaction.reasons", "tables.live_keys"}  # dictionaries whose keys are data


def _flat(stats: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in stats.items():
        name = prefix + key
        if isinstance(value, dict) and name not in OPEN_ENDED:
            yield from _flat(value, f"{name}.")
        else:
            yield name


@pytest.mark.parametrize("runner", ["inline", "thread", "helper"])
def test_every_key_of_stats_is_told(open_engine: Callable[..., Any], runner: str) -> None:
    text = (ROOT / "docs" / "stats.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(told) == len(set(told))
    assert set(told) == set(_flat(open_engine(runner=runner).stats()))
