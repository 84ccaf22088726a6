"""`flin import redis://…` from a real Redis and into one: everything arrives, whatever interrupts it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import flin.engine
from flin.address import parse
from flin.cli.main import main
from flin.engine.engine import store_of
from flin.errors import ImportDataError, PeerError
from flin.rdb.value import String
from flin.transfer import moving, server_source
from flin.transfer.link import Link
from flin.transfer.place import Place, maybe_place
from flin.transfer.server_source import Page, ServerSource
from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread
from tests.test_cli import Capture, run
from tests.transfer.redis_content import Content, content, fill, libraries


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("redis")
    with running_redis(folder, unixsocket=str(folder / "redis.sock")) as found:
        fill(found)
        with RawClient(found) as client:
            client.call(b"SELECT", b"7")
            client.pipeline([[b"SET", b"key:%d" % number, b"x" * (number % 90)] for number in range(5000)])
            client.call(b"CONFIG", b"SET", b"requirepass", b"pass word")
            client.call(b"CONFIG", b"SET", b"requirepass", b"")
        yield found


@pytest.fixture(scope="module")
def shown(port: int) -> tuple[Content, bytes]:
    return content(port), libraries(port)


def _shown_by(directory: Path) -> tuple[Content, bytes]:
    with flin.engine.open(directory, create=False, runner="inline") as db:
        assert db.verify() == []
        with ServerThread(store_of(db)) as server:
            return content(server.port), libraries(server.port)


def test_into_a_directory(port: int, shown: tuple[Content, bytes], tmp_path: Path, capsys: Capture) -> None:
    code, output, errors = run(capsys, "import", f"redis://127.0.0.1:{port}", tmp_path / "data")
    assert (code, errors) == (0, "")
    count = len(shown[0])
    assert output.startswith(f"{count:,} keys were imported into {tmp_path}/data in ")
    compared = f"compared: {count:,} keys in the source, {count:,} in the target; of 1,000 values 1,000 are the same\n"
    assert output.endswith(compared)
    assert _shown_by(tmp_path / "data") == shown
    assert os.listdir(tmp_path) == ["data"]


def test_into_a_flin_and_from_there_into_a_redis(port: int, shown: tuple[Content, bytes], tmp_path: Path) -> None:
    with ServerThread() as server, running_redis(tmp_path) as again:
        flin_url, redis_url = f"redis://127.0.0.1:{server.port}", f"redis://127.0.0.1:{again}"
        state = ["--state", str(tmp_path / "state")]
        assert main(["import", f"redis://127.0.0.1:{port}", flin_url, *state]) == 0
        assert (content(server.port), libraries(server.port)) == shown
        assert main(["import", flin_url, redis_url, *state]) == 0
        assert (content(again), libraries(again)) == shown
        assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("to_server", [False, True])
def test_interrupted_and_gone_on_with(
    port: int,
    shown: tuple[Content, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    to_server: bool,
) -> None:
    monkeypatch.setattr(moving, "SAVED_SECONDS", 0.0)
    walked = ServerSource.pages
    pages: list[int] = []

    def cut(source: ServerSource, database: int, cursor: bytes = server_source.BEGINNING) -> Iterator[Page]:
        for page in walked(source, database, cursor):
            yield page
            pages.append(len(page.dumped))
            if database == 7 and len(pages) % 7 == 0:
                raise PeerError("the source", "it was cut")

    monkeypatch.setattr(ServerSource, "pages", cut)
    with ServerThread() as server:
        target = f"redis://127.0.0.1:{server.port}" if to_server else str(tmp_path / "data")
        command = ["import", f"redis://127.0.0.1:{port}", target, "--state", str(tmp_path / "state")]
        cuts = 0
        while True:
            code, _, errors = run(capsys, *command)
            if code == 0:
                break
            assert code == 1
            assert "it was cut" in errors
            assert "the same command goes on from there" in errors
            place = json.loads((tmp_path / "state").read_text())
            assert place["database"] == 7
            assert place["done"] == [0, 5]
            if not to_server:
                assert flin.engine.open is not None
                code, _, errors = run(capsys, "check", tmp_path / "data")
                assert code == 2, "it is not there before it is whole"
            cuts += 1
        assert cuts >= 1
        assert sum(pages) < 2 * len(shown[0]), "it did not begin anew"
        found = (content(server.port), libraries(server.port)) if to_server else _shown_by(tmp_path / "data")
    assert found == shown
    assert not (tmp_path / "state").exists()


def test_a_place_of_another_move(port: int, tmp_path: Path, capsys: Capture) -> None:
    url, data = f"redis://127.0.0.1:{port}", tmp_path / "data"
    Place(f"{data}.import", "redis://elsewhere:6379").save()
    code, _, errors = run(capsys, "import", url, data)
    assert code == 2
    assert "of an interrupted import from redis://elsewhere:6379" in errors
    # The directory is gone, or the source was started anew: all keys come again.
    for run_id, target in (("another", ""), ("", "1:1")):
        place = Place(f"{data}.import", url, "", target, run_id, 15, "0", [0, 5, 7, 15], 9)
        place.save()
        assert maybe_place(place.path) == place
        code, _, errors = run(capsys, "import", url, data)
        assert code == 0, errors
        assert ("started anew" in errors) is True
        assert len(_shown_by(data)[0]) > 5000
        for name in os.listdir(data):
            os.unlink(data / name)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"flin_import": 2}', '{"flin_import": 1, "source": 5, "x": 1}'])
def test_a_place_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state"
    path.write_text(text)
    with pytest.raises(ImportDataError, match="remove it, and begin again"):
        maybe_place(str(path))


def test_keys_that_are_there(port: int, tmp_path: Path, capsys: Capture) -> None:
    url, data = f"redis://127.0.0.1:{port}/0", tmp_path / "data"
    with flin.engine.open(data, runner="inline") as db:
        db.put_many({b"small string": b"mine", b"other": b"mine"})
    assert run(capsys, "import", url, data)[0] == 2
    code, output, _ = run(capsys, "import", url, data, "--skip")
    assert code == 1, "the value is another, and so it is said"
    assert "; 1 were there already" in output
    with flin.engine.open(data, runner="inline") as db:
        assert db[b"small string"] == b"mine"
    assert run(capsys, "import", url, data, "--replace")[0] == 0
    with flin.engine.open(data, runner="inline") as db:
        assert db[b"small string"] == b"hello"
        assert db[b"other"] == b"mine"
        assert db.verify() == []
    with ServerThread() as server, RawClient(server.port) as client:
        target = f"redis://127.0.0.1:{server.port}"
        client.call(b"SET", b"small string", b"mine")
        code, _, errors = run(capsys, "import", url, target, "--state", tmp_path / "state")
        assert code == 2
        assert "has 1 keys: say --replace or --skip" in errors
        assert run(capsys, "import", url, target, "--skip", "--state", tmp_path / "state")[0] == 1
        assert client.call(b"GET", b"small string").payload == b"mine"
        assert run(capsys, "import", url, target, "--replace", "--state", tmp_path / "state")[0] == 0
        assert client.call(b"GET", b"small string").payload == b"hello"


def test_some_keys(port: int, tmp_path: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "import", f"redis://127.0.0.1:{port}", tmp_path / "new", "--match", "key:1*")
    assert (code, output.split()[0]) == (0, "1,111")


def test_what_is_said_if_the_source_is_written_to(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with ServerThread() as server, RawClient(server.port) as client:
        client.pipeline([[b"SET", b"k%d" % number, b"1"] for number in range(20)])
        compare = moving.Move.compare

        def writing(move: moving.Move) -> moving.Comparison:
            client.pipeline([[b"SET", b"k1", b"2"], [b"DEL", b"k2"], [b"SET", b"new", b"1"], [b"SET", b"new2", b"1"]])
            return compare(move)

        monkeypatch.setattr(moving.Move, "compare", writing)
        code, output, errors = run(capsys, "import", f"redis://127.0.0.1:{server.port}", tmp_path / "data")
    assert code == 1
    assert "21 keys in the source, 20 in the target; of 19 values 18 are the same" in output
    assert "the target has other values: b'k1'" in errors.replace("database 0 of the ", "")
    assert "differs by 1" in errors
    assert "stop its writers" in errors


def test_passwords_and_sockets(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with RawClient(port) as client:
        client.call(
            b"ACL", b"SETUSER", b"mover", b"on", b">p@ss", b"~*", b"+@read", b"+info", b"+select", b"+function|dump"
        )
        path = client.call(b"CONFIG", b"GET", b"unixsocket").items[1].payload.decode()
    match = ["--match", "key:1*"]
    assert main(["import", f"unix://mover:p%40ss@{path}?db=7", str(tmp_path / "by-socket"), *match]) == 0
    for number, password in enumerate(("wrong", "p@ss")):
        monkeypatch.setenv("REDISCLI_AUTH", password)
        url = f"redis://mover@127.0.0.1:{port}/7"
        code, _, errors = run(capsys, "import", url, tmp_path / "by-password", *match)
        assert code == 1 - number
        assert ("WRONGPASS" in errors) == (number == 0)
        assert "p@ss" not in errors


def test_nobody_there(tmp_path: Path, capsys: Capture) -> None:
    for url in ("redis://127.0.0.1:1", f"unix://{tmp_path}/none"):
        code, _, errors = run(capsys, "import", url, tmp_path / "data")
        assert code == 1
        assert "no connection" in errors
    assert os.listdir(tmp_path) == []
    code, _, errors = run(capsys, "import", "redis://h:x", tmp_path / "data")
    assert code == 2


def test_a_database_that_the_source_refuses_leaves_nothing(port: int, tmp_path: Path, capsys: Capture) -> None:
    code, output, errors = run(capsys, "import", f"redis://127.0.0.1:{port}/77", tmp_path / "data")
    assert (code, output) == (1, "")
    assert "SELECT" in errors
    assert "out of range" in errors
    assert list(tmp_path.iterdir()) == []


def test_large_values_come_in_short_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    with ServerThread() as server, RawClient(server.port) as client:
        client.pipeline([[b"SET", b"large %d" % number, b"x" * 40_000] for number in range(150)])
        client.pipeline([[b"SET", b"small %d" % number, b"x"] for number in range(1200)])
        monkeypatch.setattr(server_source, "PIPELINE_BYTES", 400_000)
        link = Link(parse(f"redis://127.0.0.1:{server.port}"))
        source = ServerSource(link, 0)
        pages = list(source.pages(0))
        link.close()
    assert len({each.key for page in pages for each in page.dumped}) == 1350
    sizes = [sum(len(each.payload) for each in page.dumped) for page in pages]
    assert max(sizes[2:]) <= 800_000
    assert all(server_source.value_of(each, "") for page in pages for each in page.dumped)
    (first,) = [each for page in pages for each in page.dumped if each.key == b"small 7"]
    assert server_source.value_of(first, "") == String(b"x")


@pytest.mark.parametrize("form", ["rdb", "jsonl", "compact", "resp"])
def test_an_export_of_a_server(
    port: int, shown: tuple[Content, bytes], tmp_path: Path, capsys: Capture, form: str
) -> None:
    code, _, errors = run(capsys, "export", f"redis://127.0.0.1:{port}", tmp_path / "file", "--format", form)
    assert (code, errors) == (0, f"{len(shown[0]):,} keys were exported\n")
    if form == "resp":
        return
    assert run(capsys, "import", tmp_path / "file", tmp_path / "data")[0] == 0
    found, functions = _shown_by(tmp_path / "data")
    assert found == shown[0]
    assert functions == (shown[1] if form == "rdb" else libraries_of_none())


def libraries_of_none() -> bytes:
    with ServerThread() as server:
        return libraries(server.port)
