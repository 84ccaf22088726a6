"""All that a running Redis has, and then each write as it makes it: as a replica of it gets them.

    PSYNC ? -1        ->   +FULLRESYNC id offset, its keys as an RDB file, then requests without end
    PSYNC id offset   ->   +CONTINUE, and the requests from there on: after a lost connection

The source keeps only some megabytes for a replica that does not read. So what comes while its keys are put away lies in
a file here. Every second it is told how far all is done, which its `INFO replication` shows.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Generator, Iterator
from time import monotonic, sleep
from typing import IO, Any, Final, cast

from flin.errors import ImportDataError, PeerError
from flin.rdb import file as rdb
from flin.transfer import rdb_file
from flin.transfer.backlog import Backlog
from flin.transfer.link import READ_BYTES, SILENCE_SECONDS, Link, pack
from flin.transfer.record import Item, Request

LOOK_SECONDS: Final = 0.05
"""How long what is here is used between two looks for more: at 100 MB/s 5 MB wait in the source, which gives up a
replica that lets 64 MB wait for a minute. And how long one look lasts at most: with a source that writes faster than
this reads it would never end by itself."""

WAIT_SECONDS: Final = 0.1
"""How soon a wish to end is noticed when nothing comes."""

TELL_SECONDS: Final = 1.0
"""Redis's own replicas tell how far they are as often."""

RETURN_SECONDS: Final = 60.0
"""A source that is away for longer has most likely forgotten what it sent last."""

_AGAIN_SECONDS: Final = 0.5
_LINE_BYTES: Final = 1000
_AWAY: Final = "import anew; a larger repl-backlog-size of the source lets it remember more"


