"""`flin.testing.process`: what is stopped goes on, however that ends who has stopped it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from flin.testing.process import is_alive, kill, state_of, stopped, wait_until
from tests.program import Program

IDLE = "import sys; sys.stdin.read()"
"""It ends when its parent does."""

STOPPING = f"""
import subprocess, sys
from flin.testing.process import stopped
child = subprocess.Popen([sys.executable, "-c", {IDLE!r}], stdin=subprocess.PIPE)
with stopped([child.pid]):
    print(f"it is stopped: {{child.pid}} .", flush=True)
    sys.stdin.read()
"""


def test_a_stop_ends_with_its_block() -> None:
    with subprocess.Popen([sys.executable, "-c", IDLE], stdin=subprocess.PIPE) as child:
        with suppress(LookupError), stopped([child.pid]):
            wait_until(lambda: state_of(child.pid) == "T", "it is stopped")
            raise LookupError
        wait_until(lambda: state_of(child.pid) != "T", "it goes on")
        with stopped([child.pid]):
            child.kill()
        assert child.wait() == -signal.SIGKILL


def test_a_stop_ends_with_who_was_killed_amid_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(STOPPING)
    program = Program(tmp_path, ["program.py"])
    child = 0
    try:
        child = int(program.found(r"it is stopped: (.*) \."))
        wait_until(lambda: state_of(child) == "T", "it is stopped")
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(child), "it goes on, and ends")
    finally:
        program.kill()
        if state_of(child) == "T":
            kill(child)
