"""`flin export`, `import`, `get`, `put`, `delete` and `scan`; docs/export.md is run as it is written."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.cli.main import main
from flin.cluster.workers.groups import read_groups
from tests.source import ROOT
from tests.test_cli import Capture, fingerprint, run


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with flin.engine.open(tmp_path / "data", runner="inline") as db:
        db.put_many({b"key:%03d" % number: b"value %d" % number for number in range(300)})
        db.put(b"\xff\x00", b"\x00\xff", ttl=3600)
    return tmp_path / "data"


@pytest.fixture
def groups(database: Path, tmp_path: Path) -> Path:
    assert main(["resize", str(database), str(tmp_path / "groups"), "--workers", "2"]) == 0
    return tmp_path / "groups"


def _raw(capsysbinary: pytest.CaptureFixture[bytes], *arguments: object) -> tuple[int, bytes, bytes]:
    capsysbinary.readouterr()
    code = main([str(argument) for argument in arguments])
    output = capsysbinary.readouterr()
    return code, output.out, output.err


def _stdin(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)))


def _held(directory: Path) -> dict[bytes, bytes]:
    with flin.engine.open(directory, create=False, runner="inline") as db:
        assert db.verify() == []
        return dict(db.scan())


@pytest.mark.parametrize("form", ["ndjson", "compact"])
def test_there_and_back(database: Path, tmp_path: Path, capsys: Capture, form: str) -> None:
    before = fingerprint(database)
    code, output, errors = run(capsys, "export", database, tmp_path / "file", "--format", form)
    assert (code, output, errors) == (0, "", "301 keys were exported\n")
    assert fingerprint(database) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "file"]
    code, output, errors = run(capsys, "import", tmp_path / "file", tmp_path / "new")
    assert (code, output, errors) == (0, f"301 keys were imported into {tmp_path}/new\n", "")
    assert _held(tmp_path / "new") == _held(database)
    with flin.engine.open(tmp_path / "new", runner="inline") as db:
        ttl = db.ttl(b"\xff\x00")
        assert ttl is not None
        assert 0 < ttl <= 3600


def test_groups_become_one_file(groups: Path, database: Path, tmp_path: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(capsys, "export", groups, tmp_path / "file")[0] == 0
    assert run(capsys, "import", tmp_path / "file", tmp_path / "new")[0] == 0
    assert _held(tmp_path / "new") == _held(database)
    code, _, errors = run(capsys, "import", tmp_path / "file", groups, "--merge")
    assert code == 2
    assert "flin resize" in errors


def test_a_bad_line_leaves_no_database(tmp_path: Path, capsys: Capture) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    file.write_text('{"key": "a", "value": "1"}\n{"key": "b"}\n')
    code, output, errors = run(capsys, "import", file, new)
    assert (code, output) == (1, "")
    assert errors == f"flin: {file}, line 2: it needs value or value_base64, one of the two\n"
    assert not new.exists()
    file.write_bytes(b"FlinEXP\0\1\0\0\0" + bytes(20))
    code, _, errors = run(capsys, "import", file, new)
    assert code == 1
    assert "checksum" in errors
    assert not new.exists()


def test_a_merge_is_resumed(database: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "file"
    lines = [json.dumps({"key": f"key:{number:03d}", "value": "new"}) for number in range(100)]
    file.write_text("\n".join([*lines[:50], "cut here"]))
    code, _, errors = run(capsys, "import", file, database, "--merge")
    assert code == 1
    assert errors.splitlines() == [
        "flin: 50 keys were imported before; import the file again",
        f"flin: {file}, line 51: it is no JSON: Expecting value: line 1 column 1 (char 0)",
    ]
    file.write_text("\n".join(lines))
    assert run(capsys, "import", file, database, "--merge")[0] == 0
    held = _held(database)
    assert [held[b"key:%03d" % number] for number in (0, 99, 100)] == [b"new", b"new", b"value 100"]
    assert len(held) == 301


def test_a_pipe_of_two_commands(database: Path, tmp_path: Path) -> None:
    for form in ("ndjson", "compact"):
        command = [sys.executable, "-m", "flin"]
        export = subprocess.Popen(
            [*command, "export", database, "-", "--format", form], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        done = subprocess.run([*command, "import", "-", tmp_path / form], stdin=export.stdout, check=False)
        assert export.stdout is not None
        export.stdout.close()
        assert (done.returncode, export.wait()) == (0, 0)
        assert _held(tmp_path / form) == _held(database)


def test_what_is_left_of_an_export(database: Path, tmp_path: Path, capsys: Capture) -> None:
    export = tmp_path / "export"
    run(capsys, "export", database, export)
    whole = export.read_bytes()
    for data, reason in (
        (b"", "line 1: the file is empty"),
        (whole[: whole.rindex(b'{"end"')], "line 303: the file is cut: its last line is missing"),
        (whole.replace(b"value 7", b"value 8", 1), "line 303: its checksum"),
        (whole[:-300], "it is no JSON"),
    ):
        export.write_bytes(data)
        code, _, errors = run(capsys, "import", export, tmp_path / "new")
        assert code == 1, errors
        assert reason in errors
        assert not (tmp_path / "new").exists()
        code, output, errors = run(capsys, "import", export, tmp_path / "new", "--partial")
        assert code == 0
        assert reason in errors
        assert errors.rstrip().endswith("; imported up to there")
        held = _held(tmp_path / "new")
        assert output.startswith(f"{len(held)} keys were imported into ")
        assert (0 < len(held) < 301) == (data == whole[:-300])
        shutil.rmtree(tmp_path / "new")


def test_a_full_disk_leaves_no_file(database: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any) -> None:
    def full(records: Any, file: Any) -> int:
        file.write(b"a part")
        raise OSError(28, "No space left on device", "file")

    monkeypatch.setattr("flin.transfer.ndjson.write", full)
    (tmp_path / "file").write_text("the old one")
    code, _, errors = run(capsys, "export", database, tmp_path / "file")
    assert (code, errors) == (1, "flin: file: No space left on device\n")
    assert (tmp_path / "file").read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "file"]


# Single keys.


def test_get_put_delete(database: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: Any) -> None:
    assert _raw(capsysbinary, "get", database, "key:007") == (0, b"value 7", b"")
    assert _raw(capsysbinary, "get", database, "ff00", "--hex") == (0, b"00ff", b"")
    assert _raw(capsysbinary, "get", database, "/wA=", "--base64") == (0, b"AP8=", b"")
    assert _raw(capsysbinary, "get", database, "absent") == (1, b"", b"flin: there is no key b'absent'\n")
    assert _raw(capsysbinary, "put", database, "new", "é", "--ttl", "60.5") == (0, b"", b"")
    assert _raw(capsysbinary, "put", database, "00", "ff", "--hex") == (0, b"", b"")
    monkeypatch.setattr(sys, "stdin", _stdin(b"\x00from\nstdin"))
    assert _raw(capsysbinary, "put", database, "piped", "-") == (0, b"", b"")
    assert _raw(capsysbinary, "get", database, "piped") == (0, b"\x00from\nstdin", b"")
    held = _held(database)
    assert (held[b"new"], held[b"\x00"]) == ("é".encode(), b"\xff")
    code, output, _ = _raw(capsysbinary, "delete", database, "new", "absent", "piped")
    assert (code, output) == (0, b"2 of 3 keys were there and are deleted\n")
    assert b"piped" not in _held(database)


def test_scan(database: Path, groups: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for directory in (database, groups):
        before = fingerprint(directory if directory is database else groups / "group-00")
        code, output, errors = _raw(capsysbinary, "scan", directory)
        assert (code, errors) == (0, b"")
        assert output.startswith(b"key:000\tvalue 0\nkey:001\tvalue 1\n")
        assert output.count(b"\n") == 301
        for words, expected in (
            (("--prefix", "key:01", "--limit", 2), b"key:010\tvalue 10\nkey:011\tvalue 11\n"),
            (("--start", "key:298", "--stop", "key:300"), b"key:298\tvalue 298\nkey:299\tvalue 299\n"),
            (("--reverse", "--limit", 1, "--hex"), b"ff00\t00ff\n"),
            (("--reverse", "--stop", "key:002", "--keys-only"), b"key:001\nkey:000\n"),
            (("--start", "/w==", "--base64"), b"/wA=\tAP8=\n"),
        ):
            assert _raw(capsysbinary, "scan", directory, *words) == (0, expected, b""), words
        assert fingerprint(directory if directory is database else groups / "group-00") == before


def test_keys_of_groups(groups: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    for number in range(4):
        assert _raw(capsysbinary, "put", groups, f"new:{number}", "1")[0] == 0
        assert _raw(capsysbinary, "get", groups, f"new:{number}") == (0, b"1", b"")
    counts = []
    for group in read_groups(groups):
        with flin.engine.open(group.directory, runner="inline") as db:
            counts.append(len(list(db.scan_keys(prefix=b"new:"))))
    assert sum(counts) == 4
    assert all(counts), "each in the group of its slot"
    code, output, _ = _raw(capsysbinary, "delete", groups, *(f"new:{number}" for number in range(5)))
    assert (code, output) == (0, b"4 of 5 keys were there and are deleted\n")


def test_wrong_usage(database: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    for words in (
        ("get", tmp_path / "absent", "a"),
        ("get", database, "0", "--hex"),
        ("get", database, "a", "--hex", "--base64"),
        ("put", database, "a", "b", "--ttl", "0"),
        ("put", database, "a", "b", "--ttl", "soon"),
        ("scan", database, "--limit", "0"),
        ("import", tmp_path / "absent", tmp_path / "new"),
        ("import", tmp_path, tmp_path / "new"),
        ("import", tmp_path / "file", database),
        ("import", tmp_path / "file", tmp_path / "new", "--merge"),
        ("export", database, tmp_path),
        ("export", database, "redis://localhost:1"),
        ("export", database, tmp_path / "x", "--format", "xml"),
    ):
        code, _, errors = run(capsys, *words)
        assert code == 2, words
        assert errors.startswith("flin"), words
    assert not (tmp_path / "new").exists()


def test_an_open_database(database: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    with flin.engine.open(database, runner="inline"):
        for words in (
            ("export", database, tmp_path / "new"),
            ("import", tmp_path / "file", database, "--merge"),
            ("get", database, "a"),
            ("put", database, "a", "b"),
            ("delete", database, "a"),
            ("scan", database),
        ):
            code, _, errors = run(capsys, *words)
            assert code == 3, words
            assert "close it first" in errors


def test_the_document(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
    assert len(commands) == 16
    for command in commands:
        before, _, after = command.rpartition("| ")
        if before:
            line = re.search(r"'(.*)'", before)
            assert line is not None
            monkeypatch.setattr(sys, "stdin", _stdin(line[1].encode() + b"\n"))
        code, _, errors = _raw(capsysbinary, *after.split()[1:])
        assert code == 0, (command, errors)
    assert _held(tmp_path / "data.made") == {b"greeting": b"hello"}


def test_a_server_that_is_named_without_its_scheme(tmp_path: Path, capsys: Capture) -> None:
    code, _, errors = run(capsys, "import", "localhost:6379", tmp_path / "new")
    assert (code, errors) == (2, "flin: there is no file 'localhost:6379'; the URL of a server begins with redis://\n")
