"""Every example runs as its first lines say, and the one with real data finds every record again after kill -9."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.source import ROOT

EXAMPLES = ROOT / "examples"
NEED_A_CLIENT = {"stdlib_sources.py", "cache.py", "job_queue.py", "leaderboard.py", "served_and_read.py"}
NOT_RUN = {"flin_server.py"}  # shared by the examples with a server
# Those of docs/recipes.md: test_recipes.py runs them.
RECIPES = {"wsgi_embedded.py", "wsgi_served.py", "asgi_embedded.py", "asgi_served.py", "fastapi_embedded.py"}
RECIPES |= {"prices.py", "wsgi_readers.py", "asgi_readers.py", "pool_of_readers.py"}
RECIPES |= {"pool.py", "pytest_fixtures.py", "notebook.py", "huey_tasks.py", "arq_tasks.py"}


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if name in NEED_A_CLIENT:
        pytest.importorskip("redis")
    return run_program(str(EXAMPLES / name), *arguments)


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(ROOT), str(EXAMPLES)))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "error::ResourceWarning"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )


def test_every_example_is_run() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")} - NOT_RUN - RECIPES
    programs = {"embedded.py", "cache.py", "job_queue.py", "leaderboard.py", "stdlib_sources.py", "served_and_read.py"}
    assert names == programs
    for path in EXAMPLES.glob("*.py"):
        assert path.read_text().startswith('"""')


def test_embedded(tmp_path: Path) -> None:
    done = run("embedded.py", str(tmp_path / "db"))
    assert done.returncode == 0, done.stderr
    assert "one key:      Ada\n" in done.stdout
    assert "in order:     ['Ada', 'Grace', 'Barbara']\n" in done.stdout
    assert "the last two: ['user:3', 'user:2']\n" in done.stdout
    assert "counter:      [1, 2, 3]\n" in done.stdout
    assert "users now:    0 and then: 3\n" in done.stdout
    assert "after reopening: {b'session:1': b'token', b'visits': b'3'}\n" in done.stdout


def test_cache() -> None:
    done = run("cache.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("slow_square(12) = 144") == 3
    assert "2 calls in all" in done.stdout


def test_job_queue() -> None:
    done = run("job_queue.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("was killed; jobs given back: 1\n") == 2
    assert done.stdout.endswith("200 of 200 jobs done, each once; lists left: 0\n")


def test_served_and_read(tmp_path: Path) -> None:
    done = run("served_and_read.py", str(tmp_path / "db"))
    assert done.returncode == 0, done.stderr
    for line in (
        "one field:   Ada\n",
        "a hash:      {b'name': b'Grace', b'language': b'COBOL'}\n",
        "last jobs:   [b'job 999', b'job 1000'] of 1000\n",
        "online:      [b'user:1', b'user:9']\n",
        "a string:    hello\n",
        "nobody:      {}\n",
        "a mistake:   the key b'user:1' holds a hash, not a list\n",
    ):
        assert line in done.stdout
    assert "{'user:1': 'hash', 'jobs': 'list', 'online': 'set', 'motd': 'string', 'none': None}" in done.stdout


def test_leaderboard() -> None:
    """After kill -9 of the server every player is where a plain sort puts him."""
    done = run("leaderboard.py", "300")
    assert done.returncode == 0, done.stderr
    assert "300 players after kill -9\n" in done.stdout
    assert " players have 1000 points or more\n" in done.stdout


PART_OF_LIBRARY = ("asyncio", "concurrent", "json")
"""Packages that the queries of the example look for, and a little more."""

WITH_A_LIBRARY = """
import runpy, sys, sysconfig
library, program = sys.argv[1:3]
sysconfig.get_path = lambda name: library
sys.argv = sys.argv[2:]
runpy.run_path(program, run_name="__main__")
"""


def run_with_a_part(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the example with some packages of the standard library, in a hundredth of the time."""
    for name in PART_OF_LIBRARY:
        shutil.copytree(Path(sysconfig.get_path("stdlib")) / name, tmp_path / "library" / name)
    program = str(EXAMPLES / "stdlib_sources.py")
    return run_program("-c", WITH_A_LIBRARY, str(tmp_path / "library"), program, "--dir", str(tmp_path / "db"))


def test_sources_survive_kill_9(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    done = run_with_a_part(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("everything is there\n")


@pytest.mark.slow
def test_standard_library_sources_survive_kill_9(tmp_path: Path) -> None:
    done = run("stdlib_sources.py", "--dir", str(tmp_path / "db"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("everything is there\n")
    found = re.search(r"([\d,]+) functions and classes in ([\d,]+) files", done.stdout)
    assert found is not None
    definitions, files = (int(number.replace(",", "")) for number in found.groups())
    assert definitions > 10_000  # about 20,000 in a full installation
    assert files > 400
    assert "killed with -9; flin serve answers again after" in done.stdout
    assert done.stdout.count("many at once: MGET of every record") == 2
    assert done.stdout.count("embedded: by ") == 2


def test_a_difference_is_exit_code_1(tmp_path: Path) -> None:
    """A directory that already holds something else."""
    pytest.importorskip("redis")
    import flin.engine

    with flin.engine.open(str(tmp_path / "db")) as db:
        db.put(b"def:json.stranger:f", b"not from the library")
    done = run_with_a_part(tmp_path)
    assert done.returncode == 1
    assert "DIFFERENT: SCAN MATCH: found " in done.stdout
