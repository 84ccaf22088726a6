"""What crash tests are made of: a simulated disk, a clock that stands still, and a model that knows what was promised.

Public, for tests of Flin and of programs that keep their data in it:

    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, clock_ms=ManualClock(), runner="inline") as db:
        db.put(b"key", b"value", sync=True)
        clone = after_crash(disk, Personality.TORN, choose=random.Random(7).randrange)
    with flin.engine.open("/db", fs=clone, runner="inline") as db:  # the machine after the power cut
        assert db[b"key"] == b"value"

From the bottom: disk.py is the disk and its faults, personality.py what is left of it when the power goes, model.py
what a database may hold afterwards. run.py follows a workload on an engine and its model and remembers every moment,
operation.py is what a workload consists of (one small class for each call of the API), judge.py crashes the moments
and checks what comes up, faulty.py has calls fail. crash.py is the long run: `python -m flin.testing.crash --help`.
"""

from __future__ import annotations

from flin.testing.clock import ManualClock
from flin.testing.disk import Fault, SimulatedDisk
from flin.testing.model import Model
from flin.testing.personality import Personality, after_crash, every_crash, killed

__all__ = ["Fault", "ManualClock", "Model", "Personality", "SimulatedDisk", "after_crash", "every_crash", "killed"]
