"""kill -9 of a program that writes, backs up and makes checkpoints all the time: what it has said it made is whole."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

import flin.engine
from flin.errors import FlinError
from flin.testing.process import wait_until
from tests.program import Program

WRITER = """
import sys
import flin.engine
with flin.engine.open("db", memory_limit="1mb", value_threshold=1024, sync="never") as db:
    number = int(db.get(b"number", b"0"))
    print("ready", flush=True)
    while True:
        for _ in range(50):
            number += 1
            db.put_many({b"%05d" % (number * 37 % 2000): b"%d " % number * 60, b"number": b"%d" % number})
        backup = db.backup("backups", keep=4)
        print("backup", backup.number, number, flush=True)
        db.checkpoint(f"checkpoint-{number}")
        print("checkpoint", number, number, flush=True)
"""


@pytest.mark.parametrize("cycles", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_copies_of_a_killed_program_are_whole(tmp_path: Path, cycles: int) -> None:
    source = random.Random(cycles)
    for _ in range(cycles):
        program = Program(tmp_path, ["-c", WRITER])
        program.found("ready")
        wanted = source.randrange(2, 6)
        wait_until(lambda: program.printed().count("\n") > wanted, "some copies")  # noqa: B023
        assert program.end(signal.SIGKILL) == -signal.SIGKILL
        said = [line.split() for line in program.printed().splitlines() if line != "ready"]
        _check(tmp_path, [(kind, int(name), int(number)) for kind, name, number in said])
        for path in tmp_path.glob("checkpoint-*"):
            shutil.rmtree(path)


def _check(folder: Path, copies: list[tuple[str, int, int]]) -> None:
    assert copies
    listed = {each.number for each in flin.engine.backups(folder / "backups")}
    assert flin.engine.verify_backup(folder / "backups") == []
    made = {name: number for kind, name, number in copies if kind == "backup"}
    assert max(made) in listed
    for name in listed & made.keys():
        flin.engine.restore(folder / "backups", folder / "restored", number=name)
        _is_of(folder / "restored", made[name])
        shutil.rmtree(folder / "restored")
    said = {name for kind, name, _ in copies if kind == "checkpoint"}
    for path in folder.glob("checkpoint-*"):
        number = int(path.name.rpartition("-")[2])
        try:
            _is_of(path, number)
        except FlinError:
            assert number not in said, "one that was made is refused"


def _is_of(path: Path, number: int) -> None:
    with flin.engine.open(path, runner="inline", create=False) as db:
        assert db[b"number"] == b"%d" % number
        assert len(db) == min(number, 2000) + 1
        assert db.verify() == []
