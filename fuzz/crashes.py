"""Crashes of random workloads, from seeds: the long run of what tests/engine/test_crash.py does in short.

Invariant: after a crash at any change of the disk, in any way that a personality allows, the database opens without
help and holds a prefix of the accepted commits with all that was promised, batches whole; it takes writes, leaves no
orphan, and survives a second crash.

    python -m fuzz.crashes [seconds] [first seed]     seed after seed; prints how many crash states there were
    python -m fuzz.crashes 0 SEED                     that one seed: what a failure prints replays it
"""

from __future__ import annotations

import sys
import time
from random import Random

from tests.engine.workload import Judge, Operation, Run, Scene

KEYS = [b"a", b"b", b"c", b"ab", b"", b"\xff", b"\xff\x01x", b"{a}1", b"f050", b"f150"]


def one_seed(seed: int) -> tuple[int, int]:
    """Crash one workload; the crash states and the crashes during a recovery. AssertionError names the case."""
    random = Random(seed)
    scene = Scene(
        random.choice(["always", "interval", "never"]),
        random.choice([1, 1, 4, 16]),
        window_bytes=random.choice([0, 512]),
    )
    workload = [_operation(random) for _ in range(random.randrange(1, 25))]
    run = Run(scene, every=random.choice([1, 7, 41])).run(workload)
    judge = Judge(scene, limit=random.randrange(1, 5), second_crashes=random.randrange(1, 4))
    for moment in random.sample(run.moments, min(len(run.moments), 40)):
        judge.judge(moment, f"seed {seed}: {scene} {workload!r}")
    return judge.states, judge.during_recovery


def _operation(random: Random) -> Operation:
    key, value = random.choice(KEYS), random.randbytes(random.choice([0, 3, 10, 600]))
    first, last = sorted(random.sample(KEYS, 2))
    return random.choice(
        [
            ("put", key, value),
            ("put", key, value, random.choice([0.5, 5.0])),
            ("put_sync", key, value),
            ("put_fails", key, b"f" * 600),
            ("put_many", tuple((each, value) for each in random.sample(KEYS, 3))),
            ("batch", (("delete_range", first, last), ("put", first, value), ("delete", key))),
            ("delete", key),
            ("delete_many", (first, last)),
            ("delete_range", first, last),
            ("delete_prefix", key[:1]),
            ("fill", random.randrange(1000), random.choice([3, 30, 200])),
            ("flush",),
            ("compact",),
            ("reopen",),
            ("advance", 1.0),
        ]
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    end = time.monotonic() + seconds
    states = recoveries = seeds = 0
    while not seeds or time.monotonic() < end:
        found = one_seed(seed + seeds)
        states, recoveries, seeds = states + found[0], recoveries + found[1], seeds + 1
    print(f"{seeds} workloads, {states} crash states, {recoveries} crashes during or after a recovery: no violation")


if __name__ == "__main__":
    main()
