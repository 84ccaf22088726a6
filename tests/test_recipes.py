"""The recipes of docs/recipes.md, run as they are written: with the real gunicorn, uvicorn, pytest, freezegun."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import flin.engine
from flin.testing.process import PATIENCE_SECONDS, is_alive, wait_until
from tests.program import Program, running
from tests.source import ROOT

EXAMPLES = ROOT / "examples"
GUNICORN = ["-m", "gunicorn", "--chdir", str(EXAMPLES), "--bind", "127.0.0.1:0"]
UVICORN = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0"]
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def ask(address: str, path: str = "/a") -> tuple[int, int]:
    """Ask for the number of visits, and the process that counted."""
    with urllib.request.urlopen(address + path, timeout=PATIENCE_SECONDS) as reply:
        visits, _, pid = reply.read().decode().split()
    return int(visits), int(pid)


def told(command: str) -> None:
    """Check that a command that is run here is in the document."""
    assert command in RECIPES


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["plain", "preload"])
def test_gunicorn_with_the_engine_in_its_worker(tmp_path: Path, preload: list[str]) -> None:
    pytest.importorskip("gunicorn")
    told("gunicorn --chdir examples --workers 1 --threads 8 wsgi_embedded:application")
    words = ["--workers", "1", "--threads", "8", *preload, "wsgi_embedded:application"]
    with running(tmp_path, [*GUNICORN, *words], VISITS=str(tmp_path / "visits")) as program:
        address = program.found(r"Listening at: (http://[\d.:]+)")
        assert [ask(address)[0] for _ in range(3)] == [1, 2, 3]
        _, first = ask(address)
        # A reload: the new worker starts while the old one still has the database.
        os.kill(program.pid, signal.SIGHUP)
        wait_until(lambda: not is_alive(first), "the end of the old worker")
        visits, second = ask(address)
        assert visits == 5
        assert second != first
    with flin.engine.open(tmp_path / "visits", create=False, runner="inline") as db:
        assert dict(db) == {b"visits:/a": b"5"}
        assert db.stats()["wal"]["replayed_operations"] == 0, "the worker closed it"


def test_uvicorn_with_the_engine_in_its_process(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    told("uvicorn --app-dir examples asgi_embedded:application")
    with running(tmp_path, [*UVICORN, "asgi_embedded:application"], VISITS=str(tmp_path / "visits")) as program:
        address = program.found(r"running on (http://[\d.:]+)")
        assert [ask(address)[0] for _ in range(3)] == [1, 2, 3]
        with urllib.request.urlopen(f"{address}/all", timeout=PATIENCE_SECONDS) as reply:
            assert reply.read() == b"visits:/a 3\n"
        (tmp_path / "second").mkdir()
        second = Program(tmp_path / "second", [*UVICORN, "asgi_embedded:application"], VISITS=str(tmp_path / "visits"))
        assert second.found(r"is open in process (\d+)") == str(program.pid)
        assert second.end() != 0, "it could not start"
    with flin.engine.open(tmp_path / "visits", create=False, runner="inline") as db:
        assert db.stats()["wal"]["replayed_operations"] == 0, "the lifespan closed it"


def test_fastapi_with_the_engine_on_its_loop(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    told("uvicorn --app-dir examples fastapi_embedded:app")
    with running(tmp_path, [*UVICORN, "fastapi_embedded:app"], NOTES=str(tmp_path / "notes")) as program:
        address = program.found(r"running on (http://[\d.:]+)") + "/notes"

        def call(method: str, path: str, body: bytes | None = None) -> bytes:
            headers = {"content-type": "application/json"}
            request = urllib.request.Request(address + path, body, headers, method=method)
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
                found: bytes = reply.read()
                return found

        call("PUT", "/milk", b'{"text": "two bottles"}')
        call("PUT", "/bread", b'{"text": "one"}')
        assert call("GET", "/milk") == b'{"text":"two bottles"}'
        assert call("GET", "") == b'{"bread":{"text":"one"},"milk":{"text":"two bottles"}}'
        with pytest.raises(urllib.error.HTTPError, match="404"):
            call("GET", "/eggs")
    with flin.engine.open(tmp_path / "notes", create=False, runner="inline") as db:
        assert db.stats()["wal"]["replayed_operations"] == 0, "the lifespan closed it"


def test_many_workers_ask_a_server(tmp_path: Path) -> None:
    """gunicorn with --preload and uvicorn at once."""
    for package in ("gunicorn", "uvicorn", "redis"):
        pytest.importorskip(package)
    told("gunicorn --chdir examples --workers 4 --preload wsgi_served:application")
    told("uvicorn --app-dir examples --workers 4 asgi_served:application")
    with running(tmp_path, ["-m", "flin", "serve", "--dir", "visits", "--port", "0"]) as server:
        port = server.found(r"is ready on [\d.]+ port (\d+)")
        gunicorn = [*GUNICORN, "--workers", "2", "--preload", "wsgi_served:application"]
        uvicorn = [*UVICORN, "--workers", "2", "asgi_served:application"]
        with running(tmp_path, gunicorn, FLIN_PORT=port) as wsgi, running(tmp_path, uvicorn, FLIN_PORT=port) as asgi:
            addresses = [wsgi.found(r"Listening at: (http://[\d.:]+)"), asgi.found(r"running on (http://[\d.:]+)")]
            asgi.found("(startup complete)")  # the address is printed before a worker listens
            answers = [ask(address) for _ in range(10) for address in addresses]
    assert [visits for visits, _ in answers] == list(range(1, 21))


def test_many_workers_read_what_one_process_writes(tmp_path: Path) -> None:
    """gunicorn with --preload and uvicorn, each with two workers, which see every price as soon as it is stored."""
    for package in ("gunicorn", "uvicorn"):
        pytest.importorskip(package)
    told("python examples/prices.py prices")
    told("PRICES=$PWD/prices gunicorn --chdir examples --workers 4 wsgi_readers:application")
    told("PRICES=$PWD/prices uvicorn --app-dir examples --workers 4 asgi_readers:application")
    gunicorn = [*GUNICORN, "--workers", "2", "--preload", "wsgi_readers:application"]
    uvicorn = [*UVICORN, "--workers", "2", "asgi_readers:application"]
    with running(tmp_path, [str(EXAMPLES / "prices.py"), "prices"]) as writer:
        writer.found("ready")
        prices = str(tmp_path / "prices")
        with running(tmp_path, gunicorn, PRICES=prices) as wsgi, running(tmp_path, uvicorn, PRICES=prices) as asgi:
            addresses = [wsgi.found(r"Listening at: (http://[\d.:]+)"), asgi.found(r"running on (http://[\d.:]+)")]
            asgi.found("(startup complete)")
            for number in range(10):
                writer.say(f"tea {number}")
                writer.found(f"stored tea {number}")
                assert [ask_price(address) for address in addresses for _ in range(3)] == [str(number)] * 6


def ask_price(address: str) -> str:
    with urllib.request.urlopen(f"{address}/tea", timeout=PATIENCE_SECONDS) as reply:
        price: str = reply.read().decode().split()[0]
    return price


def run(*words: str, folder: Path, **environment: str) -> str:
    command = [sys.executable, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning", **environment}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Job queues: a server, the queue's own worker as a process beside it, and a program that hands it jobs.


@pytest.mark.slow
def test_huey_runs_jobs(tmp_path: Path) -> None:
    """Also those of its schedule, which it asks for by a script."""
    pytest.importorskip("huey")
    told("cd examples && huey_consumer huey_tasks.huey --workers 2")
    paths = os.pathsep.join((str(ROOT), str(EXAMPLES)))
    with running(tmp_path, ["-m", "flin", "serve", "--dir", "jobs", "--port", "0"]) as server:
        port = server.found(r"is ready on [\d.]+ port (\d+)")
        consumer = ["-m", "huey.bin.huey_consumer", "huey_tasks.huey", "--workers", "2", "--scheduler-interval", "1"]
        with running(tmp_path, consumer, PYTHONPATH=paths, FLIN_PORT=port) as worker:
            program = ["-c", "import huey_tasks; huey_tasks.main()"]
            done = run(*program, folder=tmp_path, PYTHONPATH=paths, FLIN_PORT=port)
            assert done == "done:  [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]\nlater: 42\n"
        assert "ERROR" not in worker.printed()


def test_a_pool_computes_and_one_process_writes(tmp_path: Path) -> None:
    assert run(str(EXAMPLES / "pool.py"), str(tmp_path / "db"), folder=tmp_path) == (
        "10,000 digests; the first: 5feceb66ffc86f38\n"
    )


def test_a_pool_reads_what_one_process_writes(tmp_path: Path) -> None:
    assert run(str(EXAMPLES / "pool_of_readers.py"), str(tmp_path / "db"), folder=tmp_path) == "the sum: 199,990,000\n"


def test_the_fixtures(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "pytest_fixtures.py", tmp_path)  # away from Flin's own configuration
    assert "5 passed" in run("-m", "pytest", "-q", "-W", "error", "pytest_fixtures.py", folder=tmp_path)


def test_cells_may_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order; also where the cell that closes the database was never run."""
    monkeypatch.chdir(tmp_path)
    _, opening, working, closing = (EXAMPLES / "notebook.py").read_text(encoding="utf-8").split("# %%")
    cells = {"o": f"#{opening}", "w": f"#{working}", "c": f"#{closing}"}
    kernel: dict[str, object] = {}
    for cell in "owwoowcowc":
        exec(cells[cell], kernel)
    with flin.engine.open(tmp_path / "notebook-data", create=False, runner="inline") as db:
        assert db[b"runs"] == b"4"


