"""The examples of docs/own-commands.md, run as they are written, against a server over an engine."""

from __future__ import annotations

from pathlib import Path

import flin.engine
from flin.engine.engine import store_of
from tests.net.serving import ServerThread
from tests.test_snippets import snippets


def test_the_examples(tmp_path: Path) -> None:
    with (
        flin.engine.open(tmp_path / "db", sync="never", wal_retention="1mb") as db,
        ServerThread(store_of(db), check=db.verify) as server,
    ):
        object.__setattr__(server.server.services, "engine_statistics", db.stats)
        names: dict[str, object] = {"__name__": "snippets"}
        for line, source in snippets("own-commands.md"):
            source = source.replace("6379", str(server.port))
            exec(compile("\n" * line + source, "docs/own-commands.md", "exec"), names)
        names["client"].close()  # type: ignore[attr-defined]
