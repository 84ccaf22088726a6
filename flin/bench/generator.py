"""A load generator in its own process: `python -m flin.bench.generator TASK`, TASK and outcome in JSON.

`open`: GETs, and a share of SETs, at a fixed rate. Every request has a moment at which it is due, and its latency
counts from then, however late it was sent: a server that stands still for a second gets a second's worth of bad
latencies, not one (no coordinated omission). The generator's own lateness is reported, too. It naps by time.sleep,
which wakes within 0.1 ms; a poll's timeout would be rounded to 1 ms.
`closed`: GETs as fast as the answers come, one pipeline outstanding per connection: the peak.
`write`: SETs of random keys at a fixed rate, in pipelines.

It knows the protocol only as far as it needs: fixed-size values, so replies are counted by bytes.
"""

from __future__ import annotations

import json
import random
import select
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from time import perf_counter_ns, sleep
from typing import Any, Final

from flin.bench.figures import percentiles
from flin.bench.workload import KEY_FORMAT, compressible, key_of
from flin.bench.zipfian import Zipfian, scattered

RECEIVE_BYTES: Final = 1 << 18
WRITE_PIPELINE: Final = 20
"""SETs per send: 20 KiB of 1 KiB values, like a busy client's pipeline."""

DRAIN_SECONDS: Final = 10.0
"""The time to wait for the last replies."""

STORED: Final = b"+OK\r\n"

NAP_SECONDS: Final = 0.00005
"""The nap when nothing is due and nothing has arrived: the call itself adds about as much again."""

SEND_BURST: Final = 8
"""Requests sent between two looks at the replies: about 0.05 ms."""


@dataclass(frozen=True, slots=True)
class Task:
    mode: str
    port: int
    seconds: float
    count: int  # keys
    value_bytes: int
    connections: int = 50
    rate: float = 0.0  # requests per second
    seed: int = 1
    pipeline: int = 1  # closed: requests per send
    zipfian: bool = False  # the keys' popularity falls with their rank; else all are equally popular
    write_share: float = 0.0  # open: of the requests that are SETs, of random keys


@dataclass(frozen=True, slots=True)
class Outcome:
    requests: int
    seconds: float
    unanswered: int
    latencies: dict[str, float]  # milliseconds, from when a request was due
    late: dict[str, float]  # milliseconds from due to sent: the generator's own share
    hot: dict[str, float] = field(default_factory=dict)  # open and zipfian: the latencies of the most popular keys
    writes: dict[str, float] = field(default_factory=dict)  # open: those of SETs, which are among the latencies, too

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class UnexpectedReplyError(Exception):
    """A reply was not the value that was asked for."""


