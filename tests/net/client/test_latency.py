"""The times of LATENCY, and its pictures."""

from __future__ import annotations

from flin.net.client.latency import HISTORY, Latency
from flin.net.client.sparkline import sparkline


def test_one_sample_for_each_second() -> None:
    latency = Latency()
    for now_ms, milliseconds in ((1_000, 5), (1_999, 9), (1_500, 7), (2_000, 3)):
        latency.add(b"command", now_ms, milliseconds)
    event = latency.events[b"command"]
    assert [(sample.at_seconds, sample.milliseconds) for sample in event.samples] == [(1, 9), (2, 3)]
    assert event.longest == 9


def test_the_newest_are_kept() -> None:
    latency = Latency()
    for second in range(HISTORY + 10):
        latency.add(b"command", second * 1000, second)
    samples = latency.events[b"command"].samples
    assert (len(samples), samples[0].at_seconds, samples[-1].at_seconds) == (HISTORY, 10, HISTORY + 9)


def test_reset() -> None:
    latency = Latency()
    for name in (b"a", b"b", b"c"):
        latency.add(name, 0, 1)
    assert latency.reset([b"a", b"x"]) == 1
    assert latency.reset([]) == 2
    assert latency.events == {}


def test_a_sparkline() -> None:
    assert sparkline([1, 12, 5, 12], ["1s", "10m", "3h", "4d"]) == [
        " # #",
        " | |",
        " |o|",
        "_|||",
        "1134",
        "s0hd",
        " m",
    ]
    assert sparkline([7], ["now"]) == ["", "", "", "_", "n", "o", "w"]
