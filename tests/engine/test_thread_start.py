"""Threads that find no memory to start: their starter is told, and does not wait for ever."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from threading import Event, Thread
from typing import Any, NoReturn

import pytest

from flin.engine import thread_start
from flin.engine.thread_start import start_thread
from flin.testing.process import PATIENCE_SECONDS

_FULL = """
import resource, threading, time
from flin.engine import thread_start

def nap():
    time.sleep(0.1)

# The stacks of these are kept for later threads: to make one takes memory, too, and fails with words.
earlier = [threading.Thread(target=nap) for _ in range(3)]
for thread in earlier:
    thread.start()
for thread in earlier:
    thread.join()
thread_start.mmap = lambda *_: open("/dev/null")  # as if others had taken the room since
thread = threading.Thread(target=nap)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
filled = []
resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
try:
    while True:
        filled.append(bytearray(100))
except MemoryError:
    pass
try:
    thread_start.start_thread(thread)
except MemoryError:
    told = True
else:
    told = False
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
assert told
assert not thread.is_alive()
assert thread not in threading.enumerate()
after = threading.Thread(target=nap)
thread_start.start_thread(after)
after.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, as Linux does")
def test_a_thread_without_memory_is_not_waited_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL], stderr=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_slow_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new thread may get no processor for long."""
    may_start, has_run = Event(), Event()
    monkeypatch.setattr(thread_start, "_LOOK_SECONDS", 0.001)

    class Slow(Thread):
        def _bootstrap(self) -> None:
            may_start.wait()
            super()._bootstrap()  # type: ignore[misc]

    thread = Slow(target=has_run.set)
    starter = Thread(target=start_thread, args=(thread,))
    starter.start()
    starter.join(0.1)
    assert starter.is_alive()
    may_start.set()
    starter.join()
    thread.join()
    assert has_run.is_set()


def test_a_started_thread_is_in_no_circle() -> None:
    """Where the collector is off, as in a helper, a circle would stay."""
    gc.disable()
    try:
        thread = Thread(target=gc.isenabled)
        start_thread(thread)
        thread.join()
        left = weakref.ref(thread)
        del thread
        assert left() is None
    finally:
        gc.enable()


def test_an_interrupt_of_a_start_comes_out_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of a signal raises inside of Thread.start, when the new thread lives already."""

    class TimeoutOfTheProgram(Exception):
        pass

    living, may_end = threading.Event(), threading.Event()

    def work() -> None:
        living.set()
        may_end.wait()

    primitive = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
    really = getattr(threading, primitive)

    def interrupted(*arguments: Any, **options: Any) -> NoReturn:
        really(*arguments, **options)
        living.wait()
        raise TimeoutOfTheProgram

    thread = threading.Thread(target=work)
    with monkeypatch.context() as patch:
        patch.setattr(threading, primitive, interrupted)
        with pytest.raises(TimeoutOfTheProgram):
            start_thread(thread)
    may_end.set()
    thread.join()
