"""What a node gives to one that makes a copy of a group: a checkpoint of its own replica, file by file.

    NODE/copies/group-03-1f…    second names of the replica's files (engine/backup/checkpoint.py)

The replica's process makes it; the supervisor reads it, so it outlives that process. It is kept until the other node
has all of it, or has asked for nothing for GIVEN_SECONDS, and not beyond the supervisor's end.

`begin` answers what the files are, `piece` with bytes of one, `sum` with the checksum of one, `end` removes it.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from flin.admin.source import BAD, AskError, Source
from flin.cluster.log.follower import index_in_tables
from flin.engine.backup.file_copy import read_file
from flin.engine.catalog import manifest as manifest_format
from flin.engine.disk.file_name import MANIFEST, group_name
from flin.engine.disk.fs import FileSystem, OsFileSystem, join
from flin.engine.engine import store_of
from flin.errors import FlinError

if TYPE_CHECKING:
    from flin.engine.engine import Engine

COPIES: Final = "copies"

GIVEN_SECONDS: Final = 600.0
"""Meanwhile its files take room, also those that merges have replaced. Who is killed amid it is back much sooner."""

NAME_BYTES: Final = 8
"""In the random name of a checkpoint: no two have the same."""

MAX_PIECE_BYTES: Final = 1 << 19
"""Half of what an answer may have (joining.py)."""


@dataclass(slots=True)
class _Given:
    """A checkpoint."""

    group: int
    taker: str
    path: str
    files: dict[str, int]
    """The size of each."""
    timer: asyncio.TimerHandle | None = field(default=None)


class CheckpointGiver:
    """Used on one loop. `answer` has the questions of POST /cluster/copy."""

    def __init__(
        self, directory: str, groups: int, source: Callable[[int], Source], fs: FileSystem | None = None
    ) -> None:
        """directory: the node's. What an earlier process has left there is removed."""
        self._directory = join(directory, COPIES)
        self._groups = groups
        self._source = source
        self._fs = fs or OsFileSystem()
        self._given: dict[str, _Given] = {}
        self._answers: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "begin": self._begin,
            "piece": self._piece,
            "sum": self._sum,
            "end": self._end,
        }
        shutil.rmtree(self._directory, ignore_errors=True)

    async def answer(self, body: dict[str, Any]) -> Any:
        """AskError."""
        answer = self._answers.get(str(body.get("what")))
        if answer is None:
            raise AskError(f"say what: {', '.join(self._answers)}", BAD)
        try:
            return await answer(body)
        except (OSError, FlinError) as error:
            if isinstance(error, AskError):
                raise
            raise AskError(f"the copy cannot be given: {error}") from error

    async def _begin(self, body: dict[str, Any]) -> dict[str, Any]:
        """A node that begins again gets what is newest, in place of what it was given before."""
        group, taker = body.get("group"), body.get("node")
        if type(group) is not int or not 0 <= group < self._groups or not isinstance(taker, str):
            raise AskError("name the group by its number, and the node that takes it", BAD)
        for name, given in [*self._given.items()]:
            if (given.group, given.taker) == (group, taker):
                await self._remove(name)
        name = f"{group_name(group)}-{secrets.token_hex(NAME_BYTES)}"
        path = join(self._directory, name)
        try:
            self._fs.make_directory(self._directory)
            made = await self._source(group).ask("copy", {"path": path})
            files = await asyncio.to_thread(files_of, self._fs, path)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, path, True)
            raise
        self._given[name] = _Given(group, taker, path, files)
        self._keep(name)
        return {"copy": name, "index": made["index"], "files": files}

    async def _piece(self, body: dict[str, Any]) -> bytes:
        path, size = self._found(body)
        offset, length = body.get("offset"), body.get("length")
        if type(offset) is not int or not 0 <= offset <= size or type(length) is not int or length < 1:
            raise AskError("say from which offset, and how many bytes", BAD)
        return await asyncio.to_thread(_read, self._fs, path, min(length, size - offset, MAX_PIECE_BYTES), offset)

    async def _sum(self, body: dict[str, Any]) -> dict[str, int]:
        path, size = self._found(body)
        return {"sum": await asyncio.to_thread(checksum, self._fs, path, size)}

    async def _end(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._remove(str(body.get("copy")))
        return {}

    def _found(self, body: dict[str, Any]) -> tuple[str, int]:
        """The file that is named, and its size."""
        name, file = str(body.get("copy")), str(body.get("file"))
        given = self._given.get(name)
        if given is None or file not in given.files:
            raise AskError("there is no such copy, or not any more: begin again", BAD)
        self._keep(name)
        return join(given.path, file), given.files[file]

    def _keep(self, name: str) -> None:
        """For GIVEN_SECONDS from now on."""
        given, loop = self._given[name], asyncio.get_running_loop()
        if given.timer is not None:
            given.timer.cancel()
        given.timer = loop.call_later(GIVEN_SECONDS, self._expire, name)

    def _expire(self, name: str) -> None:
        given = self._given.pop(name)
        asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, given.path, True)

    async def _remove(self, name: str) -> None:
        given = self._given.pop(name, None)
        if given is not None:
            assert given.timer is not None
            given.timer.cancel()
            await asyncio.to_thread(shutil.rmtree, given.path, True)


def files_of(fs: FileSystem, path: str) -> dict[str, int]:
    """The files that a replica needs of a checkpoint, and how many of their bytes: not the write-ahead log, which it
    would throw away."""
    manifest = manifest_format.read(fs, path)
    assert manifest is not None
    sizes = {name: fs.file_size(join(path, name)) for name in sorted({*manifest.version.files(), MANIFEST})}
    values = {each.file: each.length for each in manifest.version.value_files if each.file.endswith(".wal")}
    return sizes | values


def checksum(fs: FileSystem, path: str, size: int) -> int:
    """The BLAKE2b of a file's first bytes. A CRC-32 will not do: blocks end with theirs, so two tables of a layout have
    the same over all, whatever is in their blocks."""
    found = blake2b(digest_size=8)
    for data in read_file(fs, path, size):
        found.update(data)
    return int.from_bytes(found.digest())


def _read(fs: FileSystem, path: str, size: int, offset: int) -> bytes:
    file = fs.open(path)
    try:
        return file.pread(size, offset)
    finally:
        file.close()


# In the replica's process.


def copy_answer(engine: Engine) -> Callable[[Mapping[str, Any]], Awaitable[dict[str, int]]]:
    """Makes a checkpoint that has as much of the log in its tables as can be."""

    def make(path: str) -> dict[str, int]:
        engine.flush()
        index = index_in_tables(store_of(engine))  # no more than what the checkpoint's tables hold
        engine.checkpoint(path)
        return {"index": index}

    async def answer(arguments: Mapping[str, Any]) -> dict[str, int]:
        try:
            return await asyncio.to_thread(make, arguments["path"])
        except FlinError as error:
            raise AskError(f"no checkpoint can be made: {error}") from error

    return answer
