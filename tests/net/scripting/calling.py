"""A caller for scripts, without a server: a few commands over a dict."""

from __future__ import annotations

from collections.abc import Callable

from flin.errors import CommandError
from flin.net.scripting.runtime import Lua
from flin.net.wire.replies import OK, Value


class FakeCaller:
    """`stop_after`: how often `should_stop` is asked until it says yes. `replies`: what `redis.call(name)` returns."""

    def __init__(self, stop_after: int = 300, **replies: Value | Callable[[list[bytes]], Value]) -> None:
        self.calls: list[list[bytes]] = []
        self.logged: list[tuple[int, bytes]] = []
        self.protocols: list[int] = []
        self.stop_after = stop_after
        self.asked = 0
        self.errors: list[str] = []
        self.replies = replies

    def call(self, arguments: list[bytes]) -> Value:
        self.calls.append(arguments)
        name = arguments[0].decode().lower()
        if name == "echo":
            return arguments[1]
        if name == "set":
            return OK
        if name not in self.replies:
            raise CommandError("ERR Unknown Redis command called from script")
        found = self.replies[name]
        return found(arguments) if callable(found) else found

    def log(self, level: int, message: bytes) -> None:
        self.logged.append((level, message))

    def set_protocol(self, version: int) -> None:
        self.protocols.append(version)

    def acl_check(self, arguments: list[bytes]) -> bool:
        if arguments[0] == b"nosuch":
            raise CommandError("ERR Invalid command passed to redis.acl_check_cmd()")
        return arguments[0] != b"denied"

    def note_error(self, text: str) -> None:
        self.errors.append(text)

    def should_stop(self) -> bool:
        self.asked += 1
        return self.asked > self.stop_after


def run(
    lua: Lua,
    source: str | bytes,
    *,
    keys: list[bytes] | None = None,
    arguments: list[bytes] | None = None,
    caller: FakeCaller | None = None,
) -> Value:
    source = source.encode() if isinstance(source, str) else source
    return lua.run(lua.compile(source), keys or [], arguments or [], caller or FakeCaller())
