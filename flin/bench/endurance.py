"""Three nodes under writes at full rate for an hour: whether anything grows.

    python -m flin.bench.endurance --seconds 3600 --groups 6 --json hour.json

redis-benchmark overwrites a fixed number of keys of all groups, so that the data do not grow; every half minute it is
noted what etcd's files and its memory take, how long the groups' logs are, and what Flin's processes and directories
take. A figure is flat if its highest in the last third is at most a quarter above its highest in the middle third:
logs, files and caches go up and down, and the first third fills them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self, TextIO

from flin.bench import nodes as bench_nodes
from flin.bench import served
from flin.bench.footprint import disk_use
from flin.bench.memory import private_bytes
from flin.bench.report import aligned
from flin.cluster.joining import JoinError
from flin.testing.cluster.machine import etcd_figures
from flin.testing.cluster.nodes import NODES, Nodes

MOST_GROWTH: Final = 1.25
"""A last third's highest over a middle third's. A log that is cut from 8,000 entries to 1,600 again and again, a
file that is defragmented when half of it is free: sampled each half minute, their highest differ by some percent."""

PAUSE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.5
THIRDS: Final = 3

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    seconds: float = 3600.0
    groups: int = 6
    connections: int = 64
    keys: int = 100_000
    value_bytes: int = 1024
    pause_seconds: float = PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class Sample:
    """The largest of three nodes, unless it says otherwise. MiB."""

    second: float
    restarts: int
    """How often the load has ended by itself."""
    writes: int
    """Those that the present leaders have taken so far."""
    entries: int
    """Appended to all logs so far."""
    log_entries: int
    """In etcd, of all logs."""
    etcd_file: float
    etcd_file_in_use: float
    etcd_memory: float
    flin_memory: float
    """All processes of a node."""
    worker_memory: float
    """The largest process."""
    descriptors: int
    """The process that has most."""
    directory: float
    """A node's, without etcd's part."""
    etcd_directory: float
    """With its write-ahead log and snapshots."""


COUNTERS: Final = ("second", "restarts", "writes", "entries")
"""These grow."""


class EnduranceError(Exception):
    """A node ended by itself, or a group has no leader."""


def run(settings: Settings, nodes: Nodes, out: TextIO) -> list[Sample]:
    """On a cluster that runs. EnduranceError."""
    samples: list[Sample] = []
    began = monotonic()
    with Load(settings, nodes) as load:
        for number in range(1, max(THIRDS, round(settings.seconds / settings.pause_seconds)) + 1):
            due = began + number * settings.pause_seconds
            while (left := due - monotonic()) > 0:
                sleep(min(LOOK_SECONDS, left))
                load.look()
            samples.append(_sample(nodes, monotonic() - began, load.restarts))
            print(_line(samples[-1]), file=out, flush=True)
    return samples


class Load:
    """redis-benchmark, started again when it ends: it does so at the first connection that is closed, for which a lease
    that lapses on a busy machine is enough."""

    def __init__(self, settings: Settings, nodes: Nodes) -> None:
        self.restarts = 0
        self._settings = settings
        self._nodes = nodes
        self._process = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def look(self) -> None:
        """EnduranceError if nobody leads."""
        if self._process.poll() is not None:
            self._process.communicate()
            self.restarts += 1
            self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        settings, leader = self._settings, self._nodes.leader(0)
        if leader is None:
            raise EnduranceError("nobody leads")
        keys = settings.keys // self._nodes.groups  # with --cluster it has so many for each leader
        options = {"-p": leader.port, "-t": "set", "-c": settings.connections, "-d": settings.value_bytes,
                   "-r": keys}  # fmt: skip
        command = [served.PROGRAM, "-l", "-q", *(str(word) for option in options.items() for word in option)]
        command += ["--cluster"] if self._nodes.groups > 1 else []
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _sample(nodes: Nodes, second: float, restarts: int) -> Sample:
    status = _status(nodes)
    etcds, workers = [], []
    for machine in nodes.machines:
        member = machine.etcd()
        pids = [pid for pid in machine.processes() if pid != member]
        if member is None or not pids:
            raise EnduranceError(f"{machine.name} has ended: {machine.printed()[-300:]}")
        etcds.append(private_bytes(member))
        workers.append([private_bytes(pid) for pid in pids])
    every = [pid for machine in nodes.machines for pid in machine.processes()]
    folders = [nodes.folder / "flin-data" / machine.name for machine in nodes.machines]
    of_etcd = [disk_use(str(folder / "etcd"))[1] for folder in folders]
    of_all = [disk_use(str(folder))[1] for folder in folders]
    return Sample(
        second=second,
        restarts=restarts,
        writes=sum(_writes(each.place) for each in nodes.replicas() if each.leads),
        entries=sum(group["index"] for group in status["groups"]),
        log_entries=sum(status["room"]["log_entries"].values()),
        etcd_file=max(etcd_figures(nodes.etcd_urls, "etcd_mvcc_db_total_size_in_bytes")) / MIB,
        etcd_file_in_use=max(etcd_figures(nodes.etcd_urls, "etcd_mvcc_db_total_size_in_use_in_bytes")) / MIB,
        etcd_memory=max(etcds) / MIB,
        flin_memory=max(map(sum, workers)) / MIB,
        worker_memory=max(map(max, workers)) / MIB,
        descriptors=max(map(_descriptors, every)),
        directory=max(whole - part for whole, part in zip(of_all, of_etcd, strict=True)) / MIB,
        etcd_directory=max(of_etcd) / MIB,
    )


def _status(nodes: Nodes) -> Any:
    try:
        return bench_nodes.status_of(nodes)
    except (JoinError, OSError) as error:
        raise EnduranceError(f"the first node does not tell how the cluster is: {error}") from error


def _writes(place: tuple[str, int]) -> int:
    import redis

    with redis.Redis(*place) as client:
        return int(client.info("commandstats").get("cmdstat_set", {"calls": 0})["calls"])


def _descriptors(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended since it was listed
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """By figure: the highest of the last third over the highest of the middle one. ValueError: too few samples."""
    third = len(samples) // THIRDS
    if not third:
        raise ValueError(f"{len(samples)} samples are too few")
    middle, last = samples[-2 * third : -third], samples[-third:]
    names = [field.name for field in fields(Sample) if field.name not in COUNTERS]
    return {name: _highest(last, name) / max(1e-9, _highest(middle, name)) for name in names}


def table(samples: Sequence[Sample]) -> str:
    """The highest figures of the three thirds, and whether each is flat."""
    third = len(samples) // THIRDS
    lines = [["highest in", "first third", "middle third", "last third", "growth", "flat"]]
    for name, times in growth(samples).items():
        parts = samples[: -2 * third], samples[-2 * third : -third], samples[-third:]
        highest = [f"{_highest(part, name):,.0f}" for part in parts]
        lines.append([name.replace("_", " "), *highest, f"{times:.2f}", "yes" if times <= MOST_GROWTH else "no"])
    first, last = samples[0], samples[-1]
    took = last.second - first.second
    rates = [f"{(getattr(last, name) - getattr(first, name)) / took:,.0f}" for name in ("writes", "entries")]
    happened = f"{last.writes:,} writes ({rates[0]}/s), {rates[1]} entries/s"
    return f"{aligned(lines)}\n\n{last.second:,.0f} s: {happened}, the load began again {last.restarts} times"


def _highest(samples: Sequence[Sample], name: str) -> float:
    return max(float(getattr(each, name)) for each in samples)


def _line(sample: Sample) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {figure:,.0f}" for name, figure in asdict(sample).items())


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    options = _parser().parse_args(arguments)
    if missing := bench_nodes.missing():
        print(missing, file=sys.stderr)
        return 2
    settings = Settings(options.seconds, options.groups, options.connections, options.keys, options.value_bytes)
    with tempfile.TemporaryDirectory(prefix="flin-endurance-", dir=options.directory) as folder:
        nodes = Nodes(Path(folder), settings.groups)
        try:
            nodes.start()
            samples = run(settings, nodes, out)
            nodes.stop()
        except EnduranceError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            nodes.kill()
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in samples], indent=1), encoding="utf-8")
    print(table(samples), file=out)
    return int(any(times > MOST_GROWTH for times in growth(samples).values()))


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m flin.bench.endurance",
        description=f"Write to {NODES} nodes at full rate for long, and see what grows.",
        epilog="Exit code: 0 nothing grows, 1 something does, or a node ended; 2 wrong usage, or a tool is missing.",
    )
    add = parser.add_argument
    add("--seconds", type=float, default=default.seconds, help="at least two minutes (default %(default)g)")
    add("--groups", type=int, default=default.groups, help="groups of the cluster (default %(default)s)")
    add("--connections", type=int, default=default.connections, help="of redis-benchmark (default %(default)s)")
    add("--keys", type=int, default=default.keys, help="that are overwritten (default %(default)s)")
    add("--value-bytes", type=int, default=default.value_bytes, help="(default %(default)s)")
    add("--directory", metavar="DIR", help="for the nodes' directories (default: the system's temporary directory)")
    add("--json", metavar="FILE", type=Path, help="write the samples to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
