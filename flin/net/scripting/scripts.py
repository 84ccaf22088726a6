"""The cache of scripts: by their SHA-1, and by their source, so that EVAL of one that is known computes no SHA-1.

Those that SCRIPT LOAD has loaded stay until SCRIPT FLUSH, of those that EVAL has brought the newest 500, or as many as
have a quarter of lua-memory-limit. All are gone when the server ends, as in Redis: a client that gets NOSCRIPT sends
the source again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from flin.errors import CommandError
from flin.net.run.gates import check_writes
from flin.net.scripting.runtime import Chunk, Lua
from flin.net.scripting.shebang import ScriptFlag, parse_shebang
from flin.net.wire.replies import OUT_OF_MEMORY

if TYPE_CHECKING:
    from flin.net.run.context import Context
    from flin.net.run.services import Services

MOST_EVALUATED: Final = 500
"""As in Redis from 7.4 on: programs that write values into their scripts must not fill the memory."""

EVALUATED_SHARE: Final = 4
"""Their sources have at most this part of lua-memory-limit."""

SHA_LENGTH: Final = 40

NO_SCRIPT: Final = "NOSCRIPT No matching script. Please use EVAL."

OVERHEAD_BYTES: Final = 700
"""A script in the tables beside its source, about."""


class Script:
    """A compiled script. is_reader: it says that it writes nothing. is_declared: it says what it does, and so that it
    writes."""

    __slots__ = ("chunk", "flags", "is_declared", "is_loaded", "is_reader", "sha", "source")

    def __init__(self, source: bytes, sha: bytes, flags: ScriptFlag, chunk: Chunk) -> None:
        self.source: Final = source
        self.sha: Final = sha
        self.flags: Final = flags
        self.is_reader: Final = bool(flags & ScriptFlag.NO_WRITES)
        self.is_declared: Final = not flags & (ScriptFlag.NO_WRITES | ScriptFlag.COMPATIBILITY)
        self.chunk: Final = chunk
        self.is_loaded = False  # by SCRIPT LOAD


class Scripts:
    """The scripts of a server, and the Lua that runs them."""

    def __init__(self, services: Services) -> None:
        self.by_source: dict[bytes, Script] = {}  # those of EVAL in the order of their last use
        self._by_sha: dict[bytes, Script] = {}
        self._newest: Script | None = None  # the last of EVAL's in `by_source`
        self._evaluated = self._evaluated_bytes = self._loaded_bytes = 0
        self._services = services
        self._lua: Lua | None = None
        services.config.when_lua_memory_changes.append(self._drop_lua)

    @property
    def lua(self) -> Lua:
        """Made at the first need. CommandError where Lua is not installed."""
        if self._lua is None:
            config = self._services.config
            self._lua = Lua(config.lua_memory_limit_bytes, largest_reply_bytes=config.largest_reply_bytes)
        return self._lua

    def _drop_lua(self) -> None:
        """The next one, in which scripts are compiled again at their next run, has the memory of now."""
        self._lua = None

    # Finding.

    def evaluated(self, source: bytes) -> Script:
        """The script that EVAL was given. CommandError as Redis words it."""
        script = self.by_source.get(source)
        if script is None:
            return self._keep(self._compile(source, sha_of(source)), is_loaded=False)
        if not script.is_loaded and script is not self._newest:
            self.by_source[source] = self.by_source.pop(source)
            self._newest = script
        return script

    def find(self, sha: bytes) -> Script:
        """CommandError NOSCRIPT."""
        script = self._by_sha.get(sha) or self._by_sha.get(sha.lower())
        if script is None:
            raise CommandError(NO_SCRIPT)
        return script

    def exists(self, sha: bytes) -> bool:
        return sha.lower() in self._by_sha

    def load(self, source: bytes) -> bytes:
        """Keep a script until `flush`, and return its SHA-1. CommandError if all that are kept had more than a quarter
        of the memory limit."""
        script = self.by_source.get(source)
        if script is None or not script.is_loaded:
            size_bytes = self._loaded_bytes + len(source) + OVERHEAD_BYTES
            if size_bytes > self._services.config.options.memory_limit // 4:
                raise CommandError(OUT_OF_MEMORY)
        if script is None:
            script = self._keep(self._compile(source, sha_of(source)), is_loaded=True)
        elif not script.is_loaded:
            script.is_loaded = True
            self._evaluated -= 1
            self._evaluated_bytes -= len(source)
            self._loaded_bytes += len(source) + OVERHEAD_BYTES
        return script.sha

    def flush(self) -> None:
        self.by_source.clear()
        self._by_sha.clear()
        self._newest = None
        self._evaluated = self._evaluated_bytes = self._loaded_bytes = 0
        self._lua = None  # with all that it holds

    def check_writer(self, context: Context, *, reads_only: bool) -> None:
        """A script that says that it writes is checked before it begins. CommandError as Redis words it."""
        if reads_only:
            raise CommandError("ERR Can not execute a script with write flag using *_ro command.")
        if not self._services.clients.gates_open:
            check_writes(context, has_waited=context.has_waited or self._services.pending.in_transaction)

    def _compile(self, source: bytes, sha: bytes) -> Script:
        flags, lua_source = parse_shebang(source)
        return Script(source, sha, flags, self.lua.compile(lua_source, label=sha))

    def _keep(self, script: Script, *, is_loaded: bool) -> Script:
        script.is_loaded = is_loaded
        self.by_source[script.source] = self._by_sha[script.sha] = script
        if is_loaded:
            self._loaded_bytes += len(script.source) + OVERHEAD_BYTES
        else:
            self._newest = script
            self._evaluated += 1
            self._evaluated_bytes += len(script.source)
            most_bytes = self._services.config.lua_memory_limit_bytes // EVALUATED_SHARE
            while self._evaluated > MOST_EVALUATED or (self._evaluated_bytes > most_bytes and self._evaluated > 1):
                self._forget_oldest()
        return script

    def _forget_oldest(self) -> None:
        oldest = next(one for one in self.by_source.values() if not one.is_loaded)
        del self.by_source[oldest.source], self._by_sha[oldest.sha]
        self._evaluated -= 1
        self._evaluated_bytes -= len(oldest.source)

    # For INFO.

    def __len__(self) -> int:
        return len(self.by_source)

    def memory_bytes(self) -> int:
        return sum(len(source) + OVERHEAD_BYTES for source in self.by_source)

    def lua_bytes(self) -> int:
        """What Lua itself has allocated."""
        return 0 if self._lua is None else self._lua.memory_bytes()


def sha_of(source: bytes) -> bytes:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
