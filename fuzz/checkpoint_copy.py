"""What a node gives to one that makes a copy of a group: any answers to its questions.

Invariant: whatever a giver answers, the next one is asked, or a whole copy is taken: its manifest can be read, and
names the very files that are there, each of the bytes whose checksum was told, and every value is as it was
written. Until then the replica that was there stays. No file elsewhere is touched, and no exception comes out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import flin.engine
from flin.cluster.etcd.memory_key_value import MemoryKeyValues
from flin.cluster.joining import JoinError
from flin.cluster.keys import Keys, LeaderValue, NodeValue, ReplicasValue
from flin.cluster.log.replicated_log import ReplicatedLog
from flin.cluster.replica import checkpoint_transfer
from flin.cluster.replica.checkpoint_giver import files_of
from flin.cluster.replica.checkpoint_transfer import CheckpointTransfer
from flin.cluster.slot_map import SlotMap
from flin.engine.disk.file_name import MANIFEST, REPLICA
from flin.engine.disk.fs import OsFileSystem
from flin.testing import SimulatedDisk
from fuzz.byte_source import ByteSource

GROUP: Final = 3
PIECE_BYTES: Final = 700
"""A few pieces of each file."""

MOST_ANSWERS: Final = 60
"""Of the giver that is fuzzed; then it is silent."""

VALUES: Final = {b"key%d" % number: b"v" * (1100 if number % 2 else 20) for number in range(8)}

TEXTS: Final = (
    b"", b"{", b"[]", b"null", b"7", b"\xff", b"[" * 100_000, b'{"files": []}', b'{"sum": "1"}', b'{"sum": 1e999}',
    *(b'{"copy": "c", "index": 7, "files": {%b}}' % files for files in (
        b"", b'"MANIFEST": -1', b'"MANIFEST": 0', b'"MANIFEST": 1e999',
        b'"MANIFEST": 9, "../x": 1', b'"MANIFEST": 9, "LOCK": 1',
    )),
)  # fmt: skip


@cache
def good_files() -> dict[str, bytes]:
    """The files of a small database that are given."""
    disk = SimulatedDisk()
    with flin.engine.open("/db", fs=disk, runner="inline", value_threshold=1024) as db:
        for number, (key, value) in enumerate(VALUES.items()):
            db.put(key, value)
            if number % 4 == 3:
                db.flush()
    return {name: disk.read(f"/db/{name}")[:size] for name, size in files_of(disk, "/db").items()}


class Giver:
    """Answers as its files are, or as the input says."""

    def __init__(self, files: Mapping[str, bytes], answer: Callable[[str, bytes], bytes]) -> None:
        self.files = files
        self._answer = answer

    def ask(self, question: Mapping[str, Any]) -> bytes:
        what, data = question["what"], self.files.get(str(question.get("file")), b"")
        if what == "begin":
            sizes = {name: len(each) for name, each in self.files.items()}
            answer = json.dumps({"copy": "c", "index": 7, "files": sizes}).encode()
        elif what == "sum":
            answer = json.dumps({"sum": int.from_bytes(blake2b(data, digest_size=8).digest())}).encode()
        elif what == "piece":
            answer = data[question["offset"] : question["offset"] + question["length"]]
        else:
            answer = b"{}"
        return self._answer(what, answer)


def one_input(data: bytes) -> None:
    source = ByteSource(data)
    answers = 0

    def changed(what: str, answer: bytes) -> bytes:
        nonlocal answers
        answers += 1
        if answers > MOST_ANSWERS:
            raise JoinError("it is silent", True)
        return _changed(source, answer)

    with tempfile.TemporaryDirectory(prefix="flin-fuzz-") as folder:
        path = Path(folder, "group-03")
        path.mkdir()
        (path / "old").write_bytes(b"replica")
        if source.randrange(2):
            _leave_something(source, Path(folder, "group-03.taken"))
        bad, good = Giver(_files(source), changed), Giver(good_files(), lambda what, answer: answer)
        asked: list[str] = []

        def ask(address: str, question: Mapping[str, Any]) -> bytes:
            asked.append(address)
            assert (path / "old").exists() == (question["what"] != "end"), (
                "the old one stays until the new one is whole"
            )
            return (bad if address == "bad:1" else good).ask(question)

        with patch.object(checkpoint_transfer, "PIECE_BYTES", PIECE_BYTES):
            assert _transfer(folder, ask).take(), "the second giver is a good one"
        assert os.listdir(folder) == ["group-03"]
        there = {each.name: each.read_bytes() for each in path.iterdir()}
        assert there.pop(REPLICA) == b""
        giver = good if asked[-1] == "good:1" else bad
        assert files_of(OsFileSystem(), str(path)) == {name: len(each) for name, each in there.items()}
        assert giver is bad or there == good.files
        (path / REPLICA).unlink()
        with flin.engine.open(path, read_only=True) as db:
            assert dict(db.items()) == VALUES


def _files(source: ByteSource) -> dict[str, bytes]:
    """Of the giver that is fuzzed; one of them may be another one, cut, or not there."""
    files = dict(good_files())
    name = source.choice([*files])
    kind = source.randrange(8)
    if kind == 1:
        files[name] = files[name][: source.randrange(len(files[name]))]
    elif kind == 2:
        files[name] = source.randbytes(source.randrange(40))
    elif kind == 3:
        del files[name]
    elif kind == 4:
        files["00000077-0000.9.sst"] = b"which the manifest does not name"
    elif kind == 5:
        files[name] = _flipped(source, files[name])
    return files


def _changed(source: ByteSource, answer: bytes) -> bytes:
    """Mostly as it is: or nothing is ever taken."""
    kind = source.randrange(256)
    if kind < 200:
        return answer
    if kind < 210:
        raise JoinError("no", True)
    if kind < 215:
        raise ConnectionResetError
    if kind < 225:
        return answer[: source.randrange(len(answer) + 1)]
    if kind < 235:
        return _flipped(source, answer)
    if kind < 245:
        return source.choice(TEXTS)
    return answer + source.randbytes(source.randrange(4))


def _flipped(source: ByteSource, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def _leave_something(source: ByteSource, taken: Path) -> None:
    """What an earlier try may have left."""
    taken.mkdir()
    for name, content in good_files().items():
        if name != MANIFEST and source.randrange(2):
            (taken / name).write_bytes(content[: source.randrange(len(content) + 1)])
    if source.randrange(2):
        (taken / "00000099-0000.9.sst").write_bytes(b"of no use")


def _transfer(folder: str, ask: checkpoint_transfer.Ask) -> CheckpointTransfer:
    nodes = {name: NodeValue("localhost", (), http=f"{name}:1") for name in ("bad", "good")}
    found = SlotMap(
        nodes=nodes, replicas={GROUP: ReplicasValue(("bad", "good"))}, leaders={GROUP: LeaderValue(1, "good", "")}
    )
    log = ReplicatedLog(MemoryKeyValues().client(), Keys("fuzz"), GROUP)
    return CheckpointTransfer(
        os.path.join(folder, "group-03"), GROUP, "new", log, ask,
        found=lambda: found, hold=lambda number: None, pause=lambda seconds: seconds > 0,
    )  # fmt: skip
