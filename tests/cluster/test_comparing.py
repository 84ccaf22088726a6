"""`flin cluster check` at one replica: what it says where its copy cannot be read."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import flin.engine
from flin.admin.source import AskError
from flin.engine.engine import store_of


def test_a_copy_that_cannot_be_read_says_what_to_do(tmp_path: Any) -> None:
    from flin.cluster.replica.comparing import Comparable

    with flin.engine.open(tmp_path, runner="inline", memory_limit="16mb") as db:
        db.put_many({b"%04d" % number: b"%04d" % number * 50 for number in range(1000)})
    (table,) = tmp_path.glob("*.sst")
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)

    with flin.engine.open(tmp_path, runner="inline") as db:
        store: Any = store_of(db)
        compared = Comparable(store, None)  # type: ignore[arg-type]
        compared._frozen = store.freeze()
        with pytest.raises(AskError, match=rf"sst: corrupt at .* remove {tmp_path}, and start the node"):
            asyncio.run(compared._digest(0))


def test_a_node_that_does_not_answer_is_named() -> None:
    from flin.cluster.replica.comparing import Asked, compared

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    found = compared(Asked(b"secret", None), 3, "n1", ["n1"], {"n1": address})
    assert found.problem == f"not compared: {address} does not answer: Connection refused; start that node"
