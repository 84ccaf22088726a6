"""The tests are tested: the crash suite catches every mutant (tests/engine/mutants), one fifth of them on each day.

What the hunts find must be the mutant's effect: the correct engine passes all of them.
"""

from __future__ import annotations

import ast
import re
from typing import Final

import pytest

from tests.engine.hunts import (
    HUNTS,
    Hunt,
    Tally,
    failing_calls,
    hunt_down,
    layered_workloads,
    moved_files,
    past_failures,
    random_workloads,
    replicated_workloads,
    short_workloads,
    turned_bits,
    unsynced_workloads,
)
from tests.engine.mutants import MUTANTS, Mutant
from tests.fifth import FIFTH, FIFTHS, chosen_fifth
from tests.figures import CAUGHT, Figures
from tests.source import ROOT

OWN_MISTAKE: Final = re.compile(r"\b(TypeError|AttributeError|NameError|UnboundLocalError|ImportError)\b")
"""The exceptions of a patch that no longer fits the engine: these are no violations."""


def _check(mutant: Mutant, repeat: str, figures: Figures) -> None:
    tally = Tally()
    found = mutant.hunted(tally)
    assert found, f"{mutant.name} passed {mutant.hunt.__name__} ({tally}); once more: {repeat}"
    assert not OWN_MISTAKE.search(found), f"{mutant.name} no longer fits the engine: {found}"
    figures.add(CAUGHT, 1)


FOUND_LATE: Final = frozenset(
    (
        *("ended_segments_not_synced", "bytes_after_the_end_are_replayed", "wrong_end_of_the_predecessor"),
        *("recovery_trusts_the_page_cache", "tables_are_opened_after_close", "replay_goes_on_after_a_hole"),
        *("inputs_removed_before_the_manifest", "value_checksum_not_compared", "segments_flushed_in_the_wrong_order"),
        *("flush_takes_all_keys_for_new", "end_frame_before_the_sync", "condensed_logs_stay"),
        "range_deletes_are_condensed_away",
    )
)
"""Their hunts take 5 to 28 s each, all others 0.7 s on average: too long for the ordinary suite."""

TODAYS: Final = [mutant for mutant in MUTANTS[chosen_fifth() :: FIFTHS] if mutant.name not in FOUND_LATE]


@pytest.mark.parametrize("mutant", TODAYS, ids=lambda mutant: mutant.name)
def test_mutant_of_today_is_caught(mutant: Mutant, figures: Figures) -> None:
    _check(mutant, f"{FIFTH}={MUTANTS.index(mutant) % FIFTHS} pytest tests/engine/test_mutants.py", figures)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant: Mutant, figures: Figures) -> None:
    _check(mutant, f"pytest -m slow tests/engine/test_mutants.py -k {mutant.name}", figures)


ELSEWHERE: Final[frozenset[Hunt]] = frozenset(
    (
        *(short_workloads, unsynced_workloads, random_workloads, past_failures, failing_calls),
        *(turned_bits, moved_files, replicated_workloads),
    )
)
"""On the correct engine they are tests of their own: in test_crash, tests/testing/test_crash.py, test_crash_corpus,
test_crash_replicas, test_faults and test_damage."""

ALWAYS: Final[frozenset[Hunt]] = frozenset((layered_workloads,))


@pytest.mark.parametrize(
    "hunt",
    [
        pytest.param(hunt, id=hunt.__name__, marks=[] if hunt in ALWAYS else [pytest.mark.slow])
        for hunt in HUNTS
        if hunt not in ELSEWHERE
    ],
)
def test_the_engine_itself_is_not_caught(hunt: Hunt) -> None:
    assert hunt_down(hunt, Tally()) == ""


def test_names_and_number() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 90
    assert {mutant.hunt for mutant in MUTANTS} == set(HUNTS)
    assert set(names) >= FOUND_LATE


def test_they_touch_what_the_engine_has() -> None:
    """A patch that sets an attribute of the past would change nothing, unnoticed."""
    known = {word for path in (ROOT / "flin").rglob("*.py") for word in re.findall(r"\w+", path.read_text("utf-8"))}
    for path in (ROOT / "tests" / "engine" / "mutants").glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        touched = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        gone = {name for name in touched if name.startswith("_") and name not in known}
        assert not gone, f"{path.name}: the engine has no {gone} any more"


def test_the_page_lists_them() -> None:
    page = (ROOT / "docs" / "crash-safety.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|", page.partition("## Seeded bugs")[2], re.MULTILINE)
    expected = [(each.name, each.invariant, each.hunt.__name__.replace("_", " ")) for each in MUTANTS]
    assert rows == expected, "python -m tests.engine.mutants prints the table"
