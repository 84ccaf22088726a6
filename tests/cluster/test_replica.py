"""Replicas that serve, follow, take over and hand over."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flin.cluster.etcd.key_value import Delete, Put
from flin.cluster.etcd.memory_key_value import Fate
from flin.cluster.keys import RefusedValue, ReplicasValue
from flin.cluster.log.follower import index_in_tables
from flin.cluster.log.log_bounds import FlushRule
from flin.cluster.log.replicated_log import RETRY_SECONDS, ReplicatedLog
from flin.cluster.replica import pulse, takeover
from flin.cluster.replica.checkpoint_giver import CheckpointGiver, copy_answer
from flin.cluster.replica.checkpoint_transfer import Ask
from flin.cluster.replica.pulse import Pulse
from flin.cluster.replica.replica import Replica
from flin.cluster.workers.fleet import ANEW
from flin.engine.engine import store_of
from flin.errors import FlinError
from tests.cluster.replicas import GROUP, Group, Member, run


async def write(member: Member, numbers: range) -> None:
    for number in numbers:
        assert await member.client.rpush("l", number) == number + 1


async def read_all(member: Member) -> list[int]:
    return [int(each) for each in await member.client.lrange("l", 0, -1)]


async def when_abreast(reader: Any) -> Any:
    """A follower sends readers away until its leader has said how much there is."""
    while True:
        try:
            return await reader.get("k")
        except redis.ResponseError:
            await asyncio.sleep(0.05)


def test_writes_reach_all_replicas(tmp_path: Path) -> None:
    async def scene(group: Group) -> None:
        leader = await group.leader()
        assert leader.name == "a"
        assert await leader.client.set("k", "v")
        await write(leader, range(50))
        await group.equal()
        follower = group.members[1]
        async with follower.client.client() as reader:
            with pytest.raises(redis.ResponseError, match=f"7629 127.0.0.1:{leader.port}"):
                await reader.get("k")
            await reader.readonly()
            assert await when_abreast(reader) == "v"
            assert await reader.lrange("l", 0, 1) == ["0", "1"]
            with pytest.raises(redis.ResponseError, match=str(leader.port)):
                await reader.set("k", "w")

    run(scene, tmp_path)


def test_a_leader_that_stops_hands_over(tmp_path: Path) -> None:
    async def scene(group: Group) -> None:
        old = await group.leader()
        await write(old, range(20))
        place, clock = old.replica.place, old.replica.lease.clock
        while place.target(clock()) is None:  # till the signs of another one have been seen to change
            await asyncio.sleep(0.1)
        old.replica.request_stop()
        assert await old.running == 0
        assert group.leader_value().epoch == 2, "nobody has waited for a lease"
        new = await group.leader(but=old)
        assert await read_all(new) == [*range(20)]
        old.start()
        await write(new, range(20, 40))
        await group.equal()

    run(scene, tmp_path)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaders look after whom to give their place to at once, not after ten seconds."""
    monkeypatch.setattr(takeover, "SETTLED_SECONDS", 0.3)
    monkeypatch.setattr(pulse, "APPLIED_SECONDS", 0.1)


