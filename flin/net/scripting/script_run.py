"""One run of a script: what its `redis.call` does, and what becomes of its writes.

A script is a step (data/savepoint.py). One that ends, or fails by an error of its own, keeps its writes, as in Redis;
one that is aborted leaves nothing. Why one is aborted:

- A read would wait for the disk (ColdRead), or its first write for a stall: it runs again from its beginning, as any
  command does then. The first visit to the disk loads all keys that the request names.
- It has run on the loop for some 50 ms: it begins anew in a thread of its own (run/long_script.py). In EXEC, which
  cannot leave the loop, it fails after 5 seconds.
- SCRIPT KILL, FUNCTION KILL, the end of the server; its memory; more writes than one frame holds: it fails.

What runs (a script, a function of a library) is an `Execute`: it runs Lua, whose calls come here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from flin.engine.table.cold_read import ColdRead
from flin.errors import CommandError, LimitError, ScriptAborted, ScriptError
from flin.net.client.link import NO_LINK
from flin.net.client.session import KnownPeer, Session
from flin.net.command.command import Command, Flag
from flin.net.command.registry import find, find_for
from flin.net.data.savepoint import Step
from flin.net.run.call import client_of, error_text, note_time, run_handler, tracked_reads, whole
from flin.net.run.context import Context
from flin.net.run.gates import StalledError, check_writes
from flin.net.run.long_script import LongScriptError
from flin.net.run.permission import may_run, note_denial
from flin.net.scripting.script_slots import ScriptSlots
from flin.net.wire.replies import Reply, Value, last_of, too_large_reply
from flin.net.wire.resp import encode2, encode3

if TYPE_CHECKING:
    from flin.net.run.services import Services
    from flin.net.scripting.shebang import ScriptFlag

logger = logging.getLogger(__name__)

LOOP_NS: Final = 25_000_000
"""A script that has run so long on the loop, and then used the processor for so long again, leaves it: others wait 50
ms at most, unless the machine gives the loop no processor, for which a thread of its own would not help. To begin anew
costs at most as much again."""

EXEC_NS: Final = 5_000_000_000
"""The longest that the scripts of one EXEC run together: Redis's default of busy-reply-threshold."""

LARGE_BATCH: Final = 256
"""Entries of a batch that is committed before a script begins: its copy, for the savepoint, would cost more (1.3 µs for
500, and as much to free it) than a further commit does, divided among those who have written in it."""

NOTED_CALLS: Final = 64
"""Calls that are noted of a script that reads: if the batch that it has read is refused, they tell whether its reply
shows that. Of more it is taken for granted."""

LOGGED_BYTES: Final = 1024
"""What is kept of a line that a script logs, as in Redis."""

KILLED: Final = "ERR Script killed by user with SCRIPT KILL..."
"""After FUNCTION KILL, too, as in Redis."""

IN_EXEC: Final = "ERR Script aborted: scripts ran for 5 seconds within EXEC"
ONLY_READS: Final = "ERR Write commands are not allowed from read-only scripts."

Execute: TypeAlias = "Callable[[Any, list[bytes], list[bytes], ScriptRun], Value]"
"""Runs Lua (a chunk, a function of a library) with keys and arguments, and returns its value. Raises ScriptError, or
ScriptAborted when a call raised it, or `should_stop` said so."""

_LEVELS: Final = (logging.DEBUG, logging.DEBUG, logging.INFO, logging.WARNING)
"""Those of `redis.log`: debug, verbose, notice, warning."""


class _Known:
    """What `call` knows of a command by its name as it was sent. brief_maximum: with more arguments it is timed.
    is_plain: it only reads, and may run at once. is_change: no reader may call it, as in Redis: a write, a message,
    PFCOUNT, which keeps what it has counted. is_barred: from scripts."""

    __slots__ = ("brief_maximum", "command", "is_barred", "is_change", "is_plain", "minimum")

    def __init__(self, command: Command) -> None:
        flags = command.flags
        self.command: Final = command
        self.minimum: Final = command.minimum
        self.brief_maximum: Final = command.untimed_maximum if command.is_untimed else 0
        self.is_change: Final = bool(flags & (Flag.WRITE | Flag.PUBLISHES)) or command.name == "pfcount"
        self.is_barred: Final = bool(flags & Flag.NOSCRIPT)
        self.is_plain: Final = bool(flags & Flag.READONLY) and not self.is_change and not self.is_barred


