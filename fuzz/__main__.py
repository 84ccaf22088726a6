"""Run the fuzzers for as long as one likes, or replay inputs.

    python -m fuzz all --seconds 3600           every surface, the time divided among them, on all cores
    python -m fuzz wal --seconds 3600 --seed 7
    python -m fuzz wal FILE…                    replay these inputs, or those in a folder
    python -m fuzz wal --merge 60               take the best inputs of the working corpus into the corpus

Each surface is searched by a process of its own, which may hang, run out of memory or be ended by libFuzzer; this one
starts them, shows their progress, and ends what they leave.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from fuzz.surface import Surface, UnusableError, files_in, replay_command, surfaces

PROGRESS_SECONDS: Final = 10.0
MOST_SEEDS: Final = 1 << 31  # libFuzzer's are 32 bits
KEPT_LINES: Final = 60
"""How many of a search's last lines are kept: shown if it ended neither with a finding nor with the end of its time."""

FOUND: Final = 1
UNUSABLE: Final = 2
LIBFUZZER_FINDINGS: Final = (70, 71, 77)
"""Exit codes for a hang, exhausted memory and a fatal signal; the input may have been in the corpus before."""

_COUNT = re.compile(r"#(\d+)\b")
_COVERAGE = re.compile(r"\bcov: (\d+) ft: (\d+) corp: (\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    known = surfaces()
    if options.name != "all" and options.name not in known:
        parser.error(f"{options.name} is none of: all, {', '.join(known)}")
    chosen = list(known.values()) if options.name == "all" else [known[options.name]]
    if (options.files or options.merge) and len(chosen) > 1:
        parser.error("one surface, not all")
    if options.engine is None:
        options.engine = "atheris" if importlib.util.find_spec("atheris") else "hypothesis"
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1, MOST_SEEDS)
    try:
        if options.child:
            return _search(chosen[0], options)
        if options.files:
            return replay(chosen[0], options.files)
        if options.merge:
            from fuzz.merge import merge

            return merge(chosen[0], options.merge)
    except UnusableError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    return Searches(options, chosen).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Search a surface of Flin for inputs that break its invariant, or replay some.",
        epilog="Exit code: 0 nothing found, 1 a finding, 2 it cannot run.",
    )
    parser.add_argument("name", metavar="NAME", help=f"all, {', '.join(surfaces())}")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="replay these instead, folders as well")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on, all together (default 60)")
    parser.add_argument("--seed", type=int, help="of the search (default: another one each time)")
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), help="default: atheris where it is installed")
    parser.add_argument("--inputs", type=int, help="end after so many of each surface, whatever the time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--merge", type=int, metavar="N", help="add at most N inputs to the corpus")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def replay(surface: Surface, paths: Sequence[Path]) -> int:
    """Replay one input after the other, and report every failure."""
    one_input = surface.one_input()
    files = [file for path in paths for file in (files_in(path) if path.is_dir() else [path])]
    failed = 0
    for file in files:
        try:
            one_input(file.read_bytes())
        except Exception:  # whatever escapes is what is looked for
            traceback.print_exc(file=sys.stdout)
            print(f"{file} fails\n")
            failed += 1
    print(f"{surface.name}: {len(files)} inputs, {failed} fail")
    return FOUND if failed else 0


def _search(surface: Surface, options: argparse.Namespace) -> int:
    """The work of a child."""
    if options.engine == "atheris":
        from fuzz.atheris_engine import search
    else:
        from fuzz.hypothesis_engine import search
    return search(surface, options.seconds, options.inputs, options.seed)


class Searches:
    """The children, as many at a time as there are jobs."""

    def __init__(self, options: argparse.Namespace, chosen: list[Surface]) -> None:
        self._options = options
        self._chosen = chosen
        jobs = min(options.jobs, len(chosen))
        self._seconds = options.seconds * jobs / len(chosen)
        self._pool = ThreadPoolExecutor(jobs)
        self._children: list[subprocess.Popen[str]] = []
        self._is_interrupted = False

    def run(self) -> int:
        options = self._options
        print(f"{options.engine}, seed {options.seed}, {self._seconds:.0f} s for each surface", flush=True)
        with self._pool:
            try:
                codes = list(self._pool.map(self._one, self._chosen))
            except KeyboardInterrupt:
                self._is_interrupted = True
                self._pool.shutdown(wait=False, cancel_futures=True)
                for child in self._children:
                    _end_group(child)
                return 128 + signal.SIGINT
        return FOUND if FOUND in codes else max(codes)

    def _one(self, surface: Surface) -> int:
        """Search one surface; 0, FOUND or UNUSABLE."""
        options = self._options
        before = set(surface.inputs())
        command = [sys.executable, "-m", "fuzz", surface.name, "--child", "--engine", options.engine]
        command += ["--seconds", str(self._seconds), "--seed", str(options.seed)]
        command += ["--inputs", str(options.inputs)] if options.inputs is not None else []
        with TemporaryDirectory(prefix="flin-fuzz-") as scratch:
            # A process group of its own, and a folder for temporary files: a child may end without cleaning up.
            environment = {**os.environ, "TMPDIR": scratch}
            child = subprocess.Popen(
                command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment, start_new_session=True
            )
            self._children.append(child)
            # Processes of the child may hold the pipe open: the search ends with the child, not with the pipe.
            reaper = threading.Thread(target=_end_behind, args=(child,))
            reaper.start()
            assert child.stderr is not None
            last = self._follow(surface, child.stderr)
            reaper.join()
            code = child.returncode
        if code in (0, FOUND) or self._is_interrupted:
            return code
        kept = [path for path in surface.inputs() if path not in before]
        print("".join(last), end="")
        for path in kept:
            print(f"FOUND in {surface.name}\nkept as {path}\n{replay_command(surface, path)}")
        print(f"{surface.name} ended with {code}", flush=True)
        return FOUND if kept or code in LIBFUZZER_FINDINGS else UNUSABLE

    def _follow(self, surface: Surface, lines: IO[str]) -> deque[str]:
        """Show the progress of the search. Returns its last other lines."""
        last: deque[str] = deque(maxlen=KEPT_LINES)
        began = told = time.monotonic()
        ran, coverage = 0, ""
        for line in lines:
            count, covered = _COUNT.match(line), _COVERAGE.search(line)
            if count is None:
                if not line.startswith("INFO: "):
                    last.append(line)
                continue
            ran = int(count[1])
            if covered is not None:
                coverage = f", {covered[1]} places and {covered[2]} features covered, {covered[3]} inputs kept"
            now = time.monotonic()
            if now - told >= PROGRESS_SECONDS:
                told = now
                self._tell(surface, ran, now - began, coverage)
        self._tell(surface, ran, time.monotonic() - began, f"{coverage}, ended")
        return last

    def _tell(self, surface: Surface, ran: int, seconds: float, coverage: str) -> None:
        rate = f"{ran:,} inputs, {ran / seconds:,.0f}/s" if seconds else f"{ran:,} inputs"
        print(f"{seconds:6.0f} s  {surface.name:<10} {rate}{coverage}", flush=True)


def _end_behind(child: subprocess.Popen[str]) -> None:
    """Once the child has ended, end the processes that it has started."""
    child.wait()
    _end_group(child)


def _end_group(child: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
