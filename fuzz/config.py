"""Configuration files under arbitrary bytes, and CONFIG REWRITE of those that are right.

Invariant: any bytes are the options of a file, or ConfigError; nothing else escapes. What CONFIG SET has changed and
REWRITE has put into a file that was right is read back as it is in force; every other option stays as it was. A file
that cannot be edited is RewriteError, and stays.

The first byte of an input chooses what the rest is: a file as it is, or lines, one for each byte, so that files are
reached that mean something. The bytes after the last zero choose what CONFIG SET changes.
"""

from __future__ import annotations

from typing import Final

from flin.errors import CommandError
from flin.net.settings.config import Config
from flin.net.settings.options import ROWS, ConfigError, ServerOptions
from flin.net.settings.reading import options_from_text
from flin.net.settings.rewriting import RewriteError, changed, edited

_LINES: Final = (
    "[server]", " [ server ] # here", "['server']", "[[server]]", "[other]", "", "# a comment", "\t# x = 1", "port = 7",
    "port = 70000", "timeout = 5 # s", "timeout='5m'", '"timeout" = 9', "time-out = 1", "maxclients=100# enough",
    "memory_limit = '64mb'", "memory-limit = \"1gb\" # '", "bind = [", '    "127.0.0.1", # ]', '  "::1",', "]",
    "bind = '::1'", 'requirepass = """', 'a # b"""', "requirepass = 'x'", "lua-time-limit = 7", "appendonly = true",
    "appendfsync = 'everysec'", "sync = 'always'", "save = ''", "protected-mode = false", "protected_mode = true",
    "client_output_buffer_limit = 'pubsub 1mb 0 0'", "notify_keyspace_events = 'KEA'", "hash-max-ziplist-value = '1kb'",
    "server.port = 1", "slowlog_max_len = 1_0", "acl_pubsub_default = 'allchannels'", "tls_port = 0", "x = 1", "\\",
    "'", "latency_monitor_threshold = '1s'", "zset_max_listpack_value = 64 \r", "hll-sparse-max-bytes = 0x10",
)  # fmt: skip
_VALUES: Final = (
    b"0", b"1", b"77", b"-1", b"yes", b"no", b"1mb", b"", b"KEA", b"K$", b"allchannels", b"pubsub 1mb 2mb 3",
    b"\xff", b"a\"'#",
)  # fmt: skip
_NAMES: Final = [row.parameters[-1] for row in ROWS.values() if row.is_running]


def one_input(data: bytes) -> None:
    body, _, chosen = data[1:].rpartition(b"\0") if b"\0" in data[1:] else (data[1:], b"", b"")
    if data[:1] >= b"\x80":
        text = "\n".join(_LINES[byte % len(_LINES)] for byte in body[:100])
        text = text if data[:1] >= b"\xc0" else f"[server]\n{text}\n"
    else:
        text = body.decode("utf-8", "surrogateescape")  # the error of wrong bytes comes before this
    try:
        options = options_from_text(text, "flin.toml")
    except ConfigError as error:
        assert "flin.toml" in str(error), error
        return
    config = Config(options)
    for name, value in zip(chosen[::2], chosen[1::2], strict=False):
        try:
            config.set({_NAMES[name % len(_NAMES)]: _VALUES[value % len(_VALUES)]})
        except CommandError as error:
            assert str(error).startswith("ERR CONFIG SET failed"), error
    _rewrite(config, options, text)


def _rewrite(config: Config, options: ServerOptions, text: str) -> None:
    try:
        after = edited(config, text, "flin.toml")
    except RewriteError:
        return
    again = options_from_text(after, "flin.toml")
    assert changed(config, Config(again)) == {}
    for name, row in ROWS.items():
        assert row.is_running or getattr(again, name) == getattr(options, name), name
    assert edited(config, after, "flin.toml") == after