async def listen_for_silence(members: list[Member], silent: list[str]) -> None:
    """Who does not listen, at any moment: there a client that knows this port alone would be refused."""
    while True:
        silent += [each.name for each in members if not each.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
        await asyncio.sleep(0.002)


@pytest.mark.usefixtures("soon")
def test_leaders_change_places_and_go_on(tmp_path: Path) -> None:
    """Back and forth: each follows as it is, and its port is open throughout."""

    async def scene(group: Group) -> None:
        first, second, _ = group.members
        silent: list[str] = []
        listening = asyncio.ensure_future(listen_for_silence(group.members, silent))
        old = await group.leader()
        assert old is first
        for turn in range(6):
            await write(old, range(turn * 20, turn * 20 + 10))
            await old.client.set(f"k{turn}", "v", px=1 + turn)
            new = second if old is first else first
            group.prefer(new)
            assert await group.leader(but=old) is new
            await write(new, range(turn * 20 + 10, turn * 20 + 20))
            await group.equal()
            with pytest.raises(redis.ResponseError, match=f"127.0.0.1:{new.port}"):
                await old.client.llen("l")
            old = new
        assert await read_all(old) == [*range(120)]
        assert group.leader_value().epoch == 7
        assert [each.starts for each in group.members] == [1, 1, 1]
        assert not any(each.running.done() for each in group.members)
        listening.cancel()
        assert silent == []
        assert first.replica.engine.verify() == second.replica.engine.verify() == []

    run(scene, tmp_path)


async def failover(client: Any) -> bool:
    return bool(await client.execute_command("CLUSTER FAILOVER"))


async def is_begun(member: Member) -> bool:
    try:
        return await failover(member.client)
    except redis.ResponseError:  # it has not seen its leader yet
        return False


@pytest.mark.usefixtures("soon")
def test_a_follower_is_told_to_lead(tmp_path: Path) -> None:
    """CLUSTER FAILOVER, as an operator sends it; whoever leads is no replica."""

    async def scene(group: Group) -> None:
        old = await group.leader()
        await write(old, range(20))
        with pytest.raises(redis.ResponseError, match="You should send CLUSTER FAILOVER to a replica"):
            await failover(old.client)
        for new in (group.members[2], group.members[1]):
            while not await is_begun(new):
                await asyncio.sleep(0.05)
            assert await group.leader(but=old) is new
            value = ReplicasValue.decode(group.store.get(group.keys.replicas(GROUP), timeout=1).pairs[0].value)
            assert value.preferred == value.chosen == new.name
            old = new
        await write(old, range(20, 40))
        await group.equal()

    run(scene, tmp_path)


@pytest.mark.usefixtures("soon")
def test_what_was_set_stays_when_the_leader_changes(tmp_path: Path) -> None:
    """By CONFIG SET and ACL: else a password would be gone, and a user who was deleted be there again."""

    async def scene(group: Group) -> None:
        first, second, _ = group.members
        assert await group.leader() is first
        for member in (first, second):
            client: Any = member.client
            await client.config_set("slowlog-max-len", 7)
            await client.config_set("client-output-buffer-limit", "pubsub 9 8 7")
            await client.execute_command("ACL SETUSER", "ada", "on", ">pw", "+ping")
        for leader, follower in ((second, first), (first, second)):
            while not await is_begun(leader):
                await asyncio.sleep(0.05)
            assert await group.leader(but=follower) is leader
            for member in (leader, follower):
                client = member.client
                shown = await client.config_get("slowlog-max-len", "client-output-buffer-limit")
                assert shown["slowlog-max-len"] == "7"
                assert "pubsub 9 8 7" in shown["client-output-buffer-limit"]
                async with redis.Redis(port=member.port, username="ada", password="pw") as ada:
                    assert await ada.ping()
            client = leader.client
            await client.config_set("acl-pubsub-default", "allchannels")  # who serves now hears of it
            await client.execute_command("ACL SETUSER", "grace", "on")
            assert (await client.acl_getuser("grace"))["channels"] == ["&*"]
            await client.config_set("requirepass", "")
            assert await client.ping()

    run(scene, tmp_path)


@pytest.mark.usefixtures("soon")
def test_a_leader_without_room_gives_its_place_to_one_that_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full: set[str] = set()
    real = Replica._has_room
    monkeypatch.setattr(Replica, "_has_room", lambda self: self._worker.node not in full and real(self))

    async def scene(group: Group) -> None:
        first, second, third = group.members
        await write(first, range(10))
        full.add(second.name)
        while first.replica.place.peers.applied[second.name].has_room:
            await asyncio.sleep(0.02)
        full.add(first.name)
        assert await group.leader(but=first) is third
        assert "it gives the group to c, which has room" in caplog.text
        await write(third, range(10, 20))
        full.add(third.name)
        group.prefer(first)
        while (await third.client.info("replication"))["cluster_has_room"]:
            await asyncio.sleep(0.02)
        await write(third, range(20, 30))  # nobody has room: it stays where it is
        full.clear()
        assert await group.leader(but=third) is first
        await group.equal()

    run(scene, tmp_path)


def test_damaged_values_in_etcd_end_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody has written over a key: it is named, nothing is done by it, and all goes on once it is as it was."""
    damages = (
        b"\xff{",
        b'{"epoch":"7","node":3,"nodes":[1],"index":[],"count":""}',
        rb'{"epoch":7,"node":"\ud800","start":"s","nodes":["\ud800"],"index":-9,"count":1}',
    )

    async def damage(group: Group, key: bytes, *, is_told: bool) -> None:
        old = group.store.get(key, timeout=1).pairs[0].value
        for damaged in damages:
            caplog.clear()
            group.store.txn((), (Put(key, damaged),), timeout=1)
            while is_told and f"etcd: {key.decode()}" not in caplog.text:
                await asyncio.sleep(0.02)
        group.store.txn((), (Put(key, old),), timeout=1)

    async def scene(group: Group) -> None:
        leading, keys = await group.leader(), group.keys
        other = next(each for each in group.members if each is not leading)
        stray = Put(keys.applied_in(GROUP)[0] + b"\xff", b"{}")  # a key that no node has
        group.store.txn((), (stray,), timeout=1)
        for _ in range(3):
            await damage(group, keys.lease(GROUP), is_told=False)
            await asyncio.sleep(takeover.LOOK_SECONDS)
            assert await leading.client.set("k", "v")
        for key in (keys.applied(GROUP, other.name), keys.lease(GROUP)):  # they are put again and again
            await damage(group, key, is_told=False)
            assert await leading.client.set("k", key)
        await damage(group, keys.replicas(GROUP), is_told=True)
        assert await group.leader() is leading
        assert await leading.client.set("k", "v")
        await damage(group, keys.leader(GROUP), is_told=True)  # its revision is the fence: it leads no more
        second = await group.leader(but=leading)
        assert group.leader_value().epoch == 2
        assert await second.client.get("k") == "v"
        await group.equal()
        assert await leading.running == ANEW
        assert not [each for each in group.members if each is not leading and each.running.done()]

    run(scene, tmp_path)


def test_what_comes_with_a_damaged_value_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A watch tells it once: with the damaged value it was thrown away."""

    async def scene(group: Group) -> None:
        keys = group.keys
        await group.leader()
        puts = Put(keys.node("d"), b"{"), Put(keys.refused("d"), RefusedValue(GROUP, "full", 7).encode())
        group.store.txn((), puts, timeout=1)
        while not all("d" in each.replica.view.map.refused for each in group.members):
            await asyncio.sleep(0.02)
        assert f"etcd: {keys.node('d').decode()}: node" in caplog.text
        group.store.txn((), (Delete(keys.node("d")),), timeout=1)
        assert not [each for each in group.members if each.running.done()]

    run(scene, tmp_path)


def test_a_leader_whose_log_has_an_entry_of_somebody_else_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, it led on, and refused all writes. What is no entry is applied by nobody."""
    monkeypatch.setattr("flin.cluster.replica.replica.FAILED_SECONDS", 0.5)

    async def scene(group: Group) -> None:
        leading = await group.leader()
        await write(leading, range(10))
        await group.equal()
        number = leading.replica.group_log.index + 1
        group.store.txn((), (Put(group.keys.entry(GROUP, number), b"of somebody else"),), timeout=1)
        with pytest.raises(redis.RedisError):
            await leading.client.set("k", "v")
        said = []
        for each in group.members:
            with pytest.raises(FlinError) as raised:
                await each.running
            said.append(str(raised.value))
        assert all(f"entry {number}" in text for text in said)

    run(scene, tmp_path)


def stray_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something writes after the last append."""
    real = Replica._append_the_last

    async def append(self: Replica) -> bool:
        is_done = await real(self)
        store_of(self.engine).commit({b"stray": b"?"})
        return is_done

    monkeypatch.setattr(Replica, "_append_the_last", append)


def no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known whether the other one leads."""
    real = Pulse.hand_over

    def hand_over(self: Pulse, target: tuple[str, str], until: float) -> bool:
        real(self, target, until)
        return False

    monkeypatch.setattr(Pulse, "hand_over", hand_over)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("break_it", [stray_write, no_answer])
def test_who_cannot_prove_what_it_holds_starts_anew(
    break_it: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(group: Group) -> None:
        old = await group.leader()
        await write(old, range(20))
        break_it(monkeypatch)
        group.prefer(group.members[2])
        assert await old.running == ANEW
        new = await group.leader(but=old)
        assert group.leader_value().epoch == 2, "it has handed over all the same"
        old.start()
        await write(new, range(20, 40))
        await group.equal()
        assert store_of(old.replica.engine).read(b"stray") is None

    run(scene, tmp_path)


def test_who_lost_its_place_starts_anew_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scene(group: Group) -> None:
        old = await group.leader()
        await write(old, range(20))
        once = redis.Redis(port=old.port, retry=Retry(NoBackoff(), 0))  # it sends nothing twice
        await once.ping()
        old.etcd.cut()
        writing = asyncio.ensure_future(once.rpush("l", "never"))
        new = await group.leader(but=old)
        assert not old.replica.lease.is_held()
        await write(new, range(20, 40))
        old.etcd.mend()
        with pytest.raises((redis.ResponseError, redis.ConnectionError), match=r"UNCERTAIN|closed"):
            await writing
        await once.aclose()
        assert await old.running == ANEW
        old.start()
        await group.equal()
        assert await read_all(new) == [*range(40)]

    run(scene, tmp_path)


def test_an_append_whose_answer_is_lost_counts_once(tmp_path: Path) -> None:
    async def scene(group: Group) -> None:
        leader = await group.leader()
        for _ in range(3):
            await leader.client.incr("n")
            leader.etcd.plan(Fate.ANSWER_LOST)
        assert await leader.client.incr("n") == 4
        await group.equal()

    run(scene, tmp_path)


def test_replicas_flush_by_themselves_for_their_logs_sake(tmp_path: Path) -> None:
    async def scene(group: Group) -> None:
        leader = await group.leader()
        for each in group.members:
            each.replica._flushes = FlushRule(1)
            each.replica._flushes._limit = 1000
        await write(leader, range(30))
        while not all(index_in_tables(store_of(each.replica.engine)) for each in group.members):
            await asyncio.sleep(0.02)

    run(scene, tmp_path)


def test_who_was_away_for_too_long_takes_a_copy(tmp_path: Path) -> None:
    """One is started when the log no longer goes back to what it has. Another one learns that while it runs, since it
    lists the log again: it ends, to begin anew."""

    async def scene(group: Group) -> None:
        leader = await group.leader()
        away, reader = (each for each in group.members if each is not leader)
        away.replica.request_stop()
        assert await away.running == 0
        reader.etcd.cut()
        await write(leader, range(30))
        await asyncio.to_thread(leader.replica.engine.flush)
        log = ReplicatedLog(group.store, group.keys, GROUP)
        assert log.truncate(leader.replica.group_log.index)
        group.store.compact(group.store.get(group.keys.cluster, timeout=1).revision, timeout=1)
        group.ask = asking(leader, tmp_path)
        reader.replica._transfer = reader.replica._transfer_by(group.ask)
        reader.etcd.mend()
        assert await reader.running == ANEW
        away.start()
        reader.start()
        await write(leader, range(30, 40))
        await group.equal()

    run(scene, tmp_path)


def test_who_waits_for_etcd_can_be_told_to_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its node was killed, and the node's etcd with it: nobody else ends it, and its node cannot start meanwhile."""

    async def scene(group: Group) -> None:
        leader = await group.leader()
        away = next(each for each in group.members if each is not leader)
        away.replica.request_stop()
        assert await away.running == 0
        away.start()
        away.etcd.cut()  # before it has begun
        while "the map of the cluster cannot be read yet" not in caplog.text:
            await asyncio.sleep(0.01)
        await asyncio.sleep(3 * RETRY_SECONDS)
        away.replica.request_stop()
        assert await away.running == 0
        assert caplog.text.count("the map of the cluster cannot be read yet") == 1
        away.start()
        await write(leader, range(10))
        await group.equal()

    run(scene, tmp_path)


def asking(giver: Member, folder: Path) -> Ask:
    """Asks this one, whatever the address."""

    class Process:
        async def ask(self, name: str, arguments: Mapping[str, Any]) -> Any:
            return await copy_answer(giver.replica.engine)(arguments)

    page, loop = CheckpointGiver(str(folder / "giver"), 1, lambda number: Process()), asyncio.get_running_loop()

    def ask(address: str, question: Mapping[str, Any]) -> bytes:
        answered = asyncio.run_coroutine_threadsafe(page.answer(dict(question)), loop).result()
        return answered if isinstance(answered, bytes) else json.dumps(answered).encode()

    return ask
