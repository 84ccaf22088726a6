"""The Lua of scripts: LuaJIT 2.1 with its compiler off, inside a sandbox (sandbox.lua). The only importer of lupa.

Only the 5.1 dialects run Redis's scripts, and of those only LuaJIT calls its hooks inside coroutines and lets memory
errors be told apart. With the compiler on, a compiled loop would never call the hook.

A script is stopped by its caller's word alone: `should_stop` is asked at least each 100,000 instructions. What stops it
(`ScriptAborted`, or any other exception of the caller's) is raised again by `run`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from flin.errors import CommandError, ScriptAborted, ScriptError, ScriptOutOfMemory
from flin.net.scripting.values import (
    ABORT,
    ERROR,
    LONG,
    MISUSE,
    MOST_VALUES,
    SHAPED,
    STATUS,
    argument_of,
    from_lua,
    to_lua,
    values_of,
)
from flin.net.wire.replies import Reply, Value, too_large_reply

DEFAULT_MEMORY_BYTES: Final = 64 << 20
SCRIPT_NAME: Final = b"@user_script"
LIBRARY_NAME: Final = b"@user_function"

_FOLDER: Final = Path(__file__).parent
_LIBRARIES: Final = (
    b"guard",
    b"api",
    b"library",
    b"results",
    b"patterns",
    b"random",
    b"ieee",
    b"cjson",
    b"cmsgpack",
    b"struct",
)
_SHORT_REPLIES: Final[dict[bytes, Any]] = {b"+OK\r\n": (STATUS, b"OK"), b":0\r\n": 0, b":1\r\n": 1}
_ABORTED: Final = 10
_MEMORY: Final = 11
_RAISED: Final = 12

_TAIL_CALL: Final = re.compile(rb"\breturn\s+[\w.:]+\s*[({\"'\[]")

_COMPILING: Final = "Error compiling script (new function)"
_NOT_INSTALLED: Final = "ERR Lua is not installed here: pip install 'flin[lua]'"
_NO_ARGUMENT: Final = b"ERR Please specify at least one argument for this redis lib call"
_BAD_ARGUMENT: Final = b"ERR Lua redis lib command arguments must be strings or integers"


class Caller(Protocol):
    """What a script reaches through `redis.*`, and who may stop it."""

    def call(self, arguments: list[bytes]) -> Value:
        """Run a command. An error reply is a CommandError, as the value or raised. ScriptAborted ends the script."""

    def log(self, level: int, message: bytes) -> None: ...

    def set_protocol(self, version: int) -> None:
        """`redis.setresp`: 2 or 3, for the replies of later calls."""

    def acl_check(self, arguments: list[bytes]) -> bool:
        """May the user run this? CommandError if it is no command."""

    def note_error(self, text: str) -> None:
        """There is an error in what the script returns; without a text if it is a command's."""

    def should_stop(self) -> bool:
        """Asked again and again while the script runs. True stops it (`ScriptAborted`), as does an exception."""


class LuaNotInstalled(CommandError):
    """lupa is missing, or its wheel for this machine holds no LuaJIT 2.1."""


class Chunk:
    """A compiled script: it belongs to its Lua."""

    __slots__ = ("function", "label", "line", "name", "place", "source", "state")

    def __init__(self, source: bytes, name: bytes, label: bytes) -> None:
        self.source = source
        self.name = name
        self.place = name[1:]
        self.label = label
        self.line = _line_of_tail_call(source)
        self.function: Any = None
        self.state: Any = None


class Registered(NamedTuple):
    """A function that a library has registered."""

    name: bytes
    description: bytes | None
    flags: list[bytes]
    chunk: Chunk


