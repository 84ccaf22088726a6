"""The ports of the workers of a run."""

from __future__ import annotations

import pytest

from flin.testing import server
from tests.ports import MOST_SHARES, share


@pytest.mark.parametrize("workers", [1, 3, MOST_SHARES, 100])
def test_no_two_workers_have_a_port_in_common(workers: int) -> None:
    shares = [share(worker, workers) for worker in range(min(workers, MOST_SHARES))]
    ports = [port for each in shares for port in each]
    assert len(ports) == len(set(ports))
    assert set(ports) <= set(server.PORTS)
    assert min(map(len, shares)) == max(map(len, shares))
    assert all(share(worker, workers) in shares for worker in range(2 * workers))


def test_all_take_them_from_there() -> None:
    from flin.bench import server_process
    from flin.testing.cluster import nodes

    assert vars(server_process)["PORTS"] == vars(nodes)["PORTS"] == server.PORTS
