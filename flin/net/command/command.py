"""A command: what is known of it, and how often it ran.

This stands below everything that runs commands: of a handler it knows only that it can be called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, TypeAlias

from flin.net.command.channels import CHANNELS
from flin.net.command.key_specs import UNBOUNDED, KeySpec, Touch, Uses
from flin.net.wire.replies import Value

Handler: TypeAlias = Callable[[Any, list[bytes]], Value]
"""Takes a Context (context.py, which stands above) and the request, name first; returns a value to encode, or raises
CommandError."""

Batch: TypeAlias = Callable[..., Sequence[bytes]]
"""Runs requests with the same name and number of arguments at once: takes the context and a column per argument,
returns the finished replies of the first, as many as have run; the others are run one by one. If it raises, it has
changed nothing: so it reads all that it needs before its first change, and where a read waits for the disk (ColdRead),
or anything is wrong with a request (FlinError), all are run one by one."""

FindKeys: TypeAlias = Callable[[list[bytes]], list[int]]
"""The positions of the keys in a request, for a command whose keys no triple (`Keys`) can name."""


class Flag(IntFlag):
    """What the gates of dispatch and COMMAND INFO know of a command; the names are Redis's, in lower case."""

    NONE = 0
    WRITE = 1
    READONLY = 2
    DENYOOM = 4
    ADMIN = 8
    NOSCRIPT = 16
    BLOCKING = 32
    LOADING = 64
    STALE = 128
    FAST = 256
    NO_AUTH = 512  # may be sent before authentication
    NO_MULTI = 1024  # refused inside MULTI
    MOVABLEKEYS = 2048
    ALLOW_BUSY = 4096
    UNQUEUED = 8192  # runs at once inside MULTI (EXEC, DISCARD, MULTI, WATCH, QUIT, RESET). Not a flag of Redis
    SKIP_SLOWLOG = 16384
    PUBSUB = 32768
    ENDS_QUEUE = 131072  # EXEC: if it is refused itself, the transaction ends. Not a flag of Redis
    MAY_REPLICATE = 1048576  # no write, but it waits while writes are paused (EVAL). COMMAND does not show it
    TIMED = 262144  # never untimed: its work grows with the value, though Redis says "fast". Not a flag of Redis
    COUNTED = 524288  # with more than the minimum of arguments its work grows (LPOP's count): timed then. Not of Redis
    SKIP_MONITOR = 2097152
    NO_MANDATORY_KEYS = 4194304  # it may name no key at all (EVAL)
    WHILE_SUBSCRIBED = 1 << 24  # a subscribed client may send it in RESP2, too. Not a flag of Redis
    NO_ASYNC_LOADING = 1 << 26
    SHOWS_MORE = 1 << 27  # than its keys' own entries tell (SORT_RO's BY, what a group owes). Not a flag of Redis
    PEEKS = 1 << 28  # asks for no string of its keys (EXISTS, DEL): Keyspace.outline is enough. Not a flag of Redis
    COUNTS_KEYS = 1 << 29  # DBSIZE: EXEC has what is uncounted counted ahead. Not a flag of Redis
    PUBLISHES = 1 << 25  # its effect is messages, which go with a batch that is refused. Not a flag of Redis
    UNTIMED = (
        65536  # constant, short work, though Redis does not say "fast" (SET): no clock is read. Not a flag of Redis
    )


def flags_of(names: str) -> Flag:
    """The flags of these names, as COMMAND INFO writes them, with spaces between: "write denyoom fast"."""
    return Flag(sum({Flag[name.upper()] for name in names.split()}))


@dataclass(frozen=True, slots=True)
class Keys:
    """Which arguments are keys: first, last (negative: from the end) and step, as COMMAND INFO shows them.
    are_channels: they are sharded channels, which are no keys, but have a slot as keys do."""

    first: int = 0
    last: int = 0
    step: int = 0
    find: FindKeys | None = None
    are_channels: bool = False

    def positions(self, args: list[bytes]) -> list[int]:
        """The positions of the keys in this request; those beyond its end are left out."""
        return [] if self.are_channels else self.slotted(args)

    def slotted(self, args: list[bytes]) -> list[int]:
        """The positions of what has a slot in a cluster: of keys and of sharded channels."""
        return list(self.fixed_positions(len(args))) if self.find is None else self.find(args)

    def fixed_positions(self, number: int) -> range:
        """Those of a request of so many arguments, the name included, where `find` need not look."""
        if not self.first:
            return range(0)
        last = self.last if self.last >= 0 else number + self.last
        return range(self.first, min(last, number - 1) + 1, self.step)


