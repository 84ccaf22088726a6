"""The text form of an export: a line of JSON for each key.

    {"flin_export": 1}                                          the first line
    {"key": "user:1", "value": "Ada"}
    {"key_base64": "/wA=", "value_base64": "AAEC", "expires_at_ms": 1764400000000}
    {"key": "jobs", "type": "list", "dump_base64": "…", "database": 2}
    {"end": 3, "crc32": "0a1b2c3d"}                             the last line: how many keys; CRC-32 of all lines before

Keys and values are text if they are UTF-8, base64 otherwise. A file that other programs write need not have the first
line; then it need not have the last one, or its checksum, and may say `ttl`, in seconds from the import on.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from flin.engine.checksum import crc32
from flin.errors import FormatVersionError, ImportDataError
from flin.transfer.record import KINDS, STRING, Record

FORMAT: Final = 1

MAX_LINE_BYTES: Final = 1 << 30
"""A value of 512 MB, Redis's longest, in base64, with room for its key. A file without line ends is no such file."""

_FIELDS: Final = {
    "key",
    "key_base64",
    "value",
    "value_base64",
    "dump_base64",
    "type",
    "expires_at_ms",
    "ttl",
    "database",
}
MAX_DATABASE: Final = 15
MAX_EXPIRY_MS: Final = (1 << 63) - 1


def write(records: Iterable[Record], file: IO[bytes]) -> int:
    """Write the whole export. Returns the number of records. OSError."""
    count, line = 0, _line({"flin_export": FORMAT})
    file.write(line)
    checksum = crc32(line)
    for record in records:
        line = _line(_fields(record))
        file.write(line)
        checksum = crc32(line, checksum)
        count += 1
    file.write(_line({"end": count, "crc32": f"{checksum:08x}"}))
    return count


def read(file: IO[bytes], path: str, now_ms: int) -> Iterator[Record]:
    """The records of a file. ImportDataError names the line that is none; FormatVersionError for a newer format."""
    count, number, checksum = 0, 0, 0
    must_end, has_ended, is_empty = False, False, True
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if has_ended:
            raise ImportDataError(path, f"line {number}", "the file goes on after its last line")
        if not line.isspace():
            is_empty = False
            content = _content(line, path, number)
            if "flin_export" in content and number == 1:
                must_end = True
                _check_version(content, path)
            elif "end" in content:
                has_ended = True
                _check_end(content, count, checksum, path, number)
            else:
                yield _record(content, path, number, now_ms)
                count += 1
        checksum = crc32(line, checksum)
    if is_empty:
        raise ImportDataError(path, "line 1", "the file is empty: an export without keys has two lines")
    if must_end and not has_ended:
        raise ImportDataError(path, f"line {number + 1}", "the file is cut: its last line is missing")


def _check_end(content: dict[str, Any], count: int, checksum: int, path: str, number: int) -> None:
    place = f"line {number}"
    if content.keys() - {"end", "crc32"}:
        raise ImportDataError(
            path, place, 'a line with "end" is the last one, and has nothing but its checksum besides'
        )
    if content["end"] != count:
        raise ImportDataError(path, place, f"it says {content['end']} keys, and {count} came before")
    if content.get("crc32", f"{checksum:08x}") != f"{checksum:08x}":
        reason = (
            f"its checksum {content['crc32']} is not that of the lines before, {checksum:08x}: one of them has changed"
        )
        raise ImportDataError(path, place, reason)


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _fields(record: Record) -> dict[str, Any]:
    fields = _text("key", record.key)
    if record.kind == STRING:
        fields |= _text("value", record.payload)
    else:
        fields |= {"type": record.kind, "dump_base64": b64encode(record.payload).decode()}
    if record.expires_at_ms:
        fields["expires_at_ms"] = record.expires_at_ms
    if record.database:
        fields["database"] = record.database
    return fields


def _text(name: str, data: bytes) -> dict[str, Any]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(data).decode()}


def _content(line: bytes, path: str, number: int) -> dict[str, Any]:
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ImportDataError(path, f"line {number}", f"it is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ImportDataError(path, f"line {number}", "it is no JSON object")
    return content


def _check_version(content: dict[str, Any], path: str) -> None:
    version = content["flin_export"]
    if type(version) is int and version > FORMAT:
        raise FormatVersionError(path, f"export format {version}, of a newer Flin: this one reads {FORMAT}")
    if version is True or version != FORMAT:
        raise ImportDataError(path, "line 1", f"{version!r} is no format of an export")


def _record(content: dict[str, Any], path: str, number: int, now_ms: int) -> Record:
    try:
        unknown = sorted(content.keys() - _FIELDS)
        if unknown:
            raise ValueError(f"there is no field {unknown[0]!r}; a key has {', '.join(sorted(_FIELDS))}")
        kind = content.get("type", STRING)
        if kind not in KINDS:
            raise ValueError(f"there is no type {kind!r}")
        if (kind == STRING) == ("dump_base64" in content):
            raise ValueError("it has dump_base64, but no type" if kind == STRING else f"a {kind} needs dump_base64")
        return Record(
            _bytes(content, "key"),
            _bytes(content, "value") if kind == STRING else _decoded(content["dump_base64"], "dump_base64"),
            kind,
            _expires_at_ms(content, now_ms),
            _number(content, "database", MAX_DATABASE),
            f"line {number}",
        )
    except ValueError as error:
        raise ImportDataError(path, f"line {number}", str(error)) from error


def _bytes(content: dict[str, Any], name: str) -> bytes:
    encoded = f"{name}_base64"
    if (name in content) == (encoded in content):
        raise ValueError(f"it needs {name} or {encoded}, one of the two")
    if encoded in content:
        return _decoded(content[encoded], encoded)
    text = content[name]
    if not isinstance(text, str):
        raise ValueError(f"{name} is {text!r}, it must be text")
    return text.encode()


def _decoded(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{name} is {text!r}, it must be text")
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"{name} is no base64: {error}") from error


def _expires_at_ms(content: dict[str, Any], now_ms: int) -> int:
    if "ttl" not in content:
        return _number(content, "expires_at_ms", MAX_EXPIRY_MS)
    ttl = content["ttl"]
    if "expires_at_ms" in content or isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise ValueError("it needs ttl, in seconds, or expires_at_ms, one of the two")
    if not 0 < ttl < MAX_EXPIRY_MS // 2000:
        raise ValueError(f"ttl is {ttl!r}: it must be seconds, above 0")
    return now_ms + round(ttl * 1000)


def _number(content: dict[str, Any], name: str, highest: int) -> int:
    value = content.get(name, 0)
    if type(value) is not int or not 0 <= value <= highest:
        raise ValueError(f"{name} is {value!r}, it must be a number from 0 to {highest}")
    return value
