"""The Grafana dashboard and the alerts: every metric and label that they name exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from flin.admin.metrics import HISTOGRAM, METRICS, UP, Metric
from tests.source import ROOT

CONTRIB = ROOT / "contrib"
NAME = re.compile(r"\bflin_[a-z_]+")


def _names() -> dict[str, Metric]:
    found = {metric.sample_name: metric for metric in (UP, *METRICS)}
    for metric in METRICS:
        if metric.kind == HISTOGRAM:
            found |= {f"{metric.name}_{end}": metric for end in ("sum", "count")}
    return found


def _expressions() -> Iterator[str]:
    dashboard = json.loads((CONTRIB / "grafana" / "flin.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["definition"] for each in dashboard["templating"]["list"] if "definition" in each)
    yield from _alerts().values()


def _alerts() -> dict[str, str]:
    text = (CONTRIB / "prometheus" / "flin-alerts.yml").read_text("utf-8")
    return dict(re.findall(r"- alert: (\w+)\n +expr: '(.*)'\n", text))


def test_every_metric_exists() -> None:
    names, used = _names(), set()
    for expression in _expressions():
        found = NAME.findall(expression)
        assert found or expression.startswith("up{"), expression
        used.update(found)
        assert set(found) <= names.keys(), expression
    assert len(used) > 40


def test_every_label_exists() -> None:
    """By which a sum is made, or which a legend shows: one of a metric in the same expression, or of Prometheus."""
    names = _names()
    for expression in _expressions():
        labels = {label for name in NAME.findall(expression) for label in (names[name].label, "group")}
        by = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
        assert by <= labels | {"instance", "job", "le"}, expression


def test_counters_are_rates_and_brackets_close() -> None:
    names = _names()
    for expression in _expressions():
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression
        for name in NAME.findall(expression):
            if names[name].kind in ("counter", HISTOGRAM):
                assert re.search(rf"(rate|increase)\({name}[{{\[]", expression), expression


def test_panels_do_not_overlap() -> None:
    panels = json.loads((CONTRIB / "grafana" / "flin.json").read_text("utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_alerts_say_what_to_do() -> None:
    text = (CONTRIB / "prometheus" / "flin-alerts.yml").read_text("utf-8")
    alerts = _alerts()
    assert len(alerts) == text.count("- alert:") > 10
    assert text.count("summary: '") == text.count("description: '") == text.count("severity: ") == len(alerts)
