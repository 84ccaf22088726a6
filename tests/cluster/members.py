"""Members of etcd for tests, on free ports of loopback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flin.bench.server_process import free_port, is_free
from flin.testing.process import PATIENCE_SECONDS
from tests.tool import needs_tool

if TYPE_CHECKING:
    from flin.cluster.etcd.etcd_member import EtcdMember, MemberOptions

HOST = "127.0.0.1"


def peer_port() -> int:
    """One that is free, as is the client's, which belongs to it."""
    while not is_free((port := free_port()) + 100):
        pass
    return port


def member_options(directory: Path, name: str = "one", **changed: Any) -> MemberOptions:
    """Of a first member."""
    needs_tool("etcd")
    pytest.importorskip("google.protobuf")
    from flin.cluster.etcd.etcd_member import MemberOptions, peer_url

    port = changed.pop("peer_port", None) or peer_port()
    url = peer_url(HOST, port, is_encrypted=changed.get("certificates") is not None)
    values = {"cluster": {name: url}, "listen_address": HOST, "token": "tests", **changed}
    return MemberOptions(name, directory / name, HOST, port, **values)


def started(options: MemberOptions) -> EtcdMember:
    from flin.cluster.etcd.etcd_member import EtcdMember

    member = EtcdMember(options)
    member.start(PATIENCE_SECONDS)
    return member
