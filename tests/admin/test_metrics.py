"""What Prometheus gets: the table, its text in both formats, and what real commands count."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from flin.admin.figures import server_figures
from flin.admin.metrics import COUNTER, GAUGE, METRICS, UP, figure_at, table, written
from flin.net.cluster.role import ReplicaFigures
from flin.net.run.histogram import BUCKETS, Histogram, end_of, quantile
from flin.net.run.services import make_services
from flin.net.settings.config import Config
from flin.net.settings.options import ServerOptions
from tests.admin.paged import Paged
from tests.net.fake_store import FakeStore
from tests.net.role import FakeRole
from tests.source import ROOT

OPEN = "application/openmetrics-text; version=1.0.0"


def _samples(text: str, reader: Any = parse) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in reader(text)
        for sample in family.samples
    }


def _of(samples: dict[Any, float], metric: str, /, **labels: str) -> float:
    return samples[metric, tuple(sorted({"group": "0", **labels}.items()))]


def test_what_commands_count(server: Paged) -> None:
    before = _samples(server.ask("GET", "/metrics").text)
    with redis.Redis(port=server.port) as client:
        for number in range(100):
            client.set(f"key{number}", b"value")
            client.get(f"key{number}")
        client.lpush("list", "a")
        with pytest.raises(redis.ResponseError):
            client.get("list")
        client.keys()
        reply = server.ask("GET", "/metrics")
        samples = _samples(reply.text)
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    assert _of(samples, "flin_up") == _of(samples, "flin_ready") == 1

    def new(metric: str, /, **labels: str) -> float:  # other tests of this process count for the same commands
        return _of(samples, metric, **labels) - before.get((metric, tuple(sorted({"group": "0", **labels}.items()))), 0)

    assert new("flin_commands_total", command="set") == 100
    assert new("flin_commands_failed_total", command="get") == 1
    assert _of(samples, "flin_errors_total", error="WRONGTYPE") == 1
    assert _of(samples, "flin_keys", database="0") == 101
    assert _of(samples, "flin_clients") == 1
    assert new("flin_command_seconds_count", command="keys") == 1
    assert _of(samples, "flin_alarm", name="read-only") == 0
    ticks = _of(samples, "flin_tick_seconds_count")
    assert 200 <= ticks <= _of(samples, "flin_ticks_total")
    assert _of(samples, "flin_tick_seconds_bucket", le="+Inf") == ticks
    assert 0 < _of(samples, "flin_tick_seconds_sum") < 60
    buckets = [value for (name, _), value in samples.items() if name == "flin_tick_seconds_bucket"]
    assert buckets == sorted(buckets)


def test_both_formats_have_all(server: Paged) -> None:
    """Every metric of the table whose figure is no table of names, under the name that the table gives it."""
    plain, fuller = server.ask("GET", "/metrics"), server.ask("GET", "/metrics", Accept=OPEN)
    assert fuller.headers["Content-Type"].startswith("application/openmetrics-text")
    for names in ({name for name, _ in _samples(plain.text)}, {name for name, _ in _samples(fuller.text, parse_open)}):
        assert {each.sample_name for each in (UP, *METRICS) if not each.label} <= names
    figures = server.ask("GET", "/stats").json["groups"]["0"]
    for metric in METRICS:
        assert figure_at(figures, metric.path) is not None, metric.path


def test_the_words_of_the_table() -> None:
    """Names are the field's: base units, nouns, no unit twice; and the help says more than the name."""
    assert len({each.name for each in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("flin"), metric
        assert not metric.name.endswith("_total"), metric
        assert metric.help.endswith("."), metric
        assert metric.kind in (COUNTER, GAUGE) or metric.kind in ("histogram", "info")


def test_a_group_that_does_not_answer(server: Paged) -> None:
    figures = server.ask("GET", "/stats").json["groups"]["0"]
    body, _ = written({"0": figures, "1": None}, "")
    samples = _samples(body.decode())
    ups = {labels: value for (name, labels), value in samples.items() if name == "flin_up"}
    assert ups == {(("group", "0"),): 1, (("group", "1"),): 0}
    assert {dict(labels).get("group") for name, labels in samples if name != "flin_up"} == {"0"}


def test_what_a_replica_tells() -> None:
    role = FakeRole()
    role.shown = ReplicaFigures(voting_nodes=3, epoch=7, index=90, lag_ms=20, skew_ms=-3, etcd_used_share=0.5)
    services = make_services(FakeStore(), Config(ServerOptions()), lambda callback: None, role=role)
    body, _ = written({"0": {"server": server_figures(services, is_stopping=False)}}, "")
    assert 'sync="log"' in body.decode()
    told = {
        name.removeprefix("flin_replica_"): value
        for (name, labels), value in _samples(body.decode()).items()
        if name.startswith("flin_replica_") and dict(labels) == {"group": "0", "role": "leader"}
    }
    assert told == {
        "voting_nodes": 3,
        "leased": 1,
        "epoch": 7,
        "log_index": 90,
        "lag_seconds": 0.02,
        "has_room": 1,
        "etcd_used_share": 0.5,
        "clock_skew_seconds": -0.003,
    }


def test_the_table_of_the_document() -> None:
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    assert table() in text, "python -m tests.admin.metrics_page writes it"


def test_the_histogram() -> None:
    histogram = Histogram()
    for bucket in range(BUCKETS - 1):
        end = end_of(bucket)
        for nanoseconds, expected in ((end - 1, bucket), (end, bucket + 1)):
            before = list(histogram.counts)
            histogram.add(nanoseconds)
            assert histogram.counts[expected] == before[expected] + 1
    histogram.add(1 << 62)
    assert histogram.counts[-1] == 2
    assert sum(histogram.counts) == 2 * (BUCKETS - 1) + 1
    few = Histogram()
    for microseconds in range(1, 1001):
        few.add(microseconds * 1000)
    for share in (0.5, 0.99):
        found = quantile(few.counts, share)
        assert found is not None
        assert share <= found * 1000 <= share * 1.26  # as milliseconds
