"""Workers hear of each other: messages of PUBLISH, and who is away. Real processes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from flin.cluster.workers.groups import read_groups
from flin.testing.process import PATIENCE_SECONDS, is_alive, kill, wait_until
from tests.cluster.served import Serve, key_of


def subscribed(client: redis.Redis, channel: str) -> Any:
    listener: Any = client.pubsub()  # type: ignore[no-untyped-call]
    listener.subscribe(channel)
    assert listener.get_message(timeout=PATIENCE_SECONDS)["type"] == "subscribe"
    return listener


def heard(listener: Any) -> str:
    said: str = listener.get_message(timeout=PATIENCE_SECONDS)["data"]
    return said


def test_messages_reach_all_also_those_that_were_killed(serve: Serve) -> None:
    served = serve(workers=3)
    with served.client(0) as publisher, served.client(1) as one, served.client(2) as other:
        near, far = subscribed(publisher, "news"), subscribed(other, "news")
        for number in range(2):
            listener = subscribed(one, "news")
            assert publisher.publish("news", f"to all {number}") == 1
            assert [heard(each) for each in (near, far, listener)] == [f"to all {number}"] * 3
            before = served.workers()[1]
            kill(before)
            served.wait_until_logged("worker 1 is ready again", number + 1)
            assert publisher.publish("news", f"meanwhile {number}") == 1
            assert [heard(each) for each in (near, far)] == [f"meanwhile {number}"] * 2
        listener = subscribed(one, "news")
        assert other.publish("news", "last") == 1
        assert [heard(each) for each in (near, far, listener)] == ["last"] * 3
    assert served.end() == 0


def test_one_that_hangs_holds_up_nobody(serve: Serve) -> None:
    served = serve(workers=3)
    with served.client(0) as publisher, served.client(1) as one, served.client(2) as other:
        hanging, listener = subscribed(one, "news"), subscribed(other, "news")
        pid = served.workers()[1]
        kill(pid, signal.SIGSTOP)
        for number in range(50):
            publisher.publish("news", f"{number} " + "x" * 50_000)
            assert heard(listener).split()[0] == str(number)
        kill(pid, signal.SIGCONT)
        assert [heard(hanging).split()[0] for _ in range(50)] == [str(number) for number in range(50)]
    assert served.end() == 0


def test_a_worker_that_is_away_is_told_by_the_others(serve: Serve, tmp_path: Path) -> None:
    served = serve(workers=3)
    keys = [key_of((group.first, group.last)) for group in read_groups(tmp_path / "db")]
    with served.client(0) as client, served.client(1) as other:
        assert away_for(client) == (0, [], [])
        other.shutdown()
        served.wait_until_logged("worker 1 was told to end")
        slots, flags, health = away_for(client)
        assert (slots, flags, health) == (5461, ["master,fail"], [served.ports[1]])
        told = client.execute_command("CLUSTER INFO")
        assert (told["cluster_state"], told["cluster_slots_ok"]) == ("ok", str(16384 - 5461))
        assert client.set(keys[0], "goes on")
        with pytest.raises(redis.exceptions.MovedError):
            client.get(keys[1])
        assert client.publish("news", "x") == 0
    assert served.end() == 0


def away_for(client: Any) -> tuple[int, list[str], list[int]]:
    """Slots that fail, the flags of nodes that do, and their ports by CLUSTER SHARDS."""
    told = client.execute_command("CLUSTER INFO")
    nodes = client.execute_command("CLUSTER NODES")
    shards = client.execute_command("CLUSTER SHARDS")
    described = [each for shard in shards for each in shard["nodes"]]
    return (
        int(told["cluster_slots_fail"]),
        [node["flags"] for node in nodes.values() if not node["connected"]],
        [each["port"] for each in described if each["health"] == "fail"],
    )


# The end.


def test_a_worker_that_does_not_end_is_killed(serve: Serve) -> None:
    served = serve(code="from flin.cluster.workers import fleet\nfleet.END_SECONDS = 0.5")
    workers = served.workers()
    kill(workers[0], signal.SIGSTOP)  # the first: half a second may be too short for others, too, who come after it
    assert served.end() == 1
    assert not any(map(is_alive, workers.values()))
    printed = served.program.printed()
    assert re.search("ERROR .*: worker 0 did not end within 0.5 s, so it is killed\n", printed)
    assert printed.endswith("flin: worker 0 did not end within 0.5 s\n")


def test_a_signal_to_all_processes_during_the_start(serve: Serve) -> None:
    """As systemd sends it. The workers may be gone before the supervisor has read its own."""
    served = serve(wait=False)
    wait_until(lambda: len(served.workers()) == 2, "all are started")
    for pid in served.workers().values():
        kill(pid, signal.SIGTERM)
    assert served.end() == 0, served.program.printed()


def test_a_group_whose_database_is_gone(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    assert served.end() == 0
    lost = read_groups(tmp_path / "db")[1].directory
    for name in os.listdir(lost):
        (lost / name).unlink()
    again = serve(wait=False)
    assert again.program.wait_for_code() == 1
    assert "db/group-01: its database is gone, while other groups have theirs: restore it from a backup" in (
        again.program.printed()
    )
    assert os.listdir(lost) == ["LOCK"]


@pytest.mark.slow
def test_restarts_leave_nothing_behind(serve: Serve) -> None:
    """No descriptor, and no memory: in the supervisor, and in the worker that lives on."""
    served = serve(
        code="from flin.cluster.workers import fleet\nfleet.FIRST_DELAY_SECONDS = fleet.MAX_DELAY_SECONDS = 0.01"
    )

    def held() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (served.pid, served.workers()[0])]

    def is_closed() -> bool:
        return all(now <= then for now, then in zip(held(), first, strict=True))

    first: list[int] = []
    with served.client(0) as publisher, served.client(1) as other:
        for number in range(1, 31):
            kill(served.workers()[1])
            served.wait_until_logged("worker 1 is ready again", number)
            listener = subscribed(other, "news")
            assert publisher.publish("news", "x") == 0
            assert heard(listener) == "x"
            if number == 6:
                first += held()
            if number > 6:
                wait_until(is_closed, "no more descriptors are held")
    assert served.end() == 0
