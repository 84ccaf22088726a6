"""For all tests: hypothesis profiles, tools that must be there in CI, an engine that is verified after use.

The tests run in several processes (pytest-xdist): one that collects nothing and reports, and its workers, each of which
collects all tests and runs its share.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from tests import costs
from tests.fifth import choose_fifth
from tests.figures import Figures
from tests.patient import make_patient
from tests.ports import share_ports
from tests.source import ROOT
from tests.tool import in_ci, missing_tool
from tests.tool import needs_tool as find_tool

# No deadline: no test asserts a time. In CI the same examples every time, so that a red run can be repeated.
# Half of hypothesis's own number of examples: what a bug needs to be found is rarely seen first in the second half.
hypothesis.settings.register_profile("flin", max_examples=50, deadline=None, print_blob=True, derandomize=in_ci())
hypothesis.settings.load_profile("flin")


share_ports()


@pytest.fixture(scope="session")
def needs_tool() -> Callable[[str], str]:
    """`needs_tool("redis-server")` gives its path or skips the test; under CI=true a missing tool is a failure."""
    return find_tool


GC_THRESHOLD: Final = 10_000
"""Some megabytes of objects at most. Then the collector takes 1 % of the crash tests' time instead of 5 to 10."""

MOST_WORKERS: Final = 4  # some tests load the machine themselves

BYTECODE: Final = ROOT / ".pytest_cache" / "bytecode"

_FIGURES = pytest.StashKey[Figures]()
_COSTS = pytest.StashKey[costs.Costs]()
_SUITES = {"not slow": "ordinary", "slow": "slow"}  # by what `-m` says; pyproject.toml's own is the first


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()
    config.stash[_COSTS] = costs.Costs()
    config.pluginmanager.register(config.stash[_COSTS])
    choose_fifth()
    make_patient()
    _keep_bytecode()


def _keep_bytecode() -> None:
    """Where no bytecode may be written beside the source, keep it beside pytest's cache. The suite starts some five
    hundred processes: without it each compiles all modules that it imports, which takes as long again as its start."""
    if sys.dont_write_bytecode:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(BYTECODE)
        sys.dont_write_bytecode = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait, for a server's start or end, a killed process, the disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, MOST_WORKERS)


def pytest_collection(session: pytest.Session) -> None:
    """In a worker of the whole suite: first another share of its modules than the other workers, so that each is
    compiled once, not by all of them at the same time. In a clean checkout that takes twelve seconds."""
    worker: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if worker is None or not _whole_suite(session.config):
        return
    first, step = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    paths = [path for path in (ROOT / "tests").rglob("test_*.py") if not pytest_ignore_collect(path, session.config)]
    for path in sorted(paths)[first::step]:
        # One that fails or skips here does it again where it is collected, and is reported.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Three of four files have no slow test. `pytest -m slow` does not collect them: each of its workers would import
    them all, for 13,000 tests that it leaves out."""
    if config.option.markexpr != "slow" or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return None
    return True if collection_path.suffix == ".py" and not _has_slow(collection_path) else None


@cache
def _has_slow(path: Path) -> bool:
    return "mark.slow" in path.read_text(encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that the workers end together."""
    hidden = [item.nodeid for item in items if item.get_closest_marker("slow") and not _has_slow(item.path)]
    if hidden:  # the ordinary suite finds it, which collects all
        raise pytest.UsageError(f"the slow suite would not find these: their files do not say mark.slow: {hidden}")
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    """What the mark says; tests without it keep their order."""
    mark = item.get_closest_marker("long")
    return 0.0 if mark is None else _marked(*mark.args, **mark.kwargs)


def _marked(seconds: float = 10.0) -> float:
    return seconds


def pytest_collection_finish() -> None:
    """What all tests share is hidden from the garbage collector: to walk over it costs half a second. It runs after
    more new objects than the default of 700: simulated disks and databases live for a whole test, and are many."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Few objects can hold gigabytes of simulated disks, and the collector counts objects. Seen: 5 GB after a test."""
    if item.get_closest_marker("slow"):
        gc.collect()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """The figures in which crash tests count what they tried."""
    return pytestconfig.stash[_FIGURES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    suite = _whole_suite(config)
    if suite:
        terminalreporter.section(f"crash safety: what was tried by the {suite} suite")
        for line in config.stash[_FIGURES].lines(suite):
            terminalreporter.write_line(line)
        terminalreporter.section("processor time of the tests")
        for line in config.stash[_COSTS].lines():
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended. One that crashed has no output, and the test that it ran has failed."""
    packed = getattr(node, "workeroutput", {}).get("figures")
    if packed:
        node.config.stash[_FIGURES].add_packed(packed)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, where nothing is skipped, it is a failure if the tests passed but tried too little."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:  # this is a worker, which knows only its own share
        output["figures"] = session.config.stash[_FIGURES].packed()
        return
    suite = _whole_suite(session.config)
    if in_ci() and exitstatus == pytest.ExitCode.OK and suite and session.config.stash[_FIGURES].short(suite):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _whole_suite(config: pytest.Config) -> str:
    """The suite's name, if nothing was left out: no file was named and no keyword given."""
    named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    if named or config.option.keyword or config.option.deselect or config.option.collectonly:
        return ""
    return _SUITES.get(config.option.markexpr, "")


@pytest.fixture
def open_engine(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens engines under tmp_path, `open_engine(name="db", **options)`; each is verified and closed after the test."""
    import flin.engine

    opened: list[Any] = []

    def open_one(name: str = "db", **options: Any) -> Any:
        engine = flin.engine.open(str(tmp_path / name), **{"runner": "inline", **options})
        opened.append(engine)
        return engine

    yield open_one
    for engine in reversed(opened):
        if not engine._store.closed:
            problems = list(engine.verify())
            engine.close()
            assert problems == []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    costs.begin(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.when == "teardown":
        costs.end(item)
    report = yield
    _refuse_missing_tool(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_missing_tool(report)
    return report


def _refuse_missing_tool(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI, make a skip for want of a tool a failure: it would hide what the test should show."""
    if not (report.skipped and in_ci() and isinstance(report.longrepr, tuple)) or hasattr(report, "wasxfail"):
        return
    path, line, reason = report.longrepr
    tool = missing_tool(str(reason))
    if tool:
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {tool} is missing, and CI has to have it ({reason})"