def test_the_document_shows_what_the_examples_hold() -> None:
    """Each piece of Python on the page is in an example, except those of the last section."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py"))
    plain = {re.sub(r"  #.*", "", line).strip() for line in sources.splitlines()}
    text = RECIPES.partition("## Copies")[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 7
    for line in "".join(blocks).splitlines():
        assert re.sub(r"  #.*", "", line).strip() in plain, line


# Frozen time.

YEAR_2020 = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def test_time_machine_moves_the_engines_clock(tmp_path: Path) -> None:
    time_machine = pytest.importorskip("time_machine")
    with time_machine.travel(YEAR_2020, tick=False) as frozen, flin.engine.open(tmp_path / "db") as db:
        db.put_many({b"%d" % number: b"v" for number in range(1000)}, ttl=60)
        db.flush()
        assert (db.ttl(b"1"), len(db)) == (60, 1000)
        frozen.shift(60)
        assert (b"1" in db, len(db)) == (False, 0)
        db.compact()
        assert db.verify() == []


def test_freezegun_moves_the_clock_of_an_engine_without_threads(tmp_path: Path) -> None:
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time(YEAR_2020) as frozen, flin.engine.open(tmp_path / "db", runner="inline") as db:
        db.put(b"k", b"v", ttl=60)
        db.flush()
        assert (db.ttl(b"k"), len(db)) == (60, 1)
        frozen.tick(60)
        assert (b"k" in db, len(db)) == (False, 0)
        assert db.verify() == []


def test_freezegun_can_be_told_to_leave_the_engine_alone(tmp_path: Path) -> None:
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time(YEAR_2020, ignore=["flin"]) as frozen, flin.engine.open(tmp_path / "db") as db:
        db.put(b"k", b"v", ttl=3600)
        frozen.tick(7200)
        db.flush()
        assert b"k" in db
        assert 3000 < (db.ttl(b"k") or 0) <= 3600
