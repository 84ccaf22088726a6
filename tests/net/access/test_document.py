"""The examples of docs/acl.md, run as they are written."""

from __future__ import annotations

import re

from tests.net.serving import HandlerClient
from tests.source import ROOT

TEXT = (ROOT / "docs" / "acl.md").read_text(encoding="utf-8")


def shown(reply: bytes) -> str:
    """A reply as redis-cli shows it: of those in the document none is an array."""
    kind, line, *rest = reply[:1], *reply[1:].decode().split("\r\n")
    if kind == b"-":
        return f"(error) {line}"
    return rest[0] if kind == b"$" else line


def test_the_examples() -> None:
    admin = HandlerClient()
    clients = {"admin": admin}
    reply = request = ""
    blocks = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    told = 0
    for line in "".join(blocks).splitlines():
        asked = re.fullmatch(r"(\w+)> (.*)", line)
        if asked is None:
            assert reply == line, request
            told += 1
            continue
        name, request = asked.groups()
        client = clients.get(name) or clients.setdefault(name, admin.another())
        reply = shown(client.call(*request.encode().split(b" ")))
    assert told > 25
