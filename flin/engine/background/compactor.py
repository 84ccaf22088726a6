"""The background: threads that pick jobs, hand them to the runner and commit what comes back.

A flush thread and compaction threads, so that a long merge keeps no generation waiting, and one for what is due by the
clock (maintenance.py). With the inline runner there is no thread at all: the writer that made work due does it, which
is what deterministic tests want.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Condition, RLock, Thread, current_thread, get_ident
from time import sleep
from typing import Final

from flin.engine.background.background_statistics import BackgroundStatistics
from flin.engine.background.bell import Bell
from flin.engine.background.compaction import (
    Compaction,
    CompactionOptions,
    install,
    pick_compaction,
    pick_full_compaction,
)
from flin.engine.background.damaged_work import DamagedWork
from flin.engine.background.job import CompactionJob, FlushJob, JobCancelled, JobResult, is_output_named, remove_outputs
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.maintenance import Maintenance
from flin.engine.background.runner import Runner
from flin.engine.background.sweep import Sweeper
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, is_reentered
from flin.engine.sstable import TableOptions
from flin.engine.tree.store import Store
from flin.errors import ClosedError, CorruptionError, FlinError, HelperDiedError, drop_traceback

logger = logging.getLogger("flin.engine")

RETRY_SECONDS: Final = 1.0
"""After a job failed (a full disk, most often): soon enough to resume by itself, seldom enough to do no harm."""

COMPACTION_THREADS: Final = 2
"""One for a long merge, which may take minutes, and one for the small merges that flushes make due meanwhile. Each
costs a slice of memory in the helper, which runs the smaller one first."""

TARGET_TABLE_SHARE: Final = 8
"""A table is at most this part of the memory limit: its index and filter are held while it is written."""


def _log_retry(job: FlushJob | CompactionJob, error: HelperDiedError) -> None:
    """A job runs once more at once, in a new helper: whoever waits (a flush, a close) did nothing wrong. If that dies
    too, it may be the job's doing (memory), and the background tries again more slowly."""
    logger.warning("job %d runs again: %s", job.number, str(error))
    drop_traceback(error)


