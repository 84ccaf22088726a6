"""Fuzzing the commands.

Invariant: whatever words follow a command's name, the server sends exactly one well-formed reply, never `internal
error`, and goes on answering on the same connection.

`python -m fuzz.commands [seconds] [seed]` runs against a server in memory. A failing pipeline is written to
`fuzz/corpus/commands/` as the bytes that were sent, and pytest replays that directory for ever
(`tests/net/test_fuzz_commands.py`).
"""

from __future__ import annotations

import hashlib
import random
import sys
import time
from pathlib import Path

from tests.net.generator import JUNK, KEYS, OPTIONS, PLAIN, TEXTS, Generator
from tests.net.raw_client import RawClient, encode_request
from tests.net.serving import ServerThread

CORPUS = Path(__file__).parent / "corpus" / "commands"

# After every request, to see that there was one reply to it and no more.
_MARK = b"the mark of the fuzzer"
_PIPELINE = 50  # requests; a failure is looked for within one pipeline


class Failure(Exception):
    """The invariant does not hold for these bytes."""

    def __init__(self, reason: str, data: bytes) -> None:
        super().__init__(reason)
        self.data = data


def check(port: int, data: bytes) -> None:
    """Send the bytes of some requests, then a mark; raise Failure if the replies break the invariant."""
    with RawClient(port) as client:
        client.send_raw(data + encode_request([b"RESET"]) + encode_request([b"ECHO", _MARK]))
        try:
            while (reply := client.read()).payload != _MARK:
                if reply.data.startswith(b"-ERR internal error"):
                    raise Failure("an internal error", data)
        except (EOFError, ValueError, OSError) as error:
            raise Failure(f"no well-formed reply: {error}", data) from error


def count_replies(port: int, requests: list[list[bytes]]) -> None:
    """The same, with one mark behind each request: as many replies as requests, in their order."""
    marks = [[b"ECHO", b"%s %d" % (_MARK, number)] for number in range(len(requests))]
    data = b"".join(
        encode_request(request) + encode_request(mark) for request, mark in zip(requests, marks, strict=True)
    )
    with RawClient(port) as client:
        client.send_raw(data)
        for request, mark in zip(requests, marks, strict=True):
            try:
                reply, marked = client.read(), client.read()
            except (EOFError, ValueError, OSError) as error:
                raise Failure(f"no well-formed reply to {request}: {error}", data) from error
            if reply.data.startswith(b"-ERR internal error"):
                raise Failure(f"an internal error from {request}", data)
            # Between MULTI and EXEC the mark is queued and shows up later.
            if marked.payload not in (mark[1], b"QUEUED"):
                raise Failure(f"more or less than one reply to {request}", data)


def random_requests(source: Generator, many: int) -> list[list[bytes]]:
    """Well-formed requests, changed ones, and names with words that have nothing to do with them."""
    names = [*PLAIN, "multi", "exec", "discard", "watch"]
    requests: list[list[bytes]] = []
    while len(requests) < many:
        name = source.pick(names)
        form = source.random.randrange(4)
        if form == 0 and name in PLAIN:
            requests += [request.words for request in source.burst(name, "plain")]
        elif form == 1 and name in OPTIONS:
            requests += [request.words for request in source.burst(name, "options")]
        elif form == 2 and name in PLAIN:
            requests += [request.words for request in source.wrong(name)]
        else:
            words = [_word(source) for _ in range(source.random.randrange(6))]
            requests.append([*(source.spelled(part) for part in name.split("|")), *words])
    return requests


def _word(source: Generator) -> bytes:
    form = source.random.randrange(4)
    if form == 0:
        return source.pick(JUNK)
    if form == 1:
        return source.pick(KEYS)
    return source.pick(TEXTS) if form == 2 else source.random.randbytes(source.random.randrange(12))


def main(seconds: float, seed: int) -> int:
    """0 when nothing was found."""
    source = Generator(seed)
    deadline = time.monotonic() + seconds
    ran = 0
    with ServerThread() as server:
        while time.monotonic() < deadline:
            requests = random_requests(source, _PIPELINE)
            try:
                count_replies(server.port, requests)
            except Failure as failure:
                CORPUS.mkdir(parents=True, exist_ok=True)
                name = hashlib.sha256(failure.data).hexdigest()[:16]
                (CORPUS / name).write_bytes(failure.data)
                print(f"seed {seed}, after {ran} requests: {failure}\nkept as {CORPUS / name}")
                return 1
            ran += len(requests)
    print(f"{ran} requests, seed {seed}: nothing found")
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    chosen_seconds = float(arguments[0]) if arguments else 60.0
    chosen_seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1 << 32)
    sys.exit(main(chosen_seconds, chosen_seed))
