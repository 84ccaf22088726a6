"""Several connections, users that change and go: the same scenes at Flin and at redis-server, every reply the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.raw_client import RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

SCENES = {
    "a waiter whose rules change is served": """
        admin: ACL SETUSER u on nopass +blpop +@transaction ~a*
        u: AUTH u any
        u< BLPOP a 0
        admin: ACL SETUSER u -blpop resetkeys
        admin: RPUSH a 1
        u>
        u: BLPOP a 0
    """,
    "a waiter whose user is deleted is closed": """
        admin: ACL SETUSER u on nopass +@all ~*
        u: AUTH u any
        u< BLPOP a 0
        admin: ACL DELUSER u
        u!
        admin: RPUSH a 1
        admin: LLEN a
    """,
    "who deletes itself gets its reply": """
        admin: ACL SETUSER u on nopass +@all ~*
        u: AUTH u any
        u: ACL DELUSER u
        u!
        admin: ACL USERS
    """,
    "who was denied a subscription has none": """
        admin: ACL SETUSER u on nopass +@all &a
        u: AUTH u any
        u: SUBSCRIBE b
        u: PING
        u: SUBSCRIBE a
        u: PING
        u: GET a
        admin: PUBLISH a m
        u>
    """,
    "subscribers that lose a channel": """
        admin: ACL SETUSER u on nopass +@all allchannels
        u: AUTH u any
        v: AUTH u any
        u: SUBSCRIBE a
        v: PSUBSCRIBE b*
        admin: ACL SETUSER u resetchannels &b*
        u!
        v: PING
        admin: PUBLISH b1 m
        v>
        admin: ACL SETUSER u resetchannels &b1
        v!
    """,
    "a subscriber that only loses the command": """
        admin: ACL SETUSER u on nopass +@all allchannels
        u: AUTH u any
        u: SUBSCRIBE a
        admin: ACL SETUSER u -subscribe
        admin: PUBLISH a m
        u>
        u: SUBSCRIBE b
    """,
    "the default user restricted, and given back": """
        admin: ACL SETUSER boss on >secret +@all ~* &*
        u: PING
        admin: ACL SETUSER default -ping
        u: PING
        u: GET a
        w: PING
        w: AUTH boss secret
        w: PING
        w: RESET
        w: PING
        w: HELLO 2 AUTH boss wrong
        w: AUTH secret
        admin: ACL SETUSER default +@all
        u: PING
    """,
    "a password for the default user": """
        admin: ACL SETUSER boss on >secret +@all ~* &*
        admin: CONFIG SET requirepass pass
        u: PING
        w: PING
        w: NOTHING
        w: GET
        w: HELLO 3
        w: AUTH wrong
        w: AUTH pass
        w: PING
        w: RESET
        w: PING
        w: AUTH default pass
        admin: ACL SETUSER default off
        x: AUTH default pass
        x: AUTH boss secret
        x: ACL WHOAMI
        admin: ACL SETUSER default on
        admin: CONFIG SET requirepass ""
        y: AUTH any
        y: AUTH default any
        y: AUTH a b c
    """,
    "transactions": """
        admin: ACL SETUSER u on nopass +@transaction +@string +auth ~a*
        admin: ACL SETUSER w on nopass +@all ~b*
        u: AUTH u any
        u: WATCH b
        u: MULTI
        u: SET a 1
        u: AUTH w any
        u: SET a 2
        u: GET a
        u: EXEC
        u: ACL WHOAMI
        u: MULTI
        u: PING
        u: GET a
        u: DISCARD
        admin: ACL SETUSER w -exec
        u: MULTI
        u: SET b 1
        u: EXEC
        u: PING
        admin: GET b
        admin: ACL SETUSER w +exec
        u: MULTI
        u: SET b 1
        u: GET b
        u: PUBLISH c m
        admin: ACL SETUSER w resetkeys ~c
        u: EXEC
        u: EXEC
    """,
    "selectors and what is denied last": """
        admin: ACL SETUSER u on nopass +get ~a (+set ~b) (+mget %R~c %W~d) (+@pubsub &x)
        u: AUTH u any
        u: GET a
        u: GET b
        u: SET b 1
        u: SET a 1
        u: MGET c d
        u: MGET d c
        u: PUBLISH x 1
        u: PUBLISH y 1
        u: DEL a
        admin: ACL SETUSER u clearselectors
        u: SET b 1
        admin: ACL SETUSER u (+set ~b
        admin: ACL SETUSER u (+set ~b )
        admin: ACL SETUSER u ( +set ~b
    """,
    "first arguments": """
        admin: ACL SETUSER u on nopass +select|1 +client|id +config|get -client|getname +object ~*
        u: AUTH u any
        u: SELECT 0
        u: SELECT 1
        u: CLIENT GETNAME
        u: CLIENT NOTHING
        u: CLIENT
        u: CONFIG GET nothing
        u: CONFIG SET maxclients 1
        u: OBJECT ENCODING a
        admin: ACL SETUSER u -select
        u: SELECT 1
        admin: ACL SETUSER u +select|0 +select|2 +select
        u: SELECT 3
    """,
    "names and odd rules": """
        admin: ACL SETUSER a\\x20b on
        admin: ACL SETUSER a\\x00b on
        admin: ACL SETUSER \\xff on +@all
        admin: ACL GETUSER nobody
        admin: ACL DELUSER nobody nobody
        admin: ACL DELUSER
        admin: ACL DELUSER default
        admin: ACL SETUSER x +get\\r\\nx
        admin: ACL SETUSER x ~a\\tb
        admin: ACL DRYRUN x
        admin: ACL DRYRUN x GET
        admin: ACL CAT
        admin: ACL CAT nothing
        admin: ACL CAT a b
        admin: ACL GENPASS -1
        admin: ACL GENPASS 1.5
        admin: ACL GENPASS 1 2
        admin: ACL LOG x
        admin: ACL LOG 1 2
        admin: ACL WHOAMI x
        admin: ACL LIST x
        admin: ACL SAVE
        admin: ACL LOAD
        admin: ACL NOTHING
        admin: ACL
        admin: CLIENT KILL USER nobody
    """,
    "clients by their users": """
        admin: ACL SETUSER u on nopass +@all
        u: AUTH u any
        v: AUTH u any
        v: CLIENT KILL USER u
        u!
        v: PING
        admin: CLIENT KILL USER u SKIPME no
        v!
    """,
}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    directory: Path = tmp_path_factory.mktemp("redis")
    with running_redis(directory) as theirs, ServerThread() as server:
        yield [server.port, theirs]


def play(port: int, scene: str) -> list[str]:
    """What everybody got: `name: REQUEST` sends and reads a reply, `name< REQUEST` only sends, `name>` reads a reply,
    `name!` sees the connection closed."""
    clients = {"admin": RawClient(port)}
    told: list[str] = []
    try:
        for step in scene.strip().splitlines():
            line = step.strip()
            name = line[: next(at for at, letter in enumerate(line) if letter in ":<>!")]
            client = clients.setdefault(name, None) or RawClient(port)  # type: ignore[arg-type]
            clients[name] = client
            sign, words = line[len(name)], line[len(name) + 1 :].encode().decode("unicode_escape").encode("latin-1")
            if sign in ":<":
                client.send([[b"" if word == b'""' else word for word in words.strip(b" ").split(b" ")]])
            if sign in ":>":
                told.append(f"{line} -> {client.read().data!r}")
            elif sign == "!":
                told.append(f"{line} closed: {client.at_end()}")
    finally:
        for client in clients.values():
            client.close()
        with RawClient(port) as cleaner:
            cleaner.call(b"AUTH", b"boss", b"secret")
            for words in (
                b"ACL SETUSER default reset on nopass +@all ~* &*",
                b"FLUSHALL",
                b"ACL DELUSER u v w boss x \xff",
            ):
                assert not cleaner.call(*words.split(b" ")).is_error
    return told


@pytest.mark.parametrize("name", SCENES)
def test_scene(ports: list[int], name: str) -> None:
    ours, theirs = (play(port, SCENES[name]) for port in ports)
    assert ours == theirs
