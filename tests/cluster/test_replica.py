"""Replicas that serve, follow, take over and hand over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from flin.cluster.checkpoint_giver import CheckpointGiver, copy_answer
from flin.cluster.checkpoint_transfer import Ask
from flin.cluster.fleet import ANEW
from flin.cluster.follower import index_in_tables
from flin.cluster.log_bounds import FlushRule
from flin.cluster.memory_key_value import Fate
from flin.cluster.replicated_log import ReplicatedLog
from flin.engine.engine import store_of
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


def test_who_lost_its_place_starts_anew_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scene(group: Group) -> None:
        old = await group.leader()
        await write(old, range(20))
        old.etcd.cut()
        writing = asyncio.ensure_future(old.client.rpush("l", "never"))
        new = await group.leader(but=old)
        assert not old.replica.lease.is_held()
        await write(new, range(20, 40))
        old.etcd.mend()
        with pytest.raises((redis.ResponseError, redis.ConnectionError), match=r"UNCERTAIN|closed"):
            await writing
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
