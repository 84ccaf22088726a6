"""Where memory is allocated: tracemalloc for some seconds, and the lines that hold most of what came meanwhile."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any, Final

SHOWN_LINES: Final = 50

COST: Final = "it makes the server up to eight times as slow while it runs, and stops it for a moment at the end"


def trace(seconds: float) -> dict[str, Any]:
    """Trace for so long. Blocks; any thread. What was allocated before is not seen, nor what was freed meanwhile."""
    tracemalloc.start()
    try:
        time.sleep(seconds)
        traced, peak = tracemalloc.get_traced_memory()
        lines = tracemalloc.take_snapshot().statistics("lineno")
    finally:
        tracemalloc.stop()
    return {
        "bytes": traced,
        "peak_bytes": peak,
        "lines": [
            {
                "file": each.traceback[0].filename,
                "line": each.traceback[0].lineno,
                "bytes": each.size,
                "blocks": each.count,
            }
            for each in lines[:SHOWN_LINES]
        ],
    }
