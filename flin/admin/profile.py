"""A profile of the process by sampling: which functions its threads are in, a hundred times a second.

No package and no tracing: a thread looks at all stacks (`sys._current_frames`). It needs the interpreter's lock for
that, as everybody does, so on a busy server it sees fewer moments than it asks for, and more often those at which a
thread gave the lock away. Functions count by what they are, not by line. Both formats are read by speedscope.app and by
flame graphs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import Any, Final, TypeAlias

HERTZ: Final = 100
"""Measured: 4 % of the process while it runs."""

Samples: TypeAlias = "list[tuple[list[str], int]]"
"""Stacks, outermost first (a thread's name, then functions), and how often each was seen."""


def sample(seconds: float) -> Samples:
    """Look for so long. Blocks; any thread, which is left out."""
    seen: Counter[tuple[str, ...]] = Counter()
    own = threading.get_ident()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != own:
                seen[names.get(ident, "a thread that Python has not started"), *functions_of(frame)] += 1
        time.sleep(1 / HERTZ)
    return [(list(stack), count) for stack, count in seen.items()]


def functions_of(frame: FrameType | None) -> Iterable[str]:
    """The functions of a stack, outermost first."""
    found = []
    while frame is not None:
        found.append(f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return reversed(found)


def collapsed(samples: Samples) -> str:
    """One line for each stack: `thread;outer;inner 12`.

    >>> collapsed([(["loop", "a.b", "a.c"], 2)])
    'loop;a.b;a.c 2\\n'
    """
    return "".join(f"{';'.join(name.replace(';', ',') for name in stack)} {count}\n" for stack, count in samples)


def speedscope(samples: Samples) -> dict[str, Any]:
    """A file of https://www.speedscope.app: a profile for each thread."""
    frames: dict[str, int] = {}
    threads: dict[str, tuple[list[Sequence[int]], list[float]]] = {}
    for (thread, *functions), count in samples:
        stacks, weights = threads.setdefault(thread, ([], []))
        stacks.append([frames.setdefault(function, len(frames)) for function in functions])
        weights.append(count / HERTZ)
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "flin",
        "shared": {"frames": [{"name": name} for name in frames]},
        "profiles": [
            {
                "type": "sampled",
                "name": thread,
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": stacks,
                "weights": weights,
            }
            for thread, (stacks, weights) in threads.items()
        ],
    }
