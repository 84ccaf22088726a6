"""`flin checkpoint`, `flin backup` and `flin restore`, on a database and on a directory of groups."""

from __future__ import annotations

from pathlib import Path

import pytest

import flin.engine
from flin.cli.parsing import UsageError
from flin.cli.serve import check_backup_directory
from flin.cluster.workers.groups import read_groups
from flin.engine.disk.file_name import UNFINISHED_COPY
from flin.errors import StorageError
from flin.net.settings.options import ServerOptions
from tests.test_cli import Capture, fingerprint, run


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with flin.engine.open(tmp_path / "db", runner="inline") as db:
        db.put_many({b"key:%d" % number: b"value" for number in range(300)})
    return tmp_path / "db"


@pytest.fixture
def groups(database: Path, tmp_path: Path, capsys: Capture) -> Path:
    assert run(capsys, "resize", database, tmp_path / "groups", "--workers", 2)[0] == 0
    return tmp_path / "groups"


def _keys(directory: Path) -> int:
    places = [group.directory for group in read_groups(directory)] or [directory]
    total = 0
    for place in places:
        with flin.engine.open(place, create=False, runner="inline") as db:
            assert db.verify() == []
            total += len(db)
    return total


def test_a_checkpoint(database: Path, tmp_path: Path, capsys: Capture) -> None:
    code, output, errors = run(capsys, "checkpoint", database, tmp_path / "new")
    assert (code, errors) == (0, "")
    assert output == f"{tmp_path}/new is a database now: 2 files; 141 bytes were copied\n"
    assert _keys(tmp_path / "new") == 300
    assert _keys(database) == 300


def test_backups_and_a_restore(database: Path, tmp_path: Path, capsys: Capture) -> None:
    backups = tmp_path / "backups"
    for number in (1, 2, 3):
        code, output, errors = run(capsys, "backup", database, backups, "--keep", 2, "--verify")
        assert (code, errors) == (0, "")
        assert output.startswith(f"backup {number} of ")
    code, output, errors = run(capsys, "backup", "--list", backups)
    assert (code, errors) == (0, "")
    assert [line.split()[1] for line in output.splitlines()] == ["2", "3"]
    before = fingerprint(backups / "files")
    code, output, errors = run(capsys, "restore", backups, tmp_path / "new", "--number", 2)
    assert (code, errors) == (0, "")
    assert output.endswith(f": restored into {tmp_path}/new\n")
    assert fingerprint(backups / "files") == before
    assert _keys(tmp_path / "new") == 300
    code, _, errors = run(capsys, "restore", backups, tmp_path / "new")
    assert (code, errors) == (2, f"flin: {tmp_path}/new is there and not an empty directory; name another one\n")
    code, _, errors = run(capsys, "restore", backups, tmp_path / "other", "--number", 1)
    assert (code, errors) == (1, f"flin: cannot read {backups}: it has no backup 1; there are: 2, 3\n")
    (tmp_path / "empty" / "catalogue").mkdir(parents=True)
    assert run(capsys, "backup", "--list", tmp_path / "empty") == (0, "no backups\n", "")


def test_damage_is_found(database: Path, tmp_path: Path, capsys: Capture) -> None:
    backups = tmp_path / "backups"
    run(capsys, "backup", database, backups)
    (path,) = (backups / "files").glob("*.sst")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    code, output, errors = run(capsys, "backup", "--list", "--verify", backups)
    assert code == 1
    assert output.startswith("backup 1 of ")
    assert path.name in errors
    assert "checksum" in errors
    assert run(capsys, "restore", backups, tmp_path / "new")[0] == 1
    assert list((tmp_path / "new").iterdir()) == []


def test_of_groups(groups: Path, tmp_path: Path, capsys: Capture) -> None:
    backups = tmp_path / "backups"
    for _ in range(2):
        code, output, errors = run(capsys, "backup", groups, backups)
        assert (code, errors) == (0, "")
        assert output.count("backup") == 2
    code, output, _ = run(capsys, "backup", "--list", "--verify", backups)
    assert code == 0
    assert output.splitlines()[0] == "group-00 (slots 0-8191):"
    assert output.count("no problem") == 2
    for command in (
        ("restore", backups, tmp_path / "restored"),
        ("restore", backups, tmp_path / "first", "--number", 1),
        ("checkpoint", groups, tmp_path / "checkpoint"),
    ):
        assert run(capsys, *command)[0] == 0
        new = Path(command[2])
        assert _keys(new) == 300
        assert [group.id for group in read_groups(new)] == [group.id for group in read_groups(groups)]
    assert run(capsys, "resize", tmp_path / "restored", tmp_path / "other", "--workers", 2)[0] == 0
    code, _, errors = run(capsys, "backup", tmp_path / "other", backups)
    assert (code, errors) == (
        1,
        f"flin: cannot back up into {backups}: it has backups of other groups; name another directory\n",
    )
    code, _, errors = run(capsys, "backup", tmp_path / "db", backups)
    assert code == 2
    assert "directory of groups" in errors


