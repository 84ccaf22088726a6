"""`python -m flin.bench.endurance`: what grows is found, and a cluster of real nodes is sampled."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from flin.bench.endurance import EnduranceError, Sample, Settings, growth, main, run, table
from flin.testing.cluster.nodes import Nodes
from tests.tool import needs_tool

SAMPLE = Sample(30.0, 0, 9_000, 300, 500, 40.0, 20.0, 50.0, 90.0, 30.0, 40, 60.0, 70.0)


def samples_of(count: int) -> list[Sample]:
    return [replace(SAMPLE, second=30.0 * n, writes=9_000 * n, entries=300 * n) for n in range(1, count + 1)]


def test_what_goes_up_and_down_is_flat() -> None:
    samples = [replace(each, log_entries=500 + 100 * (n % 3)) for n, each in enumerate(samples_of(12))]
    assert set(growth(samples).values()) == {1.0}
    assert "300/s), 10 entries/s" in table(samples)


def test_what_grows_is_found() -> None:
    samples = [replace(each, worker_memory=30.0 + 3 * n) for n, each in enumerate(samples_of(12))]
    assert growth(samples)["worker_memory"] == pytest.approx(63 / 51)
    leak = [replace(each, worker_memory=30.0 + 10 * n) for n, each in enumerate(samples_of(12))]
    assert "no" in next(line for line in table(leak).splitlines() if "worker memory" in line)
    assert "no" not in next(line for line in table(leak).splitlines() if "flin memory" in line)


def test_what_fills_in_the_first_third_does_not_count() -> None:
    samples = [replace(each, etcd_file=min(400.0, 100.0 * n)) for n, each in enumerate(samples_of(12), 1)]
    assert growth(samples)["etcd_file"] == 1.0


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match="2 samples are too few"):
        growth(samples_of(2))


def test_what_is_missing_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert main(["--seconds", "1"]) == 2
    assert "etcd is not installed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cluster_is_sampled(tmp_path: Path) -> None:
    for tool in ("etcd", "redis-benchmark"):
        needs_tool(tool)
    pytest.importorskip("flin.cluster.etcd.etcd")
    settings = Settings(seconds=3.0, groups=2, connections=8, keys=100, pause_seconds=1.0)
    nodes = Nodes(tmp_path, settings.groups)
    try:
        nodes.start()
        samples = run(settings, nodes, io.StringIO())
        nodes.machines[2].kill()
        with pytest.raises(EnduranceError):
            run(settings, nodes, io.StringIO())
    finally:
        nodes.kill()
    assert len(samples) >= 3
    assert samples[-1].writes > samples[0].writes > 0
    assert samples[-1].entries > samples[0].entries > 0
    assert all(min(each.etcd_file, each.etcd_memory, each.worker_memory, each.directory) > 0 for each in samples)
