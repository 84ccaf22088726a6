"""Millions of collections, and collections of millions of elements, on a real server: what its memory comes to.

    python -m flin.testing.weight --keys 10000000 --elements 10000000

One client makes small collections of every type under so many keys and reads them at random; then it fills one hash,
set, sorted set, list and stream of so many elements each, and asks for all of them: at once, where the reply may be so
large (`largest reply`), and in slices, read as fast as they come and slowly. `--stages` chooses some of it, `--keep`
leaves the directory for further stages. For each stage it prints the peak of the server's own memory (without pages of
mapped files, which the kernel takes back when it needs them), with its helpers', and the highest resident size that
the kernel saw. The exit status is 1 if the server's own memory exceeded the limit by more than 150 MB (Linux).
"""

from __future__ import annotations

import argparse
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self, TextIO

from flin.testing.process import PATIENCE_SECONDS, children

MB: Final = 1_000_000
EXTRA_BYTES: Final = 150 * MB
"""For the interpreter, its modules, and what the limit does not count."""

PIPELINE: Final = 1000
"""Requests in a pipeline: enough that the server, and not the round trips, takes the time."""

AT_ONCE: Final = 20
"""Elements in a request that fills a large collection."""

LOOK_SECONDS: Final = 0.05
"""A look at all processes takes a millisecond: 2 % of one core."""

SLOW_CHUNK: Final = 1 << 16
SLOW_SECONDS: Final = 0.001
"""A slow client reads so much and waits: 30 MB/s at most."""

RANDOM_SHARE: Final = 100
"""One element in so many of a large collection is drawn at random."""

RECEIVED: Final = 1 << 20
"""A fast client reads so much at once. A shorter reply is not read slowly, too: it never fills a buffer."""

WORD: Final = b"PONG " + b"x" * 20
END: Final = b"$%d\r\n%b\r\n" % (len(WORD), WORD)
"""The reply to a PING behind a request: no element ends so."""


def encode(*words: bytes) -> bytes:
    """A request."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Client:
    """One connection, which counts replies or forgets them: it must not be larger than the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def pour(self, requests: Iterable[bytes], pipeline: int = PIPELINE) -> None:
        """Send requests in pipelines. AssertionError if a reply is an error."""
        source = iter(requests)
        while part := b"".join(islice(source, pipeline)):
            head = self.ask(part)
            assert not re.search(rb"^-", head, re.MULTILINE), head[head.index(b"-") :][:200]

    def ask(self, request: bytes, *, slowly: bool = False) -> bytes:
        """Send a request, or several, and read to the end; the first megabyte of the replies."""
        self._socket.sendall(request + encode(b"PING", WORD))
        head, tail, self.received = b"", b"", 0
        while not tail.endswith(END):
            data = self._socket.recv(SLOW_CHUNK if slowly else RECEIVED)
            assert data, "the server closed the connection"
            self.received += len(data)
            if len(head) < RECEIVED:
                head += data
            tail = (tail + data)[-len(END) :]
            if slowly:
                time.sleep(SLOW_SECONDS)
        return head

    def bulk(self, request: bytes) -> bytes:
        """The bytes that a request is answered with."""
        self._socket.sendall(request)
        with self._socket.makefile("rb") as replies:
            head = replies.readline()
            assert head.startswith(b"$"), head
            return replies.read(int(head[1:]) + 2)[:-2]


# Looking.


