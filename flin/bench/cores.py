"""How much faster than one server a cluster of workers is on a machine with more cores than the measuring one: a model,
pure functions of measured figures.

A worker is two kinds of work: its loop, one core at most, and its helper processes, which flush and merge. A rate ends
where the first of two things is full:

- all cores: workers, helpers and the supervisor together use as many cores as there are;
- one loop: the worker with the most requests uses a whole core for its loop. Slots are divided evenly, requests are
  not: of zipfian keys the hottest one alone is some percent of all requests, and one worker has it.

Example: a request takes 5 µs of the loop and 1 µs of helpers. One server on 8 cores answers 200,000/s, its loop full. 8
workers with even shares: all cores are full at 8 / 6 µs = 1,333,000/s, 6.7 times as many. If one of them gets a quarter
of all requests, its loop is full at 1 / (5 µs * 0.25) = 800,000/s: 4 times.

Assumed: clients run on other machines; a request costs the kernel and its network as much as on the loopback (a network
card's interrupts may cost more, for one server as for many); cores are whole ones, not threads of one; caches and
memory are as fast for eight processes as for two, which is not known: it was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Final

from flin.bench.zipfian import THETA, scattered
from flin.net.cluster.slots import SLOTS, slot_of

PLACEMENTS: Final = 15
"""Which worker has the hottest keys is chance: the median of so many moves by a percent or two."""

ITEMS: Final = 1 << 62
"""YCSB names keys by a hash of their rank. Numbers will not do: CRC-16 is linear, so keys with other names of the same
length fall together just as these did."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of processor time that a request takes of processes."""

    loop: float
    """The processes that answer."""
    all: float
    """Their helpers, too, and the supervisor."""

    def over(self, count: float) -> Cost:
        return Cost(self.loop / count, self.all / count)


def speedup(one: Cost, worker: Cost, cores: int, hottest_share: float) -> float:
    """The rate of workers, divided by that of one server, on a machine with so many cores.

    hottest_share: of all requests, those that the busiest worker gets; 1 / workers if all get as many."""
    return rate(worker, cores, hottest_share) / rate(one, cores, 1.0)


def rate(cost: Cost, cores: int, hottest_share: float) -> float:
    """Requests per microsecond: until all cores are full, or the busiest loop is."""
    return min(cores / cost.all, 1 / (cost.loop * hottest_share))


def zipfian_share(workers: int, keys: int, theta: float = THETA) -> float:
    """The share of the requests that the busiest of the workers gets, if keys are asked for as in YCSB."""
    return median(_hottest(workers, keys, theta, placement) for placement in range(PLACEMENTS))


def _hottest(workers: int, keys: int, theta: float, placement: int) -> float:
    shares = [0.0] * workers
    for rank in range(keys):
        slot = slot_of(b"user%d" % scattered(placement * keys + rank, ITEMS))
        # Worker i has the slots from i * SLOTS // workers on.
        shares[((slot + 1) * workers - 1) // SLOTS] += (rank + 1) ** -theta
    return max(shares) / sum(shares)
