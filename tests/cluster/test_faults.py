"""Workers in trouble: the disk of one is full; one is killed under clients that speak TLS. The others go on."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flin.cluster.workers.groups import create_groups, read_groups
from flin.testing.process import PATIENCE_SECONDS, kill, wait_until
from tests.cluster.served import Serve, key_of
from tests.net.certificates import Certificates
from tests.process.small_disk import Ballast, mounted_tmpfs

pytestmark = pytest.mark.slow


def test_a_full_disk_under_one_group(serve: Serve, tmp_path: Path) -> None:
    groups = create_groups(tmp_path / "db", 2)
    tags = [key_of((group.first, group.last)) for group in groups]
    with mounted_tmpfs(groups[1].directory, 24 << 20) as is_mounted:
        if not is_mounted:
            pytest.skip("a tmpfs cannot be mounted here")
        served = serve()
        ballast, random = Ballast(groups[1].directory), Random(1)
        answered: dict[str, bytes] = {}
        ballast.leave(4 << 20)
        with served.client(0) as other, served.client(1) as full:
            listener = full.pubsub()
            listener.subscribe("news")
            assert listener.get_message(timeout=PATIENCE_SECONDS)

            def write() -> str:
                key, value = f"{{{tags[1]}}}{random.randrange(3000)}", random.randbytes(1000).hex().encode()
                try:
                    full.set(key, value)
                except redis.ResponseError as error:
                    return str(error)
                answered[key] = value
                return ""

            for _ in range(2):
                wait_until(lambda: write().startswith("MISCONF "), "a write is refused")
                assert [other.incr(tags[0]) for _ in range(100)][-1] > 0
                assert [full.get(key) for key in answered] == [value.decode() for value in answered.values()]
                assert other.publish("news", "goes on") == 0
                assert listener.get_message(timeout=PATIENCE_SECONDS)["data"] == "goes on"
                assert other.execute_command("CLUSTER INFO")["cluster_slots_fail"] == "0"
                ballast.remove()
                wait_until(lambda: not write(), "a write is taken again")
                ballast.leave(1 << 20)
            assert full.dbsize() == len(answered)
            ballast.remove()
            wait_until(lambda: not write(), "a write is taken again")
            listener.close()
        assert served.end() == 0, served.program.printed()


def test_kills_under_clients_that_speak_tls(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    served = serve(*certificates.words())
    keys = [key_of((group.first, group.last)) for group in read_groups(tmp_path / "db")]
    answered = {0: 0, 1: 0}
    failed = {0: 0, 1: 0}
    over = threading.Event()

    def client(number: int) -> redis.Redis:
        return redis.Redis(
            port=served.ports[number], ssl=True, ssl_ca_certs=str(certificates.ca), socket_timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip

    def count(number: int) -> None:
        """One after the other: what is stored is what was answered, or one more, which was on its way."""
        with client(number) as own:
            while not over.is_set():
                try:
                    answered[number] = own.incr(keys[number])
                except redis.ConnectionError:
                    failed[number] += 1

    threads = [threading.Thread(target=count, args=(number,)) for number in answered]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            if number:
                kill(served.workers()[1])
                served.wait_until_logged("worker 1 is ready again", number)
            before = answered[1]
            wait_until(lambda before=before: answered[1] > before + 20, "it writes")  # type: ignore[misc]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failed[0] == 0
    assert failed[1] <= 5, "some found their connection closed before they sent anything, and made another"
    for number in answered:
        with client(number) as own:
            assert 0 <= int(own.get(keys[number]) or 0) - answered[number] <= failed[number]
    assert served.end() == 0
