"""The background: threads that pick jobs, hand them to the runner and commit the results.

There are a flush thread and compaction threads, so that no generation waits for a long merge, and one thread for
periodic work (maintenance.py). With the inline runner there is no thread at all: the writer that made work due does it,
which deterministic tests need.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import Condition, RLock, Thread, current_thread, get_ident
from time import monotonic, sleep
from typing import Final

from flin.engine.background.background_statistics import BackgroundStatistics
from flin.engine.background.bell import Bell
from flin.engine.background.compaction import (
    Compaction,
    CompactionOptions,
    Superseded,
    changes_count,
    has_its_inputs,
    install,
    run_bytes,
)
from flin.engine.background.counter import Counter
from flin.engine.background.damaged_work import DamagedWork
from flin.engine.background.fences import parted
from flin.engine.background.flush_lane import ABOVE_BOTTOM_LEVEL, FlushLane
from flin.engine.background.hidden_entries import HiddenEntries
from flin.engine.background.idle import REASON, Quiet, pick_idle
from flin.engine.background.job import CompactionJob, CountJob, JobCancelled, JobResult, JobStarved
from flin.engine.background.job_edit import install_result, log_retry
from flin.engine.background.job_handle import JobHandle
from flin.engine.background.maintenance import Maintenance
from flin.engine.background.picker import RENEWS, pick_collection, pick_compaction, pick_full_compaction
from flin.engine.background.run_profile import RunProfiles
from flin.engine.background.runner import Runner
from flin.engine.background.sweep import Sweeper
from flin.engine.background.value_garbage import PointedValues, worn_files
from flin.engine.catalog.version import Run, ValueFile, Version, with_shard
from flin.engine.disk.file_name import maybe_parse
from flin.engine.disk.fs import join
from flin.engine.memtable import add_counts
from flin.engine.read.read_state import ReadState
from flin.engine.reentry import holds_lock, is_reentered
from flin.engine.sstable import Table, TableOptions
from flin.engine.table.meta import TableMeta
from flin.engine.table.value_files import OpenValueFile
from flin.engine.thread_start import start_thread
from flin.engine.tree.store import Store
from flin.engine.tree.used_keys import has_older_key
from flin.errors import ClosedError, CorruptionError, FlinError, HelperDiedError, drop_traceback

logger = logging.getLogger("flin.engine")

RETRY_SECONDS: Final = 1.0
"""The pause after a job failed (mostly for a full disk): short enough to resume soon, long enough to do no harm."""

COMPACTION_THREADS: Final = 2
"""One for a long merge, which may take minutes, and one for the small merges that flushes make due meanwhile. Each
costs a slice of memory in the helper, which runs the smaller merge first."""

LOOK_SECONDS: Final = 0.1
"""How often a merge that is made while nothing is written looks whether that has changed."""

PATIENT_SESSION: Final = 4
"""A close cancels the merges that have done less than half of their work, so it takes no longer than they have taken.
Each fourth session waits for them: else programs that run for seconds would begin the same merge again and again."""

TARGET_TABLE_SHARE: Final = 8
"""The memory limit divided by this bounds a table's size: its index and filter are held while it is written."""


