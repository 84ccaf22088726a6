"""The row of two workers: both servers are measured, and a model follows from that; keys go to their own worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from flin.bench import workers
from flin.bench.comparison import OURS, Finding
from flin.bench.progress import Progress
from flin.cluster.workers.groups import slots_of
from flin.net.cluster.slots import slot_of
from tests.tool import needs_tool


def test_keys_go_to_their_own_worker() -> None:
    for count in (1, 2, 8):
        tags = [workers.tag_of(number, count) for number in range(count)]
        assert len({*map(len, tags)}) == 1
        for number, tag in enumerate(tags):
            first, last = slots_of(number, count)
            assert first <= slot_of(f"key:{{{tag}}}:000000000001".encode()) <= last


@pytest.mark.slow
def test_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_tool("redis-benchmark")
    needs_tool("redis-cli")
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0)
    monkeypatch.setattr(workers, "WARM_UPS", 1)
    monkeypatch.setattr(workers, "ZIPFIAN_KEYS", 1000)
    settings = workers.Settings(requests=50_000, rounds=1)
    progress = Progress()
    progress.begin("workers", settings.steps(), settings.seconds())
    (finding,) = workers.compare(settings, str(tmp_path), progress)
    assert isinstance(finding, Finding)
    assert finding.failures == []
    for test in workers.TESTS:
        for name in (OURS, workers.TOGETHER):
            whole, loops = finding.median(f"{test}, µs", name), finding.median(f"{test}, µs of loops", name)
            assert whole is not None
            assert loops is not None
            assert 0 < loops <= whole + 1e-9
    assert len(finding.goals) == 3 * len(workers.TESTS)
    assert progress.done == settings.steps()
