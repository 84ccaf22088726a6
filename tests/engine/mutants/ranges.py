"""Merges by key range. `install` refuses most results that would break the order of ages: where a mutant breaks that,
it takes the check away, too."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from flin.engine.background import compaction, compactor, merging, picker
from flin.engine.background.compaction import Installed
from flin.engine.background.run_writer import RunWriter
from tests.engine.hunts import ranged_workloads
from tests.engine.mutants.mutant import Patch, caught_by

_smallest = attrgetter("smallest")


def _install_unchecked(patch: Patch, *, into_the_bottom: bool = False, without_moves: bool = False) -> None:
    def install(runs: Any, done: Any, outputs: Any, unsettled: int = 0) -> Any:
        moves = () if without_moves else done.moves
        places = compaction._places(runs, done.runs)
        left = [list(run) for run in runs]
        for place, inputs in zip(places, done.runs, strict=True):
            left[place] = [table for table in left[place] if table not in inputs]
        target = places[-1]
        if into_the_bottom or (done.settles and len(runs) > unsettled):
            target = len(runs) - 1
        elif done.settles:
            left.append([])
            target = len(left) - 1
        left[target] = sorted((*left[target], *outputs, *moves), key=_smallest)
        return Installed(tuple(tuple(run) for run in left if run), sum(map(bool, left[:unsettled])))

    patch.setattr(compactor, "install", install)


@caught_by(ranged_workloads)
def range_merge_leaves_a_run_out(patch: Patch) -> None:
    """a merge takes all that the runs between its newest and its oldest hold in its range"""

    def gather(*arguments: Any) -> Any:
        chosen = original(*arguments)
        return chosen[:1] + chosen[2:] if chosen and len(chosen) > 2 else chosen

    original = compaction.gather
    patch.setattr(picker, "gather", gather)
    _install_unchecked(patch)


@caught_by(ranged_workloads)
def range_merge_takes_no_whole_clusters(patch: Patch) -> None:
    """a merge takes all tables that overlap those that it takes"""

    def gather(*arguments: Any) -> Any:
        chosen = original(*arguments)
        if not chosen or len(chosen[0][1]) == 1:
            return chosen
        return [*chosen[:-1], (chosen[-1][0], chosen[-1][1][1:])] if len(chosen[-1][1]) > 1 else chosen

    original = compaction.gather
    patch.setattr(picker, "gather", gather)
    _install_unchecked(patch)


@caught_by(ranged_workloads)
def result_goes_into_the_oldest_run(patch: Patch) -> None:
    """the result of a merge goes into the place of its oldest input"""
    _install_unchecked(patch, into_the_bottom=True)


@caught_by(ranged_workloads)
def moved_tables_are_lost(patch: Patch) -> None:
    """tables that a merge does not rewrite stay in the result"""
    _install_unchecked(patch, without_moves=True)


@caught_by(ranged_workloads)
def output_spans_a_moved_table(patch: Patch) -> None:
    """tables of a run do not overlap"""

    def run_writer(*arguments: Any, **named: Any) -> Any:
        return RunWriter(*arguments, **{**named, "output_boundaries": ()})

    patch.setattr(merging, "RunWriter", run_writer)
    _install_unchecked(patch)


@caught_by(ranged_workloads)
def bottom_is_told_by_the_first_key(patch: Patch) -> None:
    """tombstones go only if nothing older lies beneath, in all of the merge's range"""
    original = compaction.overlap_any
    patch.setattr(compaction, "overlap_any", lambda runs, smallest, _: original(runs, smallest, smallest))
    _install_unchecked(patch)
