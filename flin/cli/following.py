"""`flin import redis://… --follow`: a running server's keys, and then each of its writes, until it is told to end."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Final

from flin.address import Address, is_address
from flin.cli import exit_code
from flin.cli.closed import opened
from flin.cli.moving import server_target
from flin.cli.parsing import UsageError, maybe_key, new_directory
from flin.cli.peer import linked, source_address
from flin.cli.staged import staged
from flin.cli.ticker import Ticker
from flin.errors import PeerError

if TYPE_CHECKING:
    from flin.transfer.link import Link
    from flin.transfer.record import Item, Request
    from flin.transfer.relay import Relay
    from flin.transfer.replica_feed import ReplicaFeed

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

LOOKS: Final = 3
"""How often it is looked at the end whether the source has more. One look may find a PING of the source, which comes
every ten seconds, but not three in a row: then programs still write."""


def info_of(link: Link, section: bytes) -> dict[bytes, bytes]:
    """PeerError."""
    told: bytes = link.ask(b"INFO", section)
    return dict(line.split(b":", 1) for line in told.splitlines() if b":" in line)


def _nothing() -> None:
    """A directory takes each write as it comes."""


class Following:
    """One source that is followed, and how far behind it this is."""

    def __init__(
        self,
        address: Address,
        arguments: argparse.Namespace,
        stack: ExitStack,
        relay: Relay | None = None,
    ) -> None:
        """relay: what its writes go through to a running target. PeerError if the source does not let itself be
        followed."""
        from flin.transfer.replica_feed import ReplicaFeed

        def connect() -> Link:
            return connections.enter_context(linked(address, arguments))

        connections = stack.enter_context(ExitStack())
        self._address = address
        self._connect = connect
        self._asked: Link | None = connect()
        self.stream: Final = info_of(self._asked, b"replication").get(b"master_replid", b"")
        """Its name: a master and all its replicas have the same one. Redis before 4.0 says none."""
        self.behind: int | None = None
        """Bytes of the source's stream; None: not known."""
        self._has_caught_up = False
        self._offset_before: int | None = None  # a second ago
        self._ends = False
        self._until: int | None = None  # it ends when this is as far, and the source has no more
        self._looks = 0
        self.feed: Final[ReplicaFeed] = ReplicaFeed(
            connect,
            self._may_end,
            _nothing if relay is None else relay.flush,
            _nothing if relay is None else relay.settle,
            self._note,
        )

    def items(self) -> Iterator[Item | Request]:
        """Until SIGINT or SIGTERM, and all that the source had by then. Before all keys are there these end the import
        as they would any other; so does a second one."""
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def end(number: int, frame: FrameType | None) -> None:
            handler = before[signal.Signals(number)]
            if self.feed.is_loaded and not self._ends:
                self._ends = True
            elif callable(handler):
                handler(number, frame)

        for number in SIGNALS:
            signal.signal(number, end)
        try:
            yield from self.feed.items()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self) -> None:
        self._measure()
        before, self._offset_before = self._offset_before, self.feed.offset
        done = 0 if before is None else self.feed.offset - before
        if self.behind is not None and self.behind <= done and not self._has_caught_up:
            self._has_caught_up = True  # within a second: while programs write, something is always on its way
            print(f"flin: caught up with {self._address}; SIGINT or SIGTERM ends it", file=sys.stderr, flush=True)

    def _may_end(self) -> bool:
        if not self._ends or (self._until is not None and self.feed.offset < self._until and self.behind is not None):
            return False
        self._until = self._measure()
        if self._until is None:  # it is away
            return self.feed.is_used_up
        self._looks += 1
        return not self.behind or self._looks > LOOKS

    def _measure(self) -> int | None:
        offset = self._source_offset()
        self.behind = None if offset is None else max(0, offset - self.feed.offset)
        return offset

    def _source_offset(self) -> int | None:
        """How far its stream goes; None: it does not answer. The feed finds out whether it stays away."""
        try:
            if self._asked is None:
                self._asked = self._connect()
            return int(info_of(self._asked, b"replication")[b"master_repl_offset"])
        except PeerError:
            if self._asked is not None:
                self._asked.close()
            self._asked = None
            return None

    def progress(self, keys: int, requests: int) -> str:
        counts = f"{keys:,} keys, {requests:,} writes"
        if self.behind is not None:
            return f"{counts}, {self.behind:,} bytes behind"
        return counts if self._asked is not None else f"{counts}, the source does not answer"

    def end(self) -> str:
        """What is left in the source, for the line at the end."""
        if self.behind is None:
            return "the source could not be asked whether it has more"
        return f"the source has {self.behind:,} bytes of writes more" if self.behind else "the source has no more"


def run(arguments: argparse.Namespace) -> int:
    if arguments.match is not None or arguments.state is not None or arguments.skip or arguments.partial:
        raise UsageError("--follow takes all keys of a server: not with --match, --state, --skip or --partial")
    address = source_address(arguments.source)
    if address.database is not None:
        raise UsageError("--follow takes all databases: leave the number out of the source's URL")
    with ExitStack() as stack:
        if is_address(arguments.directory):
            return _into_server(address, arguments, stack)
        return _into_directory(address, arguments, stack)


def _into_directory(address: Address, arguments: argparse.Namespace, stack: ExitStack) -> int:
    from flin.transfer.importing import Import

    if arguments.merge:
        raise UsageError("--follow makes a new directory: it cannot be merged into one that is there")
    key = maybe_key(arguments.encryption_key_file)
    path = new_directory(arguments.directory, "/dev/null", "name another one")
    following = Following(address, arguments, stack)
    with staged(path) as inside, opened(inside, key, create=True) as database:
        adding = Import(database, str(address), is_new=True)
        with Ticker("following", lambda: following.progress(adding.added, adding.requests)):
            adding.add_all(following.items())
    return _told(following, adding.added, adding.requests, path)


def _into_server(address: Address, arguments: argparse.Namespace, stack: ExitStack) -> int:
    from flin.transfer.relay import Relay

    target = stack.enter_context(server_target(arguments, None))
    if info_of(target.link, b"cluster").get(b"cluster_enabled") == b"1":
        raise UsageError(
            f"{target.link.address} is a part of a cluster, and refuses keys of the others: import into a directory, "
            "then use flin resize"
        )
    relay = Relay(target.link)
    following = Following(address, arguments, stack, relay)
    if following.stream and following.stream == info_of(target.link, b"replication").get(b"master_replid"):
        raise UsageError(f"{address} and {target.link.address} are the same server, or one is the replica of the other")
    with Ticker("following", lambda: following.progress(target.added, relay.requests)):
        target.add_all(following.items(), relay)
        relay.settle()
    return _told(following, target.added, relay.requests, str(target.link.address))


def _told(following: Following, keys: int, requests: int, target: str) -> int:
    print(f"{keys:,} keys and {requests:,} writes were imported into {target}; {following.end()}")
    return exit_code.OK if following.behind == 0 else exit_code.PROBLEMS
