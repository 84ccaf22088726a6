"""docs/backup.md: its program, its commands and its script for cron are run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import redis

import flin.engine
from tests.program import running
from tests.source import ROOT
from tests.test_cli import Capture, run
from tests.tool import needs_tool

TEXT = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8")


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = _blocks("python")
    exec(program, {})


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(12):  # the twelfth is restored
        with flin.engine.open("data", runner="inline") as db:
            db.put(b"a", b"1")
            db.backup(tmp_path / "backups")
    commands = _blocks("sh")[0].replace("/srv/backups", "backups").splitlines()
    assert len(commands) == 6
    for command in commands:
        words = command.split()
        assert words[0] == "flin"
        code, _, errors = run(capsys, *words[1:])
        assert (code, errors) == (0, ""), command


def test_the_script_for_cron(tmp_path: Path) -> None:
    """Against a server: it waits for the backup, and fails if there is none."""
    needs_tool("redis-cli")
    script = tmp_path / "flin-backup"
    script.write_text(_blocks("sh")[1])
    script.chmod(0o755)
    words = ["serve", "--port", "0", "--dir", "db", "--backup-dir", "backups", "--backup-keep", "1"]
    with running(tmp_path, ["-m", "flin", *words, "--memory-limit", "64mb"]) as program:
        port = program.found(r"ready on .*?port (\d+)")
        with redis.Redis(port=int(port)) as client:
            for number in range(2):
                client.set("number", number)
                done = subprocess.run([script, port], capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
        assert [each.number for each in flin.engine.backups(tmp_path / "backups")] == [2]
        for path in (tmp_path / "backups" / "catalogue").iterdir():
            path.write_bytes(b"{}")
        assert subprocess.run([script, port], capture_output=True, check=False).returncode != 0
        assert "flin-save failed" in program.printed()
    assert os.listdir(tmp_path / "backups" / "files")
