"""The places that give options: their order, their spellings, and what is wrong in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flin.cli.main import parser
from flin.cli.parsing import UsageError
from flin.cli.serve import config_path, options_of
from flin.net.settings.config import PARAMETERS, Config
from flin.net.settings.kind import duration_of, short_size
from flin.net.settings.options import ROWS, ConfigError, ServerOptions
from flin.net.settings.reading import options_from_text, with_environment, with_flags, with_values


def from_environment(**environ: str) -> ServerOptions:
    return with_environment(ServerOptions(), environ)


def test_the_last_place_wins(tmp_path: Path) -> None:
    file = tmp_path / "flin.toml"
    file.write_text("[server]\nport = 1\ntimeout = 1\nmaxclients = 1\n")
    arguments = parser().parse_args(["serve", "--config", str(file), "--port", "3"])
    options = options_of(arguments, {"FLIN_PORT": "2", "FLIN_TIMEOUT": "2"})
    assert (options.port, options.timeout, options.maxclients, options.databases) == (3, 2, 1, 16)


def test_the_file_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_path(None, {}) == ""
    (tmp_path / "flin.toml").write_text("[server]\nport = 7\n")
    assert config_path(None, {}) == "flin.toml"
    assert config_path(None, {"FLIN_CONFIG": "other.toml"}) == "other.toml"
    assert config_path("third.toml", {"FLIN_CONFIG": "other.toml"}) == "third.toml"
    assert config_path("", {}) == config_path(None, {"FLIN_CONFIG": ""}) == ""
    assert options_of(parser().parse_args(["serve"]), {}).port == 7
    assert options_of(parser().parse_args(["serve", "--config", ""]), {}).port == 6380


def test_places_complete_one_another(tmp_path: Path) -> None:
    file = tmp_path / "flin.toml"
    file.write_text('[server]\ntls_cert_file = "a.pem"\ntls_key_file = "a.key"\ntls_auth_clients = false\n')
    arguments = parser().parse_args(["serve", "--config", str(file)])
    assert options_of(arguments, {"FLIN_TLS_PORT": "6381"}).tls_port == 6381
    with pytest.raises(UsageError, match="tls_cert_file is given, but no tls_port"):
        options_of(arguments, {})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("memory_limit", "64MiB", 64 << 20),
        ("memory_limit", "1g", 1_000_000_000),
        ("timeout", "5m", 300),
        ("slowlog_log_slower_than", "-1", -1),
        ("slowlog_log_slower_than", "20ms", 20_000),
        ("protected_mode", "no", False),
        ("protected_mode", "TRUE", True),
        ("bind", "127.0.0.1 ::1", ("127.0.0.1", "::1")),
        ("hot_keys_share", ".25", 0.25),
        ("tls_port", "0", 0),
        ("notify_keyspace_events", "KEA", "KEA"),
        ("hash_max_listpack_entries", "7", 7),
    ],
)
def test_text_is_read_alike_everywhere(name: str, text: str, value: Any) -> None:
    row = ROWS[name]
    assert getattr(from_environment(**{row.environment: text}), name) == value
    assert getattr(with_flags(ServerOptions(), {name: [text]}), name) == value


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        ({"FLIN_PORT": "70000"}, "FLIN_PORT is '70000', it must be from 0 to 65535"),
        ({"FLIN_PORT": "1_0"}, "FLIN_PORT is '1_0', it must be a whole number"),
        ({"FLIN_TIMEOUT": "5 minutes"}, "it must be a time: a whole number, perhaps with us, ms, s, m, h, d"),
        ({"FLIN_TIMEOUT": "1500ms"}, "it must be a whole number of seconds"),
        ({"FLIN_TIMEOUT": "-1"}, "FLIN_TIMEOUT is '-1', it must be from 0"),
        ({"FLIN_MEMORY_LIMIT": "64x"}, "it must be a size"),
        ({"FLIN_HOT_KEYS_SHARE": "nan"}, "it must be a number such as 0.25"),
        ({"FLIN_PROTECTED_MODE": "maybe"}, "it must be yes or no"),
        ({"FLIN_SYNC": "sometimes"}, "it must be one of always, interval, never"),
        ({"FLIN_BIND": " "}, "names no address"),
        ({"FLIN_REQUIREPAS": "secret"}, "there is no variable FLIN_REQUIREPAS; 'FLIN_REQUIREPASS' is meant, perhaps"),
    ],
)
def test_what_is_wrong_in_the_environment(environ: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        with_environment(ServerOptions(), environ)
    assert error in str(raised.value)
    assert "secret" not in str(raised.value)


def test_variables_of_others_are_passed_over() -> None:
    of_kubernetes = {
        "FLIN_PORT": "tcp://10.0.0.1:6380",
        "FLIN_PORT_6380_TCP_ADDR": "10.0.0.1",
        "FLIN_SERVICE_HOST": "10.0.0.1",
        "FLIN_SERVICE_PORT": "6380",
    }
    assert from_environment(**of_kubernetes, FLIN_HOME="/x", PORT="7", flin_port="7") == ServerOptions()


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(ConfigError, match="there is no option 'max_clients'; 'maxclients' is meant, perhaps"):
        with_values(ServerOptions(), {"max_clients": 5})
    with pytest.raises(ConfigError, match=r"there is no option 'x'$"):
        with_values(ServerOptions(), {"x": 5})


def test_a_second_name_is_the_same_option() -> None:
    options = options_from_text("[server]\nlua-time-limit = '2s'\n", "flin.toml")
    assert options.busy_reply_threshold == 2000
    with pytest.raises(ConfigError, match="two spellings; keep 'busy_reply_threshold'"):
        options_from_text("[server]\nlua-time-limit = 1\nbusy-reply-threshold = 1\n", "flin.toml")


@pytest.mark.parametrize(("text", "unit", "value"), [("5m", "s", 300), ("1d", "s", 86_400), ("-1", "us", -1)])
def test_durations(text: str, unit: str, value: int) -> None:
    assert duration_of(text, unit) == value


def test_short_sizes() -> None:
    assert [short_size(size) for size in (0, 1000, 4096, 64 << 20, 1 << 30)] == ["0", "1000", "4kb", "64mb", "1gb"]


# The table.


def test_every_default_is_a_right_value() -> None:
    ServerOptions().check()
    for row in ROWS.values():
        assert row.doc, row.name
        assert not row.doc.endswith("."), row.name
        assert row.default_text, row.name


def test_every_row_is_a_parameter_and_the_running_ones_are_in_force() -> None:
    config = Config(ServerOptions())
    for row in ROWS.values():
        for name in row.parameters:
            shown = PARAMETERS[name].show(config)
            assert (PARAMETERS[name].apply is not None) == row.is_running
            if row.is_running and row.name != "requirepass":
                config.set({name: shown})
                assert PARAMETERS[name].show(config) == shown


def test_every_row_is_an_option_of_the_command_line() -> None:
    known = vars(parser().parse_args(["serve"]))
    assert known.keys() >= ROWS.keys()
