"""Users beside redis-server: their rules as text, what they may run, and the replies that they get."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.net.acl_generator import RuleGenerator
from tests.net.acl_run import NAME, differences, shape
from tests.net.differential import schedule
from tests.net.generator import Request
from tests.net.raw_client import Raw, RawClient
from tests.net.redis_server import running_redis
from tests.net.serving import ServerThread

SEEDS = range(int(os.environ.get("FLIN_DIFFERENTIAL_SEEDS", "1")))


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with running_redis(tmp_path_factory.mktemp("redis")) as theirs, ServerThread() as server:
        yield server.port, theirs


@pytest.fixture
def both(ports: tuple[int, int]) -> Iterator[tuple[redis.Redis, redis.Redis]]:
    ours, theirs = (redis.Redis(port=port, protocol=2, single_connection_client=True) for port in ports)
    yield ours, theirs
    for client in (ours, theirs):
        asked(client, b"ACL", b"DELUSER", NAME, *NAMES)
        client.flushall()
        client.close()


def asked(client: redis.Redis, *words: bytes | str) -> Any:
    """The reply as Redis sends it, in RESP2; an error is a value, too."""
    connection: Any = client.connection
    connection.send_command(*words)
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return f"{type(error).__name__}: {error}"


def run_rules(ports: tuple[int, int], seed: int, users: int, checks: int) -> Counter[str]:
    """Change a user again and again; after each change both must show the same rules and allow the same requests."""
    generator = RuleGenerator(random.Random(seed))
    scheduled = schedule(seed, 1 + users * checks // 1000)
    # "1.5" as a number of keys is 1 for Redis's rules alone: see the table of differences.
    requests = [request.words for request in scheduled if b"1.5" not in request.words]
    generator.random.shuffle(requests)
    outcomes: Counter[str] = Counter()
    with RawClient(ports[0]) as flin, RawClient(ports[1]) as other:
        for number in range(users):
            part = [requests[(number * checks + at) % len(requests)] for at in range(checks)]
            for kind, difference in differences(flin, other, generator.rules(), part):
                assert not difference, difference
                outcomes[kind] += 1
            if number % 10 == 9:
                for client in (flin, other):
                    client.call(b"ACL", b"DELUSER", NAME)
    return outcomes


def test_random_rules(ports: tuple[int, int]) -> None:
    outcomes = run_rules(ports, 20_261_129, users=100, checks=12)
    assert outcomes["set"] > 50
    assert outcomes["error"] > 5
    assert outcomes["allowed"] > 50
    assert outcomes["command"] > 50
    assert outcomes["key"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_rules_at_length(ports: tuple[int, int], seed: int) -> None:
    outcomes = run_rules(ports, seed, users=1500, checks=20)
    assert min(outcomes[kind] for kind in ("allowed", "command", "key")) > 1000


NAMES = (b"first", b"second")
SPARED = (b"scan", b"quit", b"shutdown", b"client", b"flushall", b"flushdb", b"swapdb", b"reset", b"hello", b"auth")


def errors_of(reply: Raw) -> list[bytes]:
    """The error that it is, or those in it."""
    return [reply.data] if reply.is_error else [item.data for item in reply.items if item.is_error]


def is_spared(request: Request) -> bool:
    """What differs by chance or in words; "1.5" as a number of keys, which only Redis's rules read as 1."""
    name = request.name
    if b"1.5" in request.words:
        return True
    return name.encode() in SPARED or name.endswith("|help") or "rand" in name or name == "spop"


