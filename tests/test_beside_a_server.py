"""`flin stats`, `check` and `compact` of a database that a server has open, with redis:// in the directory's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flin.testing import served
from tests.test_cli import Capture, run


def test_figures_a_check_and_a_compaction(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    with served(tmp_path / "db", requirepass="secret") as server:
        with redis.Redis(port=server.port, password="secret") as client:
            for number in range(2000):
                client.set(f"k{number % 500}", "v" * 100)
        for command in ("stats", "check", "compact"):
            code, _, errors = run(capsys, command, tmp_path / "db")
            assert code == 3
            assert "give its URL in place of DIR" in errors
            code, _, errors = run(capsys, command, f"redis://localhost:{server.port}")
            assert code == 1
            assert "NOAUTH" in errors
        monkeypatch.setenv("REDISCLI_AUTH", "secret")
        url = f"redis://localhost:{server.port}"
        code, output, errors = run(capsys, "compact", url)
        assert (code, errors) == (0, "")
        assert output.startswith("tables and value files before: ")
        assert run(capsys, "check", url)[:2] == (0, f"{url}: 500 keys in this database of the server, all files well\n")
        code, output, _ = run(capsys, "stats", url)
        assert code == 0
        assert output.startswith("keys ")
        code, output, _ = run(capsys, "stats", f"redis://:secret@localhost:{server.port}", "--json")
        assert json.loads(output)["tables"]["files"] == 1
        [table] = (tmp_path / "db").glob("*.sst")
        with table.open("r+b") as file:
            file.seek(100)
            file.write(b"\x00\xff\x00\xff")
        code, output, _ = run(capsys, "check", url)
        assert code == 1
        assert table.name in output
        assert output.endswith(f"1 problem in the database of {url}\n")
    code, _, errors = run(capsys, "stats", url)
    assert code == 1
    assert "no connection" in errors
