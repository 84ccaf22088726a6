"""docs/nodes.md and docs/etcd.md: their three command lines form a cluster, and what they say to do then is done, as it
is written but for the ports."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from flin.testing import served
from flin.testing.cluster.machine import Machine
from flin.testing.cluster.nodes import GROUPS, NODE_STEP, free_base
from flin.testing.process import wait_until
from tests.source import ROOT
from tests.tool import needs_tool

pytestmark = [pytest.mark.slow, pytest.mark.long(seconds=60)]

NODES = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
ETCD = (ROOT / "docs" / "etcd.md").read_text(encoding="utf-8")


def blocks(text: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind == language]


class Document:
    """Its ports are others: 6380, 8080, 9080 and their like become ones that are free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        base = free_base(GROUPS, 3)
        self.ports = {
            str(told + number): str(base + offset + NODE_STEP * number)
            for told, offset in ((6380, 0), (8080, 1), (9080, 2), (9180, 102))
            for number in range(3)
        }
        self.machines: list[Machine] = []

    def put(self, text: str) -> str:
        return re.sub(r"\b([689][013]8[0-2]|6379)\b", lambda found: self.ports[found[0]], text)

    def run(self, line: str) -> str:
        """What a command prints, which may fail while leaders change. Two blanks end it: then it is explained."""
        words = shlex.split(self.put(line).partition("  ")[0])
        if words[0] == "flin":
            words = [sys.executable, "-m", *words]
        if words[1:3] == ["-m", "flin"]:
            words += ["--http", self.put("localhost:8080")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return done.stdout


def is_read(client: Any) -> bool:
    with suppress(redis.RedisError):  # a leader's lease has lapsed, on a machine that does not get on
        return bool(client.get("greeting") == b"hello")
    return False


@pytest.fixture
def document(tmp_path: Path) -> Iterator[Document]:
    for tool in ("etcd", "redis-cli"):
        needs_tool(tool)
    pytest.importorskip("flin.cluster.etcd.etcd")
    made = Document(tmp_path)
    yield made
    for machine in made.machines:
        machine.kill()


def move_keys(document: Document, snippet: str, names: dict[str, Any]) -> None:
    """The server's keys are in the cluster then, those that expire as such. It may be run again, as after a change of
    leader."""
    keys = [f"moved:{number}" for number in range(20)]
    with served() as old, redis.Redis(port=old.port) as source:
        document.ports["6379"] = str(old.port)
        for key in keys:
            source.rpush(key, key, "b")
        source.pexpire(keys[0], 1 << 40)
        exec(document.put(blocks(NODES, "python")[0]), names)  # its client

        def is_moved() -> bool:
            with suppress(redis.RedisError):
                exec(document.put(snippet), names)
                found = [names["client"].lrange(key, 0, -1) for key in keys]
                ttls = [names["client"].pttl(key) > 0 for key in keys]
                return found == [[key.encode(), b"b"] for key in keys] and ttls == [True] + [False] * 19
            return False

        wait_until(is_moved, "the keys are moved")
        names["old"].close()
        names["client"].close()


def test_three_terminals(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(document.folder)
    section = NODES.partition("## Three terminals\n")[2].partition("\n## ")[0]
    lines = [line for block in blocks(section) for line in block.splitlines()]
    for line in [each for each in lines if each.startswith("flin serve --node-id")]:
        words = shlex.split(document.put(line))[2:]
        document.machines.append(Machine(document.folder, words[1], words))
        document.machines[-1].start()
    assert len(document.machines) == 3
    for machine in document.machines:
        machine.wait_until_ready()
    write, read, info, status = (each for each in lines if each.startswith(("redis-cli", "flin cluster status")))
    wait_until(lambda: "cluster_nodes_voting:3" in document.run(info), "three vote")
    assert info.endswith("has cluster_nodes_voting:3")
    wait_until(lambda: document.run(status).endswith("all is well\n"), "all groups are led")
    wait_until(lambda: document.run(write) == "OK\n", "it is written")
    wait_until(lambda: document.run(read) == "hello\n", "it is read")

    names: dict[str, Any] = {}
    for snippet in blocks(NODES, "python"):
        if "6379" in snippet:
            move_keys(document, snippet, names)
            continue
        exec(document.put(snippet), names)
        wait_until(lambda: is_read(names["client"]), "it is read, by followers, too")
        names["client"].close()

    last = document.machines[2]
    last.kill()
    wait_until(lambda: document.run(write.replace("greeting", "{greeting}.later")) == "OK\n", "others have taken over")
    last.start()
    last.wait_until_ready()
    wait_until(lambda: document.run(read.replace("greeting", "{greeting}.later")) == "hello\n", "it catches up")

    (look,) = (line for block in blocks(ETCD) for line in block.splitlines() if line.startswith("etcdctl"))
    if shutil.which("etcdctl"):
        wait_until(lambda: document.run(look), "etcd answers")
        keys = {key.split("/")[3] for key in document.run(look).split()}
        assert keys >= {"map", "alive", "lease", "controller", "log"}
    (told,) = (line for block in blocks(ETCD) for line in block.splitlines() if line.startswith('"room"'))
    wait_until(lambda: document.run("flin cluster status --json").startswith("{"), "the status is told")
    found = json.loads(document.run("flin cluster status --json"))["room"]
    assert json.loads(f"{{{told}}}")["room"].keys() == found.keys()
