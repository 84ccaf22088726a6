"""`flin repair`: what it writes, prints and leaves alone, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flin.engine
from flin.cli.repair import lines_of
from flin.engine.repair.report import Loss, RepairReport
from tests.test_cli import Capture, fingerprint, flip, only, run
from tests.test_cli import database as database  # the fixture


def test_help(capsys: Capture) -> None:
    code, text, _ = run(capsys, "repair", "--help")
    assert code == 0
    assert "examples:\n  flin " in text
    assert "exit codes:\n  0 " in text
    assert "flin repair" in run(capsys, "--help")[1]


def test_a_whole_database_is_copied(database: Path, capsys: Capture) -> None:
    before = fingerprint(database)
    code, output, _ = run(capsys, "repair", database)
    assert code == 0, output
    assert "nothing was lost" in output
    assert fingerprint(database) == before
    with flin.engine.open(str(database), runner="inline") as original:
        expected = dict(original.scan())
    with flin.engine.open(f"{database}.repaired", runner="inline") as repaired:
        assert dict(repaired.scan()) == expected
        assert repaired.ttl(b"lives")
    assert run(capsys, "check", f"{database}.repaired")[0] == 0


def test_losses_are_named_and_the_code_is_1(database: Path, tmp_path: Path, capsys: Capture) -> None:
    table = only(database, "*.sst")
    flip(table, 100)
    before = fingerprint(database)
    code, output, _ = run(capsys, "repair", database, "--into", tmp_path / "new")
    assert code == 1
    assert f"{table.name}: kept " in output
    assert "  lost: " in output
    assert 'the checksum of a data block is wrong; keys from "key:0' in output
    assert "an older value may reappear" in output
    assert fingerprint(database) == before
    assert run(capsys, "check", tmp_path / "new")[0] == 0
    code, output, _ = run(capsys, "repair", database, "--into", tmp_path / "other", "--json")
    found = json.loads(output)
    assert (code, found["lossless"], found["problems"]) == (1, False, [])
    (loss,) = [loss for file in found["files"] for loss in file["losses"]]
    assert loss["offset"] == 0
    assert loss["first"].startswith('"key:0')


def test_a_dry_run_leaves_nothing(database: Path, capsys: Capture) -> None:
    (database / "MANIFEST").unlink()
    before = fingerprint(database)
    code, output, _ = run(capsys, "repair", database, "--dry-run")
    assert code == 1
    assert "there is no manifest" in output
    assert "nothing was written" in output
    assert fingerprint(database) == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_where_the_result_may_lie(database: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in (database, database / "in", tmp_path / "full", tmp_path / "full" / "file", tmp_path / "link"):
        code, output, errors = run(capsys, "repair", database, "--into", target)
        assert (code, output) == (2, ""), target
        assert "flin: " in errors
    (tmp_path / "empty").mkdir()
    assert run(capsys, "repair", database, "--into", tmp_path / "empty")[0] == 0


def test_shards_that_are_not_so_are_wrong_usage(database: Path, tmp_path: Path, capsys: Capture) -> None:
    for shards in ("3", "4"):
        assert run(capsys, "repair", database, "--into", tmp_path / "new", "--shards", shards)[0] == 2
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_database_in_use_is_3(arguments: list[str], database: Path, capsys: Capture) -> None:
    with flin.engine.open(str(database), runner="inline"):
        assert run(capsys, "repair", database, *arguments)[0] == 3
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_a_newer_format_is_refused(database: Path, capsys: Capture) -> None:
    flip(database / "MANIFEST", 9)
    code, _, errors = run(capsys, "repair", database)
    assert code == 1
    assert "manifest format" in errors
    assert not Path(f"{database}.repaired").exists()
    assert run(capsys, "repair", database, "--force")[0] == 1
    assert run(capsys, "check", f"{database}.repaired")[0] == 0


def test_losses_are_in_the_order_of_the_file() -> None:
    report = RepairReport("db", None, keys=1200, expired=1000)
    file = report.file("00000001.1.wal", "value")
    for offset in (7000, 90):
        file.lose(Loss(offset, 20, "the value is lost"))
    assert list(lines_of(report)) == [
        "00000001.1.wal: kept 0 values",
        "  lost: 20 bytes at offset 90: the value is lost",
        "  lost: 20 bytes at offset 7000: the value is lost",
        "1,200 keys in 1 shard, 1,000 of them expired; see the losses above; dry run, nothing was written",
    ]