def run_as_users(ports: tuple[int, int], both: tuple[redis.Redis, redis.Redis], seed: int, rounds: int) -> Counter[str]:
    """Two users with rules that change under them send random requests of all types, transactions among them. Their
    errors are the same, and so is what ACL LOG says of them."""
    generator = RuleGenerator(random.Random(seed))
    clients = {(name, port): RawClient(port) for name in NAMES for port in ports}
    outcomes: Counter[str] = Counter()
    requests = [request for request in schedule(seed, 1 + rounds // 8) if not is_spared(request)]
    try:
        for client in both:
            for name in NAMES:
                asked(client, b"ACL", b"SETUSER", name, b"on", b"nopass", b"+@all", b"~*", b"&*")
        for (name, _), client_ in clients.items():
            client_.call(b"AUTH", name, b"any")
        for number in range(rounds):
            name = generator.random.choice(NAMES)
            base = generator.random.choice([b"+@all", b"+@all", b"+@read", b"+@fast", b"-@all"])
            further = [word for word in generator.rules(5) if word.lower() not in (b"off", b"reset", b"resetpass")]
            rules = [b"nopass", b"resetkeys", base, b"-@admin", *(word for word in further if word[:1] not in b"<!#>")]
            replies = [asked(client, b"ACL", b"SETUSER", name, *rules) for client in both]
            assert replies[0] == replies[1], rules
            part = requests[number * 90 % len(requests) :][:90]
            ours, theirs = ([clients[name, port].call(*request.words) for request in part] for port in ports)
            for request, mine, other in zip(part, ours, theirs, strict=True):
                # What commands show is compared elsewhere: the order of a hash, say, is no matter of users.
                assert errors_of(mine) == errors_of(other), (request.words, rules, mine.data[:300], other.data[:300])
                outcomes[other.data[:7].decode("latin-1")] += 1
            logs = [[entry[:10] for entry in asked(client, b"ACL", b"LOG", b"1000")] for client in both]
            assert logs[0] == logs[1], rules
            for client in both:
                asked(client, b"ACL", b"LOG", b"RESET")
    finally:
        for client_ in clients.values():
            client_.close()
    return outcomes


def test_what_users_are_answered(ports: tuple[int, int], both: tuple[redis.Redis, redis.Redis]) -> None:
    outcomes = run_as_users(ports, both, 20_261_129, rounds=20)
    assert outcomes["-NOPERM"] > 100
    assert outcomes.total() - outcomes["-NOPERM"] > 300


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_what_users_are_answered_at_length(
    ports: tuple[int, int], both: tuple[redis.Redis, redis.Redis], seed: int
) -> None:
    outcomes = run_as_users(ports, both, seed, rounds=250)
    assert outcomes["-NOPERM"] > 2000


LINES = [
    "user default on nopass ~* &* +@all",
    "user a on >secret ~a* +@read",
    "user a off",
    "\tuser b  off  +get  \r",
    "user c (+get ~x) +@read   (  +set   )",
    "user c (+get",
    "user d %R~x %RW~* ~y &a resetchannels &b -@all +@all -get",
    "user d +nope -nope nope ~* ~x",
    "user",
    "usr e",
    "USER e on",
    "# comment",
    "",
    "   ",
    "user e on nopass #" + "0" * 64 + " +select|0 +config|get -config",
    'user "e f" on',
    "user f " + " ".join(["+@string", "-@write", "+incr", "+debug|object|x"]),
]


def test_files_of_users(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Random files: ACL LOAD says the same of what is wrong, or the users are the same."""
    path = tmp_path_factory.mktemp("acl") / "users.acl"
    path.write_text(LINES[0])
    generator = RuleGenerator(random.Random(20_261_129))
    with (
        running_redis(tmp_path_factory.mktemp("redis"), aclfile=str(path)) as port,
        ServerThread(aclfile=str(path)) as server,
    ):
        both = [redis.Redis(port=each, protocol=2, single_connection_client=True) for each in (server.port, port)]
        loaded = 0
        for _ in range(120):
            lines = [LINES[0], *generator.random.sample(LINES, generator.random.randint(0, 4))]
            path.write_text("\n".join(lines))
            ours, theirs = (asked(client, b"ACL", b"LOAD") for client in both)
            assert ours == theirs, lines
            loaded += theirs == b"OK"
            names = [asked(client, b"ACL", b"USERS") for client in both]
            assert names[0] == names[1], lines
            for name in names[0]:
                mine, other = (shape(asked(client, b"ACL", b"GETUSER", name)) for client in both)
                assert mine == other, lines
        assert 20 < loaded < 100
        for client in both:
            client.close()


SCRIPTS = [
    "return redis.pcall('get', KEYS[1])",
    "return redis.pcall('set', KEYS[1], 'v')",
    "return redis.pcall('set', KEYS[1], 'v', 'get')",
    "return redis.call('del', KEYS[1])",
    "local value = redis.call('get', KEYS[1]) return value",
    "return redis.pcall('publish', KEYS[1], 'm')",
    "return redis.pcall('object', 'encoding', KEYS[1])",
    "return redis.pcall('sort', KEYS[1], 'by', 'w_*')",
    "return {redis.acl_check_cmd('get', KEYS[1]), redis.acl_check_cmd('set', KEYS[1], 'v')}",
    "return {redis.acl_check_cmd('get'), redis.acl_check_cmd('zunionstore'), redis.acl_check_cmd('config', 'get')}",
    "return redis.acl_check_cmd('nothing')",
    "return redis.acl_check_cmd()",
    "redis.pcall('set', KEYS[1], 'w') return redis.pcall('get', KEYS[2])",
]


def test_scripts_of_users(ports: tuple[int, int], both: tuple[redis.Redis, redis.Redis]) -> None:
    """What a script may do is what its user may do; its keys are asked about when it is sent, and when it uses them."""
    generator = RuleGenerator(random.Random(20_261_129))
    clients = [RawClient(port) for port in ports]
    outcomes: Counter[bytes] = Counter()
    try:
        for client in both:
            asked(client, b"ACL", b"SETUSER", NAMES[0], b"on", b"nopass")
        for raw in clients:
            raw.call(b"AUTH", NAMES[0], b"any")
        for _ in range(40):
            further = [word for word in generator.rules(4) if word.lower() not in (b"off", b"reset", b"resetpass")]
            rules = [b"nopass", b"resetkeys", b"-@all", b"+@scripting", b"+@string", *further, b"+eval"]
            rules = [word for word in rules if word[:1] not in b"<!#>"]
            replies = [asked(client, b"ACL", b"SETUSER", NAMES[0], *rules) for client in both]
            assert replies[0] == replies[1], rules
            for script in SCRIPTS:
                # Keys that are not declared, too: the rules are asked again when they are used.
                number = generator.random.choice([b"0", b"2"])
                words = [b"EVAL", script.replace("KEYS", "KEYS" if number == b"2" else "ARGV").encode(), number]
                words += generator.random.sample([b"k1", b"l:1", b"z:1", b"c1", b"a"], 2)
                ours, theirs = (raw.call(*words).data for raw in clients)
                assert ours == theirs, (words, rules)
                outcomes[theirs[:5]] += 1
            logs = [[entry[:10] for entry in asked(client, b"ACL", b"LOG", b"1000")] for client in both]
            assert logs[0] == logs[1], rules
            for client in both:
                asked(client, b"ACL", b"LOG", b"RESET")
        assert min(outcomes[kind] for kind in (b"-NOPE", b"-ERR ", b"*2\r\n:")) > 3
    finally:
        for raw in clients:
            raw.close()
