"""The supervisor: starts the workers, starts those again that die, passes signals on, and ends when they have ended.

It answers no client and opens no database. What is to be done says fleet.py; this does it. Workers are new processes,
never forks. Each has a process group of its own, so what a terminal sends reaches them only through the supervisor. Two
pipes connect it with each of them (worker.py): one ends when the supervisor ends, however that comes, the other when
the worker ends.

It holds the lock of the directory of groups. After a kill of the supervisor its workers end by themselves, but need a
moment for that: the next one waits for them (workers_lock.py) before it takes their ports.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

from flin.cluster.workers.assignment import Assignment, ReplicaPlace, divided, shared
from flin.cluster.workers.fleet import (
    Abandon,
    Announce,
    Ending,
    Expire,
    Finish,
    Fleet,
    Member,
    Note,
    Signal,
    Start,
    Step,
)
from flin.cluster.workers.group_copies import begin_group_backups
from flin.cluster.workers.groups import Group, create_groups, make_databases, read_groups
from flin.cluster.workers.lines import Lines
from flin.cluster.workers.ports import WorkerSockets, bind_all
from flin.cluster.workers.worker_process import WorkerProcess
from flin.cluster.workers.workers_lock import workers_lock
from flin.cluster.workers.workers_page import WorkersPage
from flin.engine.disk.fs import OsFileSystem
from flin.engine.disk.lock import HeldLock, lock_directory
from flin.engine.options import Options, wall_clock_ms
from flin.errors import LockedError, StorageError, WorkerError
from flin.key_file import read_key
from flin.net.cluster.board import Board, new_board
from flin.net.diagnostics import Diagnostics, database_line, start_line
from flin.net.pid_file import pid_file
from flin.net.service_manager import ServiceManager
from flin.net.settings.options import ConfigError, ServerOptions
from flin.net.settings.reading import options_from_file
from flin.net.settings.reloading import reloaded

if TYPE_CHECKING:
    from flin.admin.server import Page

logger = logging.getLogger(__name__)

LOCK_SECONDS: Final = 15.0
"""How long to wait for workers whose supervisor was killed. They answer what they have read within 2 s, and close their
databases, which takes less than 5 s on an idle machine."""

LOCK_POLL_SECONDS: Final = 0.05


def supervise(options: ServerOptions, page: Page | None = None) -> int:
    """Serve a directory of groups until SIGTERM or SIGINT, and the operator's page of them. The exit code: 0 after a
    clean end.

    Raises ConfigError, LockedError, StorageError and what reading the groups raises, before any worker is started; and
    WorkerError if one cannot be started or does not end well."""
    options_of_all = shared(options)
    for number in (signal.SIGHUP, signal.SIGUSR1):  # till they are passed on; `flin serve &` outlives its terminal
        signal.signal(number, signal.SIG_IGN)
    fs = OsFileSystem()
    with Diagnostics(options, "supervisor") as diagnostics, ExitStack() as held:
        held.callback(locked(fs, options.dir).release)
        held.enter_context(pid_file(options.pidfile))
        groups = read_groups(options.dir)
        if groups:
            wait_for_locks(fs, groups, LOCK_SECONDS)
            lock = held.enter_context(workers_lock(options.dir, LOCK_SECONDS))
        sockets = bind_all(options)  # before a directory is made that another number of workers could not use
        for each in sockets:
            held.callback(each.close)
        if not groups:
            groups = create_groups(options.dir, options.workers)
            lock = held.enter_context(workers_lock(options.dir, LOCK_SECONDS))
        key = partial(_key_in, options.encryption_key_file) if options.encryption_key_file else None
        make_databases(groups, Options(shards=options.shards, encryption_key=key))
        if options.backup_dir:
            begin_group_backups(options.backup_dir, groups)
        board = new_board(len(groups))
        held.callback(os.close, board)
        workers_page = None if page is None else WorkersPage(page, options.dir, groups)
        supervisor = Supervisor(options_of_all, groups, sockets, lock, board, diagnostics, workers_page)
        return asyncio.run(supervisor.run())


def _key_in(path: str) -> bytes:
    return read_key(path)[0]


def locked(fs: OsFileSystem, directory: str) -> HeldLock:
    """Make the directory, if it is not there, and lock it. StorageError, LockedError."""
    try:
        fs.make_directory(directory)
    except OSError as error:
        raise StorageError("create", directory, error) from error
    return lock_directory(fs, directory, wall_clock_ms())


def wait_for_locks(fs: OsFileSystem, groups: Iterable[Group], seconds: float) -> None:
    """Wait until nobody has the groups' databases open. LockedError, with the holder, when the time is over."""
    deadline = time.monotonic() + seconds
    for group in groups:
        is_told = False
        while True:
            try:
                lock_directory(fs, str(group.directory), wall_clock_ms()).release()
                break
            except LockedError as error:
                if time.monotonic() >= deadline:
                    raise
                if not is_told:
                    logger.warning("%s; waiting for that for %g s at most", error, seconds)
                is_told = True
                time.sleep(LOCK_POLL_SECONDS)