class Compactor:
    """Runs flushes and compactions of one store until it is closed."""

    def __init__(self, store: Store, runner: Runner, *, threads: bool) -> None:
        self._store = store
        self._runner = runner
        self._threads_wanted = threads
        self.statistics = BackgroundStatistics()
        self.sweeper = Sweeper(store)
        limit = store.options.memory_limit_bytes
        target = min(32 << 20, max(1 << 18, limit // TARGET_TABLE_SHARE))
        self._options = CompactionOptions(target_table_bytes=target)
        block_size = store.options.block_size_bytes
        self._flush_options = TableOptions(block_size_bytes=block_size, codec="none")
        self._table_options = TableOptions(block_size_bytes=block_size, codec=store.options.compression)
        # RLocks: a debugger may raise between the end of a `with` and its exit, and its thread must be able to close.
        self._flush_lock = RLock()  # one flush at a time: they commit oldest first
        self._busy: list[Compaction] = []
        self._damaged = DamagedWork(store.directory)
        self._busy_lock = RLock()
        self._compaction_ended = Condition(self._busy_lock)
        self._background_errors: dict[int, BaseException] = {}  # by the thread that met it; guarded by `_busy_lock`
        self._stopping = False
        self._handles: set[JobHandle] = set()  # of the compactions under way; guarded by `_busy_lock`
        self._flush_wanted = Bell()
        self._compaction_wanted = [Bell() for _ in range(COMPACTION_THREADS)]
        self._maintenance = Maintenance(store, self.sweeper, self._damaged, self.statistics, self._note_failure)
        self._threads: list[Thread] = []
        self._prepare_wanted = False
        store.listeners.on_sealed = self.wake
        store.listeners.on_filling = self._prepare
        # With threads too: a flush that somebody asked for and was interrupted in has left what nobody was told of.
        store.listeners.on_stopped = self.wake if threads else self.run_pending

    def start(self) -> None:
        """Begin, with what recovery left to do."""
        if self._threads_wanted:
            loops: list[tuple[str, Callable[[], None]]] = [("flush", self._flush_loop)]
            loops += [("compaction", partial(self._compaction_loop, wanted)) for wanted in self._compaction_wanted]
            loops += [("maintenance", self._maintenance.run)]
            for name, work in loops:
                thread = Thread(target=work, name=f"flin-{name}", daemon=True)
                self._threads.append(thread)  # first: an interrupt may come behind the start
                thread.start()
        self.wake()

    def wake(self) -> None:
        """There may be something to do."""
        if self._threads_wanted:
            self._flush_wanted.ring()
            return
        if is_reentered(levels=3):  # this, _maybe_seal and the write; the outer call may be what is due
            return
        try:
            self.run_pending()
        except FlinError as error:  # the write that made it due is done; a later one that must wait gets the error
            self._note_failure(error)

    def _prepare(self) -> None:
        """A first generation fills: a helper that starts with its flush makes writers wait (0.2 s of stalls)."""
        self._prepare_wanted = True
        if self._threads_wanted:
            self._flush_wanted.ring()

    def run_pending(self) -> None:
        """Everything that is due, in this thread."""
        while self.flush_once():
            pass
        while self.compact_once():
            pass
        self._store.tables.remove_obsolete()

    def _want_compaction(self) -> None:
        for bell in self._compaction_wanted:
            bell.ring()

    @holds_lock
    def flush_once(self) -> bool:
        """Flush the oldest sealed generation; False if there is none."""
        store = self._store
        with self._flush_lock:
            state = store.state  # held until the job is done: so its input files stay
            if not state.sealed:
                return False
            generation = state.sealed[-1]
            job = FlushJob(
                store.directory,
                store.next_job(),
                store.manifest.epoch,
                len(state.active),
                generation.segments,
                state.version.shards,
                self._flush_options,
                store.now_ms(),
            )
            handle = self._runner.submit(job)
            self._sync_beside(handle, generation.end_position)
            try:
                result = handle.result()
            except HelperDiedError as error:
                _log_retry(job, error)
                result = self._runner.run(job)
            try:
                self._install(job, lambda: store.install_flush(generation, result.tables, result.counts, job.now_ms))
            finally:  # also where something failed behind the edit
                self._want_compaction()
            done = self.statistics
            done.flushes += 1
            done.flush_seconds += result.statistics.cpu_seconds
            done.flushed_entries += result.statistics.entries_out
            done.flushed_bytes += result.statistics.bytes_out
            done.wal_bytes_flushed += result.statistics.bytes_in
        return True

    def compact_once(self) -> bool:
        """The most useful compaction, if one is worth doing."""
        return self._compact(lambda state: pick_compaction(state.version, self._options, self._taken()))

    def compact_fully(self) -> None:
        """All runs of every shard into one, without tombstones."""
        for shard in range(self._store.manifest.shards):

            def pick(state: ReadState, shard: int = shard) -> Compaction | None:
                return pick_full_compaction(state.version, shard, self._options, self._taken())

            while self._compact(pick) or self._wait_for_compaction(shard):
                pass
            damage = self._damaged.error_in(shard)
            if damage is not None:
                raise damage

    def _taken(self) -> list[Compaction]:
        """Whose runs no other compaction may touch."""
        return [*self._busy, *self._damaged.compactions()]

    @holds_lock
    def _wait_for_compaction(self, shard: int) -> bool:
        """Wait until some compaction ends, if one of the shard is under way: it may stand in another's way."""
        with self._busy_lock:
            waits = any(compaction.shard == shard for compaction in self._busy)
            if waits:
                self._compaction_ended.wait()
            return waits

    @holds_lock
    def _compact(self, pick: Callable[[ReadState], Compaction | None]) -> bool:
        store = self._store
        with self._busy_lock:
            state = store.state
            compaction = pick(state)
            if compaction is None:
                return False
            self._busy.append(compaction)
        try:
            self._carry_out(compaction)
        except CorruptionError as error:
            with self._busy_lock:
                self._damaged.set_aside(compaction, error)
            raise
        finally:
            with self._busy_lock:
                self._busy.remove(compaction)
                self._compaction_ended.notify_all()
        del state
        self.sweeper.let_go()
        store.tables.remove_obsolete()
        return True

    @holds_lock
    def _carry_out(self, compaction: Compaction) -> None:
        store, done = self._store, self.statistics
        now_ms = store.now_ms()
        if compaction.trivial:
            store.install_compaction(compaction.shard, lambda runs: install(runs, compaction, ()), now_ms)
            done.trivial_moves += 1
            return
        state = store.state  # held: so the input files stay
        job = CompactionJob(
            store.directory,
            store.next_job(),
            store.manifest.epoch,
            compaction.shard,
            compaction.rewrite,
            compaction.bottom,
            self._table_options,
            now_ms,
            self._options.target_table_bytes,
            store.options.budget.compaction_slice,
            compaction.output_boundaries,
            compaction.urgent,
        )
        result = self._run(job)
        outputs = result.tables.get(compaction.shard, ())
        self._install(
            job,
            lambda: store.install_compaction(compaction.shard, lambda runs: install(runs, compaction, outputs), now_ms),
        )
        del state
        with self._busy_lock:
            done.compactions += 1
            done.compaction_seconds += result.statistics.cpu_seconds
            done.compacted_entries += result.statistics.entries_in
            done.compacted_bytes += result.statistics.bytes_out
            done.reasons[compaction.reason] = done.reasons.get(compaction.reason, 0) + 1

    def _sync_beside(self, handle: JobHandle, position: int) -> None:
        """Sync the WAL while the flush runs, since its edit will want that; if that fails, its files are nobody's.

        The sync of 32 MB takes 20-80 ms, for which writers would wait that are stopped until the flush is done."""
        try:
            self._store.sync(position)
        except BaseException:  # no memory and an interrupt as well: the flush is tried again, under another number
            handle.cancel()
            with suppress(FlinError, JobCancelled):  # the failed sync is what matters; what stays goes at the next open
                handle.result()
                remove_outputs(self._store.options.fs, handle.job)
            raise

    def _run(self, job: CompactionJob) -> JobResult:
        try:
            return self._run_once(job)
        except HelperDiedError as error:
            _log_retry(job, error)
            return self._run_once(job)

    @holds_lock
    def _run_once(self, job: CompactionJob) -> JobResult:
        handle = self._runner.submit(job)
        with self._busy_lock:
            self._handles.add(handle)
            if self._stopping:
                handle.cancel()
        try:
            return handle.result()
        finally:
            with self._busy_lock:
                self._handles.discard(handle)

    def _install(self, job: FlushJob | CompactionJob, edit: Callable[[], None]) -> None:
        """Commit the edit. What the job wrote is removed if that failed, unless the new manifest may be on the disk; an
        interrupt may also come when the edit counts already."""
        store = self._store
        try:
            edit()
        except BaseException as error:
            if store.read_only_reason is None and not is_output_named(store.manifest.version, job):
                try:
                    remove_outputs(store.options.fs, job)
                except FlinError as refused:  # what failed first is the cause; the next open removes what stays
                    error.add_note(f"and its files are still there: {refused}")
            raise

    # The threads.

    def _flush_loop(self) -> None:
        self._loop(self._flush_wanted, self._prepare_or_flush)

    def _prepare_or_flush(self) -> bool:
        if self._prepare_wanted:
            self._prepare_wanted = False
            self._runner.prepare(self._store.full_wal_bytes())
        return self.flush_once()

    def _compaction_loop(self, wanted: Bell) -> None:
        wanted.ring()
        self._loop(wanted, self.compact_once)

    def _loop(self, wanted: Bell, work: Callable[[], bool]) -> None:
        while not self._stopping:
            try:
                wanted.wait()
                while not self._stopping and self._store.read_only_reason is None and work():
                    self._note_obstacle(None)
                self._note_obstacle(None)
            except (ClosedError, JobCancelled):
                return
            except BaseException as error:  # whatever it is: nobody else does this work, and writers would wait for it
                self._pause(error)
                if not (isinstance(error, CorruptionError) and work == self._prepare_or_flush):
                    wanted.ring()

    def _pause(self, error: BaseException) -> None:
        """Until the work that failed is tried again."""
        try:
            self._note_failure(error)
            if not isinstance(error, HelperDiedError):  # that one is replaced
                self._note_obstacle(error)
            self._maintenance.ended.wait(RETRY_SECONDS)  # nobody sets it before the end: a sleep that ends early
        except MemoryError:  # to say so and to wait takes some, too; the thread must not end for that
            sleep(RETRY_SECONDS)

    def sweep(self) -> int:
        """Delete what has expired; how many keys."""
        return self._maintenance.sweep()

    @holds_lock
    def _note_obstacle(self, error: BaseException | None) -> None:
        """What this thread's last job failed with; None once one ended well, or none is due any more."""
        with self._busy_lock:
            if error is not None:
                self._background_errors[get_ident()] = error
            elif self._background_errors.pop(get_ident(), None) is None:
                return
            self._store.set_background_error(next(iter(self._background_errors.values()), self._damaged.first))

    def _note_failure(self, error: BaseException) -> None:
        self.statistics.failures += 1
        self.statistics.last_failure = f"{type(error).__name__}: {error}"
        if self._store.read_only_reason is not None:
            logger.error("read-only until it is opened again: %s", self._store.read_only_reason)
        elif isinstance(error, CorruptionError):
            self._damaged.tell(error)
        elif isinstance(error, FlinError):
            logger.warning("background work failed and will be tried again: %s", error)
        else:
            logger.exception("background work failed and will be tried again")
        drop_traceback(error)

    @holds_lock
    def stop(self) -> None:
        """End the threads after the job that each is at; the runner stays usable."""
        with self._busy_lock:
            self._stopping = True
            for handle in self._handles:
                handle.cancel()  # a flush is let finish: the next open would only do it again
        self._maintenance.ended.set()
        self._flush_wanted.ring()
        self._want_compaction()
        for thread in list(self._threads):
            if thread.ident is not None and thread is not current_thread():  # None: it could not be started
                thread.join()
