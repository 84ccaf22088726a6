"""Every exception of Flin can be pickled and copied: type, text and attributes stay the same."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import flin
import flin.engine
import flin.errors
from flin.errors import (
    CommandError,
    CorruptionError,
    FlinError,
    LockedError,
    PayloadError,
    ProtocolError,
    ScriptAborted,
    StorageError,
    WorkerError,
)

CAUSE = OSError(28, "No space left on device")
SAMPLES: dict[str, Any] = {
    "str": "some text",
    "bytes": b"some bytes",
    "int": 7,
    "float": 0.5,
    "int | None": 4711,
    "str | None": "2026-01-02T03:04:05+00:00",
    "bool": True,
    "BaseException | str": CAUSE,
    "Callable[[], None]": print,
    "Job": "a script that runs in the thread",
    "grpc.StatusCode": grpc.StatusCode.OUT_OF_RANGE,
}
"""An argument for each annotation of a constructor's parameters."""

OF_THE_SERVER = (ProtocolError, CommandError, PayloadError, ScriptAborted, WorkerError)


def _modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(flin.__path__, "flin."):
        if not module.name.endswith("__main__"):
            yield module.name


def _exceptions() -> list[type[BaseException]]:
    found: set[type[BaseException]] = set()
    for name in _modules():
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and issubclass(value, BaseException) and value.__module__.startswith("flin."):
                found.add(value)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def _sample(kind: type[BaseException]) -> BaseException:
    if "__init__" not in {name for base in kind.__mro__ if base.__module__.startswith("flin.") for name in vars(base)}:
        return kind("some text")
    parameters = list(inspect.signature(kind).parameters.values())
    return kind(*(SAMPLES[parameter.annotation] for parameter in parameters))


def _same(made: BaseException, again: BaseException) -> None:
    assert type(again) is type(made)
    assert str(again) == str(made)
    assert repr(again) == repr(made)
    assert _plain(vars(again)) == _plain(vars(made))


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with exceptions as their texts, since exceptions compare by identity."""
    return {name: repr(value) if isinstance(value, BaseException) else value for name, value in attributes.items()}


EXCEPTIONS = _exceptions()


def test_all_of_them_are_found() -> None:
    names = {kind.__name__ for kind in EXCEPTIONS}
    assert {name for name in vars(flin.errors) if name.endswith("Error")} <= names
    assert {"ColdRead", "JobCancelled", "StalledError", "UsageError"} <= names


def test_what_the_engine_raises_can_be_caught_by_its_name() -> None:
    """`except flin.engine.LockedError`: all errors except those that answer a client of the server."""
    kinds = {kind for kind in EXCEPTIONS if kind.__module__ == "flin.errors"}
    for kind in (kind for kind in kinds if not issubclass(kind, OF_THE_SERVER)):
        assert getattr(flin.engine, kind.__name__) is kind
        assert kind.__name__ in flin.engine.__all__


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_an_error_is_pickled_and_copied_whole(kind: type[BaseException]) -> None:
    made = _sample(kind)
    made.add_note("seen in a worker")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        _same(made, pickle.loads(pickle.dumps(made, protocol)))
    _same(made, copy.copy(made))
    _same(made, copy.deepcopy(made))


def test_errors_of_ones_own_below_flins_are_pickled() -> None:
    """Whatever arguments their constructors take."""
    _same(OwnError(1, reason="x"), pickle.loads(pickle.dumps(OwnError(1, reason="x"))))


class OwnError(FlinError):
    def __init__(self, number: int, *, reason: str) -> None:
        super().__init__(f"{number}: {reason}")
        self.number = number


def _locked(path: str) -> None:
    flin.engine.open(path)


def _storage(path: str) -> None:
    raise StorageError("write", path, CAUSE)


def _corruption(path: str) -> None:
    raise CorruptionError(path, 17, "torn")


@pytest.mark.parametrize(
    ("work", "kind"), [(_locked, LockedError), (_storage, StorageError), (_corruption, CorruptionError)]
)
def test_a_pool_whose_worker_raises_an_error_ends(
    tmp_path: Path, work: Callable[[str], None], kind: type[LockedError | StorageError | CorruptionError]
) -> None:
    path = str(tmp_path / "db")
    with flin.engine.open(path), multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(kind) as raised:
            pool.map_async(work, [path]).get(timeout=120)
        assert vars(raised.value)["path"] == path
