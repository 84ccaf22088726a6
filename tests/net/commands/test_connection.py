"""HELLO, AUTH, SELECT, RESET and CLIENT, as Redis 7.0 answers them."""

from __future__ import annotations

import pytest

from flin.net.client.link import NoLink
from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


def ask(client: HandlerClient, line: str) -> str:
    return client.call(*[word.encode("latin-1") for word in line.split(" ")]).decode("latin-1").replace("\r\n", "|")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("PING", "+PONG|"),
        ("PING hello", "$5|hello|"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command|"),
        ("ECHO a", "$1|a|"),
        ("SELECT 15", "+OK|"),
        ("SELECT 16", "-ERR DB index is out of range|"),
        ("SELECT -1", "-ERR DB index is out of range|"),
        ("SELECT 99999999999", "-ERR value is out of range, value must between -2147483648 and 2147483647|"),
        ("SELECT 1_0", "-ERR value is not an integer or out of range|"),
        ("HELLO 4", "-NOPROTO unsupported protocol version|"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range|"),
        ("HELLO 3 foo", "-ERR Syntax error in HELLO option 'foo'|"),
        ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'|"),
        ("HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'|"),
        ("HELLO 3 AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        ("AUTH a b c", "-ERR syntax error|"),
        ("AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        ("AUTH default anything", "+OK|"),
        ("RESET", "+RESET|"),
        ("CLIENT ID", ":1|"),
        ("CLIENT GETNAME", "$-1|"),
        ("CLIENT SETNAME a\tb", "-ERR Client names cannot contain spaces, newlines or special characters.|"),
        ("CLIENT SETINFO lib-name redis-py", "+OK|"),
        ("CLIENT SETINFO LIB-VER 1.0", "+OK|"),
        ("CLIENT SETINFO lib-name a\tb", "-ERR lib-name cannot contain spaces, newlines or special characters.|"),
        ("CLIENT SETINFO other x", "-ERR Unrecognized option 'other'|"),
        ("CLIENT NO-EVICT on", "+OK|"),
        ("CLIENT NO-EVICT maybe", "-ERR syntax error|"),
        ("CLIENT NO-TOUCH off", "+OK|"),
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client|"),
        ("CLIENT KILL ID 99", ":0|"),
        ("CLIENT KILL ID x", "-ERR client-id should be greater than 0|"),
        ("CLIENT KILL ID 1 TYPE", "-ERR syntax error|"),
        ("CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'|"),
        ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'|"),
        ("CLIENT KILL SKIPME maybe", "-ERR syntax error|"),
        ("CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'|"),
        ("CLIENT LIST TYPE pubsub", "$0||"),
        ("CLIENT LIST ID x", "-ERR Invalid client ID|"),
        ("CLIENT LIST ID", "-ERR syntax error|"),
        ("CLIENT LIST ID 5 6", "$0||"),
    ],
)
def test_replies(client: HandlerClient, line: str, reply: str) -> None:
    assert ask(client, line) == reply


def test_auth_without_a_password(client: HandlerClient) -> None:
    assert ask(client, "AUTH x").startswith("-ERR AUTH <password> called without any password configured")


def test_hello_changes_the_protocol_from_its_own_reply_on(client: HandlerClient) -> None:
    assert ask(client, "HELLO").startswith("*14|$6|server|$5|redis|$7|version|$6|7.0.15|$5|proto|:2|$2|id|:1|")
    assert ask(client, "HELLO 3 SETNAME me").startswith("%7|$6|server|$5|redis|$7|version|$6|7.0.15|$5|proto|:3|")
    assert ask(client, "GET nothing") == "_|"
    assert ask(client, "CLIENT GETNAME") == "$2|me|"
    assert ask(client, "HELLO 2").startswith("*14|")
    assert ask(client, "GET nothing") == "$-1|"


def test_hello_and_authentication() -> None:
    client = HandlerClient(requirepass="secret")
    assert ask(client, "HELLO 3").startswith("-NOAUTH HELLO must be called with the client already authenticated")
    assert ask(client, "HELLO 3 AUTH default wrong").startswith("-WRONGPASS")
    assert client.context.session.protocol == 2
    assert ask(client, "HELLO 3 AUTH default secret SETNAME me").startswith("%7|")
    assert ask(client, "CLIENT GETNAME") == "$2|me|"


def test_reset_forgets_everything(client: HandlerClient) -> None:
    for line in ("HELLO 3", "SELECT 3", "CLIENT SETNAME me", "WATCH a", "MULTI", "SET a 1"):
        ask(client, line)
    assert ask(client, "RESET") == "+RESET|"
    session = client.context.session
    assert (session.protocol, session.database, session.name, session.queue, session.watched) == (2, 0, b"", None, [])
    assert session.skips_gates
    assert ask(client, "EXEC") == "-ERR EXEC without MULTI|"


def test_client_list_and_info(client: HandlerClient) -> None:
    client.another()
    for line in ("CLIENT SETNAME me", "CLIENT SETINFO LIB-NAME lib", "SELECT 2"):
        ask(client, line)
    rows = client.call(b"CLIENT", b"LIST").partition(b"\r\n")[2].rstrip(b"\r\n").split(b"\n")
    assert len(rows) == 2
    fields = dict(field.split(b"=", 1) for field in rows[0].split(b" "))
    assert fields[b"name"] == b"me"
    assert fields[b"lib-name"] == b"lib"
    assert fields[b"db"] == b"2"
    assert fields[b"cmd"] == b"client|list"
    assert fields[b"resp"] == b"2"
    assert client.call(b"CLIENT", b"LIST", b"ID", b"2", b"2").count(b"id=2") == 2
    assert b"cmd=client|info" in client.call(b"CLIENT", b"INFO")


def test_client_kill_spares_oneself_unless_told(client: HandlerClient) -> None:
    other = client.another()
    closed: list[str] = []

    class Closing(NoLink):
        def abort(self) -> None:
            closed.append("other")

    other.context.session.link = Closing()
    assert ask(client, "CLIENT KILL TYPE normal ADDR 127.0.0.1:1 LADDR 127.0.0.1:2 USER default") == ":1|"
    assert closed == ["other"]
    assert not client.context.session.close_after_reply
    assert ask(client, "CLIENT KILL ID 1 SKIPME no") == ":1|"
    assert client.context.session.close_after_reply


def test_help_comes_from_the_declarations(client: HandlerClient) -> None:
    shown = ask(client, "CLIENT HELP")
    assert "+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:|" in shown
    assert "+SETNAME|+    Names the connection.|" in shown
    assert "+HELP|+    Shows the subcommands.|" in shown


@pytest.mark.parametrize("name", [b"GET foo", b"x user=root", b"a=b\r\n", b"client|list", b"\xff", b"", b"client"])
def test_a_client_shows_only_names_of_commands(client: HandlerClient, name: bytes) -> None:
    other = client.another()
    other.context.session.last_command = name  # as the connection notes it
    other.call(name, b"bar")
    [line] = [
        line
        for line in client.call(b"CLIENT", b"LIST").split(b"\n")
        if b"cmd=client|list" not in line and b"cmd" in line
    ]
    assert b" cmd=NULL " in line
    assert all(b"=" in field for field in line.split(b" "))
    assert line.count(b"user=") == 1


def test_a_client_shows_its_own_request(client: HandlerClient) -> None:
    other = client.another()
    other.call(b"PING")
    own, others = sorted(client.call(b"CLIENT", b"LIST").split(b"\r\n", 1)[1].splitlines()[:2])
    assert b" qbuf=26 " in own
    assert b" qbuf=0 " in others
    assert b" qbuf=26 " in client.call(b"CLIENT", b"INFO")
