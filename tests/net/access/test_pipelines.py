"""Restricted users' pipelines: what is allowed as a whole runs at once, and nothing that is denied slips through."""

from __future__ import annotations

import pytest

from flin.net.serve.dispatch import run_columns
from tests.net.raw_client import RawClient
from tests.net.serving import HandlerClient, ServerThread

NO_KEY = b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"


def logged_in(admin: HandlerClient, rules: bytes) -> HandlerClient:
    admin.call(b"ACL", b"SETUSER", b"u", b"reset", b"on", b"nopass", *rules.split())
    user = admin.another()
    assert user.call(b"AUTH", b"u", b"any") == b"+OK\r\n"
    user.out.clear()
    return user


@pytest.mark.parametrize(
    ("rules", "name", "columns", "done"),
    [
        (b"+@all -@admin ~a*", b"GET", [(b"a1", b"a2")], 2),
        (b"+@all -@admin ~a*", b"GET", [(b"a1", b"b", b"a2")], 0),
        (b"+@all -@admin %W~a*", b"SET", [(b"a1", b"a2"), (b"x", b"y")], 2),
        (b"+@all -@admin %R~a*", b"SET", [(b"a1", b"a2"), (b"x", b"y")], 0),
        (b"+@all -@admin %W~a*", b"GET", [(b"a1", b"a2")], 0),
        (b"+@all -get ~*", b"GET", [(b"a1", b"a2")], 0),
        (b"+@all -set ~*", b"GET", [(b"b1", b"b2")], 2),
        (b"+set ~b* (+get ~a*)", b"GET", [(b"a1", b"a2")], 2),
        (b"+get ~a (+get ~b)", b"GET", [(b"a", b"b")], 0),  # each by another selector: one by one
        (b"+publish &*", b"PUBLISH", [(b"c", b"c"), (b"1", b"2")], 2),
        (b"+publish &c", b"PUBLISH", [(b"c", b"d"), (b"1", b"2")], 0),
        (b"+incr ~a", b"INCR", [(b"a", b"a")], 2),
    ],
)
def test_columns(rules: bytes, name: bytes, columns: list[tuple[bytes, ...]], done: int) -> None:
    user = logged_in(HandlerClient(), rules)
    assert run_columns(user, name, columns) == done
    assert bool(user.out) == bool(done)


def test_nothing_runs_at_once_in_a_transaction() -> None:
    user = logged_in(HandlerClient(), b"+@all -@admin ~*")
    user.call(b"MULTI")
    assert run_columns(user, b"GET", [(b"a", b"b")]) == 0


def test_one_forbidden_key_among_many() -> None:
    with ServerThread() as server, RawClient(server.port) as admin, RawClient(server.port) as user:
        admin.call(b"ACL", b"SETUSER", b"u", b"on", b"nopass", b"+@all", b"-@admin", b"~a*")
        user.call(b"AUTH", b"u", b"any")
        for position in (0, 7, 15):
            keys = [b"a%d" % number for number in range(16)]
            keys[position] = b"b"
            replies = [reply.data for reply in user.pipeline([[b"SET", key, b"v"] for key in keys])]
            assert replies == [NO_KEY if key == b"b" else b"+OK\r\n" for key in keys]
            replies = [reply.data for reply in user.pipeline([[b"GET", key] for key in keys])]
            assert replies == [NO_KEY if key == b"b" else b"$1\r\nv\r\n" for key in keys]
        assert admin.call(b"EXISTS", b"b").data == b":0\r\n"
        denied = [entry.items for entry in admin.call(b"ACL", b"LOG").items]
        assert [(items[1].data, items[7].data) for items in denied] == [(b":6\r\n", b"$1\r\nb\r\n")]
