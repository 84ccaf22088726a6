"""The checksum is the same with zlib-ng and without, and every file of the engine takes it from one module."""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path

import pytest

from flin.engine import checksum
from tests.source import imports_of, python_files


def test_is_that_of_zlib() -> None:
    rng = random.Random(1)
    assert checksum.crc32(b"123456789") == 0xCBF4_3926
    for size in (*range(70), 255, 256, 257, 4096, 70_001):
        data, before = rng.randbytes(size), rng.getrandbits(32)
        assert checksum.crc32(data) == zlib.crc32(data)
        assert checksum.crc32(data, before) == zlib.crc32(data, before)
        for view in (bytearray(data), memoryview(data)[size // 3 :]):
            assert checksum.crc32(view, before) == zlib.crc32(view, before)


def test_without_zlib_ng(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)  # an import of it is an ImportError
    namespace: dict[str, object] = {}
    exec(Path(checksum.__file__).read_text(encoding="utf-8"), namespace)
    assert namespace["crc32"] is zlib.crc32


def test_is_taken_from_one_module() -> None:
    importers = {path.name for path in python_files("flin/engine") for _, name in imports_of(path) if "zlib" in name}
    assert importers == {"checksum.py"}
