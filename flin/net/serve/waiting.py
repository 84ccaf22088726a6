"""Waiting: clients that are blocked until a key is ready (BLPOP and its kin), and how they are served.

After a command, or a whole EXEC, the ready keys (data/waiters.py) are served in the order in which they became ready,
and each key's waiters first come, first served: the command of each runs again as if the ready key were its only one.
That may make another key ready (BLMOVE), which is served next, until none is. All of it belongs to the tick of the
command that began it: what was pushed and what was popped are one frame of the WAL, and in `always` the waiter's reply
leaves when that frame is synced. If the engine refuses the frame, the waiters that it served get the error that the
others get who wrote in it.

A client that has hung up is not served, even if the loop has not been told of its end yet.

Serving reads block, as in EXEC: a command whose turn it is cannot be put off for the disk without another one
overtaking it.
"""

from __future__ import annotations

import logging
from types import GeneratorType
from typing import TYPE_CHECKING, Final, Protocol

from flin.errors import FlinError
from flin.net.batch.following_store import FOLLOWS
from flin.net.client.session import AWAITED_KEY_BYTES
from flin.net.data.waiters import AWAITED_TAGS
from flin.net.run.call import error_text, run_handler
from flin.net.run.tick import ReplySink
from flin.net.serve.wait import Wait
from flin.net.wire.replies import NULL_ARRAY, Value, WaitForKeys, last_of, too_large_reply
from flin.net.wire.resp import encode_error
from flin.objects.layout import LIST, SORTED_SET, STREAM

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from flin.net.command.command import Command
    from flin.net.data.waiters import Lines
    from flin.net.run.context import Context
    from flin.net.run.services import Services

logger = logging.getLogger(__name__)

UNBLOCKED: Final = "UNBLOCKED client unblocked via CLIENT UNBLOCK"

ROLE_CHANGED: Final = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
"""As Redis words it, whatever the role was."""

_TAGS: Final = {"list": LIST, "sorted-set": SORTED_SET, "stream": STREAM}
"""By the group of the command: which type its keys must have."""


class BlockedClient(ReplySink, Protocol):
    """A connection whose request waits for keys."""

    @property
    def has_hung_up(self) -> bool:
        """Whether it has ended, as far as the operating system knows."""

    def hang_up(self) -> None:
        """End it."""

    def answer(self, wait: WaitForReady, data: bytes, batch: int) -> None:
        """End its wait with this reply. batch: in which the reply was begun."""


class WaitForReady(Wait):
    """A blocking command that has found nothing. From `begin` to `leave` it stands in the lines of its keys."""

    __slots__ = ("_keyspace", "client", "command", "context", "request", "tag", "timer", "wakes_at_end", "wanted")

    def __init__(self, context: Context, command: Command, request: list[bytes], wanted: WaitForKeys) -> None:
        super().__init__()
        self.context = context
        self.command = command
        self.request = request
        self.wanted = wanted
        self.tag = _TAGS[command.group]
        self.wakes_at_end = wanted.wakes_at_end
        self.client: BlockedClient
        self.timer: TimerHandle | None = None
        self._keyspace = context.keyspace

    def begin(self, client: BlockedClient) -> None:
        """Stand at the end of the lines."""
        self.client = client
        session, keys = self.context.session, self.wanted.keys
        session.is_waiting, session.awaited_bytes = True, AWAITED_KEY_BYTES * len(keys)
        self.context.services.waiters.add(self._keyspace, keys, self)

    def leave(self) -> None:
        """Leave the lines: it has its reply, or its client is gone."""
        if self.timer is not None:
            self.timer.cancel()
        session = self.context.session
        session.is_waiting, session.awaited_bytes = False, 0
        self.context.services.waiters.discard(self._keyspace, self.wanted.keys, self)

    def run_again(self, key: bytes) -> Value:
        """The command's value, now that the key is ready. Raises what a handler raises."""
        if self.wanted.again is not None:
            value = self.wanted.again(key)
        else:
            value = run_handler(self.context, self.command, self._request_for(key))
        return last_of(value) if type(value) is GeneratorType else value

    def _request_for(self, key: bytes) -> list[bytes]:
        """The request as if it named no other key."""
        if len(self.wanted.keys) == 1:
            return self.request
        positions = self.command.keys.positions(self.request)
        request = [*self.request[: positions[0]], key, *self.request[positions[-1] + 1 :]]
        if self.command.keys.find is not None:  # their number stands before them
            request[positions[0] - 1] = b"1"
        return request

    def give_up(self, *, error: str = "") -> None:
        """The time is over, or somebody ends the wait, with an error or without."""
        session, pending = self.context.session, self.context.services.pending
        if error:
            self.context.services.counters.count_error(error)
        data = encode_error(error) if error else session.encode(NULL_ARRAY)
        self.client.answer(self, data, pending.batches)


def after_command(services: Services) -> None:
    """Do what waits for the end of a command: serve ready keys, commit a batch that is full."""
    pending = services.pending
    if pending.in_transaction:
        return  # a long script runs in its thread: the batch is its own
    pending.clear_ready()
    if services.waiters.ready:
        serve(services)
    if pending.is_full:
        pending.commit()


def serve(services: Services) -> None:
    """Serve the ready keys until none is. Where the engine takes no writes they stay as they are."""
    waiters, tick = services.waiters, services.tick
    if services.store.read_only_reason not in (None, FOLLOWS):  # those of a follower only read
        return
    speaker = tick.speaker
    while waiters.ready:
        lines, key = waiters.take_ready()
        lines.keyspace.block_reads(blocking=True)
        try:
            _serve_key(lines, key)
        except FlinError as error:  # the key cannot be read: whoever asks for it is told, and they wait on
            logger.error("waiters of a key could not be served: %s", error)
        finally:
            lines.keyspace.block_reads(blocking=False)
    tick.speaker = speaker
    services.pending.clear_ready()


def _serve_key(lines: Lines, key: bytes) -> None:
    tag = _tag_at(lines, key)
    for waiter in lines.in_order(key):
        assert isinstance(waiter, WaitForReady)
        if waiter.tag == tag or waiter.wakes_at_end:
            _serve_waiter(waiter, key)
            tag = _tag_at(lines, key)
        if tag not in AWAITED_TAGS and not lines.wake_at_end:
            return


def _tag_at(lines: Lines, key: bytes) -> int:
    """The tag of what is there; 0 for a string and for nothing."""
    entry = lines.keyspace.outline(key)
    return entry[2] if type(entry) is tuple else 0


def _serve_waiter(waiter: WaitForReady, key: bytes) -> None:
    context, client, command = waiter.context, waiter.client, waiter.command
    services = context.services
    if client.has_hung_up:
        client.hang_up()
        return
    ready = len(services.waiters.ready)
    batch = services.pending.batches
    services.tick.speaker = client
    tracker = context.session.tracker
    if tracker is not None:
        services.tracking.begin(tracker)
    try:
        value = waiter.run_again(key)
        if type(value) is WaitForKeys:  # what it has written (that it has looked) must not wake it again
            services.waiters.forget_ready(ready)
            return
        data = context.session.encode(value)
        most_bytes = services.config.largest_reply_bytes
        if len(data) > most_bytes:
            raise too_large_reply(len(data), most_bytes)
    except Exception as error:
        text = error_text(context, command, error)
        services.counters.count_error(text)
        data = encode_error(text)
    finally:
        if tracker is not None:
            services.tracking.end()
    client.answer(waiter, data, batch)