NO_KEYS: Final = Keys()
FIRST_KEY: Final = Keys(1, 1, 1)
FIRST_TWO_KEYS: Final = Keys(1, 2, 1)
ALL_KEYS: Final = Keys(1, -1, 1)
KEYS_AND_VALUES: Final = Keys(1, -1, 2)

MAX_UNTIMED_ARGUMENTS: Final = 64
"""The most arguments of an untimed command that takes any number of them: with more it is timed."""


_NEVER_BRIEF: Final = Flag.UNQUEUED | Flag.NO_AUTH | Flag.TIMED | Flag.BLOCKING


class Command:
    """A declared command. `minimum` and `maximum` bound the number of arguments, the name included."""

    __slots__ = (
        "_is_batch_wide",
        "_uses",
        "arity",
        "batch",
        "calls",
        "categories",
        "channels",
        "container",
        "failed_calls",
        "flags",
        "group",
        "handler",
        "histogram",
        "is_batch_gated",
        "is_unqueued",
        "is_untimed",
        "is_write",
        "keys",
        "maximum",
        "may_write",
        "minimum",
        "name",
        "nanoseconds",
        "only_key",
        "rejected_calls",
        "says_it_reads",
        "subcommands",
        "summary",
        "timed_calls",
        "untimed_maximum",
    )

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        arity: int,
        flags: Flag,
        keys: Keys,
        group: str,
        summary: str,
        categories: Sequence[str] = (),
        batch: Batch | None = None,
        is_batch_wide: bool = False,
        is_batch_gated: bool = False,
    ) -> None:
        self.name = name  # lower case; "container|subcommand" for a subcommand
        self.handler = handler
        self.arity = arity
        self.minimum = abs(arity)
        self.batch = batch  # for requests with the minimum of arguments, or
        self._is_batch_wide = is_batch_wide  # with any number of them
        self.is_batch_gated = is_batch_gated  # it ends before a key that a cluster has elsewhere
        self.maximum = arity if arity > 0 else UNBOUNDED
        self.untimed_maximum = self.minimum if flags & Flag.COUNTED else min(self.maximum, MAX_UNTIMED_ARGUMENTS)
        self.flags = flags
        self.is_write = bool(flags & Flag.WRITE)
        self.may_write = self.is_write or bool(flags & Flag.NO_MANDATORY_KEYS and not flags & Flag.READONLY)  # a script
        self.is_untimed = bool(flags & (Flag.FAST | Flag.UNTIMED)) and not flags & _NEVER_BRIEF
        self.is_untimed = self.is_untimed and not inspect.isgeneratorfunction(handler)
        self.is_unqueued = bool(flags & Flag.UNQUEUED)
        self.keys = keys
        self._uses = Uses(name, is_write=self.is_write)
        self.only_key = self._uses.only_key
        self.channels = CHANNELS.get(name)
        # Whether this request (of EVAL) says of itself that it only reads: takes the context and the request.
        self.says_it_reads: Callable[[Any, list[bytes]], bool] | None = None
        self.group = group
        self.summary = summary
        self.categories = categories  # ACL categories beyond those that flags and group imply
        self.subcommands: dict[bytes, Command] | None = None  # by lower-case name, for a container
        self.calls = 0
        self.failed_calls = 0
        self.rejected_calls = 0
        self.timed_calls = 0
        self.nanoseconds = 0  # of those
        self.histogram: dict[int, int] = {}  # of those, how many took less than so many microseconds: a power of two

    def takes_batch(self, arguments: int) -> bool:
        """Whether it has a batch form for requests with so many arguments after the name."""
        return self.batch is not None and (self._is_batch_wide or arguments + 1 == self.minimum)

    @property
    def key_specs(self) -> tuple[KeySpec, ...]:
        """Where its keys stand, as COMMAND INFO shows it."""
        return self._uses.specs

    def touches(self, request: list[bytes]) -> list[Touch]:
        """What happens to which keys of a request; none where the request cannot be right."""
        found = self.keys.find(request) if self.keys.find is not None and len(request) >= self.minimum else None
        return self._uses.touches(request, found)

    def note_time(self, nanoseconds: int, calls: int) -> None:
        self.nanoseconds += nanoseconds
        self.timed_calls += calls
        if calls:
            bucket = (nanoseconds // (calls * 1000)).bit_length()
            self.histogram[bucket] = self.histogram.get(bucket, 0) + calls

    def microseconds(self) -> int:
        """The time of all calls: untimed commands are timed now and then, and the others are taken to be like those."""
        return self.nanoseconds * self.calls // (self.timed_calls * 1000) if self.timed_calls else 0

    def reset_counters(self) -> None:
        self.calls = self.failed_calls = self.rejected_calls = 0
        self.timed_calls = self.nanoseconds = 0
        self.histogram.clear()

    def __repr__(self) -> str:
        return f"<Command {self.name}>"
