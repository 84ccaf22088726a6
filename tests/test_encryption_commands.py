"""The command line on encrypted databases: each command takes the key's file, and says what to do without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import flin.engine
from flin.cli.main import main
from flin.errors import EncryptionError
from flin.key_file import read_key

Capture = pytest.CaptureFixture[str]

KEY = bytes(range(32))
OPTION = "--encryption-key-file"


def run(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def key_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path / "key", KEY.hex().encode() + b"\n")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A table, a value file, and a WAL that is not flushed."""
    path = tmp_path / "db"
    db = flin.engine.open(path, runner="inline", encryption_key=KEY)
    db.put_many({b"secret:%03d" % number: b"value %d" % number * 10 for number in range(300)})
    db.flush()
    db.put_many({b"large:%03d" % number: b"large %d" % number * 1000 for number in range(5)})
    db.flush()
    db.put(b"in the", b"WAL")
    db.close(flush=False)
    return path


def test_the_file_of_a_key(tmp_path: Path) -> None:
    for content in (KEY, KEY.hex().encode(), b" %b\r\n" % KEY.hex().upper().encode()):
        assert read_key(str(key_file(tmp_path / "k", content))) == (KEY, "")
    _, warning = read_key(str(key_file(tmp_path / "open", KEY, 0o644)))
    assert warning.endswith(f"chmod 600 {tmp_path / 'open'}")
    for content in (b"", b"a passphrase", KEY.hex().encode()[:-1], b"x" * 64, KEY * 3, b"\xff" * 9000):
        with pytest.raises(EncryptionError, match="64 hexadecimal digits or 32 bytes"):
            read_key(str(key_file(tmp_path / "k", content)))
    with pytest.raises(EncryptionError, match="cannot be read: No such file"):
        read_key(str(tmp_path / "absent"))


def test_a_pipe_is_a_file_of_a_key() -> None:
    reading, writing = os.pipe()
    os.write(writing, KEY.hex().encode())
    os.close(writing)
    try:
        assert read_key(f"/dev/fd/{reading}") == (KEY, "")
    finally:
        os.close(reading)


@pytest.mark.parametrize("command", ["check", "stats", "compact"])
def test_commands_on_a_directory(capsys: Capture, database: Path, key: Path, tmp_path: Path, command: str) -> None:
    code, _, error = run(capsys, command, database)
    assert (code, "is encrypted: give its key" in error) == (1, True), error
    code, _, error = run(capsys, command, database, OPTION, key_file(tmp_path / "other", bytes(32)))
    assert (code, "another key" in error) == (1, True), error
    code, _, error = run(capsys, command, database, OPTION, tmp_path / "absent")
    assert (code, "cannot be read" in error) == (2, True), error
    code, output, error = run(capsys, command, database, OPTION, key)
    assert (code, error) == (0, "")
    assert "306" in output
    key.chmod(0o640)
    code, _, error = run(capsys, command, database, OPTION, key)
    assert (code, "chmod 600" in error) == (0, True)


def test_a_key_for_a_plain_database(capsys: Capture, tmp_path: Path, key: Path) -> None:
    flin.engine.open(tmp_path / "plain", runner="inline").close()
    code, _, error = run(capsys, "check", tmp_path / "plain", OPTION, key)
    assert (code, "not encrypted" in error) == (1, True)


def test_dump(capsys: Capture, database: Path, key: Path) -> None:
    shown = ""
    for name in sorted(os.listdir(database)):
        if name in ("LOCK", "KEYS"):
            continue
        code, _, error = run(capsys, "dump", database / name)
        assert (code, "encrypt" in error) == (1 if name.endswith(".wal") else 2, True), (name, error)
        code, output, error = run(capsys, "dump", database / name, OPTION, key)
        assert (code, error) == (0, ""), name
        shown += output
    for text in ("secret:007", "in the", "large:002", "sequence", "manifest, format"):
        assert text in shown


def test_check_names_damage(capsys: Capture, database: Path, key: Path) -> None:
    table = sorted(database.glob("*.sst"))[0]
    data = bytearray(table.read_bytes())
    data[60] ^= 1
    table.write_bytes(data)
    code, output, _ = run(capsys, "check", database, OPTION, key)
    assert code == 1
    assert f"{table}: corrupt at offset 36: a seal is broken" in output


def test_repair(capsys: Capture, database: Path, key: Path) -> None:
    (database / "MANIFEST").unlink()
    code, output, _ = run(capsys, "repair", database, "--into", f"{database}.new", OPTION, key)
    assert (code, "306 keys" in output) == (1, True)  # the manifest is lost
    with flin.engine.open(f"{database}.new", encryption_key=KEY) as db:
        assert len(db) == 306
        assert db[b"large:004"] == b"large 4" * 1000
    for path in Path(f"{database}.new").iterdir():
        assert b"secret:" not in path.read_bytes()


def test_encrypting_and_decrypting(capsys: Capture, tmp_path: Path, key: Path) -> None:
    plain, sealed, again, back = (tmp_path / name for name in ("plain", "sealed", "again", "back"))
    with flin.engine.open(plain) as db:
        db.put_many({b"secret:%03d" % number: b"value" for number in range(300)})
    other = key_file(tmp_path / "other", bytes(32))
    assert run(capsys, "resize", plain, sealed, "--workers", 1, "--new-key-file", key)[0] == 0
    assert run(capsys, "resize", sealed, again, "--workers", 2, OPTION, key, "--new-key-file", other)[0] == 0
    code, _, error = run(capsys, "resize", again, back, "--workers", 1, OPTION, other, "--decrypt")
    assert (code, error) == (0, "")
    with flin.engine.open(back) as db:
        assert len(db) == 300
    for folder in (sealed, again / "group-00", again / "group-01"):
        assert (folder / "KEYS").exists()
        assert not any(b"secret:" in path.read_bytes() for path in folder.iterdir())
    code, _, error = run(capsys, "resize", sealed, tmp_path / "x", "--workers", 1, "--new-key-file", key, "--decrypt")
    assert (code, "NEW is encrypted, or it is not" in error) == (2, True)
