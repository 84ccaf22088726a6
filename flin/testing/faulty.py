"""Runs on a disk where one call fails, or every call from some moment on.

Whatever fails, only documented errors may come out, reads must continue and be right, and answered writes must survive
a kill and, if that was promised, a power cut. When the disk works again, the database must open and accept writes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from flin.engine.engine import store_of
from flin.errors import FlinError, ReadOnlyError, StorageError
from flin.testing.crash_checker import CrashChecker, assert_no_orphans
from flin.testing.crash_model import killed
from flin.testing.fault import Fault
from flin.testing.model import view
from flin.testing.operation import Reopen
from flin.testing.run import CrashPoint, EngineSetup, Operation, Workload, WorkloadRun, held, matched

_GROWING: Final = frozenset({"append", "extend", "create", "make_directory"})

KINDS: Final[Mapping[str, Fault]] = {
    "io": Fault(0, errno.EIO),
    "io sticky": Fault(0, errno.EIO, sticky=True),
    "io late": Fault(0, errno.EIO, late=True),
    "full": Fault(0, errno.ENOSPC, _GROWING),
    "full sticky": Fault(0, errno.ENOSPC, _GROWING, sticky=True),
    "short": Fault(0, 0, taken=10),
    "short, then full": Fault(0, errno.ENOSPC, taken=10),
    "sync": Fault(0, errno.EIO, frozenset({"sync", "sync_file", "sync_directory"})),
    "rename": Fault(0, errno.EIO, frozenset({"rename", "remove"})),
    "memory": Fault(0, error=MemoryError),
    "memory late": Fault(0, error=MemoryError, late=True),
    "too many files": Fault(0, errno.EMFILE, frozenset({"create", "open", "lock", "names"})),
}
"""What can go wrong with a disk, by name."""

REFUSALS: Final = (StorageError, ReadOnlyError, MemoryError)
"""The errors that a program must expect of a call on such a disk."""


@dataclass(slots=True)
class FaultyRun(WorkloadRun):
    """A run that continues after each operation that fails, as a program would."""

    failures: int = 0
    fault: Fault | None = None

    def run_on(self, workload: Workload) -> None:
        for self.operation, operation in enumerate([_Open(), *workload]):
            is_well = self._is_well()
            try:
                self._do(operation)
            except REFUSALS as error:
                assert not is_well, f"{operation} was refused by an engine and a disk that were well: {error!r}"
                self.failures += 1
                if not self.is_open and not self._opens_again():
                    return
                self._reads_tell_the_truth()
                if isinstance(error, MemoryError) and not self._is_as_it_was():
                    self._count_what_is_there()  # only the commit's sync failed: the commit counts, whole

    def _is_well(self) -> bool:
        """Whether there is no reason any more why anything should fail."""
        if not self.is_open or store_of(self.engine).read_only_reason is not None:
            return False
        return all(fault.fired and not fault.sticky for fault in self.disk.faults)

    def view(self) -> dict[bytes, bytes]:
        """What a reader must see now: a commit whose sync failed is refused, but may be seen all the same."""
        if not self.failures:
            return WorkloadRun.view(self)  # super() does not work in a class with slots
        now_ms = self.clock.now_ms
        return view(matched(self.model.expectation(), self.engine, now_ms, power_cut=False), now_ms)

    def _opens_again(self) -> bool:
        """Start the program once more; the kernel may show it data that will never be on the disk."""
        self.snapshots.clear()
        try:
            self.open()
        except REFUSALS:
            self._engine = None
            return False
        self._count_what_is_there()
        return True

    def _do(self, operation: Operation) -> None:
        refused_before = self.failures
        operation.do(self)
        if isinstance(operation, Reopen) and refused_before:
            self._count_what_is_there()

    def _is_as_it_was(self) -> bool:
        """Whether the refused operation had no effect."""
        now_ms, expectation = self.clock.now_ms, self.model.expectation()
        return expectation.fits(self.model.state, held(self.engine, now_ms, expectation.expiring), now_ms)

    def _count_what_is_there(self) -> None:
        now_ms = self.clock.now_ms
        self.model.reopened(held(self.engine, now_ms, self.model.expectation().expiring), now_ms)

    def _reads_tell_the_truth(self) -> None:
        """Check that answered writes are there; the refused commit is not or, if its sync failed, may be, whole."""
        if any(fault.sticky for fault in self.disk.faults):
            return  # reads from tables may fail, too
        matched(self.model.expectation(), self.engine, self.clock.now_ms, power_cut=False)


class _Open(Operation):
    """The first operation of a run whose opening may fail, too."""

    def do(self, run: WorkloadRun) -> None:
        run.open()


def run_with(setup: EngineSetup, workload: Workload, fault: Fault) -> FaultyRun:
    """Run the workload to its end, whatever fails; then the disk works again."""
    run = FaultyRun(setup, record=False, fault=fault)
    run.disk.faults.append(fault)
    try:
        run.run_on(workload)
    finally:
        run.disk.faults.clear()
    return run


def every_failure(
    setup: EngineSetup, workload: Workload, kind: Fault, first: int = 0, step: int = 1
) -> Iterator[FaultyRun]:
    """One run for every n, or every step-th from the first on, until the fault no longer strikes."""
    n = first
    while True:
        fault = replace(kind, after=n, fired=0, struck="")
        run = run_with(setup, workload, fault)
        if not fault.fired:
            assert run.failures == 0, "something failed without a fault"
            return
        yield run
        n += step


def check_failed(run: FaultyRun, checker: CrashChecker, where: str, *, no_files: bool = False) -> None:
    """Crash the disk as the failure left it, then open and check it in good health.

    `no_files`: check, too, that there is no file that nothing names. Not for every workload: a segment that a flush
    could not remove stays until the next flush or open."""
    moment = CrashPoint(killed(run.disk), run.model.expectation(), run.operation, "the failure", run.clock.now_ms)
    checker.check(moment, where)
    if run.is_open:
        run.snapshots.clear()  # they would keep files that a compaction has replaced
        try:
            run.engine.close()
        except (FlinError, MemoryError):
            assert run.failures, "a close failed on a disk that is well"
        if no_files and store_of(run.engine).read_only_reason is None and not _may_leave_a_file(run.fault):
            try:
                assert_no_orphans(run.disk)
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from error


def _may_leave_a_file(fault: Fault | None) -> bool:
    """Whether a file may stay until the next open: only if a removal failed, or a creation that took effect."""
    return fault is not None and (fault.sticky or fault.struck == "remove" or (fault.late and fault.struck == "create"))
