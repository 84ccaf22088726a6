"""Directories of groups: made whole or not at all, read back, and refused where they are wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flin.engine
from flin.cluster.workers.groups import Group, create_groups, read_groups, slots_of
from flin.errors import CorruptionError, FormatVersionError, StorageError
from flin.net.cluster.slots import SLOTS
from flin.testing import CrashModel, Fault, SimulatedDisk, every_crash, killed


def rows(*ranges: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"id": f"{number:040x}", "first": first, "last": last} for number, (first, last) in enumerate(ranges)]


def written(directory: Path, content: object) -> Path:
    """A directory with this groups.json and the directories of four groups."""
    for number in range(4):
        (directory / f"group-{number:02d}").mkdir(parents=True, exist_ok=True)
    (directory / "groups.json").write_text(json.dumps(content))
    return directory


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_what_is_made_is_read(tmp_path: Path, count: int) -> None:
    made = create_groups(tmp_path / "new" / "db", count)
    assert read_groups(tmp_path / "new" / "db") == made
    assert len(made) == len({group.id for group in made}) == count
    assert [(group.first, group.last) for group in made] == [slots_of(number, count) for number in range(count)]
    assert all(len(group.id) == 40 and group.directory.is_dir() for group in made)
    assert made[0].directory == tmp_path / "new" / "db" / "group-00"


@given(st.integers(1, SLOTS))
def test_every_slot_has_one_group(count: int) -> None:
    ranges = [slots_of(number, count) for number in range(count)]
    sizes = {last - first + 1 for first, last in ranges}
    assert [first for first, _ in ranges] == [0, *(last + 1 for _, last in ranges[:-1])]
    assert ranges[-1][1] == SLOTS - 1
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) > 0


@pytest.mark.parametrize("count", [0, -1, SLOTS + 1])
def test_impossible_numbers(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 16384"):
        create_groups(tmp_path / "db", count)
    assert not (tmp_path / "db").exists()


def test_what_is_no_directory_of_groups(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    flin.engine.open(tmp_path / "plain", runner="inline").close()
    for name in (".", "absent", "file", "plain"):
        assert read_groups(tmp_path / name) == ()


@pytest.mark.parametrize(
    "name", ["MANIFEST", "groups.json", "00000001.1.wal", "group-00/MANIFEST", "group-02", "data.mdb"]
)
def test_groups_are_made_where_no_database_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(StorageError, match=f"it holds .*{name.partition('/')[0]}"):
        create_groups(tmp_path, 2)
    assert (tmp_path / name).read_bytes() == b"x"


def test_other_files_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "notes").write_bytes(b"x")
    (tmp_path / "group-00").mkdir()
    assert create_groups(tmp_path, 2) == read_groups(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], "no list of groups"),
        ({"groups": rows((0, SLOTS - 1))}, "no list of groups"),
        ({"flin_groups": 1, "groups": rows()}, "do not cover all slots once"),
        ({"flin_groups": 1, "groups": rows((0, 8191), (8191, SLOTS - 1))}, "do not cover all slots once"),
        ({"flin_groups": 1, "groups": rows((0, 8191), (8193, SLOTS - 1))}, "do not cover all slots once"),
        ({"flin_groups": 1, "groups": rows((0, SLOTS))}, "do not cover all slots once"),
        ({"flin_groups": 1, "groups": rows((0, 8191), (8192, 8191), (8192, SLOTS - 1))}, "do not cover"),
        ({"flin_groups": True, "groups": rows((0, SLOTS - 1))}, "do not cover"),
        ({"flin_groups": 1, "groups": [{**rows((0, SLOTS - 1))[0], "id": "F" * 40}]}, "no list of groups"),
        ({"flin_groups": 1, "groups": [{**rows((0, SLOTS - 1))[0], "id": "0" * 38}]}, "no list of groups"),
        ({"flin_groups": 1, "groups": [{**rows((0, SLOTS - 1))[0], "first": 0.0}]}, "no list of groups"),
        (
            {"flin_groups": 1, "groups": [{**row, "id": "0" * 40} for row in rows((0, 1), (2, SLOTS - 1))]},
            "the same id",
        ),
    ],
)
def test_damaged_files(tmp_path: Path, content: object, text: str) -> None:
    with pytest.raises(CorruptionError, match=f"groups.json: .*{text}.*restore it from a backup"):
        read_groups(written(tmp_path, content))


@given(st.binary() | st.tuples(st.integers(0, 300), st.binary(max_size=3)))
def test_any_bytes_are_groups_or_a_typed_error(change: Any) -> None:
    disk = SimulatedDisk()
    made = create_groups("/db", 2, disk)
    file = disk.open("/db/groups.json")
    data = file.pread(1000, 0)
    file.close()
    if isinstance(change, tuple):
        place, piece = change
        change = data[:place] + piece + data[place + len(piece) :]
    disk.remove("/db/groups.json")
    file_now = disk.create("/db/groups.json")
    file_now.append(change)
    file_now.close()
    try:
        found = read_groups("/db", disk)
    except (CorruptionError, FormatVersionError):
        return
    assert [(each.first, each.last) for each in found] == [(each.first, each.last) for each in made]


def test_a_newer_file(tmp_path: Path) -> None:
    with pytest.raises(FormatVersionError, match="format 2, of a newer Flin: this one reads 1"):
        read_groups(written(tmp_path, {"flin_groups": 2, "groups": "otherwise"}))


def test_a_group_that_is_lost(tmp_path: Path) -> None:
    """An empty database in its place would be served as if nothing had been there."""
    made = create_groups(tmp_path, 3)
    made[1].directory.rmdir()
    with pytest.raises(CorruptionError, match="it names group-01, not found here"):
        read_groups(tmp_path)


def test_a_database_beside_groups(tmp_path: Path) -> None:
    create_groups(tmp_path, 2)
    (tmp_path / "MANIFEST").write_bytes(b"of a Flin that did not know groups")
    with pytest.raises(StorageError, match=r"both a database [(]MANIFEST[)] and groups"):
        read_groups(tmp_path)


@pytest.mark.parametrize("create", [True, False])
def test_the_engine_opens_a_group_and_not_the_directory(tmp_path: Path, create: bool) -> None:
    groups = create_groups(tmp_path, 2)
    (tmp_path / "notes").write_bytes(b"")
    with pytest.raises(StorageError, match=r"holds several databases, open one of them: group-00, group-01$"):
        flin.engine.open(tmp_path, create=create)
    with flin.engine.open(groups[1].directory, runner="inline") as db:
        db.put(b"a", b"1")
    assert {path.name for path in tmp_path.iterdir()} == {"group-00", "group-01", "groups.json", "notes"}


def test_a_crash_leaves_all_or_nothing() -> None:
    disk = SimulatedDisk()
    moments: list[SimulatedDisk] = []
    disk.on_change = lambda _: moments.append(killed(disk))
    made = create_groups("/db", 2, disk)
    found: set[tuple[Group, ...]] = set()
    for moment in moments:
        for state in (state for model in CrashModel for state in every_crash(moment, model, limit=20)):
            groups = read_groups("/db", state)
            found.add(groups)
            if not groups and "/db" in state.directories:
                assert len(create_groups("/db", 2, state)) == 2, "it can be called again"
    assert found == {(), made}
    assert {read_groups("/db", state) for model in CrashModel for state in every_crash(disk, model, limit=20)} == {made}


@pytest.mark.parametrize("late", [False, True])
def test_a_call_that_fails_leaves_all_or_nothing(late: bool) -> None:
    for number in range(100):
        disk = SimulatedDisk()
        fault = Fault(number, late=late)
        disk.faults.append(fault)
        made: tuple[Group, ...] = ()
        with suppress(StorageError):
            made = create_groups("/db", 2, disk)
        disk.faults.clear()
        assert len(read_groups("/db", disk)) in (0, 2)
        assert made in ((), read_groups("/db", disk))
        if not fault.fired:
            assert made
            return
    pytest.fail("the fault never stopped striking")