def _status(pid: int, name: str) -> int:
    """A figure of /proc/PID/status in bytes; 0 if the process has ended."""
    try:
        found = re.search(rf"^{name}:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) << 10 if found else 0


class Scales:
    """The highest memory of a process, and with its children, from entry to exit."""

    def __init__(self, pid: int) -> None:
        self.own_bytes = 0
        self.all_bytes = 0
        self.resident_bytes = 0
        self._pid = pid
        self._ended = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")  # the peak begins anew
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look_once()
        self.resident_bytes = _status(self._pid, "VmHWM")

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._look_once()

    def _look_once(self) -> None:
        own = _status(self._pid, "RssAnon")
        helpers = sum(_status(child, "RssAnon") for child in children(self._pid))
        self.own_bytes = max(self.own_bytes, own)
        self.all_bytes = max(self.all_bytes, own + helpers)


# What is done.


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: how an element gets into a collection, and which requests ask for all of them."""

    name: str
    put: Callable[[bytes, int, int], bytes]
    """The request that puts elements under a key: that with the first number, and those behind it up to the second."""
    size: bytes
    """The command that counts them."""
    get: Callable[[bytes], bytes]
    """A read of a small collection."""
    wholes: tuple[str, ...]
    """Requests for all elements of the key K, or for N at random."""
    slices: tuple[str, ...]
    """Requests for some elements, again and again: a cursor or a number stands at C."""


def _putting(command: bytes, *words: Callable[[int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """A request of a command with these words for each element."""

    def put(key: bytes, first: int, stop: int) -> bytes:
        return encode(command, key, *(word(number) for number in range(first, stop) for word in words))

    return put


def _xadd(key: bytes, first: int, stop: int) -> bytes:
    entries = (encode(b"XADD", key, b"%d-1" % (at + 1), b"field", b"value %d" % at) for at in range(first, stop))
    return b"".join(entries)


def _score(number: int) -> bytes:
    return b"%d" % (number * 7919 % 1_000_003)


KINDS: Final = (
    Kind(
        "hash",
        _putting(b"HSET", b"field:%d".__mod__, b"value %d".__mod__),
        b"HLEN",
        lambda key: encode(b"HGETALL", key),
        ("HGETALL K", "HKEYS K", "HVALS K", "HRANDFIELD K -N", "HRANDFIELD K N WITHVALUES"),
        ("HSCAN K C COUNT 1000",),
    ),
    Kind(
        "set",
        _putting(b"SADD", b"member:%d".__mod__),
        b"SCARD",
        lambda key: encode(b"SMEMBERS", key),
        ("SMEMBERS K", "SRANDMEMBER K -N", "SRANDMEMBER K N", "SORT K ALPHA", "SINTER K K", "SUNION K K"),
        ("SSCAN K C COUNT 1000", "SPOP K 100"),
    ),
    Kind(
        "zset",
        _putting(b"ZADD", _score, b"member:%d".__mod__),
        b"ZCARD",
        lambda key: encode(b"ZRANGE", key, b"0", b"-1"),
        (
            "ZRANGE K 0 -1 WITHSCORES",
            "ZRANGE K -inf +inf BYSCORE",
            "ZREVRANGE K 0 -1",
            "ZRANDMEMBER K -N",
            "ZRANK K member:77",
            "ZUNION 1 K",
            "SORT K BY nosort",
        ),
        ("ZRANGE K C 1000 BYSCORE LIMIT 0 1000", "ZSCAN K C COUNT 1000", "ZPOPMIN K 100"),
    ),
    Kind(
        "list",
        _putting(b"RPUSH", b"element %d".__mod__),
        b"LLEN",
        lambda key: encode(b"LRANGE", key, b"0", b"-1"),
        ("LRANGE K 0 -1", "SORT K ALPHA", "LPOS K nothing", "LREM K 0 nothing"),
        ("LINDEX K C", "LPOP K 100"),
    ),
    Kind(
        "stream",
        _xadd,
        b"XLEN",
        lambda key: encode(b"XRANGE", key, b"-", b"+"),
        ("XRANGE K - +", "XREVRANGE K + -", "XREAD STREAMS K 0", "XINFO STREAM K FULL COUNT 0"),
        ("XRANGE K C + COUNT 1000", "XTRIM K MAXLEN = 1000"),
    ),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    keys: int
    elements: int
    reads: int
    result_bytes: int
    """What a command may make as a whole."""


def many(kind: Kind, sizes: Sizes, client: Client) -> Iterator[str]:
    """Many small collections of one type, read at random."""
    keys = sizes.keys // len(KINDS)
    client.pour(kind.put(b"%b:%d" % (kind.name.encode(), number), number, number + 1) for number in range(keys))
    yield f"{keys:,} of one element"
    source = Random(1)
    names = (b"%b:%d" % (kind.name.encode(), source.randrange(keys)) for _ in range(sizes.reads))
    client.pour(map(kind.get, names))
    yield f"{sizes.reads:,} reads"
    again = (b"%b:%d" % (kind.name.encode(), source.randrange(keys)) for _ in range(sizes.reads // 4))
    client.pour(kind.put(name, sizes.keys + at, sizes.keys + at + 1) for at, name in enumerate(again))
    yield f"{sizes.reads // 4:,} changes"


def _request(text: str, names: dict[str, bytes]) -> bytes:
    """Some words stand for others."""
    return encode(*(names.get(word, word.encode()) for word in text.split()))


def large_fill(kind: Kind, sizes: Sizes, client: Client) -> Iterator[str]:
    """One large collection of a type. A fill that was cut off goes on where it was."""
    key = b"large " + kind.name.encode()
    begin = int(client.ask(encode(kind.size, key))[1:].split(b"\r\n")[0])
    firsts = range(begin, sizes.elements, AT_ONCE)
    client.pour((kind.put(key, first, min(first + AT_ONCE, sizes.elements)) for first in firsts), PIPELINE // AT_ONCE)
    yield f"{sizes.elements:,} elements"


def large(kind: Kind, sizes: Sizes, client: Client) -> Iterator[str]:
    """All of a large collection that `large_fill` has made."""
    drawn = b"%d" % (sizes.elements // RANDOM_SHARE)
    names = {"K": b"large " + kind.name.encode(), "N": drawn, "-N": b"-" + drawn}
    for text in kind.wholes:
        request = _request(text, names)
        for slowly in (False, True):
            head = client.ask(request, slowly=slowly)
            is_error = head.startswith(b"-")
            answered = head.partition(b"\r\n")[0].decode() if is_error else f"{client.received:,} B"
            yield f"{text}{', slowly' if slowly else ''}: {answered}"
            if is_error or client.received < RECEIVED:
                break
    for text in kind.slices:
        cursor, rounds = b"0", 0
        while rounds < max(20, sizes.elements // PIPELINE):
            head = client.ask(_request(text, {**names, "C": cursor}))
            assert not head.startswith(b"-"), head[:200]
            rounds += 1
            if "SCAN" not in text:
                cursor = b"%d" % (rounds * PIPELINE)
                continue
            cursor = head.split(b"\r\n", 3)[2]
            if cursor == b"0":
                break
        yield f"{text}, {rounds:,} times"


GROUP: Final = b"group"


def group(kind: Kind, sizes: Sizes, client: Client) -> Iterator[str]:
    """A group of the large stream to which all entries are delivered, and acknowledged late."""
    key = b"large " + kind.name.encode()
    client.ask(encode(b"XGROUP", b"DESTROY", key, GROUP))
    client.pour([encode(b"XGROUP", b"CREATE", key, GROUP, b"0")])
    read = encode(b"XREADGROUP", b"GROUP", GROUP, b"one", b"COUNT", b"1000", b"STREAMS", key, b">")
    for _ in range(sizes.elements // 1000):
        client.ask(read)
    yield f"{sizes.elements:,} entries pending"
    for text in (
        "XPENDING K G",
        "XPENDING K G - + 1000",
        "XPENDING K G - + 10 one",
        "XREADGROUP GROUP G one COUNT 1000 STREAMS K 5000-1",
        "XAUTOCLAIM K G two 0 0 COUNT 1000",
        "XINFO CONSUMERS K G",
        "XINFO GROUPS K",
        "XINFO STREAM K FULL",
    ):
        head = client.ask(_request(text, {"K": key, "G": GROUP}))
        assert not head.startswith(b"-"), head[:200]
        yield text
    ids = [b"%d-1" % number for number in range(1, sizes.elements + 1)]
    client.pour((encode(b"XACK", key, GROUP, *ids[at : at + 100]) for at in range(0, len(ids), 100)), 10)
    yield "all acknowledged"


RESULTS: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "hash": (350, ("COPY K D REPLACE",)),
    "set": (
        200,
        ("COPY K D REPLACE", "SUNIONSTORE D K K", "SINTERSTORE D K K", "SORT K ALPHA STORE D", "SUNION K K"),
    ),
    "zset": (
        500,
        ("COPY K D REPLACE", "ZUNIONSTORE D 1 K", "ZINTERSTORE D 2 K K", "ZRANGESTORE D K 0 -1", "ZUNION 1 K"),
    ),
    "list": (200, ("COPY K D REPLACE", "SORT K ALPHA STORE D", "SORT K ALPHA")),
    "stream": (
        1200,
        ("COPY K D REPLACE", "XGROUP CREATE K G 0", "XREADGROUP GROUP G one STREAMS K >", "XGROUP DELCONSUMER K G one"),
    ),
}
"""What an element takes as the strictest of these commands counts it, RESTORE among them; and the commands."""


def results(kind: Kind, sizes: Sizes, client: Client) -> Iterator[str]:
    """Commands that make their result as a whole, of nearly as many elements as they may."""
    each_bytes, texts = RESULTS[kind.name]
    key, number = b"medium " + kind.name.encode(), sizes.result_bytes // each_bytes
    firsts = range(0, number, AT_ONCE)
    client.pour((kind.put(key, first, min(first + AT_ONCE, number)) for first in firsts), PIPELINE // AT_ONCE)
    yield f"{number:,} elements"
    for text in texts:
        head = client.ask(_request(text, {"K": key, "D": b"made", "G": GROUP}))
        assert not head.startswith(b"-"), head[:200]
        client.ask(encode(b"DEL", b"made"))
        yield text
    payload = client.bulk(encode(b"DUMP", key))
    yield f"DUMP K: {len(payload):,} B"
    head = client.ask(encode(b"RESTORE", b"made", b"0", payload))
    assert head.startswith(b"+OK"), head[:200]
    client.ask(encode(b"DEL", b"made"))
    yield "RESTORE"


STAGES: Final[dict[str, tuple[Kind, Callable[[Kind, Sizes, Client], Iterator[str]]]]] = {
    **{f"many-{kind.name}": (kind, many) for kind in KINDS},
    **{f"fill-{kind.name}": (kind, large_fill) for kind in KINDS},
    "group": (KINDS[-1], group),
    **{f"read-{kind.name}": (kind, large) for kind in KINDS},
    **{f"results-{kind.name}": (kind, results) for kind in KINDS},
}
"""By name. `read` and `group` need what `fill` has made."""


@dataclass(frozen=True, slots=True)
class Weight:
    """The peaks of a step."""

    stage: str
    step: str
    own_bytes: int
    all_bytes: int
    resident_bytes: int
    seconds: float

    def line(self) -> str:
        megabytes = " ".join(f"{size / MB:7.0f}" for size in (self.own_bytes, self.all_bytes, self.resident_bytes))
        return f"{megabytes} {self.seconds:7.1f} s  {self.stage}: {self.step}"


def weigh(directory: Path, stages: Sequence[str], sizes: Sizes, memory_limit_bytes: int) -> Iterator[Weight]:
    """Do the stages on one server; the weight of each step."""
    command = [sys.executable, "-m", "flin", "serve", "--port", "0", "--dir", str(directory)]
    command += ["--memory-limit", str(memory_limit_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().partition(" port ")[2].partition(":")[0])
        try:
            with Client(port) as client:
                for name in stages:
                    kind, do = STAGES[name]
                    steps, has_more = do(kind, sizes, client), True
                    while has_more:
                        began = time.monotonic()
                        with Scales(server.pid) as scales:
                            step = next(steps, "")
                        has_more = bool(step)
                        if has_more:
                            peaks = scales.own_bytes, scales.all_bytes, scales.resident_bytes
                            yield Weight(name, step, *peaks, time.monotonic() - began)
        finally:
            server.terminate()


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flin.testing.weight", description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=300_000, help="small collections (default 300000)")
    parser.add_argument("--elements", type=int, default=1_000_000, help="of each large one (default 1000000)")
    parser.add_argument("--reads", type=int, default=100_000, help="of small ones of each type (default 100000)")
    parser.add_argument("--memory-limit-mb", type=int, default=64, help="of the server (default 64)")
    parser.add_argument("--stages", default=",".join(STAGES), help=f"some of {', '.join(STAGES)} (default: all)")
    parser.add_argument("--keep", type=Path, help="directory of the database, kept for further stages")
    chosen = parser.parse_args(arguments)
    limit, worst = chosen.memory_limit_mb * MB, 0
    print("    own with helpers  resident peak, MB", file=out)
    with tempfile.TemporaryDirectory() as scratch:
        directory = (chosen.keep or Path(scratch)) / "weight"
        sizes = Sizes(chosen.keys, chosen.elements, chosen.reads, limit // 4)
        for weight in weigh(directory, chosen.stages.split(","), sizes, limit):
            print(weight.line(), file=out, flush=True)
            worst = max(worst, weight.own_bytes)
    bound = limit + EXTRA_BYTES
    print(f"at most {worst / MB:.0f} MB at a limit of {limit / MB:.0f}, the bound is {bound / MB:.0f}", file=out)
    return int(worst > bound)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server ends, too
    sys.exit(main())