class Supervisor:
    """One run, on an event loop. It owns neither the sockets nor the locks nor the board."""

    def __init__(
        self,
        options: ServerOptions,
        groups: Sequence[Group],
        sockets: Sequence[WorkerSockets],
        lock: int,
        board: int,
        diagnostics: Diagnostics,
        page: WorkersPage | None = None,
        of_workers: tuple[ServerOptions, ...] = (),
    ) -> None:
        """of_workers: the options of each, if they are not its share of all (`divided`)."""
        self._options = options
        self._diagnostics = diagnostics
        self._groups = groups
        self._sockets = sockets
        self._lock = lock
        ports = [(each.port, each.tls_port) for each in sockets]
        self._of_workers = of_workers or divided(options, groups, ports)
        self._fleet = Fleet([Member() for _ in groups])
        self._workers: dict[int, WorkerProcess] = {}
        self._board_descriptor = board
        self._board = Board(board, len(groups))
        self._lines = Lines()
        self._page = page
        self._recovered = 0
        self._began = time.monotonic()
        self._manager = ServiceManager()

    async def run(self) -> int:
        """Raises WorkerError."""
        if self._page is None:
            return await self._run()
        async with self._page.served():
            return await self._run()

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[str] = self._loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        # As without workers: the end of the terminal does not end the server.
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self._loop.add_signal_handler(signal.SIGUSR1, self._reopen)
        self._take(self._fleet.begin())
        self._manager.keep_watch(self._loop)
        try:
            problem = await self._finished
        finally:
            for worker in self._workers.values():  # none is left, unless this failed
                worker.cut()
        if problem:
            raise WorkerError(problem)
        return 0

    def _stop(self) -> None:
        self._manager.stopping()
        self._take(self._fleet.stop())

    def _hang_up(self) -> None:
        """Workers read the file again, and say what came of it; one that is started later is told what they know."""
        self._take(self._fleet.pass_on(signal.SIGHUP))
        path = self._options.config_file
        if not path:
            return
        try:
            values = options_from_file(path).file_values
        except (ConfigError, OSError):  # which the workers log, and change nothing either
            return
        found = reloaded(self._options, values)
        self._options = found.options
        self._of_workers = tuple(reloaded(each, values).options for each in self._of_workers)
        if "log_level" in found.changes:
            self._diagnostics.set_level(found.options.log_level)

    def _reopen(self) -> None:
        self._diagnostics.reopen()
        self._take(self._fleet.pass_on(signal.SIGUSR1))

    def _take(self, steps: Iterable[Step]) -> None:
        try:
            for step in steps:
                self._carry_out(step)
        except Exception as error:  # the outermost frame of a callback: the run ends by it
            if not self._finished.done():
                self._finished.set_exception(error)

    def _carry_out(self, step: Step) -> None:
        match step:
            case Start(number, 0):
                self._start(number)
            case Start(number, seconds):
                self._loop.call_later(seconds, self._start_again, number)
            case Expire(seconds):
                self._loop.call_later(seconds, lambda: self._take(self._fleet.expire()))
            case Signal(number, which):
                if worker := self._workers.get(number):  # else it could not even be started
                    worker.signal(which)
            case Abandon(number):
                self._sockets[number].close()
            case Announce():
                self._announce()
            case Note(text, is_error):
                logger.log(logging.ERROR if is_error else logging.INFO, "%s", text)
            case Finish(problem):
                self._finished.set_result(problem)

    def _start_again(self, number: int) -> None:
        if self._fleet.note_started(number):
            self._start(number)

    def _start(self, number: int) -> None:
        group = self._groups[number]
        plain, tls = self._sockets[number].numbers
        try:
            with self._lines.add(number) as control, self._page_end(number) as page:
                inherited = self._lock, self._board_descriptor, control.fileno()
                asked = None if page is None else page.fileno()
                options, place = self._of_workers[number], self._place(number)
                assignment = Assignment(options, tuple(plain), tuple(tls), *inherited, asked, place)
                worker = WorkerProcess(number, f"{group.first}-{group.last}", assignment)
        except OSError as error:  # no memory, no process or no file is left for it
            self._discard(number)
            ending = Ending(1, f"no process can be started: {error}")
            self._loop.call_soon(lambda: self._take(self._fleet.note_end(number, ending, self._loop.time())))
            return
        self._workers[number] = worker
        self._loop.add_reader(worker.reports, partial(self._hear, number, worker))

    def _place(self, number: int) -> ReplicaPlace | None:
        """What a worker is told if it is a replica."""
        return None

    def _what(self) -> str:
        """What is served, in the line at the start."""
        return database_line(self._options)

    def _page_end(self, number: int) -> AbstractContextManager[socket.socket | None]:
        return nullcontext() if self._page is None else self._page.add(number)

    def _discard(self, number: int) -> None:
        """The lines of a worker that has ended, or could not be started."""
        self._lines.discard(number)
        if self._page is not None:
            self._page.discard(number)

    def _hear(self, number: int, worker: WorkerProcess) -> None:
        """A worker has sent a report, or has ended."""
        for report in worker.heard():
            if report.waits_for:
                if self._page is not None:
                    self._page.note_waiting(number, report.waits_for)
            elif not report.failure:
                self._recovered += report.recovered
                self._board.set_ready(number)
                if self._page is not None:
                    self._page.note_ready(number)
                self._take(self._fleet.note_ready(number, self._loop.time()))
        if worker.has_ended:
            self._loop.remove_reader(worker.reports)
            ending = worker.ending()
            del self._workers[number]
            self._board.clear(number)
            self._discard(number)
            if self._page is not None and ending.failure:
                self._page.note_waiting(number, f"has ended, and is started again: {ending.failure}")
            self._note_end(number, ending)

    def _note_end(self, number: int, ending: Ending) -> None:
        """A worker's process has ended."""
        self._take(self._fleet.note_end(number, ending, self._loop.time()))

    def _announce(self) -> None:
        hosts = " ".join(self._options.bind)
        numbers = {
            "ports": [each.port for each in self._sockets if each.port],
            "TLS ports": [each.tls_port for each in self._sockets if each.tls_port],
        }
        places = ", ".join(f"{hosts} {kind} {' '.join(map(str, ports))}" for kind, ports in numbers.items() if ports)
        seconds = time.monotonic() - self._began
        line = start_line(places, self._what(), self._recovered, seconds)
        self._diagnostics.announce(line)
        self._manager.ready(line)
