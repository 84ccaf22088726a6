"""A replica that the log cannot complete, since what it needs is no longer kept: it takes a checkpoint of another one.

    NODE/group-03.taken/    the copy while it is made: REPLICA first, then the files of the checkpoint
    NODE/group-03.old/      what was there before, for a moment
    NODE/group-03/          the copy, by a rename, once all of it is durable

A follower is asked before the leader. The node says first from which entry on it will need the log, which is kept for
it from then on. Each file is compared with the giver's by its checksum: so what is there from an earlier try counts,
even if the giver is another one. At last all blocks and values are compared with their own checksums: the giver's disk
may have damaged what it gives, and a copy of that would count as one. A crash at any moment leaves the old replica,
none, or the new one. With one of the first two it begins again, with the files that are there.

A disk without room for the copy, beyond its reserve, is told to the controller, which gives the move up and asks this
node for no other one for a while (node/controller.py). A copy that the node must have is waited for.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from flin.cluster.etcd.key_value import KeyValueError, Unavailable
from flin.cluster.joining import JoinError
from flin.cluster.log.replicated_log import RETRY_SECONDS, ReplicatedLog
from flin.cluster.replica.checkpoint_giver import MAX_PIECE_BYTES, checksum, files_of
from flin.cluster.slot_map import SlotMap
from flin.engine.disk.file_name import MANIFEST, REPLICA, maybe_parse
from flin.engine.disk.fs import FileSystem, OsFileSystem, join
from flin.engine.verify import verified_files
from flin.errors import CorruptionError, FlinError, FormatVersionError, StorageError

logger = logging.getLogger(__name__)

COPY_PATH: Final = "/cluster/copy"

PIECE_BYTES: Final = MAX_PIECE_BYTES
PAUSE_SECONDS: Final = 1.0
"""Before all are asked again, when nobody could give a copy."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT)

DAMAGED_SECONDS: Final = 60.0
"""A node whose files are damaged is asked again only then: to find that out, all of them were read."""

ROOM_SECONDS: Final = 10.0
"""Between two looks whether the disk has room by now."""

TELL_AGAIN: Final = 60
"""After so many vain rounds the log says once more what is waited for: this may go on for days."""

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], bytes]
"""Asks the node at an address; JoinError if it refuses, OSError if it cannot be reached."""


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a giver has said."""

    address: str
    copy: str
    index: int
    files: dict[str, int]


def decode_offer(address: str, data: bytes) -> _Offer:
    """The answer to `begin`. ValueError if it is none."""
    told = _object_in(data)
    copy, index, files = told.get("copy"), told.get("index"), told.get("files")
    if type(copy) is not str or type(index) is not int or index < 0 or not isinstance(files, dict):
        raise ValueError("it does not say which copy it gives")
    for name, size in files.items():
        if name != MANIFEST and maybe_parse(name) is None:
            raise ValueError(f"it names a file {name[:80]!r}, which no database has")
        if type(size) is not int or size < 0:
            raise ValueError(f"it says of {name} that its size is {size!r:.20}")
    if MANIFEST not in files:
        raise ValueError("there is no manifest among its files")
    return _Offer(address, copy, index, files)


def decode_sum(data: bytes) -> int:
    """The answer to `sum`. ValueError if it is none."""
    found = _object_in(data).get("sum")
    if type(found) is not int:
        raise ValueError("it does not say a checksum")
    return found


def _object_in(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"its answer is no object: {data[:80]!r}")
    return found


class _DiskError(Exception):
    """This node's own disk refuses: no other giver would help."""


class _NoRoom(Exception):
    """Why, and how much it would have to have free."""

    def __init__(self, why: str, needs_bytes: int) -> None:
        super().__init__(why, needs_bytes)  # as they are, so that it can be pickled
        self.why = why
        self.needs_bytes = needs_bytes


