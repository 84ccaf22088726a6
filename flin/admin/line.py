"""A line to a worker: questions and answers of `Source`, over a pair of connected Unix sockets.

    message     the length of its JSON, 4 bytes, big endian; the JSON
    question    {"id": 7, "name": "figures", "arguments": {}}
    answer      {"id": 7, "answer": …} or {"id": 7, "error": "…", "status": 503}, in any order

Both ends trust each other: they are a supervisor and the worker that it has started.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Mapping
from typing import Any, Final

from flin.admin.source import AskError, Source

logger = logging.getLogger(__name__)

LENGTH_BYTES: Final = 4
READ_BYTES: Final = 1 << 18


def _encoded(message: Mapping[str, Any]) -> bytes:
    data = json.dumps(message).encode()
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


# The worker's side.


async def answer(end: socket.socket, source: Source) -> None:
    """Answer until the other side has ended, or this is cancelled."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            size = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            question = json.loads(await reader.readexactly(size))
            task = asyncio.ensure_future(_answer_one(writer, source, question))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the supervisor is gone
    finally:
        for task in tasks:
            task.cancel()
        writer.close()


async def _answer_one(writer: asyncio.StreamWriter, source: Source, question: Mapping[str, Any]) -> None:
    told: dict[str, Any]
    try:
        told = {"answer": await source.ask(question["name"], question["arguments"])}
    except AskError as error:
        told = {"error": str(error), "status": error.status}
    except Exception as error:  # the outermost frame of a question
        logger.exception("an unexpected exception in the answer to %s", question["name"])
        told = {"error": f"an unexpected error, which the log has: {error}", "status": 500}
    writer.write(_encoded({"id": question["id"], **told}))


# The supervisor's side.


class RemoteSource:
    """A worker, while there is one."""

    def __init__(self, number: int) -> None:
        self.waits_for = ""
        """What it waits for while it is starting, if it has said so."""
        self._number = number
        self._end: socket.socket | None = None
        self._read = bytearray()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0

    def attach(self, end: socket.socket) -> None:
        """The worker is ready, and answers at the other end. On the loop."""
        self.detach()
        self.waits_for = ""
        end.setblocking(False)
        self._end = end
        asyncio.get_running_loop().add_reader(end, self._hear)

    def detach(self) -> None:
        """It has ended. Idempotent."""
        end, self._end = self._end, None
        if end is None:
            return
        asyncio.get_running_loop().remove_reader(end)
        end.close()
        self._read.clear()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(self._gone())

    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if self._end is None:
            raise self._gone()
        number, self._next_id = self._next_id, self._next_id + 1
        question = _encoded({"id": number, "name": name, "arguments": dict(arguments)})
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            # A question has some hundred bytes, the socket room for a hundred thousand: all of it, or it hangs.
            if self._end.send(question) < len(question):
                raise BlockingIOError
            return await future
        except OSError as error:
            raise AskError(f"worker {self._number} takes no questions: it hangs, or has just died") from error
        finally:
            self._asked.pop(number, None)

    def _hear(self) -> None:
        """There is something to read."""
        assert self._end is not None
        try:
            data = self._end.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.detach()
            return
        self._read += data
        while (message := self._next_message()) is not None:
            self._take(message)

    def _next_message(self) -> dict[str, Any] | None:
        end = LENGTH_BYTES + int.from_bytes(self._read[:LENGTH_BYTES], "big")
        if len(self._read) < max(LENGTH_BYTES, end):
            return None
        message: dict[str, Any] = json.loads(self._read[LENGTH_BYTES:end])
        del self._read[:end]
        return message

    def _take(self, message: Mapping[str, Any]) -> None:
        future = self._asked.get(message["id"])
        if future is None or future.done():
            return  # nobody waits any more
        if "error" in message:
            future.set_exception(AskError(message["error"], message["status"]))
        else:
            future.set_result(message["answer"])

    def _gone(self) -> AskError:
        if self.waits_for:
            return AskError(f"worker {self._number} is not there yet: it {self.waits_for}")
        return AskError(f"worker {self._number} is not there: it is starting, or has died and is started again soon")
