"""Directories of other programs: refused by name, and nothing in them is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import flin.engine
from flin.engine.tree.foreign import maybe_foreign
from flin.errors import CorruptionError, FlinError, StorageError

FOREIGN = {
    "a LevelDB": {"CURRENT": b"MANIFEST-000002\n", "MANIFEST-000002": b"V", "000005.ldb": b"abc", "LOCK": b""},
    "a RocksDB": {"CURRENT": b"MANIFEST-000005\n", "MANIFEST-000005": b"V", "000009.sst": b"abc", "IDENTITY": b"x"},
    "a Pebble": {"MANIFEST-000001": b"V", "marker.manifest.000001.MANIFEST-000001": b"", "LOCK": b""},
    "a Badger": {"MANIFEST": b"Bdgr\0\0\0\x08", "000001.vlog": b"abc", "KEYREGISTRY": b"x", "LOCK": b"4711"},
    "an LMDB": {"data.mdb": b"abc", "lock.mdb": b"abc"},
    "a WiredTiger": {"WiredTiger": b"x", "WiredTiger.wt": b"x", "mongod.lock": b"12"},
    "another program's": {"MANIFEST-000001": b"V"},
}


def filled(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("kind", FOREIGN)
def test_databases_of_other_programs(tmp_path: Path, kind: str, create: bool) -> None:
    directory = filled(tmp_path / "db", FOREIGN[kind])
    with pytest.raises(StorageError, match=f"it holds {kind} database .*[(].+[)]"):
        flin.engine.open(directory, create=create)
    assert contents(directory) == FOREIGN[kind]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("files", "error", "text"),
    [
        ({"MANIFEST": b"include README\n", "setup.py": b""}, CorruptionError, "not a manifest"),
        ({"MANIFEST": b""}, CorruptionError, "not a manifest"),
        ({"LOCK": b"4711\n"}, StorageError, "its LOCK is another program's|no database, and create is off"),
    ],
)
def test_files_that_only_have_our_names(
    tmp_path: Path, create: bool, files: dict[str, bytes], error: type[FlinError], text: str
) -> None:
    directory = filled(tmp_path / "db", files)
    with pytest.raises(error, match=text):
        flin.engine.open(directory, create=create)
    assert contents(directory) == files


def test_create_off_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no such directory, and create is off"):
        flin.engine.open(tmp_path / "absent", create=False)
    with pytest.raises(StorageError, match="it holds no database, and create is off"):
        flin.engine.open(tmp_path, create=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("create", [True, False])
def test_a_path_that_is_a_file(tmp_path: Path, create: bool) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "db"):
        with pytest.raises(StorageError, match="it is no directory, or below a file"):
            flin.engine.open(path, create=create)


def test_other_files_next_to_ours_do_not_matter(tmp_path: Path) -> None:
    """Documents, an empty lock file; and files that appear next to a database of Flin's."""
    for number, files in enumerate(({}, {"letter.txt": b"dear", ".DS_Store": b"x"}, {"LOCK": b""})):
        directory = filled(tmp_path / str(number), files)
        flin.engine.open(directory, runner="inline").close()
        (directory / "data.mdb").write_bytes(b"abc")
        flin.engine.open(directory, runner="inline").close()


def test_names() -> None:
    assert maybe_foreign([]) is None
    assert maybe_foreign(["CURRENT", "notes", "LOCK", "LOG"]) is None
    assert maybe_foreign(["OPTIONS-000007", "CURRENT"]) == "a RocksDB database (CURRENT, OPTIONS-000007)"
