"""SIGHUP: what a changed file changes, what it cannot, and what stays."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from flin.net.cluster.topology import Node, Topology
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from flin.net.settings.reading import options_from_file, with_flags
from flin.net.settings.reloading import reload

BEFORE = "[server]\nmaxclients = 100\ntimeout = 5\nport = 7000\nrequirepass = 'old'\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flin.toml"
    path.write_text(BEFORE)
    return path


def config_of(file: Path, **given: str) -> Config:
    options = with_flags(options_from_file(str(file)), {name: [text] for name, text in given.items()})
    return Config(options)


def again(config: Config, file: Path, text: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log."""
    file.write_text(text)
    caplog.clear()
    with caplog.at_level(logging.INFO, "flin"):
        reload(config)
    return [f"{record.levelname} {record.getMessage().replace(str(file), 'FILE')}" for record in caplog.records]


def test_what_may_change_changes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(file)
    told = again(config, file, BEFORE.replace("100", "50") + "log_level = 'debug'\ndatabases = 3\n", caplog)
    assert (config.maxclients, config.log_level, config.databases) == (50, b"debug", 16)
    assert told == [
        "INFO FILE was read again: maxclients, log_level",
        "WARNING FILE: databases is changed by a start only, so restart the server",
    ]
    assert again(config, file, BEFORE.replace("100", "50"), caplog)[0] == "INFO FILE was read again: log_level"
    assert config.log_level == b"info", "what the file does not name any more has its default"


def test_what_config_set_has_changed_stays(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(file)
    config.set({b"timeout": b"77"})
    assert again(config, file, BEFORE.replace("100", "50"), caplog) == ["INFO FILE was read again: maxclients"]
    assert (config.timeout, config.maxclients) == (77, 50)
    again(config, file, BEFORE.replace("timeout = 5", "timeout = 6"), caplog)
    assert config.timeout == 6


def test_the_command_line_wins(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(file, maxclients="9")
    told = again(config, file, BEFORE.replace("100", "50"), caplog)
    assert config.maxclients == 9
    assert told == [
        "INFO FILE was read again: nothing changes at once",
        "WARNING FILE: given elsewhere, which wins: maxclients (--maxclients)",
    ]


@pytest.mark.parametrize("text", ["[server\n", "[server]\nmaxclients = 0\n", "[server]\nmaxclient = 5\n", "\xff"])
def test_a_wrong_file_changes_nothing(file: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(file)
    (line,) = again(config, file, f"{text}timeout = 9\n", caplog)
    assert line.startswith("ERROR FILE was not read again, nothing changes: FILE")
    assert (config.timeout, config.maxclients) == (5, 100)
    assert again(config, file, BEFORE, caplog) == ["INFO FILE was read again: nothing changes at once"]


def test_what_cannot_be_had_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flin.net.settings.file_limit.make_room", lambda clients: 500)
    config = config_of(file)
    (line,) = again(config, file, BEFORE.replace("100", "5000").replace("= 5\n", "= 6\n"), caplog)
    assert "number of clients, try with 500" in line
    assert (config.timeout, config.maxclients) == (5, 100)


def test_a_file_that_is_gone(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(file)
    file.unlink()
    with caplog.at_level(logging.INFO, "flin"):
        reload(config)
    assert "No such file or directory" in caplog.text


def test_another_password(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(file)
    heard: list[bytes] = []
    config.on_password = heard.append
    again(config, file, BEFORE.replace("old", "new"), caplog)
    assert heard == [b"new"]
    assert not config.is_password_changed, "CONFIG REWRITE has nothing to write"
    assert "new" not in caplog.text


def test_a_worker_takes_its_share(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    nodes = tuple(Node(str(number) * 40, "", 7000 + number, number * 4096, number * 4096 + 4095) for number in range(4))
    for own in (0, 1):
        file.write_text(BEFORE)
        options = replace(options_from_file(str(file)), workers=4, maxclients=25, topology=Topology(nodes, own))
        config = Config(options)
        told = again(config, file, BEFORE.replace("100", "40").replace("7000", "8000"), caplog)
        assert config.maxclients == 10
        assert len(told) == 2 - own, "the first one speaks for all"


def test_nothing_of_the_options_is_left_out() -> None:
    options = ServerOptions(file_values=(("bind", ("::1",)),))
    assert replace(options, **dict(options.file_values)).bind == ("::1",)