class Connection:
    """A socket with its unanswered requests: their numbers, or when they were sent."""

    def __init__(self, port: int, value_bytes: int, *, writes: bool = False) -> None:
        """`writes`: its requests are SETs; else they are GETs."""
        self.writes = writes
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.waiting: deque[int] = deque()
        self._header = STORED if writes else b"$%d\r\n" % value_bytes
        self._reply_bytes = len(STORED) if writes else len(self._header) + value_bytes + 2
        self._received = 0  # bytes of the incomplete reply

    def receive(self) -> int:
        """Read what has arrived. Returns the number of replies that it completes."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not self._received and not data.startswith(self._header[: len(data)]):
            raise UnexpectedReplyError(f"expected {self._header!r}, got {data[:60]!r}")
        replies, self._received = divmod(self._received + len(data), self._reply_bytes)
        return replies


VALUES: Final = 1024
"""Different values of SETs."""

READY: Final = 1 << 16
READY_ZIPFIAN: Final = 1 << 18
"""Prepared requests, used round and round; more of them for zipfian keys, so that there are many rare ones."""

HOT_SHARE: Final = 100
"""The most popular hundredth of the keys is hot: these get half of all requests."""


class Requests:
    """Prepared GET requests for random keys: the hot loops only index."""

    def __init__(self, task: Task) -> None:
        count = task.count
        if task.zipfian:
            zipfian = Zipfian(count, task.seed)
            ranks = [zipfian.next() for _ in range(READY_ZIPFIAN)]
            self.hot = [rank * HOT_SHARE < count for rank in ranks]
            numbers = [scattered(rank, count) for rank in ranks]
        else:
            generator = random.Random(task.seed)
            numbers = [generator.randrange(count) for _ in range(READY)]
            self.hot = [False] * READY
        ready = [get_request(key_of(number)) for number in numbers]
        size = task.pipeline
        self.ready = [b"".join(ready[start : start + size]) for start in range(0, len(ready), size)]
        self.size = len(self.ready)


def get_request(key: bytes) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key)


def set_request(key: bytes, value: bytes) -> bytes:
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(value), value)


class Writes:
    """SETs of random keys. Each is put together when it is due (1 µs): many prepared ones would not fit in memory."""

    def __init__(self, task: Task) -> None:
        generator = random.Random(task.seed)
        self._keys = [key_of(generator.randrange(task.count)) for _ in range(READY)]
        self._values = [compressible(generator, task.value_bytes) for _ in range(VALUES)]

    def request(self, number: int) -> bytes:
        return set_request(self._keys[number % READY], self._values[number % VALUES])


def is_write(number: int, share: float) -> bool:
    """Whether the request of this number is a SET: so many are, at even distances."""
    return int((number + 1) * share) > int(number * share)


class OpenLoop:
    """GETs, and perhaps SETs among them, at a fixed rate. SETs have connections of their own, as many as the GETs."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._total = int(task.rate * task.seconds)
        self._requests = Requests(task)
        self._connections = [Connection(task.port, task.value_bytes) for _ in range(task.connections)]
        self._writers = [
            Connection(task.port, task.value_bytes, writes=True)
            for _ in range(task.connections if task.write_share else 0)
        ]
        self._writes = Writes(task)
        self._by_descriptor = {each.socket.fileno(): each for each in (*self._connections, *self._writers)}
        self._poll = select.epoll()
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.EPOLLIN)
        self._latencies: list[int] = []
        self._hot: list[int] = []
        self._stored: list[int] = []  # latencies of SETs
        self._late: list[int] = []
        self._interval = 1e9 / task.rate
        self._started = 0

    def run(self) -> Outcome:
        self._started = started = last_seen = perf_counter_ns()
        while len(self._latencies) < self._total:
            sent = self._send_due(started)
            now = perf_counter_ns()
            if self._receive_ready():
                last_seen = now
            elif not sent:
                if now - last_seen > DRAIN_SECONDS * 1e9:
                    break  # missing replies are reported as unanswered
                sleep(NAP_SECONDS)
        seconds = (perf_counter_ns() - started) / 1e9
        answered = len(self._latencies)
        latencies, late = percentiles(self._latencies, 1e-6), percentiles(self._late, 1e-6)
        hot, stored = (percentiles(samples, 1e-6) if samples else {} for samples in (self._hot, self._stored))
        return Outcome(answered, seconds, self._total - answered, latencies, late, hot, stored)

    def _send_due(self, started: int) -> int:
        """Send the requests that are due, but only a few, so that replies are seen in time."""
        interval, requests, share = self._interval, self._requests, self._task.write_share
        first = sent = len(self._late)
        now = perf_counter_ns()
        limit = min(self._total, first + SEND_BURST, int((now - started) / interval) + 1)
        while sent < limit:
            due = started + int(sent * interval)
            if share and is_write(sent, share):
                connection, request = self._writers[sent % len(self._writers)], self._writes.request(sent)
            else:
                connection, request = (
                    self._connections[sent % len(self._connections)],
                    requests.ready[sent % requests.size],
                )
            connection.waiting.append(sent)
            connection.socket.sendall(request)
            self._late.append(perf_counter_ns() - due)
            sent += 1
        return sent - first

    def _receive_ready(self) -> int:
        ready = self._poll.poll(0)
        record, hot = self._latencies.append, self._requests.hot
        for descriptor, _events in ready:
            connection = self._by_descriptor[descriptor]
            replies = connection.receive()
            now = perf_counter_ns()
            for _ in range(replies):
                number = connection.waiting.popleft()
                latency = now - self._started - int(number * self._interval)
                record(latency)
                if connection.writes:
                    self._stored.append(latency)
                elif hot[number % len(hot)]:
                    self._hot.append(latency)
        return len(ready)


