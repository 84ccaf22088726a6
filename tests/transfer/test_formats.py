"""The two forms of an export, in both directions; and what is refused, with its place."""

from __future__ import annotations

import io
import json
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import CorruptionError, FormatVersionError, ImportDataError, LimitError
from flin.transfer import compact, ndjson
from flin.transfer.record import KINDS, Record

NOW_MS = 1_700_000_000_000

record_lists = st.lists(
    st.builds(
        Record,
        st.binary(max_size=20) | st.text(max_size=10).map(str.encode),
        st.binary(max_size=40) | st.text(max_size=20).map(str.encode),
        st.sampled_from(KINDS),
        st.sampled_from([0, 1, NOW_MS, (1 << 63) - 1]),
        st.integers(0, 15),
    ),
    max_size=8,
)

END = b'{"end"'

SOME = [
    Record(b"a", b"1"),
    Record("é\n\u2028".encode(), b"\xff\x00", expires_at_ms=NOW_MS),
    Record(b"\xff", b"dump", "sorted set", database=3),
    Record(b"", b""),
]


def _lines(data: bytes) -> list[Record]:
    return list(ndjson.read(io.BytesIO(data), "f", NOW_MS))


def _blocks(data: bytes) -> list[Record]:
    return list(compact.read(io.BytesIO(data), "f"))


@given(record_lists)
def test_there_and_back(records: list[Record]) -> None:
    for form, read in ((ndjson, _lines), (compact, _blocks)):
        file = io.BytesIO()
        assert form.write(iter(records), file) == len(records)
        assert read(file.getvalue()) == records


def test_lines_are_what_the_document_says() -> None:
    file = io.BytesIO()
    ndjson.write(iter(SOME), file)
    assert [json.loads(line) for line in file.getvalue().decode().split("\n")[:-1]] == [
        {"flin_export": 1},
        {"key": "a", "value": "1"},
        {"key": "é\n\u2028", "value_base64": "/wA=", "expires_at_ms": NOW_MS},
        {"key_base64": "/w==", "type": "sorted set", "dump_base64": "ZHVtcA==", "database": 3},
        {"key": "", "value": ""},
        {"end": 4, "crc32": f"{crc32(file.getvalue().partition(END)[0]):08x}"},
    ]


def test_lines_of_other_programs() -> None:
    data = b'{"key": "a", "value": "1"}\r\n\n  {"key": "b", "value": "2", "ttl": 1.5}'
    assert _lines(data) == [Record(b"a", b"1"), Record(b"b", b"2", expires_at_ms=NOW_MS + 1500)]
    assert _lines(data + b'\n{"end": 2}') == _lines(data)
    for empty in (b"", b"\n \n"):
        with pytest.raises(ImportDataError, match="the file is empty"):
            _lines(empty)
    assert _lines(b'{"end": 0}') == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nothing", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\xff", "no JSON"),
        ("[1]", "no JSON object"),
        ("{}", "key or key_base64"),
        ('{"key": "a"}', "value or value_base64"),
        ('{"key": "a", "key_base64": "", "value": ""}', "key or key_base64"),
        ('{"key": 1, "value": ""}', "must be text"),
        ('{"key": "a", "value": null}', "must be text"),
        ('{"key": "\\ud800", "value": ""}', "surrogates"),
        ('{"key_base64": "a", "value": ""}', "no base64"),
        ('{"key_base64": 5, "value": ""}', "must be text"),
        ('{"key": "a", "value": "", "more": 1}', "no field 'more'"),
        ('{"key": "a", "type": "tree", "dump_base64": ""}', "no type 'tree'"),
        ('{"key": "a", "type": [], "dump_base64": ""}', "no type"),
        ('{"key": "a", "type": "hash", "value": ""}', "needs dump_base64"),
        ('{"key": "a", "value": "", "dump_base64": ""}', "dump_base64"),
        ('{"key": "a", "value": "", "database": 16}', "from 0 to 15"),
        ('{"key": "a", "value": "", "database": true}', "from 0 to 15"),
        ('{"key": "a", "value": "", "expires_at_ms": -1}', "expires_at_ms is -1"),
        ('{"key": "a", "value": "", "expires_at_ms": 1, "ttl": 1}', "one of the two"),
        ('{"key": "a", "value": "", "ttl": "1"}', "in seconds"),
        ('{"key": "a", "value": "", "ttl": 0}', "above 0"),
        ('{"key": "a", "value": "", "ttl": 1e300}', "must be seconds"),
        ('{"key": "a", "value": "", "ttl": NaN}', "must be seconds"),
        ('{"end": 5}', "says 5 keys, and 1 came before"),
        ('{"end": 1}\n{"key": "a", "value": ""}', "goes on after its last line"),
        ('{"end": 1, "key": "a", "value": ""}', "nothing but its checksum"),
        ('{"end": 1, "crc32": "00000000"}', "its checksum 00000000 is not that of the lines before"),
        ('{"end": 1, "crc32": 5}', "its checksum 5 is not"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, reason: str) -> None:
    with pytest.raises(ImportDataError, match=reason) as raised:
        _lines(b'{"key": "first", "value": ""}\n' + line.encode("latin-1"))
    assert raised.value.place == ("line 3" if "goes on" in reason else "line 2")
    assert str(raised.value).startswith(f"f, {raised.value.place}: ")


def test_a_file_that_is_cut_is_noticed_at_every_byte() -> None:
    for form, read in ((ndjson, _lines), (compact, _blocks)):
        file = io.BytesIO()
        form.write(iter(SOME), file)
        data = file.getvalue()
        for size in range(len(data) - (form is ndjson)):  # the last line end is no loss
            if size or form is compact:
                with pytest.raises((ImportDataError, CorruptionError, FormatVersionError)):
                    read(data[:size])


def test_every_flipped_bit_is_noticed() -> None:
    for form, read in ((ndjson, _lines), (compact, _blocks)):
        file = io.BytesIO()
        form.write(iter(SOME), file)
        data = file.getvalue()
        for bit in range(8 * (len(data) - (form is ndjson))):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises((ImportDataError, CorruptionError, FormatVersionError)):
                read(bytes(flipped))
    with pytest.raises(CorruptionError, match="goes on"):
        _blocks(data + b"\0")


def test_newer_formats() -> None:
    with pytest.raises(FormatVersionError, match="newer"):
        _lines(b'{"flin_export": 2}\n')
    for version in (b"0", b"true", b'"1"'):
        with pytest.raises(ImportDataError, match="no format"):
            _lines(b'{"flin_export": %b}\n' % version)
    with pytest.raises(FormatVersionError, match="newer"):
        _blocks(compact.MAGIC + (2).to_bytes(4, "little"))


def test_many_blocks_and_records_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "BLOCK_BYTES", 100)
    records = [Record(b"%d" % number, b"x" * (number * 7 % 150)) for number in range(50)]
    file = io.BytesIO()
    compact.write(iter(records), file)
    assert _blocks(file.getvalue()) == records
    monkeypatch.setattr(compact, "MAX_BLOCK_BYTES", 100)
    with pytest.raises(LimitError, match="record"):
        compact.write(iter(records), io.BytesIO())