def test_groups_that_are_copied_in_part_are_refused(groups: Path, tmp_path: Path, capsys: Capture) -> None:
    (groups / "group-01" / "MANIFEST").write_bytes(b"damaged")
    assert run(capsys, "checkpoint", groups, tmp_path / "new")[0] == 1
    assert (tmp_path / "new" / UNFINISHED_COPY).exists()
    for command in ("check", "stats", "compact"):
        code, _, errors = run(capsys, command, tmp_path / "new")
        assert code == 2
        assert "an interrupted copy" in errors
    with pytest.raises(StorageError, match="interrupted"):
        read_groups(tmp_path / "new")
    with pytest.raises(StorageError, match="interrupted"):
        flin.engine.open(tmp_path / "new")


def test_an_open_database_is_not_copied(database: Path, groups: Path, tmp_path: Path, capsys: Capture) -> None:
    with flin.engine.open(database, runner="inline"), flin.engine.open(groups / "group-00", runner="inline"):
        for command in ("checkpoint", "backup"):
            code, _, errors = run(capsys, command, database, tmp_path / "new")
            assert code == 3
            assert "close it first; or let that process make the copy: a server with --backup-dir by BGSAVE" in errors
            assert run(capsys, command, groups, tmp_path / f"groups-{command}")[0] == 3


def test_wrong_usage(database: Path, tmp_path: Path, capsys: Capture) -> None:
    backups = tmp_path / "backups"
    run(capsys, "backup", database, backups)
    for words in (
        ("backup", database),
        ("backup", "--list", backups, backups),
        ("backup", "--list", backups, "--keep", 1),
        ("backup", "--list", tmp_path / "absent"),
        ("restore", tmp_path / "absent", tmp_path / "new"),
        ("restore", backups, backups / "new"),
        ("checkpoint", database, database / "new"),
        ("checkpoint", tmp_path, tmp_path / "new"),
        ("backup", database, backups, "--keep", 0),
    ):
        code, _, errors = run(capsys, *words)
        assert code == 2, words
        assert errors.startswith("flin"), words
    assert not (tmp_path / "new").exists()
    for text, words in (
        ("holds no backups", ("backup", "--list", database)),
        ("own directory", ("backup", database, database / "backups")),
    ):
        code, _, errors = run(capsys, *words)
        assert code == 1
        assert text in errors


@pytest.mark.parametrize(
    ("directory", "backups", "is_good"),
    [("db", "backups", True), ("db", "", True), ("db", "db", False), ("db", "db/backups", False), ("a/db", "a", False)],
)
def test_where_a_server_may_put_its_backups(tmp_path: Path, directory: str, backups: str, is_good: bool) -> None:
    options = ServerOptions(dir=str(tmp_path / directory), backup_dir=backups and str(tmp_path / backups))
    if is_good:
        check_backup_directory(options)
    else:
        with pytest.raises(UsageError, match="neither may lie in the other"):
            check_backup_directory(options)


def test_of_an_encrypted_database(tmp_path: Path, capsys: Capture) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef" * 4)
    key_file.chmod(0o600)
    key = ("--encryption-key-file", key_file)
    database, backups = tmp_path / "secret", tmp_path / "backups"
    with flin.engine.open(database, runner="inline", encryption_key=bytes.fromhex(key_file.read_text())) as db:
        db.put(b"a", b"1")
    for words in (
        ("checkpoint", database, tmp_path / "copy", *key),
        ("backup", database, backups, *key),
        ("backup", "--list", "--verify", backups),
        ("restore", backups, tmp_path / "new", *key),
        ("check", tmp_path / "copy", *key),
        ("check", tmp_path / "new", *key),
        ("export", database, tmp_path / "file", *key),
        ("import", tmp_path / "file", tmp_path / "imported", *key),
        ("put", database, "b", "2", *key),
        ("get", database, "b", *key),
        ("scan", tmp_path / "imported", *key),
        ("delete", database, "b", *key),
    ):
        code, _, errors = run(capsys, *words)
        assert code == 0, (words, errors)
    for refused in (
        ("checkpoint", database, tmp_path / "none"),
        ("backup", database, tmp_path / "none"),
        ("restore", backups, tmp_path / "none"),
        ("export", database, tmp_path / "none"),
        ("get", database, "a"),
    ):
        code, _, errors = run(capsys, *refused)
        assert code == 1, refused
        assert "--encryption-key-file" in errors, refused