class Lua:
    """One Lua state for all scripts of a server, made anew when a script has spent its memory. One run at a time."""

    def __init__(
        self,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        *,
        largest_reply_bytes: int | None = None,
        is_for_functions: bool = False,
    ) -> None:
        """LuaNotInstalled if there is no LuaJIT. memory_bytes: what scripts may hold, 80 KB of it the libraries; the
        arguments of one call have no more. largest_reply_bytes: nor has what one returns, if this is None."""
        self._memory_bytes = memory_bytes
        self._largest_reply_bytes = memory_bytes if largest_reply_bytes is None else largest_reply_bytes
        self._is_for_functions = is_for_functions
        self._caller: Caller | None = None
        self._cause: BaseException | None = None
        self._resp3 = False
        self._has_pages = False  # Lua may hold more of the result than it has given
        self._last: Value = None
        self._arguments: list[bytes] = []
        self._state: Any = None
        self._start()

    def _start(self) -> None:
        lupa = _luajit()
        state = lupa.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_refuse,
            max_memory=self._memory_bytes,
        )
        host = {
            b"is_for_functions": self._is_for_functions,
            b"memory_bytes": self._memory_bytes,
            b"largest_reply_bytes": self._largest_reply_bytes,
            b"libraries": state.table_from({name: _library(state, name) for name in _LIBRARIES}),
            b"call": self._call,
            b"more": self._more,
            b"log": self._log,
            b"protocol": self._protocol,
            b"acl": self._acl,
            b"stop": self._stop,
            b"too_large": self._too_large,
            b"sha1": _sha1,
        }
        runner = _library(state, b"sandbox")(state.table_from(host))
        self._run_script = runner[b"script"]
        self._run_long_script = runner[b"long_script"]
        self._run_callback = runner[b"callback"]
        self._run_long_callback = runner[b"long_callback"]
        self._run_library = runner[b"library"]
        self._registered = runner[b"registered"]
        self._take = runner[b"take"]
        self._forget = runner[b"forget"]
        self._compile = runner[b"compile"]
        self._state = state

    def memory_bytes(self) -> int:
        """What this Lua has allocated."""
        return int(self._state.get_memory_used(total=True) or 0)

    def compile(self, source: bytes, name: bytes = SCRIPT_NAME, label: bytes | None = None) -> Chunk:
        """ScriptError if it is no Lua. label: what errors of a run name, by default the SHA-1 of the source."""
        chunk = Chunk(source, name, _sha1(source) if label is None else label)
        self._compile_into(chunk)
        return chunk

    def load_library(self, source: bytes, caller: Caller) -> list[Registered]:
        """Run a library and return what it registers. CommandError: it is no Lua, or failed; ScriptAborted: it was
        stopped."""
        chunk, state = Chunk(source, LIBRARY_NAME, b""), self._state
        try:
            self._compile_into(chunk)
        except ScriptError as error:
            if self._state is not state:
                raise _out_of_memory() from None
            raise ScriptError(str(error).replace(_COMPILING, "Error compiling function", 1)) from None
        try:
            with self._running(caller):
                count, *told = self._run_library(chunk.function, chunk.place, chunk.line)
                found = tuple(told) if len(told) > 1 else told[0]
                if type(found) is tuple and found[0] == _RAISED:
                    raise CommandError("ERR Error registering functions: " + found[1].decode("latin-1"))
                self._result(chunk, found, caller)
                return [self._registration(chunk, self._registered(position + 1)) for position in range(count)]
        except _luajit().LuaMemoryError:
            self._start()
            raise _out_of_memory() from None

    def _registration(self, chunk: Chunk, described: tuple[Any, ...]) -> Registered:
        name, description, callback, *flags = described
        made = Chunk(chunk.source, chunk.name, name)
        made.line, made.function, made.state = chunk.line, callback, self._state
        return Registered(name, description or None, flags, made)

    def is_gone(self, chunk: Chunk) -> bool:
        """Whether the state that a library's function belonged to was made anew since."""
        return chunk.state is not self._state

    @contextmanager
    def _running(self, caller: Caller) -> Iterator[None]:
        self._caller, self._cause, self._resp3, self._last = caller, None, False, None
        try:
            yield
        finally:
            self._forget()
            self._caller = self._last = None

    def call_function(self, chunk: Chunk, keys: list[bytes], arguments: list[bytes], caller: Caller) -> Value:
        """Call a function of a library, as `run` runs a script. The chunk must not be gone."""
        return self._run(self._run_callback, self._run_long_callback, chunk, keys, arguments, caller)

    def _compile_into(self, chunk: Chunk) -> None:
        try:
            made = self._compile(chunk.source, chunk.name)
        except _luajit().LuaMemoryError:
            made = (None, b"not enough memory")
        if type(made) is tuple:
            if made[1] == b"not enough memory":
                self._start()
            raise ScriptError(f"ERR {_COMPILING}: " + made[1].decode("latin-1"))
        chunk.function = made
        chunk.state = self._state

    def run(self, chunk: Chunk, keys: list[bytes], arguments: list[bytes], caller: Caller) -> Value:
        """Run a script and return its value. ScriptError: it failed. ScriptAborted: it was stopped."""
        if chunk.state is not self._state:
            self._compile_into(chunk)
        return self._run(self._run_script, self._run_long_script, chunk, keys, arguments, caller)

    def _run(
        self, short: Any, long: Any, chunk: Chunk, keys: list[bytes], arguments: list[bytes], caller: Caller
    ) -> Value:
        """long: for more values than cross at once."""
        self._caller, self._cause, self._resp3, self._last = caller, None, False, None
        try:
            if len(keys) + len(arguments) <= MOST_VALUES:
                found = short(chunk.function, chunk.place, chunk.line, len(keys), len(arguments), *keys, *arguments)
                if (type(found) is bytes or type(found) is int) and self._cause is None:
                    return found  # what `_result` gives, for most scripts
            else:
                self._last = keys + arguments
                found = long(chunk.function, chunk.place, chunk.line, len(keys), len(arguments))
            return self._result(chunk, found, caller)
        except _luajit().LuaMemoryError:
            self._start()
            raise _out_of_memory() from None
        finally:
            if self._last is not None or self._has_pages:
                self._forget()
                self._last, self._has_pages = None, False
            self._caller = None

    def _result(self, chunk: Chunk, found: Any, caller: Caller) -> Value:
        if self._cause is not None:
            cause, self._cause = self._cause, None
            raise cause
        kind = found[0] if type(found) is tuple else None
        if kind == _MEMORY:
            self._start()
            raise _out_of_memory()
        if kind == _ABORTED:
            raise ScriptAborted("the script was stopped")
        if kind == _RAISED:
            raise ScriptError(_raised(chunk, *found[1:]))
        self._has_pages = kind is not None
        return from_lua(found, self._page, caller.note_error)

    def _page(self, start: int) -> tuple[Any, ...]:
        page = self._take(start)
        return page if type(page) is tuple else (page,)

    # What the Lua files call. None of these raises: an exception would reach the script as an object of Python's.

    def _call(self, *values: Any) -> Any:
        try:
            arguments: list[Any] = [*values]
            for value in values:
                if type(value) is not bytes:
                    arguments = [argument_of(value) for value in values]
                    if None in arguments:
                        return (MISUSE, _BAD_ARGUMENT)
                    break
            if not arguments:
                return (MISUSE, _NO_ARGUMENT)
            try:
                value = self._caller.call(arguments)  # type: ignore[union-attr]
            except ScriptError:
                raise
            except CommandError as error:
                value = error
            kind = type(value)
            if kind is bytes or kind is int:  # what `to_lua` gives, for most calls
                return value
            if value is None:
                return None if self._resp3 else False
            if kind is Reply:
                found = _SHORT_REPLIES.get(value.data)
                if found is not None:
                    return found
            found = to_lua(value, resp3=self._resp3)
            if type(found) is tuple and found[0] in (LONG, SHAPED):
                self._last = values_of(value, resp3=self._resp3)
            return found
        except BaseException as cause:
            return self._ended_by(cause)

    def _ended_by(self, cause: BaseException) -> tuple[Any, ...]:
        self._cause = cause
        return (ABORT, True)

    def _more(self, start: int) -> Any:
        return tuple(self._last[start : start + MOST_VALUES])

    def _log(self, level: int, message: bytes) -> None:
        try:
            self._caller.log(level, message)  # type: ignore[union-attr]
        except BaseException as cause:
            self._cause = cause

    def _protocol(self, version: int) -> None:
        try:
            self._resp3 = version == 3
            self._caller.set_protocol(version)  # type: ignore[union-attr]
        except BaseException as cause:
            self._cause = cause

    def _acl(self, *values: Any) -> Any:
        try:
            arguments = [argument_of(value) for value in values]
            if not arguments:
                return (MISUSE, _NO_ARGUMENT)
            if None in arguments:
                return (MISUSE, _BAD_ARGUMENT)
            return self._caller.acl_check(arguments)  # type: ignore[union-attr,arg-type]
        except CommandError as error:
            return (ERROR, str(error).encode("latin-1", "replace"))
        except BaseException as cause:
            return self._ended_by(cause)

    def _stop(self) -> bool:
        try:
            return self._cause is not None or (self._caller is not None and self._caller.should_stop())
        except BaseException as cause:
            self._cause = cause
            return True

    def _too_large(self, size_bytes: float) -> None:
        self._cause = too_large_reply(int(size_bytes), self._largest_reply_bytes)


def _luajit() -> Any:
    try:
        import lupa.luajit21 as lupa
    except ImportError as error:
        raise LuaNotInstalled(_NOT_INSTALLED) from error
    return lupa


def _library(state: Any, name: bytes) -> Any:
    """A Lua file of this package, compiled. Their frames have one name, which sandbox.lua knows."""
    return state.compile((_FOLDER / f"{name.decode()}.lua").read_bytes(), name=b"=flin")


def _refuse(owner: object, name: object, is_setting: bool) -> object:
    raise AttributeError("no attribute of Python's can be reached")


def _sha1(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _line_of_tail_call(source: bytes) -> int:
    """The line of an error behind `return f()`, of which Lua keeps none: where a script has one such line, that is it,
    else -1."""
    tails = {source.count(b"\n", 0, found.start()) + 1 for found in _TAIL_CALL.finditer(source)}
    return tails.pop() if len(tails) == 1 else -1


def _raised(chunk: Chunk, text: bytes, source: bytes, line: int) -> str:
    return f"{text.decode('latin-1')} script: {chunk.label.decode()}, on {source.decode('latin-1')}:{line}."


def _out_of_memory() -> ScriptOutOfMemory:
    return ScriptOutOfMemory("not enough memory")
