"""All threads as they are now: where each is, and what it waits for.

What a thread waits for is told by two witnesses. Its innermost frames: a lock, a queue, the network. And the kernel,
where it says so (Linux): whether the thread runs, sleeps or waits for the disk, and in which of its functions.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for the disk",
    "T": "stopped",
    "t": "traced",
    "Z": "ended",
    "I": "idle",
}

_WAITS: Final = (
    # The file and function of a frame, from the innermost one outwards; the first that is found tells.
    ("concurrent/futures/thread.py", "_worker", "work: this thread of a pool is idle"),
    ("background/bell.py", "wait", "work: this thread of the background is idle"),
    ("queue.py", "get", "something in a queue"),
    ("logging/handlers.py", "_monitor", "lines for the log"),
    ("selectors.py", "select", "the network, or a timer"),
    ("asyncio/runners.py", "run", "the network, or a timer"),
    ("threading.py", "join", "the end of another thread"),
    ("threading.py", "wait", "a condition that another thread signals"),
    ("threading.py", "acquire", "a lock"),
    ("subprocess.py", "wait", "the end of a process"),
)

INNERMOST: Final = 4
"""Frames that are looked at: a wait further out has called what runs now."""


def waits_for(frames: Sequence[tuple[str, str]]) -> str:
    """What a thread waits for, by its innermost frames (file and function, innermost last); empty: by them, nothing.

    >>> waits_for([("app.py", "run"), ("lib/threading.py", "wait")])
    'a condition that another thread signals'
    """
    for file, function in [*reversed(frames)][:INNERMOST]:
        for end, name, text in _WAITS:
            if function == name and file.replace("\\", "/").endswith(end):
                return text
    return ""


def all_threads() -> list[dict[str, Any]]:
    """Each thread but this one."""
    frames = sys._current_frames()
    return [
        _described(thread, traceback.extract_stack(frames[thread.ident]))
        for thread in threading.enumerate()
        if thread.ident in frames and thread is not threading.current_thread()
    ]


def _described(thread: threading.Thread, stack: traceback.StackSummary) -> dict[str, Any]:
    state, kernel = _in_kernel(f"/proc/self/task/{thread.native_id}")
    return {
        "name": thread.name,
        "thread_id": thread.native_id,
        "is_daemon": thread.daemon,
        "state": state,
        "kernel": kernel,
        "waits_for": waits_for([(frame.filename, frame.name) for frame in stack]),
        "stack": [f"{frame.filename}:{frame.lineno} {frame.name}: {frame.line}" for frame in stack],
    }


def processes(pids: Iterable[int]) -> list[dict[str, Any]]:
    """The helpers: whether each runs, or waits for its next job."""
    found = []
    for pid in pids:
        state, kernel = _in_kernel(f"/proc/{pid}")
        found.append({"pid": pid, "state": state, "kernel": kernel})
    return found


def _in_kernel(folder: str) -> tuple[str, str]:
    """The state, and the function of the kernel in which it waits; empty where the system does not tell."""
    return _STATES.get(_read(folder, "stat").rpartition(") ")[2][:1], ""), _read(folder, "wchan").strip("0\n")


def _read(folder: str, name: str) -> str:
    try:
        return Path(folder, name).read_text("utf-8", "replace")
    except OSError:  # another system, a kernel that does not say, or it has just ended
        return ""


def shown(threads: Sequence[dict[str, Any]], helpers: Sequence[dict[str, Any]]) -> str:
    """As a page of text."""
    lines = []
    for thread in threads:
        waits = thread["waits_for"] and f", waits for {thread['waits_for']}"
        where = thread["kernel"] and f" ({thread['kernel']})"
        lines += [f"thread {thread['name']} ({thread['thread_id']}): {thread['state']}{where}{waits}"]
        lines += [f"    {line}" for line in thread["stack"]]
        lines.append("")
    for helper in helpers:
        where = helper["kernel"] and f" ({helper['kernel']})"
        lines.append(f"helper process {helper['pid']}: {helper['state'] or 'gone'}{where}")
    return "\n".join(lines) + "\n"