class CheckpointTransfer:
    """For one replica, in a thread."""

    def __init__(
        self,
        directory: str,
        group: int,
        node: str,
        log: ReplicatedLog,
        ask: Ask,
        *,
        found: Callable[[], SlotMap],
        hold: Callable[[int], None],
        pause: Callable[[float], bool],
        tell: Callable[[str], None] = lambda what: None,
        refuse: Callable[[int, str, int], None] = lambda number, why, needs_bytes: None,
        free: Callable[[], int] = lambda: -1,
        fs: FileSystem | None = None,
    ) -> None:
        """found: the cluster's map. hold: tells that this replica needs the log from this number on; KeyValueError.
        pause: waits; true: it is to end. tell: given what it does, or waits for. refuse: tells the controller that no
        copy can be made here, beside what `hold` does: why, and how much room that takes (0: it is not room alone).
        free: how much room there is; -1: that is not known."""
        self._directory = directory
        self._taken, self._old = f"{directory}.taken", f"{directory}.old"
        self._group = group
        self._node = node
        self._log = log
        self._ask_node = ask
        self._found = found
        self._hold = hold
        self._pause = pause
        self._tell = tell
        self._refuse = refuse
        self._free = free
        self._fs = fs or OsFileSystem()
        self._needed = 1  # the number from which on the log is needed
        self._damaged: dict[str, tuple[float, str]] = {}
        """By address, who has given damaged files: until when nobody asks it, and what was wrong."""

    def is_needed(self, index: int) -> bool:
        """Whether the log is kept only from later on than after this entry; once etcd answers."""
        while True:
            try:
                return not self._log.has(index + 1)
            except Unavailable:
                if self._pause(RETRY_SECONDS):
                    return False

    def forget(self) -> None:
        """What an interrupted try has left is not needed."""
        for path in (self._taken, self._old):
            shutil.rmtree(path, ignore_errors=True)

    def take(self) -> bool:
        """Put a copy in the place of the replica, which nobody has open. False: it is to end. StorageError."""
        logger.warning("the log begins after what this replica has: it is made anew, from a copy of another one")
        told, since = "", 0
        while not self._pause(0):
            problems, has_waited = [], False
            for node, address in givers(self._found(), self._group, self._node):
                try:
                    index = self._take_from(address)
                except (JoinError, OSError, KeyValueError, CorruptionError, FormatVersionError, ValueError) as error:
                    problems.append(f"{node} ({address}): {error}")
                    continue
                except _NoRoom as error:
                    if not self._wait_for_room(error):
                        return False
                    has_waited = True
                    break
                except _DiskError as error:
                    with suppress(KeyValueError):
                        self._refuse(self._needed, str(error.args[0]), 0)
                    raise StorageError("copy into", self._taken, error.args[0]) from error
                if index is None:
                    return False
                logger.info("has taken the copy of %s, which ends with entry %d", node, index)
                return True
            if has_waited:
                continue
            problem, since = _waiting(problems), since + 1
            self._tell(problem)
            if problem != told or since == TELL_AGAIN:
                logger.warning("this replica %s", problem)
                since = 0
            told = problem
            if self._pause(PAUSE_SECONDS):
                break
        return False

    # One try.

    def _take_from(self, address: str) -> int | None:
        """The number of the last entry in it; None: it is to end. JoinError, OSError, KeyValueError; ValueError,
        CorruptionError, FormatVersionError for what makes no sense."""
        until, reason = self._damaged.get(address, (0.0, ""))
        if time.monotonic() < until:
            raise JoinError(f"{address}: {reason}", True)
        offer = self._begin(address)
        self._tell(f"takes a copy of {sum(offer.files.values()) >> 20} MiB from {address}")
        self._needed = offer.index + 1
        self._hold(self._needed)
        if not self._log.has(offer.index + 1):
            raise JoinError(f"{address}: its copy ends with entry {offer.index}, and the log begins later", True)
        size = sum(offer.files.values())
        try:
            _on_own_disk(partial(self._prepare, offer))
            self._check_room(size)
            is_whole = all(self._take_file(offer, name) for name in _in_order(offer.files))
        except _DiskError as error:
            if error.args[0].errno in FULL:
                # If there is room, it is a quota that is full: nobody sees when that changes.
                needs_bytes = size if 0 <= self._free() < size else 0
                raise _NoRoom(f"its disk is full, and the copy takes {size >> 20} MiB", needs_bytes) from error
            raise
        if not is_whole:
            return None
        if files_of(self._fs, self._taken) != offer.files:
            raise ValueError("its manifest names other files than it has given")
        for problems in verified_files(self._fs, self._taken):
            if problems:
                self.forget()
                raise self._damage_of(address, problems[0])
            if self._pause(0):
                return None
        _on_own_disk(self._install)
        try:
            self._asked(offer, "end")
        except (JoinError, OSError) as error:  # it is removed when its time is over
            logger.info("%s was not told that its copy was taken: %s", address, error)
        return offer.index

    def _check_room(self, size: int) -> None:
        """What an earlier try has left counts."""
        there = sum(self._fs.file_size(join(self._taken, name)) for name in self._fs.names(self._taken))
        free = self._free()
        if 0 <= free < size - there:
            raise _NoRoom(
                f"its disk has {free >> 20} MiB free beyond the reserve, and the copy takes {size >> 20} MiB", size
            )

    def _wait_for_room(self, reason: _NoRoom) -> bool:
        """Leave the disk to others until it has room, and say so. False: it is to end."""
        self.forget()
        logger.warning("no copy of the group can be taken here: %s", reason.why)
        self._tell(f"cannot take a copy of the group: {reason.why}")
        while True:
            with suppress(KeyValueError):
                self._refuse(self._needed, reason.why, reason.needs_bytes)
            if self._pause(ROOM_SECONDS):
                return False
            if not 0 <= self._free() < reason.needs_bytes:
                return True

    def _begin(self, address: str) -> _Offer:
        question = {"what": "begin", "group": self._group, "node": self._node}
        return decode_offer(address, self._ask_node(address, question))

    def _damage_of(self, address: str, problem: FlinError) -> FlinError:
        if isinstance(problem, StorageError):  # this node cannot read them
            return problem
        reason = f"its files are damaged, look at it with flin check: {problem}"
        self._damaged[address] = time.monotonic() + DAMAGED_SECONDS, reason
        return JoinError(f"{address}: {reason}", True)

    def _prepare(self, offer: _Offer) -> None:
        """Its directory, marked as a replica's before it has anything of one; without files that are of no use."""
        fs = self._fs
        fs.make_directory(self._taken)
        if REPLICA not in fs.names(self._taken):
            fs.create(join(self._taken, REPLICA)).close()
        fs.sync_directory(self._taken)
        for name in fs.names(self._taken):
            if name != REPLICA and name not in offer.files:
                fs.remove(join(self._taken, name))

    def _take_file(self, offer: _Offer, name: str) -> bool:
        """What is there of it is gone on with, unless it turns out to be of another file. False: it is to end."""
        path, size = join(self._taken, name), offer.files[name]
        expected = decode_sum(self._asked(offer, "sum", file=name))
        for _ in range(2):
            have = _on_own_disk(partial(self._size_of, path, size))
            while have < size:
                if self._pause(0):
                    return False
                piece = self._asked(offer, "piece", file=name, offset=have, length=PIECE_BYTES)
                if not 0 < len(piece) <= size - have:
                    raise ValueError(f"it gave {len(piece)} bytes of {name} at {have}, of {size}")
                _on_own_disk(partial(_append, path, piece))
                have += len(piece)
            if _on_own_disk(partial(self._checksum, path, size)) == expected:
                return True
            _on_own_disk(partial(self._fs.remove, path))
        raise JoinError(f"{offer.address}: {name} has another checksum here than there, twice", True)

    def _asked(self, offer: _Offer, what: str, **arguments: Any) -> bytes:
        return self._ask_node(offer.address, {"what": what, "copy": offer.copy, **arguments})

    def _size_of(self, path: str, size: int) -> int:
        """How much of the file is there; what is longer than it is of another one."""
        if not os.path.exists(path):
            self._fs.create(path).close()
        have = self._fs.file_size(path)
        if have > size:
            os.truncate(path, 0)
            return 0
        return have

    def _checksum(self, path: str, size: int) -> int:
        self._fs.sync_file(path)
        return checksum(self._fs, path, size)

    def _install(self) -> None:
        parent = os.path.dirname(self._directory)
        self._fs.sync_directory(self._taken)
        shutil.rmtree(self._old, ignore_errors=True)
        if os.path.lexists(self._directory):
            os.rename(self._directory, self._old)
        os.rename(self._taken, self._directory)
        self._fs.sync_directory(parent)
        shutil.rmtree(self._old, ignore_errors=True)


def givers(found: SlotMap, group: int, node: str) -> list[tuple[str, str]]:
    """Whom to ask, and where: those that follow before the one that leads, which has enough to do."""
    leader = found.leaders[group].node if group in found.leaders else ""
    holders = found.replicas[group].nodes if group in found.replicas else ()
    names = sorted({*holders, leader} - {node, ""}, key=lambda name: (name == leader, name))
    return [(name, found.nodes[name].http) for name in names if name in found.nodes and found.nodes[name].http]


def _in_order(files: Iterable[str]) -> list[str]:
    """The manifest is the last one: it says that all is there."""
    return sorted(files, key=lambda each: (each == MANIFEST, each))


def _waiting(problems: list[str]) -> str:
    """problems: why each node that has a copy gives none."""
    if not problems:
        return (
            "waits for a copy of the group, since the log no longer goes back far enough, and no other node has one: "
            "docs/nodes.md says what can be done if the cluster is lost"
        )
    reasons = "; ".join(
        each.partition(";")[0] for each in problems
    )  # one that waits, too, does not tell its whole list
    return f"waits for a copy of the group; one of these nodes must give it: {reasons}"


def _append(path: str, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def _on_own_disk(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except OSError as error:
        raise _DiskError(error) from error
