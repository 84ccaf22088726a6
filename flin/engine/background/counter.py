"""The counter: has unsettled runs counted in a helper, for those who ask, and unasked while nothing is written.

What it finds joins the next edit (read/live_count.py). So a crash between a count and its edit loses the count only.
"""

from __future__ import annotations

from collections.abc import Callable

from flin.engine.background.job import CountJob, JobCancelled, JobResult
from flin.engine.catalog.version import Version
from flin.engine.memtable import add_counts
from flin.engine.tree.store import Store
from flin.errors import ClosedError, HelperDiedError, JobFailedError


class Counter:
    """The counter of one store."""

    def __init__(
        self, store: Store, run: Callable[[CountJob], JobResult], note_failure: Callable[[BaseException], None]
    ) -> None:
        """`run` carries out a job and waits; it raises JobCancelled once the background ends."""
        self.jobs = 0
        self.entries = 0
        self.cpu_seconds = 0.0
        self._store = store
        self._run = run
        self._note_failure = note_failure
        store.live_count.count_away = self.count

    def count(self, version: Version, asked: bool) -> dict[int, int] | None:
        """By how much the version's unsettled runs change the number of live keys. None if the background has ended, or
        its helper fails: then the caller counts. The caller holds the state, so that the files stay.

        StorageError, CorruptionError or FormatVersionError if a table cannot be read."""
        store = self._store
        change: dict[int, int] = {}
        for shard, (runs, unsettled) in enumerate(zip(version.shards, version.unsettled, strict=True)):
            if not unsettled:
                continue
            number, epoch = store.next_job(), store.manifest.epoch
            job = CountJob(store.directory, number, epoch, shard, runs[:unsettled], runs[unsettled:], asked)
            try:
                result = self._run(job)
            except (JobCancelled, ClosedError):
                return None
            except (HelperDiedError, JobFailedError) as error:
                self._note_failure(error)
                return None
            change = add_counts(change, result.counts)
            self.jobs += 1
            self.entries += result.statistics.entries_in
            self.cpu_seconds += result.statistics.cpu_seconds
        return change

    def count_idly(self) -> None:
        """Count what there is, at low priority, and commit that, as well as what somebody has asked for since the last
        edit. Called while nothing is written and no merge is under way."""
        store = self._store
        if any(store.state.version.unsettled):
            store.live_count.settle(store.state, asked=False, few=0)
            store.install_counted(store.now_ms())
