"""Value files: pointers in, values out; what is damaged, missing or cold."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.disk.fs import OsFileSystem, OsReadableFile
from flin.engine.disk.open_files import OpenFiles
from flin.engine.entry import TOMBSTONE, Entry, Pointer, pack_pointer
from flin.engine.table.cold_read import ColdRead
from flin.engine.table.value_files import OpenValueFile, ValueFiles
from flin.engine.wal.large_values import LargeValues
from flin.errors import CorruptionError

GAP = 20  # what lies between two values


class Written:
    """A value file on the disk, opened, and the pointers to its values."""

    def __init__(self, directory: Path, values: list[bytes], *, number: int = 7, gap: int = GAP, **named: Any) -> None:
        self.path = directory / f"{number:08d}.1.wal"
        ends = accumulate((len(value) + gap for value in values), initial=gap)
        large = LargeValues(number, 1)
        self.pointers = [large.pointer(at, value) for at, value in zip(ends, values, strict=False)]
        data = b"".join(b"-" * gap + value for value in values)
        self.path.write_bytes(data)
        self.values = values
        self.file = OpenValueFile(OsFileSystem(), str(self.path), length=len(data), **named)
        self.files = ValueFiles({number: self.file})

    def flip(self, pointer: Pointer) -> None:
        offset = int.from_bytes(pointer[8:16], "little")
        data = bytearray(self.path.read_bytes())
        data[offset] ^= 1
        self.path.write_bytes(data)


def page_of(entries: list[Entry]) -> tuple[list[bytes], list[Entry]]:
    return [b"%06d" % number for number in range(len(entries))], entries


@given(
    values=st.lists(st.integers(1, 3000), min_size=1, max_size=30), gap=st.sampled_from([0, 20, 5000]), data=st.data()
)
def test_entries_come_back_whole(tmp_path_factory: Any, values: list[int], gap: int, data: st.DataObject) -> None:
    written = Written(tmp_path_factory.mktemp("v"), [os.urandom(size) for size in values], gap=gap)
    order = data.draw(st.permutations(range(len(values))))
    shapes = [written.pointers[place] for place in order]
    entries: list[Entry] = [
        data.draw(st.sampled_from([pointer, (pointer, 5, 0), b"plain", (b"tagged", 0, 3), TOMBSTONE]))
        for pointer in shapes
    ]
    by_pointer = dict(zip(written.pointers, written.values, strict=True))

    def value_of(entry: Any) -> Any:
        if type(entry) is Pointer:
            return by_pointer[entry]
        return (by_pointer.get(entry[0], entry[0]), *entry[1:]) if type(entry) is tuple else entry

    expected = list(map(value_of, entries))
    keys, _ = page_of(entries)
    for _ in range(2):  # the second time nothing is compared any more
        assert [written.files.resolved(entry) for entry in entries] == expected
        assert written.files.resolved_page((keys, entries)) == (keys, expected)
        parts = list(written.files.resolved_pages(iter([(keys, entries)])))
        assert [key for part, _ in parts for key in part] == keys
        assert [entry for _, part in parts for entry in part] == expected
    found = written.files.resolved_page((keys, entries))[1]
    assert not any(type(entry[0] if type(entry) is tuple else entry) is Pointer for entry in found)


def test_values_of_several_files_come_in_the_order_of_the_keys(tmp_path: Path) -> None:
    first = Written(tmp_path, [b"a" * 2000, b"b" * 2000, b"c" * 10], number=1)
    second = Written(tmp_path, [b"d" * 2000, b"e" * 10], number=2)
    files = ValueFiles({1: first.file, 2: second.file})
    pointers: list[Entry] = [
        first.pointers[2], second.pointers[1], first.pointers[0], second.pointers[0], first.pointers[1]
    ]  # fmt: skip
    found = files.resolved_page(page_of(pointers))[1]
    assert found == [b"c" * 10, b"e" * 10, b"a" * 2000, b"d" * 2000, b"b" * 2000]


def test_large_values_come_in_small_parts(tmp_path: Path) -> None:
    written = Written(tmp_path, [bytes([number]) * 100_000 for number in range(10)])
    parts = list(written.files.resolved_pages(iter([page_of(list(written.pointers))])))
    assert [len(keys) for keys, _ in parts] == [2] * 5
    larger = Written(tmp_path, [b"v" * 400_000] * 3)
    parts = list(larger.files.resolved_pages(iter([page_of(list(larger.pointers))])))
    assert [len(keys) for keys, _ in parts] == [1] * 3, "one that is larger than a part is a part"


@pytest.mark.parametrize("size", [10, 5000])
@pytest.mark.parametrize("together", [False, True])
def test_damage_is_named_by_file_and_offset(tmp_path: Path, size: int, together: bool) -> None:
    written = Written(tmp_path, [bytes([65 + number]) * size for number in range(6)])
    pointer = written.pointers[3]
    written.flip(pointer)
    offset = int.from_bytes(pointer[8:16], "little")

    def read() -> Any:
        if together:
            return written.files.resolved_page(page_of(list(written.pointers)))
        return written.files.resolved(pointer)

    for _ in range(2):
        with pytest.raises(CorruptionError, match="checksum of a value") as caught:
            read()
        assert (caught.value.path, caught.value.offset) == (str(written.path), offset)


def test_a_value_is_compared_once_while_its_file_is_open(tmp_path: Path) -> None:
    written = Written(tmp_path, [b"l" * 5000, b"s" * 10])
    for pointer in written.pointers:
        written.files.resolved(pointer)
    for pointer in written.pointers:
        written.flip(pointer)
    assert written.files.resolved(written.pointers[0])[:2] == b"ml", "large ones have a bit"
    with pytest.raises(CorruptionError):
        written.files.resolved(written.pointers[1])
    written.file.close()
    with pytest.raises(CorruptionError):
        written.files.resolved(written.pointers[0])


def test_a_cut_file_and_a_wrong_pointer(tmp_path: Path) -> None:
    written = Written(tmp_path, [b"a" * 2000, b"b" * 2000])
    inside = LargeValues(7, 1).pointer(10**6, b"x")
    with pytest.raises(CorruptionError, match="beyond the end"):
        written.files.resolved(inside)
    for offset, length in ((1 << 63, 1), ((1 << 64) - 1, 1), (0, (1 << 32) - 1)):  # what no call takes, or no memory
        wrong = Pointer(pack_pointer(7, offset, length, 0))
        pages: list[list[Entry]] = [[wrong], [wrong] * 4, [written.pointers[0], wrong, wrong, wrong]]
        for page in pages:
            with pytest.raises(CorruptionError, match="beyond the end"):
                written.files.resolved_page(page_of(page))
        with pytest.raises(CorruptionError, match="beyond the end"):
            written.files.resolved(wrong)
        with pytest.raises(CorruptionError, match="beyond the end"):
            written.files.resolved_nowait(wrong)
    os.truncate(written.path, 3000)
    with pytest.raises(CorruptionError, match="ends within a value"):
        written.files.resolved(written.pointers[1])
    with pytest.raises(CorruptionError, match="manifest lacks"):
        written.files.resolved(LargeValues(8, 1).pointer(0, b"x"))
    for size in (0, 5, 25):
        with pytest.raises(CorruptionError, match="a pointer of"):
            written.files.resolved(Pointer(b"p" * size))
        with pytest.raises(CorruptionError, match="a pointer of"):
            written.files.resolved_page(page_of([Pointer(b"p" * size), written.pointers[0]]))


def test_values_of_two_files_with_changed_names(tmp_path: Path) -> None:
    """The checksum begins with number and offset, so equal bytes elsewhere are not taken for the value."""
    first = Written(tmp_path, [b"v" * 2000], number=1)
    second = Written(tmp_path, [b"v" * 2000], number=2)
    first.path.rename(tmp_path / "x")
    second.path.rename(first.path)
    assert first.files.resolved(first.pointers[0]) == b"v" * 2000, "the same bytes at the same place are the value"
    moved = ValueFiles({1: second.file, 2: first.file})
    (tmp_path / "x").rename(second.path)
    data = bytearray(first.path.read_bytes())
    data[GAP:] = b"w" * 2000
    first.path.write_bytes(data)
    first.file.close()
    with pytest.raises(CorruptionError, match="checksum of a value"):
        moved.resolved(second.pointers[0])


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    written = Written(tmp_path, [b"v" * 2000])
    written.path.unlink()
    with pytest.raises(CorruptionError, match="the value file is gone"):
        written.files.resolved(written.pointers[0])


def test_open_files_are_bounded(tmp_path: Path) -> None:
    bound = OpenFiles(lambda: 2)
    all_written = [Written(tmp_path, [b"v" * 2000], number=number, files=bound) for number in range(1, 6)]
    for _ in range(2):
        for written in all_written:
            assert written.files.resolved(written.pointers[0]) == b"v" * 2000
            assert sum(each.file._file is not None for each in all_written) <= 2


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in memory, as far as the kernel says."""
    monkeypatch.setattr(OsReadableFile, "pread_nowait", lambda *_: None)


