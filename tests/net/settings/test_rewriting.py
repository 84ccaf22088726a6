"""CONFIG REWRITE: the file reads back what is in force, and the rest of it stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.net.settings.config import Config
from flin.net.settings.options import ROWS, ConfigError
from flin.net.settings.reading import options_from_file, options_from_text
from flin.net.settings.reloading import reload
from flin.net.settings.rewriting import RewriteError, changed, rewrite, rewritten
from flin.net.settings.row import Row
from tests.net.serving import HandlerClient

FILE = """\
# The server of the shop.
[server] # all options

port = 7000  # as on the other machine
maxclients = 100 # enough # for all
bind = [
    "127.0.0.1", # here
    "::1",
]
"slowlog-max-len" = 5
requirepass = "a # b"
protected-mode = true
"""


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({"maxclients": "7"}, "maxclients = 100 # enough # for all", "maxclients = 7 # enough # for all"),
        ({"slowlog_max_len": "6"}, '"slowlog-max-len" = 5', '"slowlog-max-len" = 6'),
        ({"protected_mode": "false"}, "protected-mode = true", "protected-mode = false"),
        ({"bind": '["::1"]'}, '[\n    "127.0.0.1", # here\n    "::1",\n]', '["::1"]'),
        ({"requirepass": '"x"'}, '"a # b"', '"x"'),
        ({"timeout": "9"}, "protected-mode = true\n", "protected-mode = true\ntimeout = 9\n"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_changed_value_is_another(changes: dict[str, str], before: str, after: str, end: str) -> None:
    assert FILE.count(before) == 1
    made = rewritten(FILE.replace("\n", end), changes)
    assert made == FILE.replace(before, after).replace("\n", end)
    options_from_text(made, "flin.toml")


def test_what_is_written_without_spaces_stays_so() -> None:
    assert rewritten("[server]\ntimeout=1 # t\n", {"timeout": "9"}) == "[server]\ntimeout=9 # t\n"


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", "[server]\ntimeout = 9\n"),
        ("# nothing", "# nothing\n[server]\ntimeout = 9\n"),
        ("[server]", "[server]\ntimeout = 9\n"),
        ("['server']\nport = 1", "['server']\nport = 1\ntimeout = 9\n"),
    ],
)
def test_a_name_that_is_not_there_is_appended(text: str, made: str) -> None:
    assert rewritten(text, {"timeout": "9"}) == made


def test_a_file_that_cannot_be_edited() -> None:
    with pytest.raises(RewriteError, match=r"no line \[server\]"):
        rewritten("server.port = 1\n", {"timeout": "9"})


def takes_small_numbers(row: Row) -> bool:
    try:
        return bool(row.kind.of_text("1") == 1 and row.kind.raw(b"1") == 1 and row.kind.raw(b"99") == 99)
    except ValueError:
        return False


@given(
    lines=st.lists(
        st.sampled_from(["# comment", "", "timeout = 5 # t", "maxclients=9", 'requirepass = "K#A" # x']),
        unique=True,
    ),
    changes=st.dictionaries(
        st.sampled_from([row.name for row in ROWS.values() if row.is_running and takes_small_numbers(row)]),
        st.integers(1, 99),
    ),
)
def test_what_is_read_back(lines: list[str], changes: dict[str, int]) -> None:
    text = "\n".join(["[server]", *lines, ""])
    made = rewritten(text, {name: str(value) for name, value in changes.items()})
    before, after = (Config(options_from_text(part, "flin.toml")) for part in (text, made))
    for name, value in changes.items():
        raw = name.replace("_", "-").encode()
        assert after.get(lambda found, raw=raw: found == raw) == {raw: b"%d" % value}  # type: ignore[misc]
    assert {name.replace("_", "-") for name in changed(after, before)} <= {name.replace("_", "-") for name in changes}
    assert [line for line in made.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flin.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    return path


def ask(client: HandlerClient, line: str) -> str:
    return client.call(*line.encode().split(b" ")).decode()


def client_of(file: Path) -> HandlerClient:
    options = options_from_file(str(file))
    return HandlerClient(**{name: getattr(options, name) for name in options.__slots__ if name != "requirepass"})


def test_what_was_set_is_there_after_a_restart(file: Path) -> None:
    client = client_of(file)
    assert ask(client, "CONFIG SET maxclients 77 hash-max-listpack-entries 5 protected-mode no") == "+OK\r\n"
    assert ask(client, "CONFIG SET notify-keyspace-events KEA client-output-buffer-limit pubsub 1mb 0 0") != "+OK\r\n"
    assert ask(client, "CONFIG SET notify-keyspace-events KEA") == "+OK\r\n"
    assert ask(client, "CONFIG REWRITE") == "+OK\r\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "# enough # for all" in file.read_text()
    again = client_of(file)
    for name in ("maxclients", "hash-max-listpack-entries", "protected-mode", "notify-keyspace-events", "port"):
        assert ask(again, f"CONFIG GET {name}") == ask(client, f"CONFIG GET {name}"), name
    assert f"config_file:{file}" in ask(again, "INFO server")


def test_a_value_that_is_set_back_is_written_back(file: Path) -> None:
    client = client_of(file)
    for value in (5, 100):
        ask(client, f"CONFIG SET maxclients {value}")
        assert ask(client, "CONFIG REWRITE") == "+OK\r\n"
        assert f"maxclients = {value} # enough" in file.read_text()
    assert file.read_text() == FILE


def test_what_was_written_is_not_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(file)
    ask(client, "CONFIG SET maxclients 5 timeout 7")
    ask(client, "CONFIG REWRITE")
    with caplog.at_level("INFO", "flin"):
        reload(client.services.config)
    assert caplog.messages == [f"{file} was read again: nothing changes at once"]


def test_nothing_is_written_where_nothing_changed(file: Path) -> None:
    number = file.stat().st_ino
    assert ask(client_of(file), "CONFIG REWRITE") == "+OK\r\n"
    assert file.stat().st_ino == number


def test_a_password_is_not_lost_in_silence(file: Path) -> None:
    client = client_of(file)
    ask(client, "CONFIG SET requirepass new maxclients 5")
    assert "requirepass was changed, and only its hash is known" in ask(client, "CONFIG REWRITE")
    assert file.read_text() == FILE


def test_a_password_that_is_what_it_was_at_the_start_is_no_change(file: Path) -> None:
    client = client_of(file)
    ask(client, "CONFIG SET requirepass new")
    ask(client, "CONFIG SET maxclients 5")
    assert "requirepass was changed" in ask(client, "CONFIG REWRITE")
    client.services.config.set({b"requirepass": client.services.config.initial_password})
    assert ask(client, "CONFIG REWRITE") == "+OK\r\n"


def test_without_a_file() -> None:
    assert ask(HandlerClient(), "CONFIG REWRITE") == "-ERR The server is running without a config file\r\n"


def test_an_option_that_has_a_second_name(file: Path) -> None:
    file.write_text("[server]\nlua-time-limit = 7 # ms\n")
    client = client_of(file)
    ask(client, "CONFIG SET busy-reply-threshold 9")
    assert ask(client, "CONFIG REWRITE") == "+OK\r\n"
    assert file.read_text() == "[server]\nlua-time-limit = 9 # ms\n"


def test_a_file_that_is_gone_or_broken(file: Path) -> None:
    client = client_of(file)
    ask(client, "CONFIG SET maxclients 5")
    file.write_text("[server\n")
    assert "is no TOML file" in ask(client, "CONFIG REWRITE")
    file.unlink()
    assert ask(client, "CONFIG REWRITE") == "-ERR Rewriting config file: No such file or directory\r\n"
    assert os.listdir(file.parent) == []


def test_a_link_stays_one(file: Path) -> None:
    link = file.parent / "link.toml"
    link.symlink_to(file)
    client = client_of(link)
    ask(client, "CONFIG SET maxclients 5")
    rewrite(client.services.config)
    assert link.is_symlink()
    assert "maxclients = 5" in file.read_text()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("hash_max_listpack_entries = -1", "hash_max_listpack_entries is -1, it must be from 0 to"),
        ("hash-max-listpack-entries = 1.5", "it must be a whole number"),
        ("hash-max-listpack-entries = 1\nhash_max_listpack_entries = 2", "the same option is there in two spellings"),
        ("appendonly = 'no'", "appendonly is 'no', it can only be 'yes' here"),
        ("config_file = 'x'", "there is no option 'config_file'"),
        ("parameters = 1", "there is no option 'parameters'"),
    ],
)
def test_wrong_parameters_in_a_file(line: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        options_from_text(f"[server]\n{line}\n", "flin.toml")
