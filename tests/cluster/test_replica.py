"""Replicas that serve, follow, take over and hand over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from flin.cluster.fleet import ANEW
from flin.cluster.memory_key_value import Fate
from tests.cluster.replicas import Group, Member, run


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
