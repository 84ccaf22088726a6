"""The old name of crash_checker.py, until the next release."""

from __future__ import annotations

from flin.testing.crash_checker import CrashChecker, assert_no_orphans, crash_every_workload, every_workload

Judge = CrashChecker

__all__ = ["Judge", "assert_no_orphans", "crash_every_workload", "every_workload"]
