"""Fuzzing the request parsers.

Invariant: whatever the bytes and however they are cut, the guarded hiredis parser gives the requests that the
pure-Python parser gives for the whole, then the same final error or none; nothing but ProtocolError is ever met, and
what is held back is never more than was sent.

`python -m fuzz.resp [seconds] [seed]`. A failing case is written to `fuzz/corpus/resp/` (cuts, an empty line, the
bytes), and pytest replays that directory for ever (`tests/net/test_fuzz_resp.py`).
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from pathlib import Path

from flin.net.resp import RequestParser
from flin.net.resp_python import PythonParser

CORPUS = Path(__file__).parent / "corpus" / "resp"

_BYTES = (b"*", b"$", b"+", b"-", b":", b"_", b"#", b",", b"(", b"=", b"~", b"%", b">", b"|", b"!", b"0", b"1", b"9")
_TEXTS = (
    b"\r\n",
    b"\r",
    b"\n",
    b"PING",
    b'"',
    b"'",
    b" ",
    b"\0",
    b"\x16",
    b"txt:",
    b"SET k v\r\n",
    b"-1\r\n",
    b"t\r\n",
)


class Failure(Exception):
    """The invariant does not hold."""


def check(wire: bytes, cuts: list[int]) -> None:
    """Raise Failure if the parsers differ on these bytes, cut here."""
    oracle = PythonParser()
    expected = oracle.feed(wire)
    parser = RequestParser()
    found: list[list[bytes]] = []
    fed = 0
    for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += parser.feed(wire[start:stop])
        fed += stop - start
        if parser.buffered_bytes > fed:
            raise Failure("more is held than was sent")
    if found != expected:
        raise Failure(f"{found!r} instead of {expected!r}")
    if str(parser.error) != str(oracle.error):
        raise Failure(f"{parser.error!r} instead of {oracle.error!r}")


def random_wire(source: random.Random) -> bytes:
    """Requests, some of them spoilt, with the wire's own words inside their arguments."""
    parts: list[bytes] = []
    for _ in range(source.randrange(1, 6)):
        request = [_argument(source) for _ in range(source.randrange(1, 4))]
        count = len(request) + source.choice((0, 0, 0, 0, 0, 1, -1))
        parts.append(b"*%d\r\n" % count)
        for argument in request:
            size = len(argument) + source.choice((0, 0, 0, 0, 0, 0, 0, 1, -1))
            parts.append(b"$%d\r\n%b%b" % (size, argument, source.choice((b"\r\n", b"\r\n", b"\r\n", b"xy"))))
        if source.random() < 0.3:
            parts.append(_argument(source))
    wire = b"".join(parts)
    if source.random() < 0.3 and wire:
        at = source.randrange(len(wire))
        wire = wire[:at] + source.choice(_BYTES) + wire[at + source.randrange(2) :]
    return wire


def random_cuts(source: random.Random, length: int) -> list[int]:
    return sorted(source.randrange(length + 1) for _ in range(source.choice((0, 0, 1, 2, 5))))


def _argument(source: random.Random) -> bytes:
    if source.random() < 0.4:
        return source.choice((b"GET", b"key:1", b"x" * 30, b""))
    return b"".join(source.choice((*_BYTES, *_TEXTS)) for _ in range(source.randrange(6)))


def read_case(data: bytes) -> tuple[bytes, list[int]]:
    """A file of the corpus."""
    head, _, wire = data.partition(b"\n\n")
    return wire, [int(word) for word in head.split()]


def write_case(wire: bytes, cuts: list[int]) -> Path:
    """Keep a case in the corpus."""
    data = b" ".join(b"%d" % cut for cut in cuts) + b"\n\n" + wire
    CORPUS.mkdir(parents=True, exist_ok=True)
    path = CORPUS / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    return path


def main(seconds: float, seed: int) -> int:
    """0 when nothing was found."""
    source = random.Random(seed)
    deadline = time.monotonic() + seconds
    ran = 0
    while time.monotonic() < deadline:
        for _ in range(1000):
            wire = random_wire(source)
            cuts = random_cuts(source, len(wire))
            try:
                check(wire, cuts)
            except Failure as failure:
                print(f"seed {seed}, after {ran} cases: {failure}\nkept as {write_case(wire, cuts)}")
                return 1
            ran += 1
    print(f"{ran} cases, seed {seed}: nothing found")
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    chosen_seconds = float(arguments[0]) if arguments else 60.0
    chosen_seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1 << 32)
    sys.exit(main(chosen_seconds, chosen_seed))
