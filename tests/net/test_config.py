"""Options, the TOML file, CONFIG GET and SET."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flin.errors import CommandError
from flin.net.config import PARAMETERS, Config, ConfigError, ServerOptions, options_from_file, parse_size, with_values


@pytest.mark.parametrize(
    ("text", "size"),
    [("1gb", 1 << 30), ("100mb", 100 << 20), ("5k", 5000), ("12345", 12345), ("1GB", 1 << 30), ("x", None), ("", None)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


def test_a_file_and_its_values(tmp_path: Path) -> None:
    path = tmp_path / "flin.toml"
    path.write_text('[server]\nport = 7000\nbind = ["127.0.0.1", "::1"]\nmemory-limit = "512mb"\nrequirepass = "x"\n')
    options = options_from_file(str(path))
    assert (options.port, options.bind, options.memory_limit) == (7000, ("127.0.0.1", "::1"), 512 << 20)
    assert with_values(options, {"port": 1, "bind": "0.0.0.0 ::"}).bind == ("0.0.0.0", "::")


@pytest.mark.parametrize(
    "values",
    [
        {"port": "7000"},
        {"port": 70_000},
        {"nothing": 1},
        {"sync": "sometimes"},
        {"memory_limit": "much"},
        {"protected_mode": 1},
        {"databases": 17},
        {"bind": ()},
        {"maxclients": True},
    ],
)
def test_wrong_values(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        with_values(ServerOptions(), values)


def test_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "flin.toml"
    for text in ("[server\n", "[server]\nport = 'x'\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"flin\.toml"):
            options_from_file(str(path))


def test_every_parameter_is_shown() -> None:
    config = Config(ServerOptions(requirepass="secret"))
    shown = config.get(lambda name: True)
    assert shown.keys() == PARAMETERS.keys()
    assert shown[b"requirepass"] == b"", "only its hash is kept"
    assert shown[b"maxclients"] == b"10000"
    assert shown[b"protected-mode"] == b"yes"
    assert shown[b"appendfsync"] == b"everysec"


def test_set_changes_all_or_nothing() -> None:
    config = Config(ServerOptions())
    with pytest.raises(CommandError, match="argument 'timeout'"):
        config.set({b"maxclients": b"5", b"timeout": b"x"})
    assert config.maxclients == 10_000
    config.set({b"maxclients": b"5", b"timeout": b"7", b"protected-mode": b"NO"})
    assert (config.maxclients, config.timeout, config.protected_mode) == (5, 7, False)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        (b"nothing", b"1", "ERR Unknown option or number of arguments for CONFIG SET - 'nothing'"),
        (b"port", b"1", "can't set immutable config"),
        (b"dir", b"/elsewhere", "can't set protected config"),
        (b"maxclients", b"0", "argument must be between 1 and 1000000 inclusive"),
        (b"maxclients", b"1_0", "argument couldn't be parsed into an integer"),
        (b"protected-mode", b"maybe", "argument must be 'yes' or 'no'"),
    ],
)
def test_refusals(name: bytes, value: bytes, error: str) -> None:
    with pytest.raises(CommandError) as raised:
        Config(ServerOptions()).set({name: value})
    assert str(raised.value).endswith(error)


def test_passwords() -> None:
    config = Config(ServerOptions(requirepass="secret"))
    assert config.requires_password
    assert config.is_password(b"secret")
    assert not config.is_password(b"Secret")
    config.set({b"requirepass": b""})
    assert not config.requires_password
    assert not config.is_password(b"")