def _files_read(state: ReadState, compaction: Compaction, worn: Sequence[ValueFile]) -> list[Table | OpenValueFile]:
    """What the compaction reads: the files stay for as long as these are held."""
    inputs = {(table.file, table.offset) for run in compaction.rewrite for table in run}
    tables = (table for run in state.runs[compaction.shard] for table in run.tables)
    return [
        *(table for table in tables if (table.meta.file, table.meta.offset) in inputs),
        *(state.value_files[each.number] for each in worn),
    ]


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
        self._slice_bytes = store.options.budget.compaction_slice
        block_size = store.options.block_size_bytes
        codec = store.options.compression
        self._table_options = TableOptions(block_size_bytes=block_size, codec=codec, zstd_level=ABOVE_BOTTOM_LEVEL)
        self._bottom_options = TableOptions(block_size_bytes=block_size, codec=codec)
        # RLocks: a debugger may raise between the end of a `with` and its exit; then that thread must be able to close.
        self._busy: list[Compaction] = []
        self._damaged = DamagedWork(store.directory)
        self._busy_lock = RLock()
        self._compaction_ended = Condition(self._busy_lock)
        self._background_errors: dict[int, BaseException] = {}  # by the thread that met each; guarded by `_busy_lock`
        self._stopping = False
        self._full_compactions = 0  # under way; guarded by `_busy_lock`
        self._handles: set[JobHandle] = set()  # of the compactions under way; guarded by `_busy_lock`
        self._flush_wanted = Bell()
        self._compaction_wanted = [Bell() for _ in range(COMPACTION_THREADS)]
        self._quiet = Quiet()
        self._lane = FlushLane(store, runner, self.statistics, self._want_compaction)
        self.counter = Counter(store, lambda job: self._run(job, False), self.note_failure)
        self._maintenance = Maintenance(
            store,
            self.sweeper,
            self._damaged,
            self.statistics,
            self.note_failure,
            self._quiet,
            self._want_compaction,
        )
        self._threads: list[Thread] = []
        self._others: list[tuple[str, Bell, Callable[[], bool]]] = []
        self._hidden = HiddenEntries()
        self._pointed = PointedValues()
        self._profiles = RunProfiles()  # guarded by `_busy_lock`
        self._prepare_wanted = False
        store.listeners.on_sealed = self.wake
        store.listeners.on_filling = self._prepare
        # With threads, too: an interrupted call of `flush` has left work that no thread was told of.
        store.listeners.on_stopped = self.wake if threads else self.run_pending

    def set_sizes(self, options: CompactionOptions, slice_bytes: int) -> None:
        """Merge by other sizes from now on. Tests make a small database behave as a large one."""
        self._options, self._slice_bytes = options, slice_bytes

    def add(self, name: str, bell: Bell, work: Callable[[], bool]) -> None:
        """Before the start: a thread more, which works each time that the bell rings, as long as there is work."""
        self._others.append((name, bell, work))

    def start(self) -> None:
        """Begin, with the work that recovery left."""
        if self._threads_wanted:
            loops: list[tuple[str, Callable[[], None]]] = [("flush", self._flush_loop)]
            loops += [("compaction", partial(self._compaction_loop, wanted)) for wanted in self._compaction_wanted]
            loops += [("maintenance", self._maintenance.run)]
            loops += [(name, partial(self._loop, bell, work)) for name, bell, work in self._others]
            for name, work in loops:
                thread = Thread(target=work, name=f"flin-{name}", daemon=True)
                self._threads.append(thread)  # first: an interrupt may come after the start
                start_thread(thread)
        self.wake()

    def wake(self) -> None:
        """Tell the background that there may be work."""
        if self._threads_wanted:
            self._flush_wanted.ring()
            return
        if is_reentered(levels=3):  # this, _maybe_seal and the write; the outer call may be doing the due work
            return
        try:
            self.run_pending()
        except FlinError as error:  # the write that made it due is done; a later one that must wait gets the error
            self.note_failure(error)

    def _prepare(self) -> None:
        """Called while the first generation fills: a helper started only at its flush would stall writers (0.2 s)."""
        self._prepare_wanted = True
        if self._threads_wanted:
            self._flush_wanted.ring()

    def run_pending(self) -> None:
        """Do everything that is due, in this thread."""
        while self.flush_once():
            pass
        while self.compact_once():
            pass
        self._store.tables.remove_obsolete()

    def _want_compaction(self) -> None:
        for bell in self._compaction_wanted:
            bell.ring()

    @holds_lock
    def flush_once(self, *, urgent: bool = True) -> bool:
        """Flush the oldest sealed generation; False if there is none. `urgent`: the caller waits for it."""
        done = self._lane.flush_once(urgent=urgent)
        if done and not self._threads_wanted:  # else other threads do, since writers may be waiting for this one
            self._store.tables.remove_obsolete()
        return done

    def discard_flushes(self) -> None:
        """Discard flushes that have begun and are not committed."""
        self._lane.discard()

    def compact_once(self) -> bool:
        """Do the most useful compaction, if one is worth doing."""
        return self._compact(self._pick)

    def _pick(self, state: ReadState) -> Compaction | None:
        version, taken = self._counted(state), self._taken(state)
        hides = self._hidden.among(state)
        compaction = pick_compaction(version, self._options, taken, hides, self._profiles)
        return compaction or pick_collection(version, self._options, taken, self._pointed.among(state))

    def _counted(self, state: ReadState) -> Version:
        """The state's version as the next edit will have it. A plan by one that does not know of the last count would
        be superseded by it, and made again, without end."""
        return self._store.live_count.settled(state.version)

    def merge_idle_once(self) -> bool:
        """Make a merge that pays only while nothing is written. False if there is none, or if a write cancelled it."""
        try:
            done = self._compact(lambda state: pick_idle(self._counted(state), self._options, self._taken(state)))
        except JobCancelled:
            self._quiet.end(cancelled=True)
            if self._stopping:
                raise
            return False
        self._quiet.end(cancelled=False)
        return done

    def _compact_or_use_quiet(self) -> bool:
        if self.compact_once():
            return True
        if self._full_compactions or not self._quiet.reached(self._store.position, monotonic()):
            return False
        if self.merge_idle_once():
            return True
        if not self._busy:
            self.counter.count_idly()  # last, because a merge settles for nothing
        return False

    def compact_fully(self, start: bytes = b"", stop: bytes | None = None) -> None:
        """Merge all runs of every shard into one, without tombstones, or what they hold from `start` to `stop`. A merge
        that only uses the quiet ends: it has the lowest priority, and the caller would wait for it."""
        self._count_full_compactions(1)
        try:
            for shard in range(self._store.manifest.shards):
                self._compact_shard_fully(shard, start, stop)
        finally:
            self._count_full_compactions(-1)
            self._want_compaction()  # the threads held back meanwhile, and these merges told what is garbage

    @holds_lock
    def _count_full_compactions(self, change: int) -> None:
        with self._busy_lock:
            self._full_compactions += change

    def _compact_shard_fully(self, shard: int, start: bytes = b"", stop: bytes | None = None) -> None:
        def is_older(table: TableMeta) -> bool:
            name = maybe_parse(table.file)
            may_be = name is not None and name.number < coming_job  # nothing is renewed twice, so that this ends
            return may_be and has_older_key(store.options.fs, join(store.directory, table.file))

        def pick(state: ReadState) -> Compaction | None:
            version, taken = self._counted(state), self._taken(state)
            older = {each.number for each in self._older_files(version)}
            values_of = self._pointed.among(state)

            def is_stale(table: TableMeta) -> bool:
                # Each renewal moves values out of older files, so that this ends, too.
                return is_older(table) or any(number in older for number, _ in values_of(table) if older)

            return pick_full_compaction(version, shard, self._options, taken, start, stop, is_stale)

        store = self._store
        coming_job = store.coming_job
        while self._compact(pick) or self._wait_for_compaction(shard):
            pass
        damage = self._damaged.error_in(shard)
        if damage is not None:
            raise damage

    def _older_files(self, version: Version) -> tuple[ValueFile, ...]:
        """The value files that are sealed with an older data key than new ones are."""
        store = self._store
        return tuple(
            each for each in version.value_files if has_older_key(store.options.fs, join(store.directory, each.file))
        )

    def _taken(self, state: ReadState) -> list[Compaction]:
        """The compactions whose runs no other may touch. One whose edit counts already may still be among the busy."""
        shards = state.version.shards
        return [
            each for each in (*self._busy, *self._damaged.compactions()) if has_its_inputs(each, shards[each.shard])
        ]

    @holds_lock
    def _wait_for_compaction(self, shard: int) -> bool:
        """Wait until some compaction ends, if one of the shard is under way: it may block another."""
        with self._busy_lock:
            waits = any(compaction.shard == shard for compaction in self._busy)
            if waits:
                self._compaction_ended.wait()
            return waits

    @holds_lock
    def _compact(self, pick: Callable[[ReadState], Compaction | None]) -> bool:
        store = self._store
        with self._busy_lock:
            compaction = pick(store.state)
            if compaction is None:
                return False
            self._busy.append(compaction)
        try:
            self._carry_out(compaction)
        except (Superseded, JobCancelled) as error:  # its files are removed; what is due now is picked anew
            with self._busy_lock:
                self.statistics.discarded += 1
            if isinstance(error, JobCancelled):
                raise
        except CorruptionError as error:
            with self._busy_lock:
                self._damaged.set_aside(compaction, error)
            raise
        finally:
            with self._busy_lock:
                self._busy.remove(compaction)
                self._compaction_ended.notify_all()
        self.sweeper.let_go()
        store.tables.remove_obsolete()
        return True

    @holds_lock
    def _carry_out(self, compaction: Compaction) -> None:
        store, done = self._store, self.statistics
        now_ms = store.expired_ms()
        if compaction.trivial:
            store.install_compaction(lambda version: self._after(version, compaction, (), {}), now_ms)
            done.trivial_moves += 1
            return
        state = store.state
        worn = worn_files(state.version) if compaction.bottom else ()
        if compaction.reason == RENEWS:
            chosen = {*worn, *self._older_files(state.version)}
            worn = tuple(sorted(chosen, key=lambda each: each.number))
        held = _files_read(state, compaction, worn)
        job = CompactionJob(
            store.directory,
            store.next_job(),
            store.manifest.epoch,
            compaction.shard,
            compaction.rewrite,
            compaction.bottom,
            self._bottom_options if compaction.bottom else self._table_options,
            now_ms,
            compaction.target_table_bytes,
            self._slice_bytes,
            compaction.output_boundaries,
            compaction.urgent,
            compaction.fences,
            compaction.settles,
            compaction.settled_inputs,
            worn,
            bool(state.version.value_files),
        )
        del state  # else no file of its whole version would be removed until the job has ended
        began = monotonic()
        idle = compaction.reason == REASON
        try:
            result = self._run(job, idle)
        except JobStarved:
            done.starved += 1
            if idle:
                raise
            job = replace(job, urgent=True)
            result = self._run(job, False)
        outputs = result.tables.get(compaction.shard, ())
        install_result(
            store,
            job,
            lambda: store.install_compaction(
                lambda version: self._after(version, compaction, outputs, result.counts),
                now_ms,
                result.value_files,
                result.live_values,
            ),
        )
        del held
        with self._busy_lock:
            done.note_job(result.statistics.bytes_in, monotonic() - began)
            done.compactions += 1
            done.compaction_seconds += result.statistics.cpu_seconds
            done.compacted_entries += result.statistics.entries_in
            done.compacted_bytes += result.statistics.bytes_out
            done.collected_bytes += result.statistics.collected_bytes
            done.reasons[compaction.reason] = done.reasons.get(compaction.reason, 0) + 1

    def _after(self, version: Version, compaction: Compaction, outputs: Run, counts: dict[int, int]) -> Version:
        """The version after the compaction: the tables that moved settle without a job."""
        shard = compaction.shard
        if not changes_count(compaction, version.shards[shard], version.unsettled[shard]):
            counts = {}
        else:
            for table in compaction.counted_moves:
                counts = add_counts(counts, dict(table.points or ()))
        runs, unsettled = install(version.shards[shard], compaction, outputs, version.unsettled[shard])
        options = self._options.at(sum(map(run_bytes, runs)))
        fences = parted(runs, version.fences[shard], options.range_bytes)
        rewritten = [table.largest_sequence for run in compaction.rewrite for table in run] if compaction.bottom else []
        return with_shard(
            version,
            shard,
            runs,
            unsettled=unsettled,
            fences=fences,
            counts=counts,
            bottom_sequence=max(rewritten, default=0),
        )

    def _run(self, job: CompactionJob | CountJob, ends_at_a_write: bool) -> JobResult:
        try:
            return self._run_once(job, ends_at_a_write)
        except HelperDiedError as error:
            log_retry(job, error)
            return self._run_once(job, ends_at_a_write)

    @holds_lock
    def _run_once(self, job: CompactionJob | CountJob, ends_at_a_write: bool) -> JobResult:
        position = self._store.position
        handle = self._runner.submit(job)
        with self._busy_lock:
            self._handles.add(handle)
            if self._stopping:
                handle.cancel(unless_half=True)
        try:
            while ends_at_a_write and not handle.wait(LOOK_SECONDS):
                if self._store.position != position or self._full_compactions:
                    handle.cancel()
                    ends_at_a_write = False
            return handle.result()
        finally:
            with self._busy_lock:
                self._handles.discard(handle)

    # The threads.

    def _flush_loop(self) -> None:
        self._loop(self._flush_wanted, self._prepare_or_flush)

    def _prepare_or_flush(self) -> bool:
        if self._prepare_wanted:
            self._prepare_wanted = False
            self._runner.prepare(self._store.full_wal_bytes())
        return self.flush_once(urgent=False)

    def _compaction_loop(self, wanted: Bell) -> None:
        wanted.ring()
        self._loop(wanted, self._compact_or_use_quiet)

    def _loop(self, wanted: Bell, work: Callable[[], bool]) -> None:
        while not self._stopping:
            try:
                wanted.wait()
                while not self._stopping and self._store.read_only_reason is None and work():
                    self._note_background_error(None)
                self._note_background_error(None)
            except (ClosedError, JobCancelled):
                return
            except BaseException as error:  # whatever it is: no other thread does this work, and writers wait for it
                self._pause(error)
                if not (isinstance(error, CorruptionError) and work == self._prepare_or_flush):
                    wanted.ring()

    def _pause(self, error: BaseException) -> None:
        """Wait until the work that failed is tried again."""
        try:
            self.note_failure(error)
            if not isinstance(error, HelperDiedError):  # a dead helper is replaced
                self._note_background_error(error)
            self._maintenance.ended.wait(RETRY_SECONDS)  # set only at the end: a sleep that may end early
        except MemoryError:  # logging and waiting need memory, too; the thread must not end for that
            sleep(RETRY_SECONDS)

    def sweep(self) -> int:
        """Delete expired keys. Returns how many."""
        return self._maintenance.sweep()

    @holds_lock
    def _note_background_error(self, error: BaseException | None) -> None:
        """Note why this thread's last job failed; None once one ended well, or none is due any more."""
        with self._busy_lock:
            if error is not None:
                self._background_errors[get_ident()] = error
            elif self._background_errors.pop(get_ident(), None) is None:
                return
            self._store.set_background_error(next(iter(self._background_errors.values()), self._damaged.first))

    def note_failure(self, error: BaseException) -> None:
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
        """End the threads, each after its present job; the runner stays usable."""
        with self._busy_lock:
            self._stopping = True
            if self._store.manifest.epoch % PATIENT_SESSION:
                for handle in self._handles:  # a flush may finish: else the next open would do it again
                    handle.cancel(unless_half=True)
        self._maintenance.ended.set()
        self._flush_wanted.ring()
        self._want_compaction()
        for _, bell, _ in self._others:
            bell.ring()
        for thread in list(self._threads):
            if thread.is_alive() and thread is not current_thread():  # else it ended, or could not be started
                thread.join()