def test_who_must_not_wait_is_told_what_to_load(tmp_path: Path) -> None:
    written = Written(tmp_path, [b"v" * 2000, b"w" * 2000])
    with pytest.raises(ColdRead) as caught:  # not open yet
        written.files.resolved_nowait(written.pointers[0])
    caught.value.load()
    assert written.files.resolved_nowait(written.pointers[0]) == b"v" * 2000
    assert written.files.resolved_nowait((written.pointers[0], 3, 0)) == (b"v" * 2000, 3, 0)
    assert written.files.resolved_nowait(b"plain") == b"plain"


def test_a_cold_value_is_loaded_once(tmp_path: Path, cold: None) -> None:
    written = Written(tmp_path, [b"v" * 2000, b"w" * 2000])
    for pointer, value in zip(written.pointers, written.values, strict=True):
        with pytest.raises(ColdRead) as caught:
            written.files.resolved_nowait(pointer)
        caught.value.load()
        assert written.files.resolved_nowait(pointer) == value
    assert written.files.resolved_nowait(written.pointers[0]) == written.values[0], "still known as loaded"


def test_a_cold_page_is_loaded_by_one_call(tmp_path: Path, cold: None) -> None:
    written = Written(tmp_path, [bytes([65 + number]) * 2000 for number in range(20)], gap=4000)
    page = page_of(list(written.pointers))
    with pytest.raises(ColdRead) as caught:
        written.files.resolved_page(page, nowait=True)
    caught.value.load()
    assert written.files.resolved_page(page, nowait=True)[1] == written.values


def test_damage_behind_a_cold_read_is_reported_when_it_is_asked_again(tmp_path: Path, cold: None) -> None:
    written = Written(tmp_path, [b"v" * 2000])
    written.flip(written.pointers[0])
    with pytest.raises(ColdRead) as caught:
        written.files.resolved_nowait(written.pointers[0])
    with pytest.raises(CorruptionError):
        caught.value.load()
    with pytest.raises(CorruptionError):
        written.files.resolved_nowait(written.pointers[0])


def test_a_page_that_is_not_in_memory_is_announced_to_the_kernel(
    tmp_path: Path, cold: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[int] = []
    monkeypatch.setattr(OsReadableFile, "will_need", lambda self, size, offset: announced.append(offset))
    written = Written(tmp_path, [b"v" * 2000] * 8, gap=4000)
    assert written.files.resolved_page(page_of(list(written.pointers)))[1] == written.values
    assert announced == [4000 + 6000 * number for number in range(8)]
    dense = Written(tmp_path, [b"v" * 2000] * 8)
    assert dense.files.resolved_page(page_of(list(dense.pointers)))[1] == dense.values
    assert len(announced) == 8, "what lies together is read by one call"
