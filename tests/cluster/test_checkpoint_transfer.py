"""A replica that the log cannot complete takes a copy of another one: real directories, over the twin of etcd in
memory. What is between the two nodes is a call."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flin.admin.source import AskError
from flin.cluster.joining import JoinError
from flin.cluster.keys import LeaderValue, NodeValue, ReplicasValue
from flin.cluster.log.digest import digest
from flin.cluster.log.follower import Follower, index_in_tables
from flin.cluster.log.leader import GroupLog
from flin.cluster.log.replicated_log import ReplicatedLog, Truncated
from flin.cluster.replica import checkpoint_giver, checkpoint_transfer
from flin.cluster.replica.checkpoint_giver import CheckpointGiver, checksum, copy_answer
from flin.cluster.replica.checkpoint_transfer import CheckpointTransfer, givers
from flin.cluster.slot_map import SlotMap
from flin.engine.checksum import crc32
from flin.engine.disk.fs import OsFileSystem
from flin.engine.engine import store_of
from flin.engine.replica import open_replica
from flin.errors import StorageError
from tests.cluster.logs import GROUP, Etcd

KEYS = 60


def map_with(*names: str, leader: str = "lead") -> SlotMap:
    nodes = {name: NodeValue("localhost", (), http=f"{name}:1") for name in (*names, leader)}
    replicas = {GROUP: ReplicasValue((*names, leader))}
    return SlotMap(nodes=nodes, replicas=replicas, leaders={GROUP: LeaderValue(1, leader, "")})


class Held:
    """A replica on the disk, opened."""

    def __init__(self, etcd: Etcd, path: Path) -> None:
        self.log = etcd.log()
        self.keeper = GroupLog(self.log)
        self.engine = open_replica(path, self.keeper, runner="inline", value_threshold=1024)
        self.store = store_of(self.engine)
        self.index = index_in_tables(self.store)
        self.keeper.note_applied(self.index, 0)
        self.follower = Follower(self.log, self.index)

    def catch_up(self) -> Held:
        is_end = False
        while not is_end:
            page = self.log.read(self.follower.next_number)
            for each in page.entries:
                commit = self.follower.take(each)
                assert commit is not None
                self.store.commit(commit.points, commit.ranges)
                self.keeper.note_applied(commit.number, commit.clock_ms)
            is_end = page.is_end
        return self

    def lead(self, etcd: Etcd) -> Held:
        fence = etcd.claim()
        self.keeper.lead(fence, self.catch_up().follower.next_number)
        return self

    def digest(self) -> str:
        return digest(self.store.freeze(), 0)


class Scene:
    """A leader and a follower that have flushed, a log that begins after entry 1, and a node that has nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcd = Etcd()
        self.leader = Held(self.etcd, folder / "lead").lead(self.etcd)
        chance = random.Random(1)
        for number in range(KEYS):
            self.leader.engine.put(b"key%d" % number, chance.randbytes(20_000 if number % 2 else 40))
            if number % 20 == 19:
                self.leader.engine.flush()
        self.follower = Held(self.etcd, folder / "follow").catch_up()
        self.follower.engine.flush()
        self.log = self.etcd.log()
        assert self.log.truncate(self.leader.keeper.index)
        self.leader.engine.put(b"last", b"after the copy")
        self.path = folder / "new" / "group-03"
        self.path.parent.mkdir()
        self.held: list[int] = []
        self.asked: list[tuple[str, str]] = []
        self.is_ended = False
        self.told: list[str] = []
        self.refused: list[tuple[int, str, int]] = []
        self.free = -1
        self.change: Callable[[str, dict[str, Any], bytes], bytes] = lambda node, question, data: data
        self.map = map_with("follow")

    def close(self) -> None:
        self.leader.engine.close()
        self.follower.engine.close()

    async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The follower's process answers its supervisor; a `Source`."""
        assert name == "copy"
        return await copy_answer(self.follower.engine)(arguments)

    def giver(self) -> CheckpointGiver:
        return CheckpointGiver(str(self.folder / "node"), GROUP + 1, lambda number: self)

    async def take(self, giver: CheckpointGiver) -> bool:
        loop = asyncio.get_running_loop()

        def ask(address: str, question: Mapping[str, Any]) -> bytes:
            node = address.partition(":")[0]
            self.asked.append((question["what"], question.get("file", "")))
            try:
                answered = asyncio.run_coroutine_threadsafe(giver.answer(dict(question)), loop).result()
            except AskError as error:
                raise JoinError(str(error), True) from error
            data = answered if isinstance(answered, bytes) else json.dumps(answered).encode()
            return self.change(node, dict(question), data)

        return await asyncio.to_thread(self.transfer(ask).take)

    def transfer(self, ask: checkpoint_transfer.Ask) -> CheckpointTransfer:
        return CheckpointTransfer(
            str(self.path), GROUP, "new", self.log, ask,
            found=lambda: self.map, hold=self.held.append, pause=self.paused,
            tell=self.told.append, refuse=lambda *told: self.refused.append(told), free=lambda: self.free,
        )  # fmt: skip

    def paused(self, seconds: float) -> bool:
        return self.is_ended

    def taken(self) -> bool:
        async def whole() -> bool:
            return await self.take(self.giver())

        return asyncio.run(whole())

    def check(self) -> None:
        """What was taken, and the log after it, are what the others have."""
        assert not {*os.listdir(self.path.parent)} - {"group-03"}
        assert os.listdir(self.folder / "node" / "copies") == []
        new = Held(self.etcd, self.path)
        assert new.index + 1 == self.held[-1]
        try:
            assert new.catch_up().digest() == self.leader.digest()
            assert new.engine.get(b"last") == b"after the copy"
            assert new.engine.verify() == []
        finally:
            new.engine.close()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(checkpoint_transfer, "PIECE_BYTES", 20_000)
    made = Scene(tmp_path)
    yield made
    made.close()


