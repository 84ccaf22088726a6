"""channels_redis: both layers, the one over sorted sets and scripts and the one over messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from flin.testing.process import PATIENCE_SECONDS
from tests.programs.served import Served
from tests.tool import needs_package

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_core_layer(served: Served) -> None:
    """It keeps messages in the server: they are there after a kill -9, once and in order."""
    core, full_error = needs_package("channels_redis.core"), needs_package("channels.exceptions").ChannelFull

    async def use() -> None:
        layer = core.RedisChannelLayer(hosts=[served.url], capacity=20)
        other = core.RedisChannelLayer(hosts=[served.url])
        ada, grace = await layer.new_channel(), await other.new_channel()
        for channel in (ada, grace):
            await layer.group_add("room", channel)
        for number in range(5):
            await other.group_send("room", {"type": "chat", "number": number})
        await layer.close_pools()
        await other.close_pools()
        await asyncio.to_thread(served.kill_and_start)

        async def next_of(layer: Any, channel: str) -> int:
            message = await asyncio.wait_for(layer.receive(channel), PATIENCE_SECONDS)
            number: int = message["number"]
            return number

        assert [await next_of(layer, ada) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert [await next_of(other, grace) for _ in range(5)] == [0, 1, 2, 3, 4]
        await layer.group_discard("room", grace)
        waiting = asyncio.create_task(next_of(layer, ada))
        await layer.group_send("room", {"type": "chat", "number": 5})
        assert await waiting == 5
        await asyncio.gather(*(layer.send("one", {"type": "chat", "number": number}) for number in range(20)))
        with pytest.raises(full_error):
            await layer.send("one", {"type": "chat", "number": 20})
        await layer.flush()
        await layer.close_pools()
        await other.close_pools()

    asyncio.run(use())


def test_pubsub_layer(served: Served) -> None:
    """It subscribes again by itself after a kill -9."""
    pubsub = needs_package("channels_redis.pubsub")

    async def use() -> None:
        layer, other = (pubsub.RedisPubSubChannelLayer(hosts=[served.url]) for _ in range(2))
        ada, grace = await layer.new_channel(), await other.new_channel()
        await layer.group_add("room", ada)
        await other.group_add("room", grace)

        async def talk(number: int) -> None:
            await layer.group_send("room", {"type": "chat", "number": number})
            for each, channel in ((layer, ada), (other, grace)):
                message = await asyncio.wait_for(each.receive(channel), PATIENCE_SECONDS)
                assert message == {"type": "chat", "number": number}

        for number in range(5):
            await talk(number)
        await layer.send(grace, {"type": "direct"})
        assert await other.receive(grace) == {"type": "direct"}
        await asyncio.to_thread(served.kill_and_start)
        with served.client() as client:
            # Both take part in the room, and each has a channel of its own.
            while sum(count for _, count in client.pubsub_numsub(*client.pubsub_channels())) < 4:
                await asyncio.sleep(0.01)
        with pytest.raises(redis.ConnectionError):
            await talk(6)  # it tells of a lost connection, and makes another
        await talk(7)
        await layer.flush()
        await other.flush()

    asyncio.run(use())
