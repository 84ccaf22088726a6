"""The commands, compared with a real redis-server.

Invariant: whatever commands the bytes spell, Flin sends exactly one well-formed reply to each of them, the one that
Redis 7.0 sends (except for docs/redis-differences.md); and whatever words follow a command's name, the reply is never
`internal error`, and the connection goes on answering.

The first byte of an input chooses the protocol, whether Flin's store is often cold, and whether there is a redis-server
to compare with or the words are arbitrary (some would harm it). The rest are the draws of
`tests.net.generator.Generator`: mostly well-formed commands, a few keys that meet, transactions over two connections;
and commands with free words, which it lacks. One head in 32 makes a sequence of five clients about pub/sub instead
(`tests.net.pubsub_run.Plan`), all of whose frames are compared; another one, random rules of a user, and what it may
run (`tests.net.acl_run`); another one, a scene of clients that track keys (`tests.net.tracking_scripts`), who are told
of at least what Redis tells them of.

Servers and connections are started once, used by all inputs of a process, and ended with it or by `close`.
`fuzz/corpus/pipelines` holds requests as they were sent; pytest sends them to Flin alone.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.byte_source import ByteSource
from tests.net.acl_generator import RuleGenerator
from tests.net.acl_run import NAME
from tests.net.acl_run import differences as rule_differences
from tests.net.differential import INTERNAL_ERROR, Pair
from tests.net.fake_store import FakeStore, OftenColdStore
from tests.net.generator import COMPARISONS, JUNK, KEYS, OPTIONS, PLAIN, QUEUEABLE, TEXTS, Burst, Generator, Request
from tests.net.pubsub_run import Plan, differences, run
from tests.net.raw_client import RawClient, encode_request
from tests.net.redis_server import running_redis
from tests.net.scenes import compare
from tests.net.script_of_requests import script_of
from tests.net.serving import ServerThread
from tests.net.tracking_scripts import script, tells_no_less

TOOLS: Final = ("redis-server",)

MOST_REQUESTS: Final = 150
"""The most requests of one input: some 20 ms for both servers."""

PUBSUB_HEAD: Final = 23
TRACKING_HEAD: Final = 21
"""Of 32: an input about pub/sub, and one about client-side caching."""

USERS_HEAD: Final = 22
"""Of 32: an input about users."""

MOST_USERS: Final = 12
"""Changes of rules in such an input, each with some requests."""

BYTES_OF_STEP: Final = 8
MOST_STEPS: Final = 40
"""Of such a sequence: about so many draws each, and at most so many."""

FREE: Final = {
    "get": 1, "set": 2, "setnx": 2, "getset": 2, "getdel": 1, "getex": 1, "mget": 3, "mset": 4, "msetnx": 4,
    "append": 2, "strlen": 1, "getrange": 3, "substr": 3, "incr": 1, "incrby": 2, "decrby": 2, "incrbyfloat": 2,
    "del": 2, "exists": 3, "touch": 2, "type": 1, "copy": 2, "rename": 2, "renamenx": 2, "keys": 1, "persist": 1,
    "ping": 1, "echo": 1, "ttl": 1, "watch": 2, "select": 1, "hello": 1, "auth": 1, "client|setname": 1,
    "client|caching": 1, "client|trackinginfo": 1, "client|getredir": 1,
    "getbit": 2, "bitcount": 4, "bitpos": 5, "bitop": 4, "bitfield": 5, "bitfield_ro": 4, "lcs": 3,
    "hset": 3, "hmset": 5, "hsetnx": 3, "hget": 2, "hmget": 4, "hdel": 3, "hexists": 2, "hstrlen": 2, "hincrby": 3,
    "hincrbyfloat": 3, "hlen": 1, "hgetall": 1, "hkeys": 1, "hvals": 1, "hscan": 2, "hrandfield": 1,
    "pfcount": 3, "pfdebug": 2,
    "lpush": 3, "rpush": 3, "lpushx": 3, "rpushx": 3, "lpop": 2, "rpop": 2, "llen": 1, "lindex": 2, "lrange": 3,
    "lset": 3, "linsert": 4, "lrem": 3, "ltrim": 3, "lpos": 4, "lmove": 4, "rpoplpush": 2, "lmpop": 4,
    "sadd": 3, "srem": 3, "smove": 3, "scard": 1, "sismember": 2, "smismember": 3, "smembers": 1, "sscan": 2,
    "spop": 1, "srandmember": 1, "sunion": 3, "sinter": 3, "sdiff": 3, "sintercard": 4, "sunionstore": 3,
    "sinterstore": 3, "sdiffstore": 3,
    "zadd": 5, "zincrby": 3, "zrem": 2, "zcard": 1, "zscore": 2, "zmscore": 3, "zrank": 3, "zrevrank": 2, "zcount": 3,
    "zlexcount": 3, "zrange": 5, "zrevrange": 4, "zrangebyscore": 4, "zrevrangebyscore": 4, "zrangebylex": 4,
    "zrevrangebylex": 3, "zrangestore": 5, "zpopmin": 2, "zpopmax": 2, "zmpop": 4, "zremrangebyrank": 3,
    "zremrangebyscore": 3, "zremrangebylex": 3, "zunion": 4, "zinter": 4, "zdiff": 3, "zintercard": 4, "zunionstore": 5,
    "zinterstore": 5, "zdiffstore": 4, "zscan": 2,
    "geoadd": 4, "geodist": 4, "geohash": 2, "geopos": 2, "georadius": 5, "georadiusbymember_ro": 4, "geosearch": 6,
    "xlen": 1, "xrange": 3, "xrevrange": 3, "xdel": 2, "xtrim": 3, "xread": 4, "xreadgroup": 6, "xack": 3,
    "xpending": 5, "xsetid": 2, "xgroup|create": 4, "xgroup|destroy": 2, "xgroup|setid": 3, "xinfo|stream": 1,
    "xinfo|groups": 1, "sort": 4, "sort_ro": 3, "pfadd": 2, "pfmerge": 3, "setrange": 3, "swapdb": 2, "unlink": 2,
    "object|encoding": 1, "move": 2, "client|no-evict": 1, "function|flush": 1, "script|flush": 1, "flushdb": 1,
    "time": 1, "nosuchcommand": 2,
}  # fmt: skip
"""Commands that may get any words, and how many: none of them takes a time or harms a server."""

NUMERALS: Final = b"0123456789.-+eExXpPinfaINFAN _"
IN_SCRIPTS: Final = tuple(
    name
    for name in FREE
    if name not in COMPARISONS and name not in ("hello", "time", "swapdb", "spop", "srandmember", "hrandfield", "sort")
)
"""The commands whose replies a script is given alike."""

HARMFUL: Final = ("client|kill", "config|set", *(name for name in PLAIN if name.startswith(("bl", "br", "bz"))))
"""Free words would end the fuzzer's own connection, change what Flin's next inputs meet, or wait for ever."""

# After a request, to see that there was one reply to it and no more.
_MARK = b"the mark of the fuzzer"


class Failure(Exception):
    """The invariant does not hold."""


def one_input(data: bytes) -> None:
    head = data[0] if data else 0
    protocol, is_cold, is_alone = 2 + (head & 1), bool(head & 2), head % 32 >= 24
    draws = ByteSource(data[1:])
    if head % 32 == PUBSUB_HEAD:
        _compare_clients(Plan(draws), min(len(data) // BYTES_OF_STEP + 1, MOST_STEPS))
        return
    if head % 32 == TRACKING_HEAD:
        _compare_tracking(draws, min(len(data) // BYTES_OF_STEP + 1, MOST_STEPS))
        return
    source = Generator(draws, protocol)
    if head % 32 == USERS_HEAD:
        _compare_rules(source, draws)
        return
    requests: Burst = []
    while not draws.is_empty and len(requests) < MOST_REQUESTS:
        requests += any_words(source) if is_alone else compared(source)
    try:
        if is_alone:
            count_replies(_client(is_cold), [request.words for request in requests])
        else:
            _compare(_pair(is_cold, protocol), requests)
    except BaseException:
        close()  # the position in the replies is unknown: the next input meets new servers
        raise


def _compare_clients(plan: Plan, number: int) -> None:
    steps = list(plan.steps(number))
    found = list(differences(steps, run(_redis_port(), steps), run(_flin_port(False), steps)))
    if found:
        raise Failure("\n".join(found[:3]))


def _compare_rules(source: Generator, draws: ByteSource) -> None:
    generator = RuleGenerator(draws)
    with RawClient(_flin_port(False)) as flin, RawClient(_redis_port()) as redis:
        for client in (flin, redis):
            client.call(b"ACL", b"DELUSER", NAME)
        for _ in range(MOST_USERS):
            rules = generator.rules()
            requests = [request.words for request in compared(source) if not _reads_as_one(request)]
            found = [told for _, told in rule_differences(flin, redis, rules, requests) if told]
            if found:
                raise Failure(found[0])
            if draws.is_empty:
                return


def _reads_as_one(request: Request) -> bool:
    """Whether it is a listed difference: a number of keys that is none, or two destinations."""
    words = [word.upper() for word in request.words]
    is_counted = any(word.startswith((b"Z", b"LMP", b"BZM", b"BLM", b"SINTERC")) for word in words[:1])
    return is_counted or words.count(b"STORE") + words.count(b"STOREDIST") > 1


def _compare_tracking(draws: ByteSource, number: int) -> None:
    try:
        compare(_flin_port(False), _redis_port(), script(draws, number, transactions=True), tells_no_less)
    except AssertionError as error:
        raise Failure(str(error)) from None


def _compare(pair: Pair, requests: Burst) -> None:
    pair.begin_again()
    marks = [Request("echo", [b"ECHO", _MARK], connection=connection) for connection in (0, 1)]
    reset = [Request("reset", [b"RESET"])]  # an open transaction would queue the mark
    differences = list(pair.differences([*requests, *reset, *marks]))
    if differences:
        raise Failure("\n".join(differences[:3]))


def count_replies(client: RawClient, requests: list[list[bytes]]) -> None:
    """Send a mark after each request, and check that there are as many replies as requests, in order."""
    marks = [[b"ECHO", b"%s %d" % (_MARK, number)] for number in range(len(requests))]
    pairs = list(zip(requests, marks, strict=True))
    try:
        client.pipeline([[b"RESET"], [b"FLUSHALL"]])
        client.send([words for pair in pairs for words in pair])
        for request, mark in pairs:
            reply, marked = client.read(), client.read()
            if reply.data.startswith(INTERNAL_ERROR):
                raise Failure(f"an internal error from {request}")
            # Between MULTI and EXEC the mark is queued and shows up later.
            if marked.payload not in (mark[1], b"QUEUED"):
                raise Failure(f"more or less than one reply to {request}")
    except (EOFError, ValueError, OSError) as error:
        raise Failure(f"no well-formed reply: {error!r}") from error


def check(port: int, data: bytes) -> None:
    """Send the bytes of some requests, then a mark; raise Failure if the replies break the invariant."""
    with RawClient(port) as client:
        client.send_raw(data + encode_request([b"RESET"]) + encode_request([b"ECHO", _MARK]))
        try:
            while (reply := client.read()).payload != _MARK:
                if reply.data.startswith(INTERNAL_ERROR):
                    raise Failure("an internal error")
        except (EOFError, ValueError, OSError) as error:
            raise Failure(f"no well-formed reply: {error!r}") from error


# What the bytes spell.


def compared(source: Generator) -> Burst:
    """A few requests that belong together, to which both servers give the same replies."""
    form = source.random.randrange(9)
    if form == 0:
        return source.transaction(QUEUEABLE)
    if form == 8:
        return [script_of([_free_request(source, IN_SCRIPTS).words for _ in range(source.random.randrange(1, 6))])]
    if form < 4:
        return [_free_request(source)]
    if form == 4:
        return source.burst(source.pick(list(OPTIONS)), "options")
    name = source.pick(list(PLAIN))
    return source.wrong(name) if form == 5 else source.burst(name, "plain")


def _free_request(source: Generator, names: Sequence[str] = tuple(FREE)) -> Request:
    name = source.pick(names)
    words = [_without_negative_zero(_free_word(source)) for _ in range(FREE[name])]
    return source.request(name, *words, compare="numbers" if name == "hello" else COMPARISONS.get(name, "same"))


def _free_word(source: Generator) -> bytes:
    form = source.random.randrange(8)
    if form < 4:
        return source.key()
    if form == 4:
        return source.value()
    size = source.random.randrange(24)
    if form == 5:
        return bytes(NUMERALS[byte % len(NUMERALS)] for byte in source.random.randbytes(size))
    return source.random.randbytes(size)


def _without_negative_zero(word: bytes) -> bytes:
    """A score of -0 is a listed difference."""
    try:
        number = float(word.partition(b"\0")[0])
    except ValueError:
        return word
    return b"0" if number == 0 and word.lstrip().startswith(b"-") else word


def any_words(source: Generator) -> Burst:
    """Well-formed requests, changed ones, and names with words that have nothing to do with them."""
    name = source.pick([*PLAIN, "multi", "exec", "discard", "watch"])
    form = source.random.randrange(5)
    if form == 4:
        return [_own_request(source)]
    if form == 0 and name in PLAIN:
        return source.burst(name, "plain")
    if form == 1 and name in OPTIONS:
        return source.burst(name, "options")
    if (form == 2 and name in PLAIN) or name in HARMFUL:
        return source.wrong(name)
    return [source.request(name, *(_any_word(source) for _ in range(source.random.randrange(6))))]


def _own_request(source: Generator) -> Request:
    """A request that Redis has not: well-formed, but for one word in eight of them."""
    name = source.pick(("flin.range", "flin.delrange", "flin.txn", "flin.txn"))
    words = [source.key(), source.key()]
    if name == "flin.range":
        words += source.pick(([], [b"REV"], [b"KEYS", b"REV"], [b"LIMIT", b"2"], [b"LIMIT", source.value()]))
    elif name == "flin.txn":
        words = [word for _ in range(source.random.randrange(3)) for word in _compare_words(source)]
        for clause in sorted(source.pick((b"THEN", b"ELSE")) for _ in range(source.random.randrange(4)))[::-1]:
            burst = source.burst(source.pick(list(PLAIN)), "plain")
            for each in burst[:2]:
                words += (clause, b"%d" % len(each.words), *each.words)
    if words and source.random.randrange(8) == 0:
        words[source.random.randrange(len(words))] = _any_word(source)
    return source.request(name, *words)


def _compare_words(source: Generator) -> list[bytes]:
    test = source.pick((b"VALUE", b"EXISTS", b"EXPIRES"))
    if test == b"EXISTS":
        return [b"IF", test, source.key(), source.pick((b"0", b"1"))]
    return [b"IF", test, source.key(), source.pick((b"=", b"!=", b"<", b">=")), source.pick((b"1", source.value()))]


def _any_word(source: Generator) -> bytes:
    form = source.random.randrange(4)
    if form == 0:
        return source.pick(JUNK)
    if form == 1:
        return source.pick(KEYS)
    return source.pick(TEXTS) if form == 2 else source.random.randbytes(source.random.randrange(12))


# One of each in a process.

_started = ExitStack()


def close() -> None:
    """End what inputs have started."""
    _started.close()
    for one in (_flin_port, _redis_port, _client, _pair):
        one.cache_clear()


def _close_at_exit() -> None:
    with suppress(RuntimeError):  # at this time Flin's last sync finds no thread; all else ends
        close()


atexit.register(_close_at_exit)


@cache
def _flin_port(is_cold: bool) -> int:
    return _started.enter_context(ServerThread(OftenColdStore() if is_cold else FakeStore())).port


@cache
def _redis_port() -> int:
    directory = _started.enter_context(TemporaryDirectory(prefix="flin-fuzz-"))
    return _started.enter_context(running_redis(Path(directory)))


@cache
def _client(is_cold: bool) -> RawClient:
    return _started.enter_context(RawClient(_flin_port(is_cold)))


@cache
def _pair(is_cold: bool, protocol: int) -> Pair:
    return _started.enter_context(Pair(_flin_port(is_cold), _redis_port(), protocol))
