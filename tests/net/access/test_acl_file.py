"""Files of users: read whole or not at all, written so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import flin.net.commands.every  # noqa: F401 - rules name the commands that are declared
from flin.net.access import acl_file
from flin.net.access.acl_file import AclFileError, parse, render
from flin.net.access.users import Users
from flin.net.client.link import NoLink
from flin.net.settings.options import ConfigError
from tests.net.serving import HandlerClient

HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"  # of "password"
NOTHING_CHANGED = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"


def ask(client: HandlerClient, line: str) -> str:
    return client.call(*line.encode().split(b" ")).decode().replace("\r\n", "|")


class Cut(NoLink):
    """A connection that remembers that it was closed."""

    is_cut = False

    def abort(self) -> None:
        self.is_cut = True


def test_users_are_written_as_redis_writes_them() -> None:
    users = Users()
    draft = users.drafted(
        b"alice", [b"on", b">password", b"~a:*", b"%R~b", b"&news", b"+@read", b"-keys", b"(+set ~c)"]
    )
    users.put(draft)
    assert render(users).decode() == (
        f"user alice on #{HASH} ~a:* %R~b resetchannels &news -@all +@read -keys (~c resetchannels -@all +set)\n"
        "user default on nopass ~* &* +@all\n"
    )


@pytest.mark.parametrize(
    "line",
    [
        "user u off resetchannels -@all",
        f"user u on #{HASH} ~* &* +@all",
        "user u on nopass sanitize-payload ~a ~b* %R~c %W~d resetchannels &x &y* +@all -@admin -get",
        "user u off resetchannels -@all +@list +config|get +select|0 (~a resetchannels -@all +get) (~* &* +@all)",
        "user u off %RW~* ~x resetchannels -@all",
        "user u off ~ resetchannels -@all +acl",
    ],
)
def test_a_file_is_written_as_it_was_read(line: str) -> None:
    assert render(parse(line.encode(), "f", Users())).decode().strip() == line


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("user a on\nuser a off\n", "WARNING: Duplicate user 'a' found on line 2. "),
        ("\nuser\n", "f:2 should start with user keyword followed by the username. "),
        ("# no comments\n", "f:1 should start with user keyword followed by the username. "),
        ("user a\tb on", "f:1: username 'a\tb' contains invalid characters. "),
        ("user a nope also-not", "f:1: Syntax error. "),
        ("user b (+get", "f:1: Unmatched parenthesis in selector definition."),
        (
            "user c +nope -nope xx yy",
            "f:1: Error in applying operation '+nope': Unknown command or category name in ACL. "
            "f:1: Error in applying operation '-nope': Unknown command or category name in ACL. f:1: Syntax error. ",
        ),
        ("user d ~" + "[a]" * 3000 + "*", "f:1: the pattern has too many wildcards. "),
    ],
)
def test_errors_name_the_line(text: str, error: str) -> None:
    with pytest.raises(AclFileError) as found:
        parse(text.encode(), "f", Users())
    assert str(found.value) == error + NOTHING_CHANGED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "users.acl"
    file.write_text("user default on nopass ~* &* +@all\nuser alice on nopass ~a* +@all\n")
    return file


def test_saved_and_loaded(path: Path) -> None:
    client = HandlerClient(aclfile=str(path))
    assert ask(client, "ACL USERS") == "*2|$5|alice|$7|default|"
    ask(client, "ACL SETUSER bob on >secret +get ~b*")
    assert ask(client, "ACL SAVE") == "+OK|"
    text = path.read_text()
    assert [line.split()[1] for line in text.splitlines()] == ["alice", "bob", "default"]
    assert "secret" not in text
    again = HandlerClient(aclfile=str(path))
    assert ask(again, "ACL LIST") == ask(client, "ACL LIST")
    assert ask(again, "AUTH bob secret") == "+OK|"
    assert [entry.name for entry in path.parent.iterdir()] == ["users.acl"]


def test_a_new_file_is_the_owner_s_and_an_old_one_keeps_its_mode(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    acl_file.save(str(path), Users())
    assert path.stat().st_mode & 0o777 == 0o640
    acl_file.save(str(tmp_path / "other"), Users())
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o600


def test_a_failed_save_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = HandlerClient(aclfile=str(path))
    before = path.read_text()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    ask(client, "ACL SETUSER bob on")
    assert ask(client, "ACL SAVE").startswith("-ERR There was an error trying to save the ACLs.")
    assert path.read_text() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["users.acl"]


def test_load_changes_all_or_nothing(path: Path) -> None:
    client = HandlerClient(aclfile=str(path))
    ask(client, "ACL SETUSER bob on nopass +get ~b*")
    before = ask(client, "ACL LIST")
    path.write_text("user alice off\nuser carol nonsense\n")
    assert ask(client, "ACL LOAD") == f"-ERR {path}:2: Syntax error. {NOTHING_CHANGED}|"
    assert ask(client, "ACL LIST") == before
    path.unlink()
    assert ask(client, "ACL LOAD") == f"-ERR Error loading ACLs, opening file '{path}': No such file or directory|"
    assert ask(client, "ACL LIST") == before


def test_load_closes_the_sessions_of_all_named_users(path: Path) -> None:
    """As in Redis 7.0, whatever the file says of them now; the default user's sessions get its new rules."""
    client = HandlerClient(aclfile=str(path))
    path.write_text("user alice on nopass +@all ~*\nuser default on nopass +@all -flushall ~*\n")
    assert ask(client, "ACL LOAD") == "+OK|"
    assert ask(client, "FLUSHALL") == "-NOPERM this user has no permissions to run the 'flushall' command|"
    user, other = client.another(), client.another()
    link = other.context.session.link = Cut()
    for session in (user, other):
        assert ask(session, "AUTH alice any") == "+OK|"
    assert ask(user, "ACL LOAD") == "+OK|"
    assert link.is_cut
    assert user.context.session.close_after_reply


def test_without_a_file(path: Path) -> None:
    client = HandlerClient()
    for line in ("ACL LOAD", "ACL SAVE"):
        assert ask(client, line).startswith("-ERR This Redis instance is not configured to use an ACL file.")
    assert ask(client, "CONFIG GET aclfile") == "*2|$7|aclfile|$0||"
    assert ask(client, "CONFIG SET aclfile x").endswith("can't set immutable config|")


def test_a_server_does_not_start_with_a_bad_file(path: Path) -> None:
    path.write_text("user default on nopass ~* &* +@all\nuser alice on +nothing\n")
    with pytest.raises(ConfigError, match=r"users\.acl:2: Error in applying operation '\+nothing'"):
        HandlerClient(aclfile=str(path))
    with pytest.raises(ConfigError, match="No such file"):
        HandlerClient(aclfile=str(path) + ".not")
    with pytest.raises(ConfigError, match="requirepass has no effect"):
        HandlerClient(aclfile=str(path), requirepass="secret")
