"""What --workers means for each kind of directory."""

from __future__ import annotations

import pytest

from flin.cluster.workers.choice import Choice, choose


@pytest.mark.parametrize(
    ("asked", "groups", "has_database", "workers"),
    [
        (1, 0, False, 1),
        (1, 0, True, 1),
        (2, 0, False, 2),
        (8, 0, False, 8),
        (2, 2, False, 2),
        (100, 100, False, 100),  # a directory that was made on a larger machine
        (9, 0, False, 1),
        (256, 0, True, 1),
    ],
)
def test_what_is_started(asked: int, groups: int, has_database: bool, workers: int) -> None:
    found = choose(asked, groups, has_database, 4, "data")
    assert (found.workers, found.refusal) == (workers, "")
    remark = f"; --workers {asked} is more than twice the 4 cores here, so it is one process as ever"
    assert found.remark == ("" if workers == asked else remark)


@pytest.mark.parametrize(
    ("asked", "groups", "has_database", "text"),
    [
        (2, 0, True, "data is a database for one process: copy it with flin resize data NEW"),
        (1, 2, False, "data is for 2 workers: use --workers 2, or copy it with flin resize"),
        (3, 2, False, "data is for 2 workers: use --workers 2, or copy it with flin resize"),
        (256, 2, False, "data is for 2 workers: use --workers 2, or copy it with flin resize"),
        (1, 1, False, "data is for 1 workers"),
    ],
)
def test_what_is_refused(asked: int, groups: int, has_database: bool, text: str) -> None:
    found = choose(asked, groups, has_database, 4, "data")
    assert found.refusal.startswith(text)
    assert found == Choice(0, refusal=found.refusal)
