"""The writing half of a mapping: an engine, a batch and a transaction do what a dict does, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flin.engine
from flin.testing import SimulatedDisk

OpenEngine = Callable[..., Any]

keys = st.sampled_from([b"", b"a", b"b", b"c", b"\xff", b"\xff\x01"])
values = st.sampled_from([b"", b"1", b"2"])
steps = st.one_of(
    st.tuples(st.just("__setitem__"), keys, values),
    st.tuples(st.just("__delitem__"), keys),
    st.tuples(st.just("pop"), keys),
    st.tuples(st.just("pop"), keys, values),
    st.tuples(st.just("setdefault"), keys, values),
    st.tuples(st.just("popitem")),
    st.tuples(st.just("clear")),
    st.tuples(st.just("update"), st.dictionaries(keys, values)),
    st.tuples(st.just("update"), st.lists(st.tuples(keys, values))),
    st.tuples(st.just("__ior__"), st.dictionaries(keys, values)),
)


class Ordered(dict[bytes, bytes]):
    """A dict whose popitem takes the smallest key, as an ordered mapping's does."""

    def popitem(self) -> tuple[bytes, bytes]:
        if not self:
            raise KeyError
        return (key := min(self)), self.pop(key)


def _outcome(mapping: Any, name: str, arguments: tuple[Any, ...]) -> object:
    try:
        result = getattr(mapping, name)(*arguments)
    except KeyError:
        return KeyError
    return "itself" if result is mapping else result


@given(st.dictionaries(keys, values), st.lists(steps, max_size=12), st.integers(0, 12))
def test_they_do_what_a_dict_does(before: dict[bytes, bytes], taken: list[tuple[Any, ...]], flushed_after: int) -> None:
    disk = SimulatedDisk()
    with (
        flin.engine.open("/engine", fs=disk, runner="inline") as engine,
        flin.engine.open("/below", fs=disk, runner="inline") as below,
        flin.engine.open("/beneath", fs=disk, runner="inline") as beneath,
    ):
        for each in (engine, below, beneath):
            each.update(before)
        model = Ordered(before)
        with below.write_batch() as batch, beneath.transaction() as transaction:
            views: list[Any] = [engine, batch, transaction]
            for number, (name, *arguments) in enumerate(taken):
                wanted = _outcome(model, name, tuple(arguments))
                for view in views:
                    assert _outcome(view, name, tuple(arguments)) == wanted
                    assert dict(view) == model
                    assert len(view) == len(model)
                    assert bool(view) == bool(model)
                if number == flushed_after:
                    for each in (engine, below, beneath):
                        each.flush()
            assert dict(below) == dict(beneath) == before, "nothing is seen before it commits"
        assert dict(below) == dict(beneath) == model


def test_batch_writes_are_counted(open_engine: OpenEngine) -> None:
    """For a loop that commits every thousand writes."""
    db = open_engine(fs=SimulatedDisk())
    db.put_many({b"a": b"1", b"b": b"2"})
    with db.write_batch() as batch:
        assert (batch.writes, len(batch)) == (0, 2)
        batch[b"a"] = b"3"
        batch[b"a"] = b"4"
        del batch[b"b"]
        batch.delete(b"none")
        batch.delete_range(b"x", b"z")
        assert (batch.writes, len(batch)) == (4, 1)


def test_a_batch_reads_before_it_writes(open_engine: OpenEngine) -> None:
    db = open_engine(fs=SimulatedDisk())
    with db.write_batch() as batch:
        for name, *arguments in (("pop", b"k"), ("popitem",), ("__delitem__", b"k"), ("__getitem__", b"k")):
            with pytest.raises(KeyError):
                getattr(batch, name)(*arguments)
        assert batch.pop(b"k", default=None) is None
        assert batch.writes == 0
        with pytest.raises(TypeError, match="a value must be bytes, not NoneType"):
            batch.setdefault(b"k", None)
        with pytest.raises(TypeError, match="not the name k"):
            batch.update(k=b"v")
        with pytest.raises(TypeError, match="a value must be bytes"):
            batch.put_many([(b"a", b"1"), (b"b", "2")])
        assert batch.writes == 0, "all of it or nothing"
