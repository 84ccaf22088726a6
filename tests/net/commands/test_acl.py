"""ACL's commands, and what they do to the sessions that are there."""

from __future__ import annotations

import pytest

from flin.net.client.link import NoLink
from flin.net.client.session import Closure, KnownPeer, Session
from flin.net.run.context import Context
from tests.net.serving import HandlerClient


@pytest.fixture
def client() -> HandlerClient:
    return HandlerClient()


def ask(client: HandlerClient, line: str) -> str:
    return client.call(*line.encode().split(b" ")).decode().replace("\r\n", "|")


class Cut(NoLink):
    """A connection that remembers that it was closed."""

    is_cut = False

    def abort(self) -> None:
        self.is_cut = True


def logged_in(client: HandlerClient, name: str, rules: str) -> HandlerClient:
    assert ask(client, f"ACL SETUSER {name} on nopass {rules}") == "+OK|"
    other = client.another()
    assert ask(other, f"AUTH {name} any") == "+OK|"
    return other


def with_link(client: HandlerClient) -> Cut:
    link = client.context.session.link = Cut()
    return link


NO_COMMAND = "-NOPERM this user has no permissions to run the '{}' command|"
NO_KEY = "-NOPERM this user has no permissions to access one of the keys used as arguments|"
NO_CHANNEL = "-NOPERM this user has no permissions to access one of the channels used as arguments|"


def test_the_default_user_passes_no_gate(client: HandlerClient) -> None:
    session = client.context.session
    assert session.skips_gates
    assert ask(client, "ACL WHOAMI") == "$7|default|"
    assert ask(client, "ACL LIST") == "*1|$34|user default on nopass ~* &* +@all|"


