"""Objects that belong to a process, a place or a moment say so when they are copied or pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from flin.testing import SimulatedDisk

OpenEngine = Callable[..., Any]

MAKE: dict[str, Callable[[Any], Any]] = {
    "engine": lambda db: db,
    "snapshot": lambda db: db.snapshot(),
    "batch": lambda db: db.write_batch(),
    "scan": lambda db: db.scan(),
    "short scan": lambda db: db.scan(limit=5),
    "limited scan": lambda db: db.scan(reverse=True, limit=5),
    "keys": lambda db: db.scan_keys(),
    "limited keys": lambda db: db.scan_keys(limit=5),
    "loop": iter,
    "reversed": reversed,
    "view": lambda db: db.items(),
    "scan of a batch": lambda db: db.write_batch().scan(),
    "slice": lambda db: db[b"1":],
    "iterator": lambda db: db.iterator(),
}


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_it_cannot_be_copied(
    open_engine: OpenEngine, make: Callable[[Any], Any], how: Callable[[Any], Any], request: pytest.FixtureRequest
) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put_many({b"%03d" % number: b"v" for number in range(600)})
    made = make(db)
    if how is copy.copy and request.node.callspec.id.startswith("view"):
        assert list(how(made)) == list(made), "a view has no place of its own: its copy is as good"
        return
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        how(made)


NO_ITERATORS = ("engine", "snapshot", "batch", "view", "slice")


@pytest.mark.parametrize("name", [name for name in MAKE if name not in NO_ITERATORS])
def test_it_is_an_iterator_to_its_end(open_engine: OpenEngine, name: str) -> None:
    db = open_engine(fs=SimulatedDisk())
    db.put_many({b"%03d" % number: b"v" for number in range(600)})
    made = MAKE[name](db)
    assert iter(made) is made
    taken = list(made)
    assert len(taken) in (5, 600)
    assert next(made, None) is None