def test_the_copy_and_the_log_after_it(scene: Scene) -> None:
    empty = Held(scene.etcd, scene.path)
    with pytest.raises(Truncated):
        empty.catch_up()
    empty.engine.close()
    transfer = scene.transfer(lambda address, question: b"")
    assert transfer.is_needed(0)
    assert scene.taken()
    assert not transfer.is_needed(scene.held[-1] - 1)
    scene.check()
    pieces = [file for what, file in scene.asked if what == "piece"]
    assert len(pieces) > len(set(pieces)), "in several pieces"
    assert any(file.endswith(".wal") for file in pieces), "large values are in segments"


class Killed(BaseException):
    pass


def test_killed_at_every_question_it_goes_on(scene: Scene) -> None:
    """Each try gets by one question further; what was whole is not asked for again."""

    async def whole() -> int:
        giver, tries = scene.giver(), 0
        while True:
            tries += 1
            budget = 2 + tries

            def change(node: str, question: dict[str, Any], data: bytes) -> bytes:
                nonlocal budget
                budget -= question["what"] != "end"  # then it is done
                if not budget:
                    raise Killed
                return data

            scene.change = change
            try:
                assert await scene.take(giver)
            except Killed:
                assert not (scene.path / "MANIFEST").exists()
            else:
                return tries

    assert asyncio.run(whole()) > 5
    scene.check()
    pieces = [file for what, file in scene.asked if what == "piece"]
    size = sum(each.stat().st_size for each in scene.path.iterdir())
    assert len(pieces) < 3 * size / 20_000 + 20


