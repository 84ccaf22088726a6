"""The libraries of functions: data, as in Redis. Each is an entry of the store.

    FF 01 FF FF `library:` name   →   a format byte, then the source as FUNCTION LOAD was given it

They are read and run at the first need after a start. What a request changes joins the batch of its tick; if that is
refused, or the step that it was a part of is taken back, they are read again. Names of libraries differ by case, those
of functions do not, as in Redis.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from flin.engine.entry import TOMBSTONE
from flin.engine.key import namespace_prefix
from flin.errors import CommandError, FormatVersionError, PayloadError, ScriptAborted, ScriptOutOfMemory
from flin.net.scripting.runtime import Chunk, Lua, Registered
from flin.net.scripting.shebang import SHEBANG, ScriptFlag, flags_named
from flin.net.wire.replies import OUT_OF_MEMORY, Value, shown
from flin.rdb.crc64 import crc64
from flin.rdb.dump import CRC_BYTES, VERSION_BYTES, check
from flin.rdb.dump import stored as stored_checksum
from flin.rdb.primitives import Reader, string

if TYPE_CHECKING:
    from flin.net.batch.refusal import Refusal
    from flin.net.run.services import Services
    from flin.net.scripting.script_run import ScriptRun

PREFIX: Final = namespace_prefix(0xFFFF) + b"library:"
"""In the last namespace, which belongs to no database: FLUSHALL leaves it."""

_FORMAT: Final = b"\x01"
LOAD_NS: Final = 500_000_000
"""Processor time in which a library must have registered its functions; Redis gives it 500 ms by the clock."""

OPCODE: Final = 245
"""What a library begins with in Redis's RDB format, since 7.0."""

_NAME: Final = re.compile(rb"[A-Za-z0-9_]+")
_BAD_NAME: Final = (
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)


class Function:
    """A function of a library."""

    __slots__ = ("chunk", "description", "flag_names", "flags", "is_reader", "library", "name")

    def __init__(self, library: Library, registered: Registered) -> None:
        self.library: Final = library
        self.name: Final = registered.name
        self.description: Final = registered.description
        self.flag_names: Final = registered.flags
        self.flags: Final = flags_named(b",".join(registered.flags))
        self.is_reader: Final = bool(self.flags & ScriptFlag.NO_WRITES)
        self.chunk: Chunk = registered.chunk


class Library:
    """A library that has run."""

    __slots__ = ("functions", "lua_source", "name", "source")

    def __init__(self, name: bytes, source: bytes, lua_source: bytes) -> None:
        self.name: Final = name
        self.source: Final = source
        self.lua_source: Final = lua_source
        self.functions: list[Function] = []


