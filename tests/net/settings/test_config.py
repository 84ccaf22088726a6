"""Options, the TOML file, CONFIG GET and SET."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

import flin.engine
from flin.errors import CommandError
from flin.net.settings.config import PARAMETERS, Config
from flin.net.settings.file_limit import clients_within, files_for
from flin.net.settings.options import ConfigError, ServerOptions
from flin.net.settings.parameter import parse_size
from flin.net.settings.reading import options_from_file, options_from_text, with_values
from flin.net.wire.numbers import INT64_MAX
from flin.objects.thresholds import Thresholds


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
    assert options.value_threshold == flin.engine.Options().value_threshold
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
        {"bind": 5},
        {"bind": [1, 2]},
        {"requirepass": 12345},
        {"dir": ""},
        {"slowlog_log_slower_than": -2},
        {"buffers_share": float("nan")},
        {"memory_limit": 64.5},
        {"value_threshold": 7},
        {"value_threshold": -1},
        {"value_threshold": "2gb"},
        {"value_threshold": None},
        {"tls_port": 70_000},
        {"tls_port": "6381"},
        {"tls_maxclients": 0},
        {"redis_version": "7.4"},
        {"workers": 0},
        {"workers": "2"},
        {"cluster_announce_ip": "10.0.0.1\r\n"},
        {"topology": None},
        {"tls_protocols": "TLSv1.1 TLSv1.2"},
        {"tls_auth_clients": "maybe"},
        {"unixsocket": "a\nb"},
        {"unixsocketperm": 700},
        {"unixsocketperm": "999"},
        {"unixsocketperm": "0o700"},
    ],
)
def test_wrong_values(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        with_values(ServerOptions(), values)


_TLS = {"tls_port": 6381, "tls_cert_file": "a.pem", "tls_key_file": "a.key"}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tls_port": 6381}, "tls_port needs tls_cert_file"),
        ({"tls_port": 6381, "tls_cert_file": "a.pem"}, "tls_port needs tls_key_file"),
        (_TLS, "tls_auth_clients is yes, which needs tls_ca_cert_file or tls_ca_cert_dir"),
        (_TLS | {"tls_auth_clients": "optional"}, "tls_auth_clients is optional, which needs"),
        (_TLS | {"port": 6381, "tls_auth_clients": "no"}, "port and tls_port are both 6381"),
        ({"tls_cert_file": "a.pem"}, "tls_cert_file is given, but no tls_port"),
        ({"tls_ca_cert_dir": "a"}, "tls_ca_cert_dir is given, but no tls_port"),
    ],
)
def test_tls_needs_all_of_its_options(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        with_values(ServerOptions(), values).check()


@pytest.mark.parametrize(
    ("values", "is_plain"),
    [
        ({}, True),
        ({"port": 0}, True),
        ({"port": 0, "unixsocket": "a"}, False),
        ({"port": 0, "tls_auth_clients": False, **_TLS}, False),
        ({"port": 7, "unixsocket": "a", "tls_auth_clients": "no", **_TLS}, True),
    ],
)
def test_port_0_is_a_free_one_unless_there_is_another_way_in(values: dict[str, Any], is_plain: bool) -> None:
    assert with_values(ServerOptions(), values).listens_on_tcp == is_plain


def test_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "flin.toml"
    for text in (b"[server\n", b"[server]\nport = 'x'\n", b"[server]\ndir = '\xff'\n", b"a = " + b"[" * 10_000):
        path.write_bytes(text)
        with pytest.raises(ConfigError, match=r"flin\.toml"):
            options_from_file(str(path))


def test_a_redis_conf_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("# Redis\nport 6379\nappendonly yes\nappendfsync no\nrequirepass secret\nhz 10\nsave 900 1\n")
    with pytest.raises(ConfigError) as raised:
        options_from_file(str(path))
    assert str(raised.value) == (
        f"{path} is no TOML file with a [server] table: it is written as a redis.conf; in TOML, under [server], its "
        'lines are port = 6379, sync = "never", requirepass = "…"'
    )
    path.write_text("what is this\n")
    with pytest.raises(ConfigError, match="Expected '='"):
        options_from_file(str(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('requirepass = "secret"\n', "requirepass"),
        ('requirepass = "secret"\n[server]\nport = 0\n', "requirepass"),
        ('[srever]\nrequirepass = "secret"\n', "srever"),
        ("[server]\nport = 0\n[client]\n", "client"),
        ("[server]\n[server.tls]\nport = 1\n", "tls"),
        ('[[server]]\nrequirepass = "secret"\n', "server"),
        ('server = "flin"\n', "server"),
        ('[server]\nrequire_pass = "secret"\n', "require_pass"),
        ('[server]\nmemory_limit = "64mb"\nmemory-limit = "64mb"\n', "memory-limit"),
        ("[server]\nrequirepass = 12345\n", "requirepass"),
        ("[server]\nbind = 5\n", "bind"),
        ('[server]\nprotected_mode = "yes"\n', "protected_mode"),
        ("[server]\ntimeout = 1979-05-27\n", "timeout"),
        ("[server]\nunixsocketperm = 0o700\n", "unixsocketperm"),
        ("[server]\ntls_key_file_pass = 12\n", "tls_key_file_pass: it must be text in quotes"),
    ],
)
def test_whatever_a_file_holds_is_known_or_an_error(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "flin.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=name):
        options_from_file(str(path))


def test_names_of_redis_in_a_file() -> None:
    text = "[server]\nappendonly = true\nappendfsync = 'always'\nsave = ''\n"
    assert options_from_text(text, "flin.toml").sync == "always"
    with pytest.raises(ConfigError, match="appendonly is 'no', it can only be 'yes' here"):
        options_from_text("[server]\nappendonly = false\n", "flin.toml")
    with pytest.raises(ConfigError, match="there is no option 'io-threads': one thread answers all clients"):
        options_from_text("[server]\nio-threads = 4\n", "flin.toml")


def test_a_password_of_a_wrong_type_is_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        with_values(ServerOptions(), {"requirepass": 12345})
    assert "12345" not in str(raised.value)


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
        (b"slowlog-log-slower-than", b"-2", "argument must be between -1 and 4611686018427387904 inclusive"),
        (b"databases", b"16", "can't set immutable config"),
        (b"daemonize", b"no", "can't set immutable config"),
        (b"dbfilename", b"dump.rdb", "can't set protected config"),
        (b"maxmemory", b"much", "argument must be a memory value"),
        (b"appendfsync", b"always", "can't set immutable config"),
        (b"appendfsync", b"often", "argument(s) must be one of the following: everysec, always, no"),
        (b"hash-max-listpack-entries", b"-1", f"argument must be between 0 and {INT64_MAX} inclusive"),
        (b"hash-max-listpack-entries", b"1k", "argument couldn't be parsed into an integer"),
        (b"hash-max-listpack-entries", b"9223372036854775808", "argument couldn't be parsed into an integer"),
        (b"hash-max-listpack-value", b"abc", "argument must be a memory value"),
        (b"hash-max-listpack-value", b"-1", "argument must be a memory value"),
        (b"hash-max-ziplist-value", b"9223372036854775808", f"argument must be between 0 and {INT64_MAX} inclusive"),
        (b"hll-sparse-max-bytes", b"-1", "argument must be a memory value"),
        (b"hll-sparse-max-bytes", b"9223372036854775808", f"argument must be between 0 and {INT64_MAX} inclusive"),
        (b"set-max-intset-entries", b"-1", f"argument must be between 0 and {INT64_MAX} inclusive"),
        (b"set-max-intset-entries", b"1k", "argument couldn't be parsed into an integer"),
        (b"io-threads", b"5", "can't set immutable config"),
        (b"save", b"900 1", "can't set immutable config"),
    ],
)
def test_refusals(name: bytes, value: bytes, error: str) -> None:
    with pytest.raises(CommandError) as raised:
        Config(ServerOptions()).set({name: value})
    assert str(raised.value).endswith(error)


def test_limits_of_hashes_have_two_names() -> None:
    config = Config(ServerOptions())
    config.set({b"hash-max-ziplist-entries": b"7", b"hash-max-listpack-value": b"1kb"})
    config.set({b"set-max-intset-entries": b"9"})
    shown = config.get(lambda name: name.startswith(b"hash-"))
    assert shown == {
        b"hash-max-listpack-entries": b"7",
        b"hash-max-ziplist-entries": b"7",
        b"hash-max-listpack-value": b"1024",
        b"hash-max-ziplist-value": b"1024",
    }
    assert config.thresholds == Thresholds(hash_entries=7, hash_value_bytes=1024, set_integers=9)


def test_passwords() -> None:
    config = Config(ServerOptions(requirepass="secret"))
    assert config.initial_password == b"secret"
    heard: list[bytes] = []
    config.on_password = heard.append
    config.set({b"requirepass": b"other"})
    assert heard == [b"other"]
    assert config.get(b"requirepass".__eq__) == {b"requirepass": b""}, "passwords are not shown"


def test_the_value_that_a_parameter_has_may_be_set() -> None:
    config = Config(ServerOptions(memory_limit=64 << 20, port=7000))
    before = config.get(lambda name: True)
    for name, value in before.items():
        if PARAMETERS[name].refusal is None:
            config.set({name: value})
    config.set({b"appendfsync": b"EVERYSEC", b"maxmemory": b"0mb", b"memory-limit": b"64mb", b"appendonly": b"Yes"})
    assert config.get(lambda name: True) == before


def test_the_value_threshold_is_shown_and_set_at_the_start() -> None:
    for given, shown in ((0, b"0"), (8, b"8"), ("16kb", b"16384"), ("1gb", b"1073741824")):
        config = Config(with_values(ServerOptions(), {"value-threshold": given}))
        assert config.get(b"value-threshold".__eq__) == {b"value-threshold": shown}
        with pytest.raises(CommandError, match="can't set immutable config"):
            config.set({b"value-threshold": b"4kb"})


def test_clients_leave_files_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [1024, 1500]  # soft, hard
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: limits.__setitem__(slice(None), new))
    config = Config(ServerOptions(maxclients=500))
    with pytest.raises(CommandError, match="number of clients, try with 997"):
        config.set({b"timeout": b"5", b"maxclients": b"50000"})
    assert (config.maxclients, config.timeout) == (500, 0)
    assert limits == [1500, 1500]
    config.set({b"maxclients": b"997"})
    assert config.maxclients == 997
    limits[:] = [1024, resource.RLIM_INFINITY]
    config.set({b"maxclients": b"50000"})
    assert limits[0] == files_for(50_000)


@pytest.mark.parametrize("clients", [1, 2, 3, 100, 997, 10_000, 1_000_000])
def test_files_for_a_number_of_clients(clients: int) -> None:
    files = files_for(clients)
    assert clients_within(files) >= clients
    assert clients == 1 or clients_within(files - 1) < clients
