"""From a real Redis into Flin and back, by its files: every key, value, expiry and library is the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import flin.engine
from flin.cli.main import main
from flin.engine.engine import store_of
from flin.rdb import file as rdb
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread
from tests.tool import needs_tool
from tests.transfer.redis_content import Content, content, fill, libraries


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a Redis had, as `data`, and what it showed, in `shown`."""
    folder = tmp_path_factory.mktemp("moved")
    (folder / "redis").mkdir()
    with running_redis(folder / "redis") as port:
        count = fill(port)
        _SHOWN[folder] = content(port), libraries(port)
        assert len(_SHOWN[folder][0]) == count
        with RawClient(port) as client:
            assert client.call(b"SAVE").payload == b"OK"
    assert main(["import", str(folder / "redis" / "dump.rdb"), str(folder / "data")]) == 0
    return folder


_SHOWN: dict[Path, tuple[Content, bytes]] = {}


def test_flin_shows_what_redis_showed(moved: Path) -> None:
    with flin.engine.open(moved / "data", runner="inline") as db:
        assert db.verify() == []
        with ServerThread(store_of(db)) as server:
            assert (content(server.port), libraries(server.port)) == _SHOWN[moved]


@pytest.mark.parametrize("form", ["rdb", "resp"])
def test_redis_shows_again_what_it_showed(moved: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / "dump.rdb"
    assert main(["export", str(moved / "data"), str(file), "--format", form]) == 0
    if form == "rdb":
        checked = subprocess.run([needs_tool("redis-check-rdb"), file], capture_output=True, text=True, check=False)
        assert "Checksum OK" in checked.stdout, checked.stdout
    else:
        file = file.rename(tmp_path / "commands.resp")
    with running_redis(tmp_path) as port:
        if form == "resp":
            command = [needs_tool("redis-cli"), "-p", str(port), "--pipe"]
            piped = subprocess.run(command, input=file.read_bytes(), capture_output=True, check=False)
            assert b"errors: 0" in piped.stdout, piped.stdout + piped.stderr
        assert (content(port), libraries(port)) == _SHOWN[moved]


def test_an_export_is_imported_again(moved: Path, tmp_path: Path) -> None:
    """RDB of Flin is RDB for Flin, too. (A set has no order.)"""
    file, again = tmp_path / "dump.rdb", tmp_path / "again.rdb"
    assert main(["export", str(moved / "data"), str(file), "--format", "rdb"]) == 0
    assert main(["import", str(file), str(tmp_path / "new")]) == 0
    assert main(["export", str(tmp_path / "new"), str(again), "--format", "rdb"]) == 0
    first, second = (list(rdb.read(path.read_bytes(), 1 << 30)) for path in (file, again))
    assert [item._replace(offset=0) for item in first] == [item._replace(offset=0) for item in second]
