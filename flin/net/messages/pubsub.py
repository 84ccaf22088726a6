"""Who is subscribed to what, and the way of a publication to them.

Three registries: channels, patterns of channels, and sharded channels (SSUBSCRIBE), which no pattern and no ordinary
publication reaches. A message is encoded once for each protocol that somebody who gets it speaks, and the same bytes
join the output of each (Link.outlet): it leaves with the tick that made it, after the writes that it may tell of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Protocol

from flin.errors import CommandError
from flin.net.messages.line import ADDED_BYTES, encode_frame
from flin.net.messages.message import OF_NO_BATCH, message_of
from flin.net.messages.pattern_index import PatternIndex

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.messages.line import Line

RESP3: Final = 3

_MESSAGE: Final = b"3\r\n$7\r\nmessage\r\n"

Push = Callable[[bytes], None]
Append = Callable[[bytes], None]
Outlet = Callable[[], Append]
"""Those of a connection: see client/link.py."""
FramesOf = Callable[[bytes], bytes]
"""Takes the first byte of each frame, which the protocol decides."""


class Kind(IntEnum):
    """What a client subscribes to: the place of its registry."""

    CHANNEL = 0
    PATTERN = 1
    SHARD = 2


SEND_BYTES: Final = 100
"""A receiver of a message that waits for the end of a step: a tuple, and its place in the list."""

SUBSCRIPTION_BYTES: Final = {Kind.CHANNEL: 650, Kind.PATTERN: 1270, Kind.SHARD: 650}
"""One subscription of one client, beside the name's bytes: in its registry, in the index and in the client's own list
(measured with tracemalloc, CPython 3.11, with nobody else subscribed to the same, after a message)."""


class Subscriptions:
    """Those of one client: names by kind, in the order of subscribing."""

    __slots__ = ("names", "size_bytes")

    def __init__(self) -> None:
        self.names: tuple[dict[bytes, None], dict[bytes, None], dict[bytes, None]] = ({}, {}, {})
        self.size_bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self.names))

    def count(self, kind: Kind) -> int:
        """The number in the reply to a command about this kind: channels and patterns count together."""
        channels, patterns, shards = self.names
        return len(shards) if kind is Kind.SHARD else len(channels) + len(patterns)


class Receiver(Protocol):
    """A session, as far as pub/sub knows it."""

    protocol: int
    subscriptions: Subscriptions | None

    @property
    def outlet(self) -> Outlet:
        """Its connection's."""


class Rounds(Protocol):
    """The tick, as far as pub/sub knows it."""

    @property
    def ticks(self) -> int:
        """How many have ended."""


class Receivers:
    """Who is subscribed to one name. Their outlets are asked for once a tick: a second message of it costs one append
    for each of them (measured: 40 ns, 150 with the look at each connection)."""

    __slots__ = ("_asked_in", "of2", "of3", "outlets")

    def __init__(self) -> None:
        self.outlets: dict[Receiver, Outlet] = {}
        self.of2: list[Append] = []  # in the tick of `_asked_in`, by protocol
        self.of3: list[Append] = []
        self._asked_in = -1

    def __len__(self) -> int:
        return len(self.outlets)

    def add(self, receiver: Receiver) -> None:
        self.outlets[receiver] = receiver.outlet
        self._asked_in = -1

    def discard(self, receiver: Receiver) -> None:
        del self.outlets[receiver]
        self._asked_in = -1

    def forget_tick(self) -> None:
        """A receiver has changed its protocol."""
        self._asked_in = -1

    def enter(self, tick: int) -> None:
        """Make `of2` and `of3` those of this tick."""
        if tick != self._asked_in:
            self._asked_in = tick
            self.of2 = [outlet() for receiver, outlet in self.outlets.items() if receiver.protocol != RESP3]
            self.of3 = [outlet() for receiver, outlet in self.outlets.items() if receiver.protocol == RESP3]


SendFrames = Callable[[Receivers, FramesOf], None]


