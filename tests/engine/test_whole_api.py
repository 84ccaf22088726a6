"""The model test over all of the API (whole_api.py), a few examples; and that no call is left out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from flin.engine import Engine, Snapshot, Transaction, WriteBatch, aio
from flin.engine.aio_batch import AsyncBatch
from flin.engine.aio_transaction import AsyncTransaction
from flin.engine.aio_view import AsyncSnapshot
from flin.engine.prefixed import PrefixedBatch, PrefixedEngine, PrefixedSnapshot, PrefixedTransaction
from flin.engine.typed import TypedBatch, TypedEngine, TypedSnapshot, TypedTransaction
from tests.engine import test_model, whole_api
from tests.source import tree_of

FACES = (
    *(Engine, Snapshot, WriteBatch, Transaction, PrefixedEngine, PrefixedSnapshot, PrefixedBatch, PrefixedTransaction),
    *(TypedEngine, TypedSnapshot, TypedBatch, TypedTransaction, aio.AsyncEngine, AsyncSnapshot, AsyncBatch),
    AsyncTransaction,
)

ELSEWHERE = {
    **dict.fromkeys(("hash", "list", "set", "sorted_set", "stream", "type"), "a server writes them: tests/objects"),
    "prefix": "what a part was made with",
}
"""Calls that the machine does not make, and why."""


def test_a_few_examples() -> None:
    whole_api.run(20, 30)


@pytest.mark.slow
def test_more_examples() -> None:
    whole_api.run(25, 50)


def test_every_call_is_in_the_machine() -> None:
    named: set[str] = set()
    for module in (test_model, whole_api):
        for node in ast.walk(tree_of(Path(str(module.__file__)))):
            if isinstance(node, ast.Attribute):
                named.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.add(node.value)
    calls = {name for face in FACES for name in dir(face) if not name.startswith("_")}
    assert calls - named - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() <= calls