def test_a_restricted_user(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+get +set +mget +acl|whoami ~a* %R~b*")
    assert user.context.session.closed_by == Closure.RESTRICTED
    assert not user.context.session.skips_gates
    assert ask(user, "ACL WHOAMI") == "$1|u|"
    assert ask(user, "SET a1 v") == "+OK|"
    assert ask(user, "SET b1 v") == NO_KEY
    assert ask(user, "GET b1") == "$-1|"
    assert ask(user, "SET a1 w GET") == "$1|v|"
    assert ask(user, "MGET a1 c") == NO_KEY
    assert ask(user, "DEL a1") == NO_COMMAND.format("del")
    assert ask(user, "ACL LIST") == NO_COMMAND.format("acl|list")
    assert ask(user, "GET") == "-ERR wrong number of arguments for 'get' command|"
    assert ask(user, "NOTHING").startswith("-ERR unknown command")


def test_one_pattern_alone_must_allow_all_that_is_done(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+@all %R~a* %W~a1 %W~a1*")
    assert ask(user, "SET a1 v") == "+OK|"
    assert ask(user, "GET a1") == "$1|v|"
    assert ask(user, "INCR a1") == NO_KEY
    assert ask(user, "STRLEN a1") == ":1|", "this shows nothing of the value: any pattern will do"


def test_a_denied_command_leaves_no_trace(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+@all -flushall ~a*")
    ask(client, "SET b 1")
    for line in ("SET b 2", "DEL b", "RENAME a b", "LPUSH b 1", "FLUSHALL", "MSET a 1 b 2", "EXPIRE b 1"):
        assert ask(user, line).startswith("-NOPERM"), line
    assert ask(client, "GET b") == "$1|1|"
    assert ask(client, "EXISTS a") == ":0|"
    assert ask(client, "TTL b") == ":-1|"


def test_selectors_are_asked_one_after_the_other(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+get ~a* (+set ~b*) (+@read %R~c*)")
    assert ask(user, "GET a") == "$-1|"
    assert ask(user, "SET b v") == "+OK|"
    assert ask(user, "GET c") == "$-1|"
    assert ask(user, "GET b") == NO_KEY, "no selector allows both, and the key was the furthest"
    assert ask(user, "PING") == NO_COMMAND.format("ping")
    assert ask(client, "ACL SETUSER u clearselectors") == "+OK|"
    assert ask(user, "SET b v") == NO_COMMAND.format("set")


def test_queueing_is_denied_and_fails_exec(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+@transaction +set ~a*")
    ask(user, "MULTI")
    assert ask(user, "SET a 1") == "+QUEUED|"
    assert ask(user, "SET b 1") == NO_KEY
    assert ask(user, "EXEC") == "-EXECABORT Transaction discarded because of previous errors.|"
    assert ask(client, "EXISTS a") == ":0|"
    assert "|multi|" in ask(client, "ACL LOG")


def test_rules_that_change_before_exec(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+@transaction +set +get ~a*")
    for line in ("MULTI", "SET a 1", "GET a"):
        ask(user, line)
    ask(client, "ACL SETUSER u -set")
    assert ask(user, "EXEC") == (
        "*2|-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This "
        "command is no longer allowed for the following reason: no permission to execute the command or subcommand|$-1|"
    )


def test_a_change_of_rules_reaches_open_sessions(client: HandlerClient) -> None:
    user = logged_in(client, "u", "allkeys allchannels allcommands")
    assert user.context.session.skips_gates, "nothing is forbidden"
    ask(client, "ACL SETUSER u -set")
    assert ask(user, "SET a 1") == NO_COMMAND.format("set")
    ask(client, "ACL SETUSER u +@all off")
    assert user.context.session.skips_gates
    assert ask(user, "SET a 1") == "+OK|", "who is in stays in"
    assert ask(client.another(), "AUTH u any").startswith("-WRONGPASS"), "who is off cannot log in any more"


def test_all_rules_or_none(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+get ~a*")
    assert ask(client, "ACL SETUSER u +set ~b* nonsense") == (
        "-ERR Error in ACL SETUSER modifier 'nonsense': Syntax error|"
    )
    assert ask(user, "SET b 1") == NO_COMMAND.format("set")
    assert ask(user, "GET b") == NO_KEY
    assert ask(client, "ACL SETUSER new on nonsense").startswith("-ERR")
    assert ask(client, "ACL GETUSER new") == "$-1|"


def test_the_sessions_of_a_deleted_user_are_closed(client: HandlerClient) -> None:
    user, itself = logged_in(client, "u", "+@all ~*"), logged_in(client, "v", "+@all")
    link, other = with_link(user), with_link(client)
    assert ask(client, "ACL DELUSER u nobody") == ":1|"
    assert link.is_cut
    assert not other.is_cut
    assert ask(itself, "ACL DELUSER v") == ":1|", "its own reply is sent first"
    assert itself.context.session.close_after_reply
    assert ask(client, "ACL DELUSER default") == "-ERR The 'default' user cannot be removed|"


def test_channels(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+@pubsub &news:* &p?")
    assert ask(user, "PUBLISH news:1 m") == ":0|"
    assert ask(user, "PUBLISH other m") == NO_CHANNEL
    assert ask(user, "SPUBLISH other m") == NO_CHANNEL
    assert ask(user, "SUBSCRIBE news:1 other") == NO_CHANNEL
    assert ask(user, "PSUBSCRIBE news:1") == NO_CHANNEL, "a pattern must be allowed letter by letter"
    assert ask(user, "PSUBSCRIBE news:*").startswith("*3|")
    assert ask(user, "PUNSUBSCRIBE other*").startswith("*3|"), "anything may be given up"


@pytest.mark.parametrize(
    ("subscribing", "change", "is_cut"),
    [
        ("SUBSCRIBE a b", "resetchannels &a", True),
        ("SUBSCRIBE a b", "resetchannels &a &b", False),
        ("SSUBSCRIBE a", "resetchannels", True),
        ("PSUBSCRIBE a*", "resetchannels &a*", False),
        ("PSUBSCRIBE a*", "resetchannels &ab", True),
        ("SUBSCRIBE a", "resetchannels (&a)", False),
        ("SUBSCRIBE a", "-@all resetkeys", False),
    ],
)
def test_subscribers_that_lose_a_channel_are_closed(
    client: HandlerClient, subscribing: str, change: str, is_cut: bool
) -> None:
    user = logged_in(client, "u", "+@all allchannels")
    link = with_link(user)
    ask(user, subscribing)
    assert ask(client, f"ACL SETUSER u {change}") == "+OK|"
    assert link.is_cut == is_cut


def test_passwords(client: HandlerClient) -> None:
    ask(client, "ACL SETUSER u on >one >two")
    other = client.another()
    assert ask(other, "AUTH u three") == "-WRONGPASS invalid username-password pair or user is disabled.|"
    assert ask(other, "AUTH u two") == "+OK|"
    ask(client, "ACL SETUSER u <two")
    assert ask(client.another(), "AUTH u two").startswith("-WRONGPASS")
    assert ask(client.another(), "HELLO 2 AUTH u one").startswith("*14|")
    assert "6b86b273" not in ask(client, "ACL LIST"), "hashes, of the passwords themselves"
    assert ask(client, "ACL SETUSER u #nothex").startswith("-ERR Error in ACL SETUSER modifier '#nothex'")


def test_requirepass_is_the_default_user_s_password(client: HandlerClient) -> None:
    ask(client, "CONFIG SET requirepass secret")
    other = client.another()
    assert ask(other, "PING") == "-NOAUTH Authentication required.|"
    assert ask(other, "AUTH secret") == "+OK|"
    assert ask(client, "PING") == "+PONG|", "who was in stays in"
    ask(client, "ACL SETUSER default >further")
    assert ask(client.another(), "AUTH default further") == "+OK|"
    ask(client, "CONFIG SET requirepass new")
    assert ask(client.another(), "AUTH further").startswith("-WRONGPASS"), "it is the only one"
    ask(client, "ACL SETUSER default off")
    assert ask(client.another(), "PING") == "-NOAUTH Authentication required.|"


def test_a_restricted_default_user_and_reset(client: HandlerClient) -> None:
    ask(client, "ACL SETUSER admin on nopass +@all ~* &*")
    ask(client, "ACL SETUSER default -@all +ping +reset +auth")
    other = client.another()
    assert ask(other, "PING") == "+PONG|"
    assert ask(other, "GET a") == NO_COMMAND.format("get")
    assert ask(other, "AUTH admin any") == "+OK|"
    assert other.context.session.skips_gates
    assert ask(other, "GET a") == "$-1|"
    assert ask(other, "RESET") == "+RESET|"
    assert ask(other, "GET a") == NO_COMMAND.format("get"), "it is the default user again"


def test_new_users_and_channels(client: HandlerClient) -> None:
    assert ask(client, "CONFIG SET acl-pubsub-default everything").startswith("-ERR CONFIG SET failed")
    ask(client, "CONFIG SET acl-pubsub-default allchannels")
    ask(client, "ACL SETUSER u (+get)")
    assert ask(client, "ACL LIST").endswith("$35|user u off &* -@all (&* -@all +get)|")


def test_the_log_merges_what_is_alike(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+get ~a*")
    for _ in range(3):
        ask(user, "GET b")
    ask(user, "GET c")
    ask(user, "AUTH u2 wrong")
    log = client.services.denials.entries
    assert [(entry.reason.name, entry.what, entry.user, entry.count) for entry in log] == [
        ("AUTH", b"AUTH", b"u2", 1),
        ("KEY", b"c", b"u", 1),
        ("KEY", b"b", b"u", 3),
    ]
    assert b" cmd=get user=u " in log[1].client
    assert ask(client, "ACL LOG 1").startswith("*1|*14|$5|count|:1|$6|reason|$4|auth|$7|context|$8|toplevel|")
    ask(client, "CONFIG SET acllog-max-len 1")
    ask(user, "GET d")
    assert len(log) == 1
    assert ask(client, "ACL LOG RESET") == "+OK|"
    assert ask(client, "ACL LOG") == "*0|"


def test_the_log_keeps_the_beginning_of_long_keys_and_names(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+get +client ~a*")
    user.call(b"CLIENT", b"SETNAME", b"n" * 100_000)
    for number in range(2):
        user.call(b"GET", b"k" * 100_000 + b"%d" % number)
    user.call(b"AUTH", b"v" * 100_000, b"any")
    entries = client.services.denials.entries
    assert [len(entry.what) for entry in entries] == [4, 4096]
    assert [len(entry.user) for entry in entries] == [4096, 1]
    assert [len(entry.client) for entry in entries] == [4096, 4096]


def test_what_is_older_than_a_minute_is_another_entry(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+get ~a*")
    ask(user, "GET b")
    client.services.denials.entries[0].at_ms -= 60_001
    ask(user, "GET b")
    assert [entry.count for entry in client.services.denials.entries] == [1, 1]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("ACL DRYRUN u GET a", "+OK|"),
        ("ACL DRYRUN u GET b", "$56|This user has no permissions to access the 'b' key|".replace("$56", "$50")),
        ("ACL DRYRUN u SET a 1", "$53|This user has no permissions to run the 'set' command|"),
        ("ACL DRYRUN nobody GET a", "-ERR User 'nobody' not found|"),
        ("ACL DRYRUN u nothing", "-ERR Command 'nothing' not found|"),
        ("ACL DRYRUN u GET", "-ERR wrong number of arguments for 'get' command|"),
        ("ACL CAT transaction", "*5|$7|discard|$4|exec|$5|multi|$7|unwatch|$5|watch|"),
        ("ACL CAT nothing", "-ERR Unknown category 'nothing'|"),
        ("ACL SETUSER", "-ERR wrong number of arguments for 'acl|setuser' command|"),
        ("ACL SETUSER u (+get", "-ERR Unmatched parenthesis in acl selector starting at '(+get'.|"),
        ("ACL GENPASS 0", "-ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
         "number up to 4096|"),
        ("ACL NOTHING", "-ERR unknown subcommand 'NOTHING'. Try ACL HELP.|"),
    ],
)  # fmt: skip
def test_replies(client: HandlerClient, line: str, reply: str) -> None:
    ask(client, "ACL SETUSER u on nopass +get ~a*")
    assert ask(client, line) == reply


@pytest.mark.parametrize(("bits", "digits"), [("", 64), (" 1", 1), (" 5", 2), (" 4096", 1024)])
def test_genpass(client: HandlerClient, bits: str, digits: int) -> None:
    one, other = ask(client, f"ACL GENPASS{bits}"), ask(client, f"ACL GENPASS{bits}")
    assert one.startswith(f"${digits}|")
    assert digits < 10 or one != other


def test_sort_names_keys_that_nobody_can_tell_beforehand(client: HandlerClient) -> None:
    ask(client, "RPUSH a 1")
    user = logged_in(client, "u", "+sort +sort_ro ~a*")
    assert ask(user, "SORT a BY nosort") == "*1|$1|1|"
    assert ask(user, "SORT a BY w_*") == "-ERR BY option of SORT denied due to insufficient ACL permissions.|"
    assert ask(user, "SORT_RO a GET #") == "-ERR GET option of SORT denied due to insufficient ACL permissions.|"
    ask(client, "ACL SETUSER u (+sort %R~*)")
    assert ask(user, "SORT a GET w_*") == "*1|$-1|"


def test_client_list_and_kill_by_user(client: HandlerClient) -> None:
    user = logged_in(client, "u", "+@all")
    link = with_link(user)
    assert " user=u " in ask(client, "CLIENT LIST")
    assert ask(client, "CLIENT KILL USER nobody") == "-ERR No such user 'nobody'|"
    assert ask(client, "CLIENT KILL USER u") == ":1|"
    assert link.is_cut


def test_absent_commands_of_redis_may_be_named(client: HandlerClient) -> None:
    assert ask(client, "ACL SETUSER replica on nopass +psync +migrate +ping") == "+OK|"
    assert ask(client, "ACL GETUSER replica").count("-@all +migrate +ping +psync|") == 1


def test_a_pattern_that_takes_too_many_steps(client: HandlerClient) -> None:
    assert client.call(b"ACL", b"SETUSER", b"u", b"~" + b"[a]" * 3000 + b"*") == (
        b"-ERR the pattern has too many wildcards\r\n"
    )
    assert ask(client, "ACL GETUSER u") == "$-1|"


def test_a_session_of_one_user(client: HandlerClient) -> None:
    """A session is made with its user, and closes its gates where that is restricted."""
    user = client.services.users.drafted(b"u", [b"+get"])
    session = Session(9, NoLink(), KnownPeer("a", "b"), 0, user=user, authenticated=True)
    session.refresh(server_gates_open=True)
    assert not session.skips_gates
    assert Context(client.services, session).keyspace is client.context.keyspace


def test_the_form_of_getuser(client: HandlerClient) -> None:
    assert ask(client, "ACL GETUSER default").startswith("*12|$5|flags|*2|$2|on|$6|nopass|$9|passwords|*0|")
    ask(client, "HELLO 3")
    resp3 = ask(client, "ACL GETUSER default")
    assert resp3.startswith("%6|$5|flags|~2|$")
    assert "|$9|passwords|*0|$8|commands|" in resp3
