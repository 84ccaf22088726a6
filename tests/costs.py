"""Processor time of tests and of the processes that they started: the cost of a test on any machine, busy or not.

A worker of pytest-xdist measures and sends it with its last report of a test; the process that shows the reports adds
it up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Final

import pytest

_PROPERTY: Final = "processor seconds"
_BEGAN: Final = pytest.StashKey[float]()

DEAREST: Final = 15
"""How many files and how many tests are shown."""


def _now() -> float:
    """User and system time of this process and of its collected children."""
    return sum(used.ru_utime + used.ru_stime for used in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def begin(item: pytest.Item) -> None:
    item.stash[_BEGAN] = _now()


def end(item: pytest.Item) -> None:
    """Called before the report that carries it is made."""
    item.user_properties.append((_PROPERTY, _now() - item.stash[_BEGAN]))


class Costs:
    """A pytest plugin, which sees every report."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _PROPERTY:
                assert isinstance(value, float)
                self._seconds[report.nodeid] = value

    def lines(self) -> Iterator[str]:
        """All of it, each folder, the dearest files, and the dearest tests."""
        files: defaultdict[str, float] = defaultdict(float)
        folders: defaultdict[str, float] = defaultdict(float)
        for test, seconds in self._seconds.items():
            file = test.partition("::")[0]
            files[file] += seconds
            folders[file.rpartition("/")[0]] += seconds
        yield _line("in all", sum(self._seconds.values()))
        for of_each, most in ((folders, len(folders)), (files, DEAREST), (self._seconds, DEAREST)):
            yield ""
            yield from _dearest(of_each, most)


def _dearest(seconds: Mapping[str, float], most: int) -> Iterator[str]:
    for name in sorted(seconds, key=lambda name: -seconds[name])[:most]:
        yield _line(name, seconds[name])


def _line(name: str, seconds: float) -> str:
    return f"{seconds:>9.1f} s {name}"