class ReplicaFeed:
    """`items`, once."""

    def __init__(
        self,
        connect: Callable[[], Link],
        is_over: Callable[[], bool],
        flush: Callable[[], None],
        settle: Callable[[], None],
        on_second: Callable[[], None],
    ) -> None:
        """connect: makes a new connection. is_over: whether to end, between two transactions. flush: what `items` gave
        before is passed on, since it may wait for more. settle: returns when it is done. on_second: called each second,
        when it is."""
        self._connect: Final = connect
        self._is_over: Final = is_over
        self._flush: Final = flush
        self._settle: Final = settle
        self._on_second: Final = on_second
        self._link = connect()
        self._lost: PeerError | None = None  # why there is no connection
        self._lost_at = self._tried_at = 0.0
        self._address: Final = str(self._link.address)
        self._head = b""  # of the stream: what came with a line that was read
        self._id = b""
        self._received = 0  # the offset of the source's stream up to which it is here
        self._backlog: Final = Backlog()  # of which not all is used
        self._told_at = self._looked_at = monotonic()
        self.offset = 0
        """Up to which it is used."""
        self.is_loaded = False
        """All keys came: from here on it may end."""
        self.is_used_up = False
        """All that came is used, but for what is not whole, and nothing came at the last look."""

    def items(self) -> Iterator[Item | Request]:
        """The keys, then requests. PeerError if the source refuses, or is gone for too long; ImportDataError for what
        is no RDB file or no request."""
        import hiredis

        with self._backlog:
            with tempfile.TemporaryFile() as file:
                self._begin(file)
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as keys:
                    database = yield from self._keys(cast(bytes, keys))
            self.is_loaded = True
            yield Request([b"SELECT", b"%d" % database], f"offset {self.offset}")
            yield from self._requests(hiredis.Reader())
        self._link.close()

    def _keys(self, data: bytes) -> Generator[Item, None, int]:
        """The database that requests begin in is the generator's value."""
        for item in rdb_file.read(data, self._address, is_base=True):
            yield item
            now = monotonic()
            if now - self._looked_at >= LOOK_SECONDS:
                self._look(0)
                if now - self._told_at >= TELL_SECONDS:
                    self._tell()  # a source gives up a replica that says nothing for a minute
        return rdb.stream_database(data)

    # The stream of requests.

    def _requests(self, reader: Any) -> Iterator[Request]:
        import hiredis

        pack_words: Any = hiredis.pack_command  # half the time of `pack`; its types know no words of any number
        in_transaction = False
        while (in_transaction and self._lost is None) or not self._is_over():  # half a transaction was not answered
            self._flush()
            if not self._backlog:
                self._look(WAIT_SECONDS)
            elif monotonic() - self._looked_at >= LOOK_SECONDS:
                self._look(0)
            data = self._backlog.take(READ_BYTES)
            self.is_used_up = not data
            reader.feed(data)
            while (words := self._next(reader)) is not None:
                name = words[0].upper()
                packed = pack_words(tuple(words))
                if name == b"REPLCONF":  # it asks how far this is, since a client of it said WAIT
                    self.offset += len(packed)
                    self._settle()
                    self._tell()
                    continue
                in_transaction = name == b"MULTI" or (in_transaction and name not in (b"EXEC", b"DISCARD"))
                if name != b"PING":
                    yield Request(words, f"offset {self.offset}", packed)
                self.offset += len(packed)  # the source writes each in the same way
                self._tell_each_second()
            self._tell_each_second()

    def _next(self, reader: Any) -> list[bytes] | None:
        """The next request that is whole."""
        import hiredis

        try:
            words = reader.gets()
        except hiredis.ProtocolError as error:
            raise ImportDataError(self._address, f"offset {self.offset}", f"no request: {error}") from error
        if words is False:
            return None
        if type(words) is not list or not words or not all(type(word) is bytes for word in words):
            raise ImportDataError(self._address, f"offset {self.offset}", f"no request: {words!r:.100}")
        return words

    def _tell_each_second(self) -> None:
        if monotonic() - self._told_at >= TELL_SECONDS:
            self._settle()
            self._on_second()
            self._look(0)
            self._tell()

    def _tell(self) -> None:
        self._told_at = monotonic()
        if self._lost is None:  # while keys are put away, a line without words: it lives, and has none of them for sure
            ack = pack([[b"REPLCONF", b"ACK", b"%d" % self.offset]])
            self._link.send_bytes(ack if self.is_loaded else b"\n")

    # The connection.

    def _look(self, seconds: float) -> None:
        """Put away what has come, waiting so long for something."""
        if self._lost is not None:
            self._return(self._lost, seconds)
        else:
            self._put_away(seconds)
        self._looked_at = monotonic()

    def _put_away(self, seconds: float) -> None:
        data, self._head = self._head, b""
        try:
            data = data or self._link.bytes_within(seconds)
            until = monotonic() + LOOK_SECONDS
            while data:
                self._backlog.put(data)
                self._received += len(data)
                data = self._link.bytes_within(0) if monotonic() < until else b""
        except PeerError as error:
            self._lost, self._lost_at = error, monotonic()

    def _begin(self, file: IO[bytes]) -> None:
        """Become a replica, and put its keys into the file."""
        words = self._ask(b"PSYNC", b"?", b"-1").split()
        if len(words) != 3 or words[0] != b"+FULLRESYNC" or not words[2].isdigit():
            raise self._refused(b" ".join(words), "; without --follow its keys are read by SCAN")
        self._id, self.offset = words[1], int(words[2])
        self._received = self.offset
        head = self._line()
        if not head.startswith(b"$") or not head[1:].isdigit() or not int(head[1:]):
            raise self._refused(head)
        left = int(head[1:])
        while left:
            data = self._some()
            file.write(data[:left])
            self._head = data[left:]
            left -= len(data[:left])
        file.flush()

    def _return(self, lost: PeerError, seconds: float) -> None:
        """The connection is lost: try to go on behind what has come, or wait so long. PeerError if it is not possible.
        What came before is done meanwhile, and a wish to end is noticed."""
        now = monotonic()
        if now - self._tried_at < _AGAIN_SECONDS:
            sleep(seconds)
            return
        self._tried_at = now
        self._link.close()
        try:
            self._link = self._connect()
            reply = self._ask(b"PSYNC", self._id, b"%d" % (self._received + 1))
            if reply.startswith(b"-"):  # it loads its keys, or has lost its own source: a matter of moments
                raise self._refused(reply)
        except PeerError as error:
            if now - self._lost_at > RETURN_SECONDS and not self._backlog:
                raise PeerError(self._address, f"{lost.reason}, and then for a minute {error.reason}") from error
            return
        words = reply.split()
        if words[:1] != [b"+CONTINUE"]:
            raise PeerError(self._address, f"it no longer has what it wrote while the connection was lost: {_AWAY}")
        self._id = words[1] if len(words) > 1 else self._id  # another source has taken the place of the first
        self._lost = None

    def _ask(self, *words: bytes) -> bytes:
        """Say what this is, then the line that answers a request; what comes behind it is kept."""
        self._link.maybe(b"REPLCONF", b"capa", b"psync2")  # a source before 4.0 answers with an error
        self._head = b""
        self._link.send_bytes(pack([words]))
        return self._line()

    def _line(self) -> bytes:
        """The next line that is not empty: the source sends empty ones while it writes the file."""
        while True:
            self._head = self._head.lstrip(b"\n")
            line, end, rest = self._head.partition(b"\r\n")
            if end:
                self._head = rest
                return line
            if len(self._head) > _LINE_BYTES:
                raise self._refused(self._head)
            self._head += self._more()

    def _some(self) -> bytes:
        data, self._head = self._head, b""
        return data or self._more()

    def _more(self) -> bytes:
        """What comes next: what wakes this up may be less than a whole record of TLS."""
        until = monotonic() + SILENCE_SECONDS
        while monotonic() < until:
            if data := self._link.bytes_within(SILENCE_SECONDS):
                return data
        raise PeerError(self._address, f"it has said nothing for {SILENCE_SECONDS:.0f} s")

    def _refused(self, line: bytes, advice: str = "") -> PeerError:
        text = line[:100].decode(errors="replace")
        return PeerError(self._address, f"it takes no replica, and answers PSYNC with: {text}{advice}")
