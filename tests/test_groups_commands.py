"""The commands on a directory of groups: each group in its turn, and `flin resize`, which makes one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flin.engine
from flin.cluster.workers.groups import create_groups, read_groups
from tests.test_cli import Capture, flip, only, run


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    with flin.engine.open(tmp_path / "plain", runner="inline") as db:
        db.put_many({b"key:%d" % number: b"value" for number in range(300)})
    return tmp_path / "plain"


@pytest.fixture
def groups(plain: Path, tmp_path: Path, capsys: Capture) -> Path:
    """Two groups, each with a table."""
    assert run(capsys, "resize", plain, tmp_path / "groups", "--workers", 2)[0] == 0
    return tmp_path / "groups"


# flin resize.


def test_a_resize_tells_what_it_made(plain: Path, tmp_path: Path, capsys: Capture) -> None:
    code, output, errors = run(capsys, "resize", plain, tmp_path / "new" / "two", "--workers", 2)
    assert (code, errors) == (0, "")
    assert output == (
        "group-00 (slots 0-8191): 152 keys\n"
        "group-01 (slots 8192-16383): 148 keys\n"
        f"300 keys were copied to {tmp_path}/new/two\n"
    )
    (tmp_path / "one").mkdir()
    code, output, errors = run(capsys, "resize", tmp_path / "new" / "two", tmp_path / "one", "--workers", 1)
    assert (code, output, errors) == (0, f"300 keys were copied to {tmp_path}/one\n", "")
    with flin.engine.open(tmp_path / "one", create=False) as db, flin.engine.open(plain) as before:
        assert dict(db.scan()) == dict(before.scan())


def test_where_a_resize_writes(plain: Path, groups: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to(plain)
    for source, target in (
        (plain, tmp_path / "link" / "in"),
        (tmp_path / "link", plain / "in"),
        (plain, plain),
        (plain, plain / "in"),
        (groups, groups / "group-00" / "in"),
        (plain, tmp_path / "full"),
        (plain, tmp_path / "full" / "file"),
        (plain, groups),
        (tmp_path / "full", tmp_path / "new"),
        (tmp_path / "no", tmp_path / "new"),
    ):
        code, output, errors = run(capsys, "resize", source, target, "--workers", 2)
        assert (code, output) == (2, ""), target
        assert errors.startswith("flin: ")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("number", ["0", "-1", "x", "257"])
def test_numbers_of_workers_that_are_none(number: str, plain: Path, tmp_path: Path, capsys: Capture) -> None:
    code, _, errors = run(capsys, "resize", plain, tmp_path / "new", "--workers", number)
    assert code == 2
    assert number in errors
    assert not (tmp_path / "new").exists()


def test_a_resize_without_room_is_refused(
    plain: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [0]
    asked: list[str] = []

    def usage(path: str) -> Any:
        asked.append(path)
        return SimpleNamespace(free=room[0])

    monkeypatch.setattr(shutil, "disk_usage", usage)
    new = tmp_path / "below" / "new"
    code, _, errors = run(capsys, "resize", plain, new, "--workers", 2)
    assert code == 1
    assert re.search(rf"{new}: {plain} takes [1-9][0-9,]* bytes, and 0 are free there: make room", errors)
    assert asked == [str(tmp_path)], "the nearest directory that is there"
    assert not new.parent.exists()
    room[0] = 1 << 40
    assert run(capsys, "resize", plain, new, "--workers", 2)[0] == 0


def test_a_resize_of_what_is_in_use_is_3(plain: Path, tmp_path: Path, capsys: Capture) -> None:
    with flin.engine.open(plain, runner="inline"):
        assert run(capsys, "resize", plain, tmp_path / "new", "--workers", 2)[0] == 3
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_resize_is_refused(
    plain: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flin.cluster.resize.target_group.TargetGroup.end", interrupt)
    new = tmp_path / "new"
    code, output, errors = run(capsys, "resize", plain, new, "--workers", workers)
    assert (code, output) == (130, "")
    assert errors == f"flin: {new} is unfinished: remove it and begin again\nflin: interrupted\n"
    monkeypatch.undo()
    unfinished = (
        f"{new} is what an interrupted `flin resize` or `flin import` has left: remove it, and begin again; "
        "an import of a running server goes on if it is given again"
    )
    for arguments in (
        ["check", new],
        ["stats", new],
        ["compact", new],
        ["repair", new],
        ["resize", new, tmp_path / "x"],
    ):
        more = ["--workers", workers] if arguments[0] == "resize" else []
        assert run(capsys, *arguments, *more) == (2, "", f"flin: {unfinished}\n")
    code, _, errors = run(capsys, "resize", plain, new, "--workers", workers)
    assert (code, errors) == (2, f"flin: {unfinished}\n")
    code, _, errors = run(capsys, "serve", "--dir", new, "--port", 0)
    assert code == 1
    assert "`flin resize` or `flin import` has not finished it" in errors


# The others.


def test_a_check_of_groups(groups: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "check", groups)
    assert code == 0
    assert output == (
        f"group-00 (slots 0-8191):\n{groups}/group-00: 152 keys, all well\n"
        f"group-01 (slots 8192-16383):\n{groups}/group-01: 148 keys, all well\n"
    )
    assert run(capsys, "check", groups / "group-01") == (0, f"{groups}/group-01: 148 keys, all well\n", "")


def test_damage_in_one_group(groups: Path, capsys: Capture) -> None:
    flip(only(groups / "group-00", "*.sst"), 20)
    code, output, _ = run(capsys, "check", groups)
    assert code == 1
    assert f"1 problem in {groups}/group-00" in output
    assert f"{groups}/group-01: 148 keys, all well" in output


def test_keys_of_another_group(groups: Path, capsys: Capture) -> None:
    with flin.engine.open(groups / "group-00", runner="inline") as db:
        db.put(b"key", b"of slot 12539")
    code, output, _ = run(capsys, "check", groups)
    assert code == 1
    assert "1 key belongs to another group, such as b'key' of slot 12539" in output
    assert run(capsys, "check", groups / "group-00")[0] == 0, "named alone it is a plain database"


def test_an_error_in_one_group_leaves_the_others_their_turn(groups: Path, capsys: Capture) -> None:
    with flin.engine.open(groups / "group-00", runner="inline"):
        for command in ("check", "compact", "stats"):
            code, output, errors = run(capsys, command, groups)
            assert code == 3
            assert "group-00 (slots 0-8191):\ngroup-01 (slots 8192-16383):\n" in output
            assert "148" in output
            assert f"{groups}/group-00 is already open" in errors


def test_a_supervisor_has_all_groups(groups: Path, tmp_path: Path, capsys: Capture) -> None:
    from flin.engine.disk.fs import OsFileSystem
    from flin.engine.disk.lock import lock_directory

    lock = lock_directory(OsFileSystem(), str(groups), 0)
    try:
        for command in ("check", "compact", "stats", "repair", "resize"):
            more = [tmp_path / "new", "--workers", 3] if command == "resize" else []
            code, output, errors = run(capsys, command, groups, *more)
            assert (code, output) == (3, "")
            assert f"{groups} is already open" in errors
    finally:
        lock.release()


def test_figures_of_groups(groups: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "stats", groups)
    assert code == 0
    told = r"group-00 .*:\nkeys +152\n.*group-01 .*:\nkeys +148\n.*all groups:\nkeys +300\nfiles +6\ndisk_bytes"
    assert re.match(told, output, re.DOTALL)
    code, output, _ = run(capsys, "stats", groups, "--json")
    found = json.loads(output)
    assert (code, found["keys"]) == (0, 300)
    assert [(each["group"], each["slots"], each["keys"]) for each in found["groups"]] == [
        (0, [0, 8191], 152),
        (1, [8192, 16383], 148),
    ]
    assert found["disk_bytes"] == sum(each["disk_bytes"] for each in found["groups"])
    code, output, _ = run(capsys, "stats", groups / "group-01", "--json")
    assert (code, json.loads(output)["keys"]) == (0, 148)


def test_groups_are_compacted(groups: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "compact", groups)
    assert code == 0
    assert [line[:9] for line in output.splitlines()] == ["group-00 ", "152 keys;", "group-01 ", "148 keys;"]


def test_groups_are_repaired(groups: Path, tmp_path: Path, capsys: Capture) -> None:
    """The result has the same groups, with the same ids; without what is damaged in one of them."""
    code, output, _ = run(capsys, "repair", groups)
    assert code == 0
    assert output.count("nothing was lost; written to") == 2
    new = tmp_path / "groups.repaired"
    assert (new / "groups.json").read_bytes() == (groups / "groups.json").read_bytes()
    assert run(capsys, "stats", new, "--json")[1].startswith('{\n  "keys": 300,')
    flip(only(groups / "group-00", "*.sst"), 20)
    code, output, _ = run(capsys, "repair", groups, "--into", tmp_path / "other", "--json")
    found = json.loads(output)["groups"]
    assert code == 1
    assert [(each["group"], each["lossless"], each["problems"]) for each in found] == [(0, False, []), (1, True, [])]
    assert len(read_groups(tmp_path / "other")) == 2
    assert run(capsys, "repair", groups, "--dry-run")[0] == 1
    assert not (tmp_path / "groups.repaired.repaired").exists()


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_lost_list_of_groups(content: bytes | None, groups: Path, tmp_path: Path, capsys: Capture) -> None:
    """The directories say which groups there were. If one of them is lost, too, nobody knows."""
    before = read_groups(groups)
    (groups / "groups.json").unlink() if content is None else (groups / "groups.json").write_bytes(content)
    for command in ("check", "stats", "compact"):
        assert run(capsys, command, groups)[0] != 0
    code, output, errors = run(capsys, "repair", groups, "--into", tmp_path / "new")
    assert (code, output.count("nothing was lost; written to")) == (1, 2)
    assert errors == f"flin: {groups} has no groups.json that can be read: it is taken for one of 2 groups\n"
    after = read_groups(tmp_path / "new")
    assert [(each.first, each.last) for each in after] == [(each.first, each.last) for each in before]
    assert run(capsys, "check", tmp_path / "new")[0] == 0
    (groups / "group-00").rename(tmp_path / "elsewhere")
    assert run(capsys, "repair", groups, "--into", tmp_path / "other")[0] != 0
    assert not (tmp_path / "other").exists()


def test_a_group_that_cannot_be_repaired(groups: Path, tmp_path: Path, capsys: Capture) -> None:
    """Then there is no directory of groups, in which it would be missing; those that could be are there."""
    with flin.engine.open(groups / "group-00", runner="inline"):
        code, _, errors = run(capsys, "repair", groups, "--into", tmp_path / "new")
    assert code == 3
    assert "already open" in errors
    assert run(capsys, "check", tmp_path / "new" / "group-01")[0] == 0
    assert read_groups(tmp_path / "new") == ()


def test_files_of_groups_are_shown(groups: Path, capsys: Capture) -> None:
    assert run(capsys, "dump", groups / "group-01" / "MANIFEST")[0] == 0
    code, _, errors = run(capsys, "dump", groups)
    assert (code, errors) == (
        2,
        f"flin: {groups} is a directory: name one of its files, such as {groups}/group-00/MANIFEST\n",
    )


@pytest.mark.parametrize("command", ["check", "stats", "compact", "repair"])
def test_a_lost_group_is_named(command: str, groups: Path, tmp_path: Path, capsys: Capture) -> None:
    (groups / "group-01").rename(tmp_path / "elsewhere")
    code, output, errors = run(capsys, command, groups)
    assert (code, output) == (1, "")
    assert "it names group-01, not found here" in errors


def test_groups_that_were_never_served(tmp_path: Path, capsys: Capture) -> None:
    create_groups(tmp_path / "new", 2)
    code, output, _ = run(capsys, "check", tmp_path / "new")
    assert code == 1
    assert "group-00: it holds no database" in output
