"""The flush lane: sealed generations become tables, oldest first. Each takes a job, a sync of the WAL and an edit.

While the edit of one is made (a manifest is written and synced, 5 to 15 ms), the job of the next one runs already, or
the helper would stand still for a fifth of its time while writers wait for it. Nothing else overlaps:

    generation 1   job, sync   edit
    generation 2               job, sync   edit

That is safe because a job needs nothing of the edit before it. It reads segments of its own, which stay until its own
edit, and writes files that no manifest names until then. Edits are still made one after the other, each after the sync
up to the end of its generation. If anything fails, the job that runs ahead is discarded with its files, and everything
is done again, oldest first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import RLock
from time import monotonic
from typing import Final

from flin.engine.background.background_statistics import BackgroundStatistics
from flin.engine.background.condensing import Condenser, is_condensable
from flin.engine.background.job import FlushJob, JobCancelled, JobResult
from flin.engine.background.job_edit import install_result, log_retry
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.job_run import remove_outputs
from flin.engine.background.runner import Runner
from flin.engine.background.slices import Slices
from flin.engine.catalog.generation import SealedGeneration
from flin.engine.reentry import holds_lock
from flin.engine.sstable import TableOptions
from flin.engine.tree.store import Store
from flin.engine.wal.frames import SegmentSlice
from flin.errors import FlinError, HelperDiedError

ABOVE_BOTTOM_LEVEL: Final = -1
"""The zstd level of tables that will be merged again. Of values of which half is random it takes 0.21 µs an entry of
116 bytes instead of 0.34, for the same size; of JSON 0.33 instead of 0.40, for a third more disk. The bottom has 1."""

LARGE_ENTRY_BYTES: Final = 512
"""The mean size of entries from which on a flush compresses what it writes. With values of 1 KiB, of which half is
random, flushes are a third of all bytes written, and this halves them, for 0 to 3 of 20 µs of processor time a put. An
entry of 100 B would cost 0.2 µs more, a twentieth of all its processor time."""


@dataclass(frozen=True, slots=True, eq=False)
class _Flush:
    """A flush that has begun."""

    generation: SealedGeneration
    job: FlushJob
    handle: JobHandle
    began: float

    @property
    def wal_bytes(self) -> int:
        return _bytes_in(self.generation.segments)


class FlushLane:
    """The flushes of one store."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        statistics: BackgroundStatistics,
        on_flushed: Callable[[], None],
    ) -> None:
        """`on_flushed` is called after each edit, and after one that failed."""
        self._store = store
        self._runner = runner
        self._statistics = statistics
        self._on_flushed = on_flushed
        options = store.options
        self._condenser = Condenser(options.fs, store.manifest.database_id, options.random_bytes)
        block_size, codec = store.options.block_size_bytes, store.options.compression
        self._options = TableOptions(block_size_bytes=block_size, codec="none")
        self._large_options = TableOptions(block_size_bytes=block_size, codec=codec, zstd_level=ABOVE_BOTTOM_LEVEL)
        # An RLock: a debugger may raise between the end of a `with` and its exit; then that thread must be able to
        # close.
        self._lock = RLock()  # one flush at a time: they commit oldest first
        self._begun: deque[_Flush] = deque()  # those whose edit has not begun, oldest first; guarded by the lock

    @holds_lock
    def flush_once(self, *, urgent: bool = False) -> bool:
        """Flush the oldest sealed generation; False if there is none. `urgent`: a caller waits for it."""
        if urgent:  # who frees now has the lock
            self._store.dropped.is_urgent = True
        with self._lock:
            sealed = self._store.state.sealed
            if not sealed:
                return False
            try:
                if not self._begun:
                    self._begin(sealed[-1], urgent=urgent or len(sealed) > 1)
                self._finish(self._begun[0])
            except BaseException:  # also no memory, or an interrupt: the next call begins anew, under other numbers
                self.discard()
                raise
        return True

    @holds_lock
    def discard(self) -> None:
        """Discard what has begun, with its files: no manifest names them yet."""
        with self._lock:
            while self._begun:
                flush = self._begun.pop()
                flush.handle.cancel()
                # What made this necessary matters more; the next open removes what stays.
                with suppress(FlinError, JobCancelled):
                    flush.handle.result()
                    remove_outputs(self._store.options.fs, flush.job)
                self._forget_condensed(flush.job)

    def _begin(self, generation: SealedGeneration, *, urgent: bool) -> None:
        store = self._store
        store.tables.memory.fit(store.cache_budget(is_quiet=False))
        began = monotonic()
        job = FlushJob(
            store.directory,
            store.next_job(),
            store.manifest.epoch,
            len(store.state.active),
            generation.segments,
            self._large_options if _has_large_entries(generation) else self._options,
            store.expired_ms(),
            store.options.value_threshold,
            urgent,
        )
        if is_condensable(generation):
            job = self._condensed(job, generation)
        try:
            handle = self._runner.submit(job)
        except BaseException:  # it is closed, or an interrupt
            self._forget_condensed(job)
            raise
        self._begun.append(_Flush(generation, job, handle, began))

    def _condensed(self, job: FlushJob, generation: SealedGeneration) -> FlushJob:
        """The job with a condensed log to read, if one could be written. While nobody waits for it, the thread rests in
        between: those that serve users want the core."""
        rests = not job.urgent and self._store.options.runner != "inline"
        segment = self._condenser.write(job, generation, Slices().maybe_rest if rests else _go_on)
        if segment is None:
            return job
        return replace(job, segments=(segment,), value_threshold=0, first_sequence=generation.first_sequence)

    def _forget_condensed(self, job: FlushJob) -> None:
        if job.first_sequence:
            self._condenser.remove(job)

    def _finish(self, flush: _Flush) -> None:
        store = self._store
        self._free_dropped(flush)
        # The edit needs the sync, which takes 20-80 ms for 32 MB; writers that are stopped would wait for it.
        store.sync(flush.generation.end_position)
        job, result = self._result_of(flush)
        self._run_ahead()

        def edit() -> None:
            self._begun.popleft()  # from here on its files may be named
            store.install_flush(flush.generation, result.tables, job.now_ms, result.value_files)

        try:
            install_result(store, job, edit)
        finally:  # also if something failed after the edit
            self._on_flushed()
        self._free_dropped(flush)
        done = self._statistics
        done.flushes += 1
        done.condensed += bool(job.first_sequence)
        done.flush_seconds += result.statistics.cpu_seconds
        done.flushed_entries += result.statistics.entries_out
        done.flushed_bytes += result.statistics.bytes_out
        done.wal_bytes_flushed += flush.wal_bytes
        done.note_job(flush.wal_bytes, monotonic() - flush.began)

    def _free_dropped(self, flush: _Flush) -> None:
        """Free what made room for the newest generation, while the helper works: in slices, unless this is the thread
        that writes."""
        store = self._store
        if store.options.runner == "inline":
            store.dropped.forget()
        else:
            if flush.job.urgent:
                store.dropped.is_urgent = True
            store.dropped.free()
            store.dropped.is_urgent = False

    def _result_of(self, flush: _Flush) -> tuple[FlushJob, JobResult]:
        """The job that succeeded, and its result. If a condensed log was in the way (it takes room on a full disk, and
        may be damaged), the segments are read."""
        job = flush.job
        try:
            result = flush.handle.result()
        except FlinError as error:
            if not job.first_sequence and not isinstance(error, HelperDiedError):
                raise
            log_retry(job, error)
            self._forget_condensed(job)
            threshold = self._store.options.value_threshold
            job = replace(job, segments=flush.generation.segments, value_threshold=threshold, first_sequence=0)
            result = self._runner.run(job)
        self._forget_condensed(job)
        return job, result

    def _run_ahead(self) -> None:
        """Begin the job of the generation after the one whose job has ended, if all of it would run elsewhere."""
        sealed = self._store.state.sealed
        if len(sealed) > 1:
            generation = sealed[-2]
            if self._runner.runs_apart(_bytes_in(generation.segments)) and not is_condensable(generation):
                self._begin(generation, urgent=True)  # writers fill them faster than it flushes


def _bytes_in(segments: Iterable[SegmentSlice]) -> int:
    return sum(segment.end - segment.start for segment in segments)


def _has_large_entries(generation: SealedGeneration) -> bool:
    """By what was written: keys that are written often have no larger entries for it."""
    return _bytes_in(generation.segments) >= LARGE_ENTRY_BYTES * generation.operations


def _go_on() -> None:
    """Rest not at all."""