class ScriptContext(Context):
    """What the commands of a script see: a session of its own, in RESP2 and in the caller's database, whatever the
    caller's protocol is, so that SELECT ends with the script."""

    __slots__ = ("known", "marker", "plain")
    in_script: ClassVar[bool] = True

    def __init__(self, services: Services) -> None:
        super().__init__(
            services, Session(0, NO_LINK, KnownPeer("", ""), 0, user=services.users.default, authenticated=True)
        )
        self.known: dict[bytes, _Known] = {}
        self.plain: dict[bytes, _Known] = {}  # those of them that only read
        marker = find(b"set")
        assert marker is not None
        self.marker: Final[Command] = marker  # a command that writes

    def begin(self, caller: Context) -> None:
        session = self.session
        session.database = caller.session.database
        self.keyspace = caller.keyspace
        self.has_waited = caller.has_waited
        if session.remarks:
            session.remarks.clear()
        if session.protocol != 2:
            self.speak(2)

    def name(self, caller: Context) -> None:
        """For commands that are looked at: whose they are."""
        session, outer = self.session, caller.session
        session.user, session.name = outer.user, outer.name
        session.peer = outer.peer

    def speak(self, version: int) -> None:
        """`redis.setresp`."""
        self.session.protocol = version
        self.session.encode = encode3 if version == 3 else encode2