class Functions:
    """The libraries of a server, and the Lua that runs them: another than that of scripts."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lua: Lua | None = None
        self._libraries: dict[bytes, Library] | None = None  # None: to be read
        self._by_name: dict[bytes, Function] = {}
        self._source_bytes = 0
        self._is_listening = False
        services.databases.when_taken_back.append(self._read_again)
        services.config.when_lua_memory_changes.append(self._drop_lua)

    @property
    def lua(self) -> Lua:
        if self._lua is None:
            config = self._services.config
            self._lua = Lua(
                config.lua_memory_limit_bytes,
                largest_reply_bytes=config.largest_reply_bytes,
                is_for_functions=True,
            )
        return self._lua

    def _drop_lua(self) -> None:
        """In the next one libraries run again at their next call. It has the memory of now."""
        self._lua = None

    @property
    def libraries(self) -> dict[bytes, Library]:
        """By name, in the order in which they were loaded. CommandError if one of those in the store does not run."""
        return self._read() if self._libraries is None else self._libraries

    def _read(self) -> dict[bytes, Library]:
        made = {name: self._made(source, was_loaded=True) for name, source in self._stored().items()}
        self._libraries = {}
        self._keep(made)
        return self._libraries

    def _sources(self) -> dict[bytes, bytes]:
        """By name. Needs no Lua: a library that does not run any more can be deleted, and saved."""
        if self._libraries is None:
            return self._stored()
        return {name: library.source for name, library in self._libraries.items()}

    def _stored(self) -> dict[bytes, bytes]:
        store, found = self._services.store, {}
        for page in store.pages(store.freeze(), PREFIX, PREFIX + b"\xff"):
            for key, entry in zip(*page, strict=True):
                found[key[len(PREFIX) :]] = _source_of(entry)
        for key, entry in list(self._services.pending.points.items()):
            if key.startswith(PREFIX):
                found.pop(key[len(PREFIX) :], None)
                if entry is not TOMBSTONE:
                    found[key[len(PREFIX) :]] = _source_of(entry)
        return found

    def find(self, name: bytes) -> Function:
        """CommandError as Redis words it."""
        if self._libraries is None:
            self._read()
        function = self._by_name.get(name) or self._by_name.get(name.lower())
        if function is None:
            raise CommandError("ERR Function not found")
        return function

    def call(self, function: Function, keys: list[bytes], arguments: list[bytes], run: ScriptRun) -> Value:
        """An `Execute` of script_run.py."""
        lua = self._lua or self.lua
        if lua.is_gone(function.chunk):
            self._load_again(function.library)
        return lua.call_function(function.chunk, keys, arguments, run)

    def _load_again(self, library: Library) -> None:
        """Into a Lua that was made anew."""
        registrations = self._run(library.lua_source, was_loaded=True)
        for function, registered in zip(library.functions, registrations, strict=True):
            function.chunk = registered.chunk

    # Changes.

    def load(self, source: bytes, *, replaces: bool) -> bytes:
        """Add a library and return its name. CommandError as Redis words it."""
        name, _ = parse_metadata(source)
        if name in self.libraries and not replaces:
            raise CommandError(f"ERR Library '{name.decode()}' already exists")
        library = self._made(source)
        self._check_names([library], {name})
        self._write({name: library}, set())
        return name

    def delete(self, name: bytes) -> None:
        if name not in self._sources():
            raise CommandError("ERR Library not found")
        self._enter({}, {name})
        if self._libraries is not None:
            self._drop(self._libraries.pop(name))

    def flush(self) -> None:
        self._enter({}, set(self._sources()))
        self._forget()
        self._libraries = {}
        self._lua = None  # with all that it holds

    def restore(self, payload: bytes, policy: bytes) -> None:
        """policy: FLUSH, APPEND or REPLACE. All of the payload is taken, or nothing."""
        made: dict[bytes, Library] = {}
        for source in decode(payload):
            library = self._made(source)
            if library.name in made:
                raise CommandError(f"ERR Library '{library.name.decode()}' already exists")
            made[library.name] = library
        gone = set(self.libraries) if policy == b"FLUSH" else set()
        for name in made:
            if name in self.libraries and policy == b"APPEND":
                raise CommandError(f"ERR Library {name.decode()} already exists")
        self._check_names(list(made.values()), gone | made.keys())
        self._write(made, gone - made.keys())

    def dump(self) -> bytes:
        """The payload of FUNCTION DUMP."""
        return encode([*self._sources().values()])

    def _made(self, source: bytes, *, was_loaded: bool = False) -> Library:
        """Run a library. CommandError as Redis words it. was_loaded: it has run before, within its time."""
        name, lua_source = parse_metadata(source)
        library = Library(name, source, lua_source)
        library.functions = [
            Function(library, registered) for registered in self._run(lua_source, was_loaded=was_loaded)
        ]
        if not library.functions:
            raise CommandError("ERR No functions registered")
        return library

    def _run(self, lua_source: bytes, *, was_loaded: bool) -> list[Registered]:
        caller = _Loading(has_limit=not was_loaded)
        try:
            try:
                return self.lua.load_library(lua_source, caller)
            except ScriptOutOfMemory:  # all libraries share one Lua: it was made anew, and has room
                return self.lua.load_library(lua_source, caller)
        except ScriptAborted as error:
            raise CommandError(f"ERR Error registering functions: ERR {error}") from None

    def _check_names(self, made: list[Library], leaving: set[bytes]) -> None:
        """Each function's name must be its own. leaving: libraries that make room."""
        seen = {name for name, function in self._by_name.items() if function.library.name not in leaving}
        for library in made:
            for function in library.functions:
                if function.name.lower() in seen:
                    raise CommandError(f"ERR Function {function.name.decode()} already exists")
                seen.add(function.name.lower())

    def _write(self, made: dict[bytes, Library], gone: set[bytes]) -> None:
        leaving = [self.libraries[name] for name in gone | made.keys() if name in self.libraries]
        size_bytes = self._source_bytes - _size_of(leaving) + _size_of(made.values())
        if size_bytes > self._services.config.options.memory_limit // 4:
            raise CommandError(OUT_OF_MEMORY)
        self._enter(made, gone)
        for name in gone:
            self._drop(self.libraries.pop(name))
        self._keep(made)

    def _enter(self, made: dict[bytes, Library], gone: set[bytes]) -> None:
        """Into the batch."""
        pending = self._services.pending
        for name in gone:
            pending.points[PREFIX + name] = TOMBSTONE
        for name, library in made.items():
            pending.points[PREFIX + name] = _FORMAT + library.source
            pending.large_bytes += len(library.source)
        if not self._is_listening:
            self._is_listening = True
            pending.listen(self)

    def _keep(self, made: dict[bytes, Library]) -> None:
        libraries = self.libraries
        for name, library in made.items():
            if name in libraries:
                self._drop(libraries.pop(name))
            libraries[name] = library
            for function in library.functions:
                self._by_name[function.name.lower()] = function
        self._source_bytes += _size_of(made.values())

    def _drop(self, library: Library) -> None:
        self._source_bytes -= len(library.source)
        for function in library.functions:
            del self._by_name[function.name.lower()]

    # For INFO, which runs no library: those in the store are counted once they have been read.

    def __len__(self) -> int:
        return len(self._libraries or ())

    def number(self) -> int:
        """How many functions they have."""
        return len(self._by_name)

    def memory_bytes(self) -> int:
        """Their sources, which are kept as they came and as Lua gets them."""
        return 2 * self._source_bytes

    def lua_bytes(self) -> int:
        """What their Lua has allocated."""
        return 0 if self._lua is None else self._lua.memory_bytes()

    # The batch.

    def batch_committed(self) -> None:
        self._end()

    def batch_refused(self, refusal: Refusal) -> None:
        self._read_again()
        self._end()

    def _read_again(self) -> None:
        if self._is_listening:  # else the batch has nothing of ours
            self._forget()

    def _forget(self) -> None:
        self._libraries = None
        self._by_name.clear()
        self._source_bytes = 0

    def _end(self) -> None:
        self._is_listening = False
        self._services.pending.forget(self)