@pytest.mark.parametrize("place", [0, 1, 2])
def test_killed_while_it_is_put_in_its_place(scene: Scene, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_replica(scene.path, GroupLog(scene.log)):
        pass
    rename, done = os.rename, [0]

    def killed(old: str, new: str) -> None:
        if done[0] == place:
            raise Killed
        done[0] += 1
        rename(old, new)
        if done[0] == place == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(Killed):
            scene.taken()
    if place < 2:
        asked = len(scene.asked)
        assert scene.taken()
        pieces = {file for what, file in scene.asked[asked:] if what == "piece"}
        assert pieces == {"MANIFEST"}, "all else was there; each checkpoint has an epoch of its own"
    scene.transfer(lambda address, question: b"").forget()
    scene.giver()
    (scene.folder / "node" / "copies").mkdir(exist_ok=True)
    scene.check()


def test_a_damaged_file_is_taken_again_and_another_giver_is_asked(scene: Scene) -> None:
    scene.map = map_with("bad", "good")
    damaged: list[str] = []

    def change(node: str, question: dict[str, Any], data: bytes) -> bytes:
        if question["what"] == "piece" and (node == "bad" or not damaged):
            damaged.append(question["file"])
            return bytes([data[0] ^ 1]) + data[1:]
        return data

    scene.change = change
    assert scene.taken()
    assert damaged
    assert [what for what, _ in scene.asked].count("begin") == 2
    scene.check()


def test_what_the_giver_s_disk_has_damaged_is_no_copy(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit of a table, or of a value, is another one there: its files' checksums are those of the damaged bytes."""
    version = scene.follower.store.state.version
    table = next(table for runs in version.shards for run in runs for table in run)
    places = [(table.file, table.offset + chance % table.length) for chance in (5, 999, table.length - 3)]
    value = scene.follower.engine.get(b"key1")
    assert value is not None
    for each in version.value_files:
        where = (scene.folder / "follow" / each.file).read_bytes().find(value)
        places += [(each.file, where + 11_111)] if where > 0 else []
    assert len(places) == 4
    monkeypatch.setattr(checkpoint_transfer, "DAMAGED_SECONDS", 0.0)
    monkeypatch.setattr(scene, "told", Ending(scene))
    for name, offset in places:
        with flipped(scene.folder / "follow" / name, offset):
            scene.is_ended = False
            assert not scene.taken()
        assert (
            f"follow:1: its files are damaged, look at it with flin check: {scene.path}.taken/{name}" in scene.told[-1]
        )
        assert not scene.path.exists()
    scene.is_ended = False
    assert scene.taken()
    scene.check()


class Ending(list[str]):
    """Ends the scene when nobody could give a copy."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def append(self, text: str) -> None:
        super().append(text)
        self._scene.is_ended = text.startswith("waits for a copy")


@contextmanager
def flipped(path: Path, offset: int) -> Iterator[None]:
    """One bit of the file is another one."""

    def flip() -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 8]))

    flip()
    yield
    flip()


def test_who_has_given_damaged_files_is_left_alone_for_a_while(scene: Scene) -> None:
    scene.map = map_with("bad", "good")
    path = next((scene.folder / "follow").glob("*.sst"))

    def change(node: str, question: dict[str, Any], data: bytes) -> bytes:
        if node == "good" and question["what"] == "begin":
            stack.close()  # it has other files
        return data

    scene.change = change
    with ExitStack() as stack:
        stack.enter_context(flipped(path, 77))
        assert scene.taken()
    assert [what for what, _ in scene.asked].count("begin") == 2
    scene.check()


def test_files_whose_blocks_end_with_their_checksum_are_told_apart(tmp_path: Path) -> None:
    """A CRC-32 over all of a table is the same for each one of its layout."""
    sums = set()
    for name in (b"first", b"other"):
        block = name * 100
        data = b"head" + block + crc32(block).to_bytes(4, "little") + b"end"
        path = tmp_path / name.decode()
        path.write_bytes(data)
        sums.add((crc32(data), checksum(OsFileSystem(), str(path), len(data))))
    assert len({crc for crc, _ in sums}) == 1
    assert len(sums) == 2


def test_what_is_there_of_another_file_does_not_count(scene: Scene) -> None:
    asked: list[str] = []

    def change(node: str, question: dict[str, Any], data: bytes) -> bytes:
        if question["what"] == "begin" and not asked:
            asked.append(node)
            files = json.loads(data)["files"]
            for place, name in enumerate(files):
                (scene.path.parent / "group-03.taken" / name).parent.mkdir(exist_ok=True)
                (scene.path.parent / "group-03.taken" / name).write_bytes(b"other" * (1 if place % 2 else 99999))
            (scene.path.parent / "group-03.taken" / "00000099-0000.9.sst").write_bytes(b"of no use")
        return data

    scene.change = change
    assert scene.taken()
    scene.check()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        b'{"files": 3}',
        b'{"files": {}, "copy": "a"}',
        b'{"files": {"../x": 3}, "copy": "a", "index": 99}',
        b'{"files": {"MANIFEST": "x"}, "copy": "a", "index": 99}',
        b'{"files": {"MANIFEST": -1}, "copy": "a", "index": 99}',
        b'{"files": {}, "copy": "a", "index": 99}',
        b'{"files": {"MANIFEST": 3}, "copy": "a", "index": 1e999}',
        b"[" * 100_000,
    ],
)
def test_answers_that_make_no_sense(scene: Scene, answer: bytes) -> None:
    scene.map = map_with("bad", "good")
    scene.change = lambda node, question, data: answer if (node, question["what"]) == ("bad", "begin") else data
    assert scene.taken()
    assert not (scene.path.parent / "x").exists()
    assert [what for what, _ in scene.asked].count("begin") == 2


def test_a_copy_that_the_log_cannot_complete_is_not_taken(scene: Scene) -> None:
    tries: list[int] = []

    def change(node: str, question: dict[str, Any], data: bytes) -> bytes:
        tries.append(1)
        scene.is_ended = len(tries) > 2
        return json.dumps({**json.loads(data), "index": 5}).encode()

    scene.change = change
    assert not scene.taken()
    assert {what for what, _ in scene.asked} == {"begin"}


def test_without_a_giver_it_waits_until_it_is_to_end(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def told(rounds: int) -> list[str]:
        def refuse(address: str, question: Mapping[str, Any]) -> bytes:
            raise JoinError(f"{address}: worker 3 is not there yet: it waits for a copy; one of these: new", True)

        left = [False] * 2 * rounds + [True]
        told: list[str] = []
        transfer = scene.transfer(refuse)
        transfer._pause, transfer._tell = lambda seconds: left.pop(0), told.append
        assert not transfer.take()
        return told

    scene.map = SlotMap()
    assert ["no other node has one" in each for each in told(4)] == [True] * 4
    assert caplog.text.count("waits for a copy of the group, since the log no longer goes back") == 1
    scene.map = map_with("follow")
    expected = "waits for a copy of the group; one of these nodes must give it: " + "; ".join(
        f"{name} ({name}:1): {name}:1: worker 3 is not there yet: it waits for a copy" for name in ("follow", "lead")
    )
    assert told(2) == [expected] * 2
    caplog.clear()
    told(checkpoint_transfer.TELL_AGAIN + 1)
    assert caplog.text.count("this replica waits for a copy") == 2


def test_a_disk_that_refuses_is_no_giver_s_fault(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: str, data: bytes) -> None:
        raise OSError(123, "No medium found")

    monkeypatch.setattr(checkpoint_transfer, "_append", fails)
    with pytest.raises(StorageError, match="No medium found"):
        scene.taken()
    assert scene.refused == [(scene.held[-1], "[Errno 123] No medium found", 0)]


@pytest.mark.parametrize("is_known", [True, False])
def test_without_room_it_says_so_and_waits(scene: Scene, is_known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken goes, so that others have what is free; and nobody is asked until there is room."""
    append, asked = checkpoint_transfer._append, list[int]()

    def full(path: str, data: bytes) -> None:
        if not asked and Path(path).stat().st_size:
            raise OSError(28, "No space left on device")
        append(path, data)

    def paused(seconds: float) -> bool:
        if seconds == checkpoint_transfer.ROOM_SECONDS:
            assert not {*os.listdir(scene.path.parent)}
            asked.append(len(scene.asked))
            scene.free = -1 if not is_known else 100 if len(asked) < 3 else 1 << 30
        return False

    if is_known:
        scene.free = 100
    else:
        monkeypatch.setattr(checkpoint_transfer, "_append", full)
    monkeypatch.setattr(scene, "paused", paused)
    assert scene.taken()
    assert len({*asked}) == 1
    assert len(asked) == (3 if is_known else 1)
    [(number, why, size)] = {*scene.refused}
    assert number == scene.held[-1]
    assert size > 100_000 if is_known else size == 0
    assert "its disk " in why
    assert f"cannot take a copy of the group: {why}" in scene.told
    scene.check()


def test_the_giver_refuses_what_makes_no_sense_and_forgets_who_has_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        giver = scene.giver()
        copies = scene.folder / "node" / "copies"
        first = await giver.answer({"what": "begin", "group": GROUP, "node": "new"})
        made = await giver.answer({"what": "begin", "group": GROUP, "node": "new"})
        assert os.listdir(copies) == [made["copy"]], "in place of the first one"
        file = next(iter(made["files"]))
        for body in (
            {}, {"what": "rm"}, {"what": "begin"}, {"what": "begin", "group": GROUP + 1, "node": "new"},
            {"what": "begin", "group": True, "node": "new"}, {"what": "begin", "group": GROUP, "node": 3},
            {"what": "sum", "copy": first["copy"], "file": file}, {"what": "sum", "copy": made["copy"], "file": "LOCK"},
            {"what": "piece", "copy": made["copy"], "file": "../x", "offset": 0, "length": 1},
            {"what": "piece", "copy": made["copy"], "file": file, "offset": -1, "length": 1},
            {"what": "piece", "copy": made["copy"], "file": file, "offset": 1 << 60, "length": 1},
            {"what": "piece", "copy": made["copy"], "file": file, "offset": 0, "length": 0},
            {"what": "piece", "copy": made["copy"], "file": file, "offset": "0", "length": 1},
        ):  # fmt: skip
            with pytest.raises(AskError) as raised:
                await giver.answer(body)
            assert raised.value.status == 400
        assert await giver.answer({"what": "sum", "copy": made["copy"], "file": file})
        monkeypatch.setattr(checkpoint_giver, "GIVEN_SECONDS", 0.01)
        giver._keep(made["copy"])
        while os.listdir(copies):
            await asyncio.sleep(0.01)
        with pytest.raises(AskError, match="begin again"):
            await giver.answer({"what": "sum", "copy": made["copy"], "file": file})

    asyncio.run(whole())


def test_followers_are_asked_before_the_leader() -> None:
    found = map_with("c", "a", "new", leader="b")
    assert givers(found, GROUP, "new") == [("a", "a:1"), ("c", "c:1"), ("b", "b:1")]
    assert givers(found, GROUP, "b") == [("a", "a:1"), ("c", "c:1"), ("new", "new:1")]
    assert givers(SlotMap(), GROUP, "new") == []


def test_whether_the_log_is_kept_from_a_number_on() -> None:
    etcd = Etcd()
    empty: ReplicatedLog = etcd.log()
    assert empty.has(1)
    assert empty.has(7)
    log = etcd.filled(6)
    assert log.has(1)
    log.truncate(4)
    assert [log.has(number) for number in (1, 3, 4, 9)] == [False, False, True, True]
