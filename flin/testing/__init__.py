"""Tools for tests: a real server; and for crash tests a simulated disk, a clock that tests move, and a model that knows
what was promised.

Public, for tests of Flin and of programs that keep their data in it. A server (docs/testing.md):

    with served() as server:
        client = redis.Redis.from_url(server.url)

A crash:

    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, clock_ms=ManualClock(), runner="inline") as db:
        db.put(b"key", b"value", sync=True)
        clone = after_crash(disk, CrashModel.TORN, choose=random.Random(7).randrange)
    with flin.engine.open("/db", fs=clone, runner="inline") as db:  # the machine after the power cut
        assert db[b"key"] == b"value"

The files, from the bottom up:

- disk.py: the disk; fault.py: faults that make its calls fail
- crash_model.py: what a power cut leaves of the disk
- model.py: what a database may hold after a crash
- run.py: does a workload on an engine and on the model, and records every crash point
- operation.py: the operations of workloads, one small class for each call of the API
- following.py: those of readers and of somebody who watches; mirror.py: the copy that he keeps
- memory_log.py, replicating.py: the log of a replica, and what happens when another one leads
- crash_checker.py: crashes the disk at these points and checks the recovered database
- faulty.py: runs in which calls fail
- crash.py: the long run, `python -m flin.testing.crash --help`
- server.py: the server in a process of its own
"""

from __future__ import annotations

from flin.testing.clock import ManualClock
from flin.testing.crash_model import CrashModel, after_crash, every_crash, killed
from flin.testing.disk import SimulatedDisk
from flin.testing.fault import Fault
from flin.testing.model import Model
from flin.testing.server import ServedError, ServedServer, served

Personality = CrashModel  # its old name, until the next release

__all__ = [
    "CrashModel",
    "Fault",
    "ManualClock",
    "Model",
    "Personality",
    "ServedError",
    "ServedServer",
    "SimulatedDisk",
    "after_crash",
    "every_crash",
    "killed",
    "served",
]
