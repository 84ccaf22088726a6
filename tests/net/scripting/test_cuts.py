"""A script that is cut at any of its calls leaves what was there, and runs to the same end when it runs again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flin.engine.table.cold_read import ColdRead
from flin.errors import ScriptAborted
from flin.net.scripting.script_run import LARGE_BATCH, ScriptRun
from tests.net.data.test_savepoint import batch, dump, forget, is_runnable, some, twins, watched
from tests.net.generator import KEYS
from tests.net.script_of_requests import EACH

pytest.importorskip("lupa.luajit21", exc_type=ImportError)


class Cut:
    """Lets so many calls through; the next one would wait for the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 30
        original = ScriptRun.call

        def call(run: ScriptRun, arguments: list[bytes]) -> Any:
            self.left -= 1
            if self.left < 0:
                run._cause = ColdRead(lambda: None)
                raise ScriptAborted
            return original(run, arguments)

        patch.setattr(ScriptRun, "call", call)


def cut_everywhere(seed: int, largest_packed: int) -> None:
    requests = [words for words in some(seed, 50) if is_runnable(words)]
    first, script = requests[:-8], requests[-8:]
    words = [word for request in script for word in (b"%d" % len(request), *request)]
    with pytest.MonkeyPatch.context() as patch:
        ours, theirs = twins(patch, largest_packed, first)
        for twin in (ours, theirs):
            if len(twin.pending.points) > LARGE_BATCH:  # as each script would first
                twin.pending.commit()
        cut = Cut(patch)
        (watcher,) = watched(ours, KEYS[0])
        seen, before = dump(ours), batch(ours)
        for number in range(len(script)):
            cut.left = number
            random.seed(7)
            with pytest.raises(ColdRead):
                ours.handle(b"EVAL", EACH, b"0", *words)
            assert batch(ours) == before
            assert not watcher.touched
            if number % 3 == 0:
                assert dump(ours) == seen
        for twin in (ours, theirs):
            cut.left = 1 << 30
            random.seed(7)
            twin.handle(b"EVAL", EACH, b"0", *words)
            twin.pending.commit()
            forget(twin)
        assert dump(ours) == dump(theirs)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 30), largest_packed=st.sampled_from([1, 4, 64]))
@example(seed=2734, largest_packed=1)
def test_cut_everywhere(seed: int, largest_packed: int) -> None:
    cut_everywhere(seed, largest_packed)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 30), largest_packed=st.sampled_from([1, 4, 64]))
def test_cut_everywhere_often(seed: int, largest_packed: int) -> None:
    cut_everywhere(seed, largest_packed)