class PubSub:
    """The registries of one server."""

    __slots__ = ("_channels", "_index", "_patterns", "_pending", "line", "registries", "rounds")

    def __init__(self, pending: Pending) -> None:
        self.registries: tuple[dict[bytes, Receivers], dict[bytes, Receivers], dict[bytes, Receivers]] = ({}, {}, {})
        self.rounds: Rounds  # told once there is a tick
        self.line: Line | None = None  # to the other workers of the server; None: there are none
        self._channels, self._patterns, _ = self.registries
        self._index = PatternIndex()
        self._pending = pending

    # Subscribing.

    def subscribe(self, receiver: Receiver, kind: Kind, name: bytes) -> None:
        """Nothing happens if it is subscribed. CommandError for a pattern that takes too many steps to read."""
        mine = receiver.subscriptions
        if mine is None:
            mine = receiver.subscriptions = Subscriptions()
        if name in mine.names[kind]:
            return
        registry = self.registries[kind]
        receivers = registry.get(name)
        if receivers is None:
            if kind is Kind.PATTERN:
                self._index.add(name)
            receivers = registry[name] = Receivers()
            self._note_listening()
        receivers.add(receiver)
        mine.names[kind][name] = None
        mine.size_bytes += len(name) + SUBSCRIPTION_BYTES[kind]

    def unsubscribe(self, receiver: Receiver, kind: Kind, name: bytes) -> None:
        """Nothing happens if it is not subscribed."""
        mine = receiver.subscriptions
        if mine is None or name not in mine.names[kind]:
            return
        del mine.names[kind][name]
        mine.size_bytes -= len(name) + SUBSCRIPTION_BYTES[kind]
        registry = self.registries[kind]
        receivers = registry[name]
        receivers.discard(receiver)
        if not receivers:
            del registry[name]
            if kind is Kind.PATTERN:
                self._index.discard(name)
            self._note_listening()
        if not mine:
            receiver.subscriptions = None

    def _note_listening(self) -> None:
        if self.line is not None:
            self.line.note_listening(self.has_listeners)

    def leave(self, receiver: Receiver) -> None:
        """It ends, or is reset: it is subscribed to nothing any more."""
        mine = receiver.subscriptions
        if mine is not None:
            for kind in Kind:
                for name in list(mine.names[kind]):
                    self.unsubscribe(receiver, kind, name)

    def note_protocol(self, receiver: Receiver) -> None:
        """It may speak another protocol from now on."""
        mine = receiver.subscriptions
        if mine is not None:
            for kind in Kind:
                for name in mine.names[kind]:
                    self.registries[kind][name].forget_tick()

    def number_of(self, kind: Kind, name: bytes) -> int:
        """How many clients are subscribed to this name."""
        return len(self.registries[kind].get(name, ()))

    # Publishing.

    @property
    def has_listeners(self) -> bool:
        """Whether a publication to a channel could reach anybody."""
        return bool(self._channels or self._patterns)

    @property
    def is_heard_elsewhere(self) -> bool:
        """Whether a PUBLISH could reach a subscriber of another worker."""
        return self.line is not None and self.line.is_heard

    def publish_to_all(self, channel: bytes, payload: bytes) -> int:
        """PUBLISH: send the message to the subscribers of this worker, and of all others, which are not counted.
        CommandError if it is too long for those."""
        self._pass_on([channel], [payload])
        return self.publish(channel, payload)

    def publish(self, channel: bytes, payload: bytes) -> int:
        """Send the message to all of this server who are subscribed to the channel, then to those with a pattern that
        matches it. Returns how many messages that is."""
        return self._publish(channel, payload, self._send_frames)

    def deliver(self, messages: Iterable[tuple[bytes, bytes]]) -> None:
        """Send what came from another worker, channels and payloads. It tells of nothing that this one writes. Several
        to one channel are one piece of the output of each who gets them."""
        for channel, of_channel in groupby(messages, itemgetter(0)):
            payloads = [payload for _, payload in of_channel]
            if self._patterns:
                for payload in payloads:
                    self._publish(channel, payload, self._send_now)
            elif (receivers := self._channels.get(channel)) is not None:
                self._send_now(receivers, _frames_of_all(channel, payloads))

    def publish_many(self, channels: Sequence[bytes], payloads: Sequence[bytes]) -> list[bytes]:
        """Do what `publish_to_all` does for each message in turn; their payloads are of one length. Returns the
        replies. Several to one channel are one piece of the output of each who gets them."""
        self._pass_on(channels, payloads)
        channel = channels[0]
        if self._patterns or (self._channels and channels.count(channel) < len(channels)):
            return [b":%d\r\n" % self.publish(*message) for message in zip(channels, payloads, strict=True)]
        receivers = self._channels.get(channel)
        if receivers is None:
            return [b":0\r\n"] * len(channels)
        head = b"%b$%d\r\n%b\r\n$%d\r\n" % (_MESSAGE, len(channel), channel, len(payloads[0]))
        self._send_frames(receivers, lambda mark: mark + head + (b"\r\n" + mark + head).join(payloads) + b"\r\n")
        return [b":%d\r\n" % len(receivers)] * len(channels)

    def is_too_long(self, channels: Sequence[bytes], payload: bytes) -> bool:
        """Whether a message with one of these channels is more than goes to other processes."""
        return self.line is not None and len(max(channels, key=len)) + len(payload) > self.line.max_bytes

    def _pass_on(self, channels: Sequence[bytes], payloads: Sequence[bytes]) -> None:
        """Send the messages to the other workers that listen."""
        line = self.line
        if line is not None and line.is_heard:
            if self.is_too_long(channels, payloads[0]):
                raise CommandError(f"ERR a message to other nodes may have {line.max_bytes} bytes, with its channel")
            frames = b"".join(map(encode_frame, channels, payloads))
            add = partial(line.add, self._pending.batches, len(channels), frames)
            self._pending.after_step(add, len(frames) + ADDED_BYTES)

    def _publish(self, channel: bytes, payload: bytes, send: SendFrames) -> int:
        number = 0
        receivers = self._channels.get(channel)
        if receivers is not None:
            number = len(receivers)
            send(receivers, _frames(_MESSAGE, channel, payload))
        if self._patterns:
            for pattern in self._index.matching(channel):
                receivers = self._patterns.get(pattern)
                if receivers is None:
                    continue  # its last client has just left: see _send_after_step
                number += len(receivers)
                head = b"4\r\n$8\r\npmessage\r\n$%d\r\n%b\r\n" % (len(pattern), pattern)
                send(receivers, _frames(head, channel, payload))
        return number

    def publish_shard(self, channel: bytes, payload: bytes) -> int:
        """Send the message to all who are subscribed to the sharded channel. Returns their number."""
        receivers = self.registries[Kind.SHARD].get(channel)
        if receivers is None:
            return 0
        self._send_frames(receivers, _frames(b"3\r\n$8\r\nsmessage\r\n", channel, payload))
        return len(receivers)

    def _send_frames(self, receivers: Receivers, frames: FramesOf) -> None:
        if self._pending.effects is not None:  # a transaction or a script, which may still be taken back
            self._send_after_step(receivers, frames)
        else:
            self._send_in_tick(receivers, frames, self._pending.batches)

    def _send_now(self, receivers: Receivers, frames: FramesOf) -> None:
        """Whatever becomes of the writes of this tick, or of a long script."""
        self._send_in_tick(receivers, frames, OF_NO_BATCH)

    def _send_in_tick(self, receivers: Receivers, frames: FramesOf, batch: int) -> None:
        receivers.enter(self.rounds.ticks)
        if receivers.of2:
            message = message_of(frames(b"*"), batch)
            for append in receivers.of2:
                append(message)
        if receivers.of3:
            message = message_of(frames(b">"), batch)
            for append in receivers.of3:
                append(message)

    def _send_after_step(self, receivers: Receivers, frames: FramesOf) -> None:
        """To those who are subscribed now, in the protocols that they speak now. A long script comes here from its own
        thread, while clients may leave: so it goes over a copy."""
        batch = self._pending.batches
        of2, of3 = message_of(frames(b"*"), batch), message_of(frames(b">"), batch)
        present = list(receivers.outlets.items())
        sends = [(outlet, of3 if receiver.protocol == RESP3 else of2) for receiver, outlet in present]

        def send() -> None:
            for outlet, message in sends:
                outlet()(message)

        self._pending.after_step(send, len(of2) + len(of3) + SEND_BYTES * len(sends))


def _frames_of_all(channel: bytes, payloads: list[bytes]) -> FramesOf:
    head = b"%b$%d\r\n%b\r\n" % (_MESSAGE, len(channel), channel)
    return lambda mark: b"".join([b"%b%b$%d\r\n%b\r\n" % (mark, head, len(each), each) for each in payloads])


def _frames(head: bytes, channel: bytes, payload: bytes) -> FramesOf:
    frame = b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (head, len(channel), channel, len(payload), payload)
    return lambda mark: mark + frame
