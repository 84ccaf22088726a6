"""`flin.dbm` passes the tests that CPython has for its own dbm modules and for shelves over them."""

from __future__ import annotations

import os
import shelve
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flin.dbm
import flin.engine

cpython = pytest.importorskip("test.test_dbm")
dumb = pytest.importorskip("test.test_dbm_dumb")
mappings = pytest.importorskip("test.mapping_tests")

OF_ANY_DBM = [name for name in dir(cpython.AnyDBMTestCase) if name.startswith("test_")]
OF_DUMB = [
    *(
        "test_dumbdbm_creation",
        "test_close_twice",
        "test_dumbdbm_modification",
        "test_dumbdbm_read",
        "test_dumbdbm_keys",
    ),
    *("test_write_contains", "test_write_write_read", "test_str_read", "test_str_write_contains", "test_random"),
    *("test_context_manager", "test_check_closed", "test_create_new"),
]
"""The others are about the files of that module. Its `open` creates without being told; Flin's begins with "r"."""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place for databases, in which CPython's tests find Flin in the place of its own modules."""
    fake = SimpleNamespace(open=flin.dbm.open, error=(flin.dbm.error, OSError), _defaultmod=flin.dbm)
    monkeypatch.setattr(cpython, "dbm", fake)
    monkeypatch.setattr(cpython, "_fname", str(tmp_path / "any"))
    monkeypatch.setattr(dumb, "_fname", str(tmp_path / "dumb"))
    created = SimpleNamespace(open=lambda file, flag="c": flin.dbm.open(file, flag), error=flin.dbm.error)
    monkeypatch.setattr(dumb, "dumbdbm", created)
    monkeypatch.chdir(tmp_path)
    return str(tmp_path)


def run(case: type[Any], name: str, **attributes: Any) -> None:
    import unittest

    made = type("Case", (case, unittest.TestCase), attributes)(name)
    result = unittest.TestResult()
    made.run(result)
    assert result.testsRun == 1
    for _, trace in result.errors + result.failures:
        pytest.fail(trace)


@pytest.mark.parametrize("name", OF_ANY_DBM)
def test_cpythons_tests_of_any_dbm(files: str, name: str) -> None:
    run(cpython.AnyDBMTestCase, name, module=flin.dbm, setUp=lambda self: None)


@pytest.mark.parametrize("name", OF_DUMB)
def test_cpythons_tests_of_its_own_dbm(files: str, name: str) -> None:
    run(dumb.DumbDBMTestCase, name, setUp=lambda self: None, tearDown=lambda self: None)


OF_MAPPINGS = [name for name in dir(mappings.BasicTestMappingProtocol) if name.startswith("test_")]


@pytest.mark.parametrize("name", OF_MAPPINGS)
def test_cpythons_tests_of_shelves(files: str, name: str) -> None:
    opened: list[Any] = []

    def empty_mapping(self: Any) -> Any:
        opened.append(shelve.Shelf(flin.dbm.open(f"{files}/shelf{len(opened)}", "c")))
        return opened[-1]

    try:
        run(
            mappings.BasicTestMappingProtocol,
            name,
            type2test=shelve.Shelf,
            _reference=lambda self: {"key1": "value1", "key2": 2, "key3": (1, 2, 3)},
            _empty_mapping=empty_mapping,
        )
    finally:
        for shelf in opened:
            shelf.close()


def test_a_shelf_keeps_objects(files: str) -> None:
    shelf: Any
    with shelve.Shelf(flin.dbm.open("shelf", "c"), writeback=True) as shelf:
        shelf["list"] = [1]
        shelf["list"].append(2)
        shelf.sync()
    with shelve.Shelf[Any](flin.dbm.open("shelf")) as shelf:
        assert dict(shelf) == {"list": [1, 2]}


def test_it_is_the_database_of_the_engine(files: str) -> None:
    with flin.dbm.open("db", "c") as db:
        db["ä"] = "ö"
        db[b"\xff"] = b""
        assert (db.items(), db.values(), db.pop("ä"), len(db)) == (
            [("ä".encode(), "ö".encode()), (b"\xff", b"")],
            ["ö".encode(), b""],
            "ö".encode(),
            1,
        )
        db.sync()
        db.reorganize()
    with flin.engine.open("db", runner="inline") as engine:
        assert dict(engine) == {b"\xff": b""}
    with flin.dbm.open("db", "w") as db:
        db.clear()
        assert not db


def test_readers_beside_the_writer(files: str) -> None:
    with flin.dbm.open("db", "c") as db:
        db["a"] = "1"
        with flin.dbm.open("db") as first, flin.dbm.open("db") as second:
            db["a"] = "2"
            assert (first["a"], second["a"], len(second), db["a"]) == (b"1", b"1", 1, b"2")
            with pytest.raises(flin.dbm.error, match="reading only"):
                first["a"] = "3"
        with flin.dbm.open("db") as third:
            assert third.items() == [(b"a", b"2")]


@pytest.mark.parametrize("mode", [0o666, 0o640, 0o600])
def test_the_mode_is_that_of_the_directory(files: str, mode: int) -> None:
    before = os.umask(0o022)
    try:
        flin.dbm.open("db", "c", mode).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("db").stat().st_mode) == (mode | (mode & 0o444) >> 2) & ~0o022


def test_its_errors_are_dbm_errors(files: str) -> None:
    Path("file").write_bytes(b"")
    with flin.dbm.open("db", "c") as db:
        wrong: dict[str, Callable[[], Any]] = {
            "open in this process": lambda: flin.dbm.open("db", "w"),
            "none.*": lambda: flin.dbm.open("none", "w"),
            "file is no directory": lambda: flin.dbm.open("file", "c"),
        }
        for text, call in wrong.items():
            with pytest.raises(flin.dbm.error, match=text):
                call()
        with pytest.raises(ValueError, match="flag must be one of r, w, c, n, not 'x'"):
            flin.dbm.open("db", "x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be str or bytes, not int"):
            db["k"] = 5  # type: ignore[assignment]
    with flin.dbm.open("db") as db:
        for write in (db.clear, db.reorganize, lambda: db.setdefault("k"), lambda: db.pop("k")):
            with pytest.raises((flin.dbm.error, KeyError)):
                write()
    with pytest.raises(flin.dbm.error, match="already been closed") as caught:
        db.keys()
    assert isinstance(caught.value.__cause__, flin.engine.ClosedError)