def run_closed(task: Task) -> Outcome:
    """One outstanding pipeline of GETs per connection; a pipeline's latency is that of its last reply."""
    requests = Requests(task)
    poll = select.epoll()
    by_descriptor = {}
    missing: dict[int, int] = {}
    started = perf_counter_ns()
    for index in range(task.connections):
        connection = Connection(task.port, task.value_bytes)
        descriptor = connection.socket.fileno()
        by_descriptor[descriptor], missing[descriptor] = connection, task.pipeline
        poll.register(descriptor, select.EPOLLIN)
        connection.waiting.append(perf_counter_ns())
        connection.socket.sendall(requests.ready[index % requests.size])
    latencies: list[int] = []
    ends = started + int(task.seconds * 1e9)
    now = started
    while now < ends:
        for descriptor, _events in poll.poll(DRAIN_SECONDS):
            connection = by_descriptor[descriptor]
            missing[descriptor] -= connection.receive()
            if not missing[descriptor]:
                missing[descriptor] = task.pipeline
                now = perf_counter_ns()
                latencies.append(now - connection.waiting.popleft())
                connection.waiting.append(now)
                connection.socket.sendall(requests.ready[(len(latencies) + task.connections) % requests.size])
    answered = len(latencies) * task.pipeline
    return Outcome(answered, (now - started) / 1e9, 0, percentiles(latencies, 1e-6), {})


def run_write(task: Task) -> Outcome:
    """SETs at a fixed rate, each pipeline answered before the next; a server that stalls writers slows it down."""
    generator = random.Random(task.seed)
    values = [compressible(generator, task.value_bytes) for _ in range(VALUES)]
    connection = socket.create_connection(("127.0.0.1", task.port))
    expected = STORED * WRITE_PIPELINE
    latencies: list[int] = []
    written = 0
    started = now = perf_counter_ns()
    ends = started + int(task.seconds * 1e9)
    while now < ends:
        due = started + int(written / task.rate * 1e9)
        if now < due:
            sleep((due - now) / 1e9)
        keys = (key_of(generator.randrange(task.count)) for _ in range(WRITE_PIPELINE))
        connection.sendall(b"".join(set_request(key, generator.choice(values)) for key in keys))
        _expect(connection, expected)
        now = perf_counter_ns()
        latencies.append(now - due)
        written += WRITE_PIPELINE
    return Outcome(written, (now - started) / 1e9, 0, percentiles(latencies, 1e-6), {})


def fill(port: int, count: int, value_bytes: int, name: bytes = KEY_FORMAT) -> None:
    """Write every key once, so that no GET misses; `name` formats a number as a key."""
    generator = random.Random(0)
    values = [compressible(generator, value_bytes) for _ in range(VALUES)]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for start in range(0, count, WRITE_PIPELINE):
            keys = [name % number for number in range(start, min(count, start + WRITE_PIPELINE))]
            connection.sendall(b"".join(set_request(key, generator.choice(values)) for key in keys))
            _expect(connection, STORED * len(keys))


def _expect(connection: socket.socket, expected: bytes) -> None:
    received = b""
    while len(received) < len(expected):
        data = connection.recv(RECEIVE_BYTES)
        if not data:
            raise UnexpectedReplyError("the server closed the connection")
        received += data
    if received != expected:
        raise UnexpectedReplyError(f"a SET was answered {received[:60]!r}")


def start(task: Task) -> subprocess.Popen[str]:
    """Start the task in a fresh interpreter."""
    command = [sys.executable, "-m", "flin.bench.generator", json.dumps(asdict(task))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], timeout: float) -> Outcome:
    """Wait for the process and read its outcome."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise UnexpectedReplyError((errors.strip().splitlines() or ["it printed nothing"])[-1])
    document: dict[str, Any] = json.loads(output)
    return Outcome(**document)


def run(task: Task) -> Outcome:
    return finish(start(task), task.seconds + DRAIN_SECONDS * 3)


def main() -> int:
    task = Task(**json.loads(sys.argv[1]))
    if task.mode == "open":
        outcome = OpenLoop(task).run()
    else:
        outcome = {"closed": run_closed, "write": run_write}[task.mode](task)
    print(json.dumps(asdict(outcome)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
