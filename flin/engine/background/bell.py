"""A bell: wakes the thread that waits for it."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Bell:
    """Rung before the wait, it ends the wait at once; rung twice, it may end one wait or two.

    A `threading.Event` takes a lock that is not reentrant: a signal handler that writes, and so rings in the middle of
    a ring, would wait forever. A SimpleQueue is made for that."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a ring. False if none came before the timeout."""
        try:
            self._rings.get(timeout=timeout_seconds)
        except Empty:
            return False
        return True
