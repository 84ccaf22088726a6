"""The edit of a job: what its files go through before they count, and what becomes of them if it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flin.engine.background.job import CompactionJob, FlushJob, Job, is_output_named
from flin.engine.background.job_run import remove_outputs
from flin.engine.tree.store import Store
from flin.errors import FlinError, drop_traceback

logger = logging.getLogger("flin.engine")


def install_result(store: Store, job: FlushJob | CompactionJob, edit: Callable[[], None]) -> None:
    """Commit the edit. If that fails, the job's files are removed, unless the new manifest may be on the disk; an
    interrupt may also come when the edit counts already."""
    try:
        edit()
    except BaseException as error:
        if store.read_only_reason is None and not is_output_named(store.manifest.version, job):
            try:
                remove_outputs(store.options.fs, job)
            except FlinError as refused:  # the first failure is the cause; the next open removes what stays
                error.add_note(f"and its files are still there: {refused}")
        raise


def log_retry(job: Job, error: FlinError) -> None:
    """Log that the job is run again at once: the caller that waits (a flush, a close) did nothing wrong. If a second
    helper dies, too, the job may be the cause (memory), and the background tries again more slowly."""
    logger.warning("job %d runs again: %s", job.number, str(error))
    drop_traceback(error)
