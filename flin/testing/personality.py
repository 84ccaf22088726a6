"""The old name of crash_model.py, until the next release."""

from __future__ import annotations

from flin.testing.crash_model import POWER_CUTS, CrashModel, after_crash, every_crash, killed

Personality = CrashModel

__all__ = ["POWER_CUTS", "Personality", "after_crash", "every_crash", "killed"]