class ScriptRun:
    """`context` is that of its commands. It is the caller of its Lua, and the job of its thread."""

    __slots__ = (
        "_caller",
        "_cause",
        "_checked_writes",
        "_error",
        "_execute",
        "_executed",
        "_inner_error",
        "_is_alone",
        "_is_gated",
        "_is_in_exec",
        "_is_killed",
        "_is_looked_at",
        "_is_restricted",
        "_label",
        "_noted",
        "_number_of_keys",
        "_quick",
        "_returned_errors",
        "_slots",
        "_step",
        "_until_ns",
        "_used_ns",
        "_value",
        "_writes_freely",
        "context",
        "is_function",
        "nanoseconds",
        "reads_only",
        "request",
    )

    def __init__(
        self,
        caller: Context,
        request: list[bytes],
        execute: Execute,
        executed: Any,
        label: bytes,
        number_of_keys: int,
        flags: ScriptFlag,
        *,
        is_function: bool = False,
    ) -> None:
        """caller: the client's. request: the whole one, with its keys from the fourth word on. executed: what
        `execute` is given to run. label: what errors call it. CommandError if it may not run in a cluster."""
        services = caller.services
        self.context = services.part(ScriptContext)
        self.context.begin(caller)
        self.request = request
        self.reads_only = False  # it may not write
        self.is_function = is_function
        self.nanoseconds = 0  # in the thread
        self._label = label
        self._caller = caller
        self._execute = execute
        self._executed = executed
        self._number_of_keys = number_of_keys
        self._step: Step | None = None
        self._is_in_exec = services.pending.in_transaction
        self._writes_freely = False  # the step knows that writes come, and they are allowed
        # An ordinary client's calls pass as its requests do; others are looked at, one by one.
        self._is_gated = self._is_restricted = False
        if not caller.session.skips_gates or services.tick.is_sampled:
            self._is_restricted = not caller.session.user.is_unrestricted
            self._is_gated = bool(
                self._is_restricted
                or services.tick.is_sampled
                or services.monitors
                or services.config.times_every_command
                or services.config.notified
                or caller.session.tracker is not None
            )
        self._cause: Exception | None = None  # of its abort
        self._error: CommandError | None = None
        self._inner_error = ""  # the newest error of a command
        self._returned_errors: list[str] = []
        self._value: Value = None
        self._is_alone = False
        self._is_killed = False
        self._used_ns = 0  # of the thread's processor time, when it had run for LOOP_NS
        self._until_ns = 0  # 0: nothing stops it but a kill
        self._checked_writes = 0  # entries of the batch when its size was last looked at
        pending = services.pending
        self._noted: list[tuple[Command, list[bytes]]] | None = [] if pending.points or pending.ranges else None
        gate = services.slot_gate
        self._slots = None if gate is None else ScriptSlots(gate, request[3 : 3 + number_of_keys], flags)
        # What may run without a further look, by names: what only reads, then everything.
        self._is_looked_at = self._is_gated or gate is not None
        self._quick = _NO_COMMANDS if self._is_looked_at else self.context.plain

    @property
    def label(self) -> bytes:
        """The function's name, or the script's SHA-1."""
        return self._label

    # Where it runs.

    def on_loop(self) -> Value:
        """Run it, and return its value. Raises its error, ColdRead, StalledError or LongScriptError."""
        services = self._caller.services
        if len(services.pending.points) > LARGE_BATCH and not self._is_in_exec:
            services.pending.commit()
        begin_ns = time.monotonic_ns()
        if self._is_in_exec or services.long_script.wake is not None:
            most_ns = EXEC_NS - services.pending.script_ns if self._is_in_exec else LOOP_NS
            self._until_ns = begin_ns + most_ns
        self._step = Step(services.databases)
        self._go()
        if self._is_in_exec:
            services.pending.script_ns += time.monotonic_ns() - begin_ns
        if self._caller.session.skips_gates:
            nanoseconds = time.monotonic_ns() - begin_ns
            if nanoseconds >= services.config.slowlog_log_slower_than * 1000 >= 0:
                self._note_slow(nanoseconds)
        return self._end()

    def _note_slow(self, nanoseconds: int) -> None:
        """SLOWLOG: dispatch reads no clock for scripts of an ordinary client."""
        services, session = self._caller.services, self._caller.session
        if not services.tick.is_sampled and (self._cause is None or type(self._cause) is CommandError):
            microseconds = nanoseconds // 1000
            services.slowlog.add(
                self.request,
                microseconds,
                self._caller.now_ms,
                session.address,
                session.name,
                services.config.slowlog_max_len,
            )

    def begin(self) -> None:
        self.context.begin(self._caller)
        self._is_alone = True
        self._until_ns = 0
        self._cause = None
        self._returned_errors.clear()
        self._writes_freely = False
        self._quick = _NO_COMMANDS if self._is_looked_at else self.context.plain
        if self._slots is not None:
            self._slots.begin_again()
        self._step = Step(self._caller.services.databases)

    def run(self) -> None:
        begin_ns = time.perf_counter_ns()
        self._go()
        self.nanoseconds = time.perf_counter_ns() - begin_ns

    def kill(self) -> None:
        self._is_killed = True

    def end(self) -> Value:
        """On the loop, when the thread has ended."""
        return self._end()

    def _go(self) -> None:
        """Run it to its end, whatever that is."""
        if self._is_gated:
            self._show(self._caller, client_of(self._caller), self.request)
            if self._caller.services.config.notified:
                self._begin_writing()  # a read that meets an expired key deletes it, and tells
        try:
            end = 3 + self._number_of_keys
            self._value = self._execute(self._executed, self.request[3:end], self.request[end:], self)
        except ScriptAborted as aborted:
            if self._cause is None:
                self._cause = self._told(f"ERR {aborted}")  # its memory
        except ScriptError as error:
            self._error = error
        except Exception as error:
            self._cause = error

    def _end(self) -> Value:
        """Keep what it did, or take it back."""
        step, services = self._step, self._caller.services
        assert step is not None
        cause = self._cause
        if cause is None and step.writes and not self._is_in_exec:
            try:
                services.pending.check_size(services.config.largest_commit_bytes)
            except LimitError as error:
                cause = error
        if cause is None and step.writes and type(self._value) is list:
            cause = self._encoded()
        if cause is not None:
            step.take_back()
            raise cause
        step.keep()
        if step.writes or self._noted:
            self._remark(step)
        if self._error is not None:
            if self._inner_error and str(self._error).startswith(self._inner_error):
                services.counters.uncount_error(self._inner_error)  # the reply counts it
            raise self._error
        if self._returned_errors:
            self._count_returned()
        return self._value

    def _count_returned(self) -> None:
        """It has failed as a command, once, and each error that no command has given counts."""
        command = find(self.request[0])
        assert command is not None
        command.failed_calls += 1
        for text in filter(None, self._returned_errors):
            self._caller.services.counters.count_error(text)

    def _encoded(self) -> LimitError | None:
        """Make the reply now: one that is too large leaves nothing. (Lua has counted its texts alone.)"""
        data, most_bytes = self._caller.session.encode(self._value), self._caller.services.config.largest_reply_bytes
        self._value = Reply(data)
        return too_large_reply(len(data), most_bytes) if len(data) > most_bytes else None

    def _remark(self, step: Step) -> None:
        """Should the batch be refused, its reply shows what is not there."""
        session = self._caller.session
        if step.writes:
            session.remarks.append((self.request, [(self.context.marker, self.request)]))
        elif self._noted:
            session.remarks.append((self.request, self._noted))
            if self.context.session.remarks:  # SELECT: nobody knows which databases it has read
                session.remarks.append(None)

    # What its Lua calls: see runtime.Caller.

    def call(self, arguments: list[bytes]) -> Value:
        known = self._quick.get(arguments[0])
        if known is None or not known.minimum <= len(arguments) <= known.brief_maximum:
            admitted = self._admitted(arguments)
            if type(admitted) is CommandError:
                return admitted
            assert type(admitted) is _Known
            known = admitted
            if self._is_gated or len(arguments) > known.brief_maximum:
                return self._call_timed(known.command, arguments)
        command = known.command
        command.calls += 1
        if self._noted is not None:
            self._note(command, arguments)
        try:
            value = command.handler(self.context, arguments)
            return last_of(value) if type(value) is GeneratorType else value
        except Exception as error:
            return self._failed(command, arguments, error)

    def _call_timed(self, command: Command, arguments: list[bytes]) -> Value:
        command.calls += 1
        if self._noted is not None:
            self._note(command, arguments)
        self.context.name(self._caller)
        begin_ns = time.monotonic_ns()
        try:
            value = whole(run_handler(self.context, command, arguments))
        except Exception as error:
            value = self._failed(command, arguments, error)
        self._show(self.context, "lua", arguments)
        self._remember(command, arguments)
        end_ns = time.monotonic_ns()
        note_time(self.context, command, arguments, end_ns - begin_ns)
        if (self._is_killed or end_ns > self._until_ns > 0) and self.should_stop():
            raise ScriptAborted
        return value

    def _remember(self, command: Command, request: list[bytes]) -> None:
        """What the script has read, for client-side caching: entered on the loop, once the step is kept."""
        tracker, services = self._caller.session.tracker, self._caller.services
        reads = tracked_reads(self._caller, command, request)
        if tracker is not None and reads:
            services.pending.after_step(lambda: services.tracking.remember(tracker, reads))

    def _show(self, context: Context, client: str, request: list[bytes]) -> None:
        """To monitors, once the step is kept."""
        services, database = self._caller.services, context.session.database
        if services.monitors:
            size_bytes = sum(map(len, request))
            services.pending.after_step(lambda: services.monitors.show(database, client, request), size_bytes)

    def _failed(self, command: Command, arguments: list[bytes], error: Exception) -> CommandError:
        """The error that Lua gets; a run that cannot go on ends."""
        if isinstance(error, ColdRead | StalledError):
            command.calls -= 1  # it runs again
            # A new one: the frames of the old one would keep what they have read.
            self._cause = ColdRead(error.load) if isinstance(error, ColdRead) else error
            raise ScriptAborted from None
        text = self._inner_error = error_text(self.context, command, error)
        self._caller.services.counters.count_error(text)
        return CommandError(text)

    def _admitted(self, arguments: list[bytes]) -> _Known | CommandError:
        """The command, if a script may run it now: see gates.py for what clients must pass."""
        name = arguments[0]
        known = self.context.known.get(name)
        if known is None:
            command = find_for(arguments)
            if command is None or (command.subcommands is not None and len(arguments) > 1):
                return self._refused(None, "ERR Unknown Redis command called from script")
            known = _Known(command)
            is_one = command.subcommands is None and find(name) is command
            if is_one and not known.is_barred and len(self.context.known) < MOST_NAMES:
                self.context.known[name] = known
                if known.is_plain:
                    self.context.plain[name] = known
        command = known.command
        if not known.minimum <= len(arguments) <= command.maximum:
            return self._refused(command, "ERR Wrong number of args calling Redis command from script")
        if known.is_barred:
            return self._refused(command, "ERR This Redis command is not allowed from script")
        denial = may_run(self._caller.session, command, arguments) if self._is_restricted else None
        if denial is not None:
            note_denial(self._caller, denial, "lua")
            return self._refused(command, denial.in_script)
        if known.is_change and self.reads_only:
            return self._refused(command, ONLY_READS)
        if command.is_write and not self._writes_freely and not self._caller.services.clients.gates_open:
            try:
                self._check_gate()
                if command.flags & Flag.DENYOOM:
                    self._caller.services.room.check()
            except CommandError as error:
                return self._refused(command, str(error))
        misplaced = None if self._slots is None else self._slots.error(command, arguments)
        if misplaced is not None:
            return self._refused(command, misplaced)
        if not known.is_plain and not self._writes_freely:
            self._begin_writing()
            self._writes_freely = not self.reads_only
            if self._writes_freely and not self._is_looked_at:
                self._quick = self.context.known
        return known

    def _begin_writing(self) -> None:
        assert self._step is not None
        self._step.will_write(alone=self._is_alone)
        self._noted = None  # what it has read does not matter any more

    def _check_gate(self) -> None:
        """CommandError if the engine takes no writes. In a stall the run ends, and begins again, unless it cannot."""
        try:
            check_writes(self.context, has_waited=self.context.has_waited or self._is_in_exec or self._is_alone)
        except StalledError as error:
            if not self._is_in_exec and not self._is_alone:
                self._cause = error
                raise ScriptAborted from None

    def _refused(self, command: Command | None, text: str) -> CommandError:
        if command is not None:
            command.rejected_calls += 1
        self._inner_error = text
        self._caller.services.counters.count_error(text)
        return CommandError(text)

    def _note(self, command: Command, arguments: list[bytes]) -> None:
        assert self._noted is not None
        if len(self._noted) < NOTED_CALLS:
            self._noted.append((command, arguments))
        else:
            self._noted = [(self.context.marker, self.request)]

    def should_stop(self) -> bool:
        if self._cause is not None:
            return True
        if self._is_killed:
            self._cause = self._told(KILLED)
        elif time.monotonic_ns() > self._until_ns > 0:
            if self._is_in_exec:
                self._cause = self._told(IN_EXEC)
            elif self._has_worked_long():
                self._cause = LongScriptError(self)
        else:
            services = self._caller.services
            largest_bytes, effect_bytes = services.config.largest_commit_bytes, services.pending.effect_bytes
            if effect_bytes > largest_bytes:
                self._cause = LimitError("the size of its messages in bytes", effect_bytes, largest_bytes)
            elif self._writes_freely:
                self._check_writes()
        return self._cause is not None

    def _has_worked_long(self) -> bool:
        """Whether it has used the processor for LOOP_NS since this was first asked."""
        used_ns = time.thread_time_ns()
        if not self._used_ns:
            self._used_ns = used_ns
        return used_ns - self._used_ns > LOOP_NS

    def _told(self, text: str) -> CommandError:
        return CommandError(f"{text} script: {self._label.decode()}")

    def _check_writes(self) -> None:
        """Whether its writes still fit into one frame. To add them up costs time, so only when they have doubled."""
        services = self._caller.services
        number = len(services.pending.points)
        if number > 2 * self._checked_writes or services.pending.large_bytes > services.config.largest_commit_bytes:
            self._checked_writes = max(number, 1000)
            try:
                services.pending.check_size(services.config.largest_commit_bytes)
            except LimitError as error:
                self._cause = error

    def log(self, level: int, message: bytes) -> None:
        if logger.isEnabledFor(_LEVELS[level]):
            text = message[:LOGGED_BYTES].decode("utf-8", "backslashreplace")
            self._caller.services.pending.after_step(
                lambda: logger.log(_LEVELS[level], "a script says: %s", text), len(text)
            )

    def note_error(self, text: str) -> None:
        self._returned_errors.append(text)

    def set_protocol(self, version: int) -> None:
        self.context.speak(version)

    def acl_check(self, arguments: list[bytes]) -> bool:
        """Raises CommandError if there is no such command."""
        command = find_for(arguments)
        if command is None or (command.subcommands is not None and len(arguments) > 1):
            raise CommandError("ERR Invalid command passed to redis.acl_check_cmd()")
        return may_run(self._caller.session, command, arguments) is None


_NO_COMMANDS: Final[dict[bytes, _Known]] = {}

MOST_NAMES: Final = 1000
"""Names in mixed case are few; a script that makes some up must not fill the memory."""
