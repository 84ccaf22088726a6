"""The server's health as its watchman saw it last: for INFO, `/ready` and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flin.net.run.alarms import Alarm, Vitals


@dataclass(slots=True)
class Health:
    vitals: Vitals = field(default_factory=Vitals)
    alarms: Sequence[Alarm] = ()
    clock_jumps: int = 0
