"""The Python of docs/grpc.md, run as it is written."""

from __future__ import annotations

from typing import Any

from flin.gateway.server import Gateway
from tests.test_snippets import snippets


def test_the_examples(gateway: Gateway, kv: Any) -> None:
    names: dict[str, object] = {"__name__": "snippets"}
    for line, source in snippets("grpc.md"):
        source = source.replace("127.0.0.1:9090", f"127.0.0.1:{gateway.port}")
        exec(compile("\n" * line + source, "docs/grpc.md", "exec"), names)
