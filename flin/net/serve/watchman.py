"""The watchman: takes the server's vital signs once a second, logs alarms as they begin and end, and refuses what needs
room while the disk has none.

What may wait for the disk is asked by a reader thread; the rest is looked at on the loop.
"""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

from flin.errors import CorruptionError
from flin.net.batch.following_store import FOLLOWS
from flin.net.run.alarms import Alarm, Vitals, alarms_of, has_no_room, maybe_low_disk, reserve_of
from flin.net.run.directory_place import DirectoryPlace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flin.net.run.services import Services
    from flin.net.serve.cold import ColdReads

logger = logging.getLogger(__name__)

STEPS_PER_LOOK: Final = 10
"""Steps are tenths of a second."""

LOOKS_PER_ENGINE_LOOK: Final = 5
"""The engine's figures take milliseconds with thousands of tables."""

WARN_SECONDS: Final = 3600.0
"""A disk that fills up is said once an hour."""

JUMP_MS: Final = 1000
"""Time services slew what is less than a second or so (chrony: makestep 1.0); more than that is set."""

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine is suspended, as the wall clock does: only Linux has it."""


class Watchman:
    def __init__(self, services: Services, cold: ColdReads) -> None:
        self._services = services
        self._cold = cold
        self._steps = 0
        self._looks = 0
        self._is_looking = False
        self._place = DirectoryPlace(services.config.options.dir)
        self._disk: tuple[int | None, int] = (None, 0)  # free bytes, and all
        self._engine: Mapping[str, Any] = {}
        self._offset_ms = self._clock_offset_ms()
        self._jump_ms = 0
        self._jumped_at: float | None = None
        self._stopped_at: float | None = None
        self._deaths = 0
        self._died_at: float | None = None
        self._warned_at: float | None = None
        self._began: dict[str, float] = {}  # when each alarm did

    def step(self) -> None:
        """Ten times a second, on the loop."""
        self._look_at_clock()
        self._steps += 1
        if self._steps % STEPS_PER_LOOK == 0 and not self._is_looking:
            self._is_looking = True
            self._cold.submit(self._look, self._judge)

    def _clock_offset_ms(self) -> int:
        return self._services.store.now_ms() - time.clock_gettime_ns(_CLOCK) // 1_000_000

    def _look_at_clock(self) -> None:
        before_ms, self._offset_ms = self._offset_ms, self._clock_offset_ms()  # so slewing is followed
        if abs(self._offset_ms - before_ms) >= JUMP_MS:
            self._services.health.clock_jumps += 1
            self._jump_ms = self._offset_ms - before_ms
            self._jumped_at = time.monotonic()

    def _look(self) -> None:
        """In a reader thread: what may wait for the disk, or takes long."""
        directory = self._services.config.options.dir
        try:
            usage = shutil.disk_usage(directory)
            self._disk = usage.free, usage.total
        except OSError:  # it is gone, or there never was one: the engine says so when it writes
            self._disk = None, 0
        if problem := self._place.problem():
            self._services.store.make_read_only(problem)
        if self._looks % LOOKS_PER_ENGINE_LOOK == 0:
            self._engine = self._services.engine_statistics()
        self._looks += 1

    def _judge(self) -> None:
        self._is_looking = False
        services, now = self._services, time.monotonic()
        vitals = self._vitals(now)
        directory = services.config.options.dir
        alarms = alarms_of(vitals, directory)
        services.health.vitals, services.health.alarms = vitals, alarms
        if has_no_room(vitals):
            services.room.refuse(
                "disk",
                "MISCONF Flin refuses writes that need room, since the disk has less than the reserve free "
                f"(disk-reserve, {vitals.reserve_bytes >> 20} MiB). Delete keys and send BGREWRITEAOF, or make room",
            )
        else:
            services.room.allow("disk")
        self._tell(alarms, now)
        warning = maybe_low_disk(vitals, directory)
        if warning is not None and (self._warned_at is None or now - self._warned_at >= WARN_SECONDS):
            self._warned_at = now
            logger.warning("%s", warning)

    def _vitals(self, now: float) -> Vitals:
        store, stall = self._services.store, self._services.store.stall()
        self._stopped_at = (self._stopped_at or now) if stall.stopped else None
        background = self._engine.get("background", {})
        deaths = background.get("runner", {}).get("deaths", 0)
        if deaths > self._deaths:
            self._deaths, self._died_at = deaths, now
        free_bytes, total_bytes = self._disk
        replica = None if self._services.role is None else self._services.role.figures()
        error, damage = store.background_error, self._services.damage.last
        if isinstance(error, CorruptionError):  # a merge has met it first, and leaves it
            damage, error = damage or f"{error.path} at offset {error.offset}", None
        return Vitals(
            read_only_reason=None if store.read_only_reason is FOLLOWS else store.read_only_reason,
            background_error=None if error is None else str(error) or type(error).__name__,
            stall_reason=stall.reason,
            stopped_seconds=0.0 if self._stopped_at is None else now - self._stopped_at,
            corruption=damage,
            free_bytes=free_bytes,
            total_bytes=total_bytes,
            reserve_bytes=reserve_of(self._services.config.disk_reserve, total_bytes),
            largest_merge_bytes=background.get("largest_job_bytes", 0),
            helper_failure=background.get("last_failure", ""),
            seconds_since_helper_death=None if self._died_at is None else now - self._died_at,
            clock_jump_ms=self._jump_ms,
            etcd_used_share=0.0 if replica is None else replica.etcd_used_share,
            refusal="" if replica is None else replica.refusal,
            seconds_since_clock_jump=None if self._jumped_at is None else now - self._jumped_at,
        )

    def _tell(self, alarms: Sequence[Alarm], now: float) -> None:
        """One line for each that begins, one when it is over."""
        names = {alarm.name for alarm in alarms}
        for name in [name for name in self._began if name not in names]:
            logger.info("%s: over after %.0f s", name, now - self._began.pop(name))
        for alarm in alarms:
            if alarm.name not in self._began:
                self._began[alarm.name] = now
                if alarm.name not in _TOLD_ELSEWHERE:
                    logger.error("%s: %s", alarm.name, alarm.text)


_TOLD_ELSEWHERE: Final = {"corruption"}
"""Damage has a line for each place (damage.py)."""
