"""A job's files: opened late, closed early, removed unless the job succeeds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from flin.engine.background.job_files import Outputs
from flin.engine.background.job_run import run_job
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.open_files import TableFile
from tests.engine.shard_tree import Tree

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files through /proc")


def open_files(folder: Path) -> int:
    """Those of the test: what others have left may be closed between two counts."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own, and others' that are closed just now
            found += link.readlink().is_relative_to(folder)
    return found


def test_a_lazy_file_is_open_only_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    before = open_files(tmp_path)
    file = TableFile(OsFileSystem(), str(path))
    with pytest.raises(FileNotFoundError):
        file.size()
    path.write_bytes(b"abcdef")
    assert file.size() == 6
    assert bytes(file.map()[1:3]) == b"bc"
    assert open_files(tmp_path) == before
    assert file.pread(2, 1) == b"bc"
    assert file.pread_nowait(2, 4) in (b"ef", None)
    assert open_files(tmp_path) == before + 1
    assert file.size() == 6  # stays open
    assert open_files(tmp_path) == before + 1
    file.close()
    file.close()
    assert open_files(tmp_path) == before


def test_jobs_hold_few_files_open_however_many_they_name(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    keys = [b"%06d" % number for number in range(20_000)]
    tree.flush([((), dict.fromkeys(keys, b"x" * 50))])
    tree.compact_runs(0, 1, target_table_bytes=10_000)
    assert len(tree.runs[0][0]) > 60
    before = open_files(tmp_path)
    most = 0

    def checkpoint() -> None:
        nonlocal most
        most = max(most, open_files(tmp_path))

    changed = dict.fromkeys(keys[::3], b"y" * 50)
    run_job(tree.fs, tree.flush_job([((), changed)]), checkpoint)
    assert most <= before + 3
    most = 0
    tree.flush([((), changed)])
    tree.run_job = lambda job: run_job(tree.fs, job, checkpoint)
    tree.compact_runs(0, 2, target_table_bytes=10_000)
    assert most <= before + 5
    assert tree.read() == {**dict.fromkeys(keys, b"x" * 50), **changed}


@pytest.mark.parametrize("kept", [True, False])
def test_outputs_stay_only_if_they_are_kept(tmp_path: Path, kept: bool) -> None:
    with Outputs(OsFileSystem(), str(tmp_path), 3, 9) as outputs:
        outputs.begin().append(b"one")
        outputs.end_current()
        second = outputs.begin()
        second.append(b"two")
        second.append(b"three")
        assert second.size_bytes == 8
        if kept:
            outputs.keep()
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == ({"00000003-0000.9.sst": b"one", "00000003-0001.9.sst": b"twothree"} if kept else {})


def test_an_output_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    class Stubborn(OsFileSystem):
        def remove(self, path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

    def work() -> None:
        with Outputs(Stubborn(), str(tmp_path), 3, 9) as outputs:
            outputs.begin()
            raise KeyError("the job's own")

    with pytest.raises(KeyError) as raised:
        work()
    assert "00000003-0000.9.sst" in raised.value.__notes__[0]
