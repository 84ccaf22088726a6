"""The examples of docs/caching.md, run as they are written."""

from __future__ import annotations

import re

from tests.net.raw_client import Raw, replies_in
from tests.net.scenes import Stage
from tests.net.serving import ServerThread
from tests.source import ROOT

TEXT = (ROOT / "docs" / "caching.md").read_text(encoding="utf-8")

SPEAKS_RESP3 = "reader"


def shown(reply: Raw) -> str:
    """A reply as redis-cli shows it, and messages in short."""
    if reply.kind == b">":
        words = [item.payload.decode() if item.kind == b"$" else "" for item in reply.items]
        return f"> {words[0]} {_keys(reply.items[1])}"
    if reply.kind == b"*" and reply.items[0].payload == b"message":
        return f"> invalidate {_keys(reply.items[2])}"
    if reply.kind == b"*":
        return "(subscribed)"
    if reply.is_null:
        return "(nil)"
    text = re.sub(r"^TIME \[(\d+) ADDRESS\]", r"\1", reply.payload.decode())
    return {b"-": "(error) ", b":": "(integer) ", b"+": "+" if text.startswith("0 ") else ""}.get(reply.kind, "") + text


def _keys(reply: Raw) -> str:
    return "everything" if reply.is_null else " ".join(item.payload.decode() for item in reply.items)


def test_the_examples() -> None:
    blocks = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    checked = 0
    with ServerThread() as server:
        stage = Stage(server.port)
        for name in re.findall(r"^(\w+)> ", TEXT, re.MULTILINE):
            stage.play(name, ["PING"])
        stage.play(SPEAKS_RESP3, ["HELLO 3"])
        arrived: dict[str, list[str]] = {}
        for line in lines:
            asked = re.fullmatch(r"(\w+)> (.*)", line)
            if asked is not None:
                assert not any(arrived.values()), (line, arrived)
                name = asked[1]
                data = stage.play(name, asked[2].split("; "))
                arrived = {who: [*map(shown, replies_in(replies))] for who, replies in data.items()}
                continue
            told = re.fullmatch(r"(\w+) gets (.*)", line)
            if told is not None:
                assert arrived[told[1]].pop(0) == told[2], line
            elif line != "(waits)":
                assert [arrived[name].pop(0) for _ in line.split("; ")] == line.split("; "), line
            checked += 1
        stage.close()
    assert checked > 25
