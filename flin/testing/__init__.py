"""What crash tests are made of: a simulated disk, a clock that stands still, and a model that knows what was promised.

Public, for tests of Flin and of programs that keep their data in it:

    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, clock_ms=ManualClock(), runner="inline") as db:
        db.put(b"key", b"value", sync=True)
        clone = crash(disk, Personality.TORN, choose=random.Random(7).randrange)
    with flin.engine.open("/db", fs=clone, runner="inline") as db:  # the machine after the power cut
        assert db[b"key"] == b"value"

disk.py is the disk and its faults, crash.py what is left of it when the power goes, model.py what a database may hold
afterwards.
"""

from __future__ import annotations

from flin.testing.clock import ManualClock
from flin.testing.crash import Personality, crash, every_crash
from flin.testing.disk import Fault, SimulatedDisk
from flin.testing.model import Model

__all__ = ["Fault", "ManualClock", "Model", "Personality", "SimulatedDisk", "crash", "every_crash"]