class _Loading:
    """A library's caller while it is loaded: there is nothing to call."""

    def __init__(self, *, has_limit: bool) -> None:
        self._until_ns = time.thread_time_ns() + LOAD_NS if has_limit else 0

    def call(self, arguments: list[bytes]) -> Value:
        raise CommandError("ERR redis.call can only be called inside a script invocation")

    def log(self, level: int, message: bytes) -> None:
        pass

    def set_protocol(self, version: int) -> None:
        pass

    def acl_check(self, arguments: list[bytes]) -> bool:
        return False

    def note_error(self, text: str) -> None:
        pass

    def should_stop(self) -> bool:
        if time.thread_time_ns() > self._until_ns > 0:
            raise ScriptAborted("FUNCTION LOAD timeout")
        return False


def parse_metadata(source: bytes) -> tuple[bytes, bytes]:
    """The name of a library, and its Lua. CommandError as Redis words it."""
    if not source.startswith(SHEBANG):
        raise CommandError("ERR Missing library metadata")
    line, newline, rest = source.partition(b"\n")
    if not newline:
        raise CommandError("ERR Invalid library metadata")
    engine, *options = line[len(SHEBANG) :].split() or [b""]
    name = None
    for option in options:
        if not option.lower().startswith(b"name="):
            raise CommandError(f"ERR Invalid metadata value given: {shown(option)}")
        if name is not None:
            raise CommandError("ERR Invalid metadata value, name argument was given multiple times")
        name = option[len(b"name=") :]
    if name is None:
        raise CommandError("ERR Library name was not given")
    if _NAME.fullmatch(name) is None:
        raise CommandError(_BAD_NAME)
    if engine.lower() != b"lua":
        raise CommandError(f"ERR Engine '{shown(engine)}' not found")
    return name, b"\n" + rest


def stored(source: bytes) -> tuple[bytes, bytes]:
    """The entry of a library: its stored key and its value. CommandError as Redis words it."""
    name, _ = parse_metadata(source)
    return PREFIX + name, _FORMAT + source


def sources_in(entries: Mapping[bytes, object]) -> list[bytes]:
    """The sources of libraries, as they are stored, by stored key. FormatVersionError for one of a newer Flin."""
    return [_source_of(entry) for entry in entries.values()]


def maybe_clash(entries: Mapping[bytes, object]) -> tuple[bytes, bytes, bytes] | None:
    """The name of a function that two libraries register, and the names of these two; None: there is none. entries: the
    libraries as they are stored, by stored key. One that does not run, as none does without lupa, has no functions."""
    owners: dict[bytes, bytes] = {}
    lua: Lua | None = None
    for key, entry in entries.items():
        library = key[len(PREFIX) :]
        try:
            lua = lua or Lua(is_for_functions=True)
            _, lua_source = parse_metadata(_source_of(entry))
            functions = lua.load_library(lua_source, _Loading(has_limit=True))
        except (CommandError, ScriptAborted, FormatVersionError):
            continue
        for name in [function.name.lower() for function in functions]:
            if owners.setdefault(name, library) != library:
                return name, owners[name], library
    return None


def encode(sources: list[bytes]) -> bytes:
    """The payload of FUNCTION DUMP: each library behind its opcode, then the footer of DUMP."""
    covered = b"".join(bytes([OPCODE]) + string(source) for source in sources) + VERSION_BYTES
    return covered + stored_checksum(crc64(covered))


def decode(payload: bytes) -> list[bytes]:
    """The sources. CommandError as Redis words it."""
    try:
        check(payload, crc64(memoryview(payload)[:-CRC_BYTES]))
    except PayloadError:
        raise CommandError("ERR DUMP payload version or checksum are wrong") from None
    body = payload[: -CRC_BYTES - len(VERSION_BYTES)]
    reader = Reader(body, len(body) * 64)
    sources = []
    try:
        while not reader.is_at_end:
            if reader.byte() != OPCODE:
                raise CommandError("ERR given type is not a function")
            sources.append(reader.string())
    except PayloadError:
        raise CommandError("ERR Failed loading library payload") from None
    return sources


def _size_of(libraries: Iterable[Library]) -> int:
    return sum(len(library.source) for library in libraries)


def _source_of(entry: object) -> bytes:
    if isinstance(entry, bytes) and entry[:1] == _FORMAT:
        return entry[1:]
    raise FormatVersionError("the database", "a library of functions has a format that this Flin does not know")
