"""What each crash model may leave of a disk, in small cases whose outcomes can all be written down."""

from __future__ import annotations

import errno
import re
from random import Random

import pytest

from flin.testing import CrashModel, Fault, SimulatedDisk, after_crash, every_crash
from flin.testing.crash_model import POWER_CUTS
from tests.source import ROOT

ALL = list(CrashModel)


def outcomes(disk: SimulatedDisk, crash_model: CrashModel, limit: int = 10_000) -> list[dict[str, bytes]]:
    found = [clone.files() for clone in every_crash(disk, crash_model, limit)]
    assert all(found.count(one) == 1 for one in found)
    return sorted(found, key=lambda files: sorted(files.items()))


def one_file(*, synced: bytes, pending: list[bytes], name_synced: bool = True) -> SimulatedDisk:
    disk = SimulatedDisk()
    file = disk.create("/a")
    file.append(synced)
    file.sync()
    if name_synced:
        disk.sync_directory("/")
    for part in pending:
        file.append(part)
    return disk


@pytest.mark.parametrize("crash_model", ALL)
def test_what_is_durable_survives(crash_model: CrashModel) -> None:
    disk = one_file(synced=b"durable", pending=[])
    disk.make_directory("/d/e")
    assert outcomes(disk, crash_model) == [{"/a": b"durable"}]
    clone = after_crash(disk, crash_model, Random(1).randrange)
    assert clone.names("/d") == ["e"]


@pytest.mark.parametrize("crash_model", POWER_CUTS)
def test_a_name_is_not_durable_by_its_data(crash_model: CrashModel) -> None:
    disk = one_file(synced=b"x", pending=[], name_synced=False)
    expected = [{"/a": b"x"}] if crash_model is CrashModel.JOURNALLED else [{}, {"/a": b"x"}]
    assert outcomes(disk, crash_model) == expected


@pytest.mark.parametrize("crash_model", POWER_CUTS)
def test_data_are_not_durable_by_their_name(crash_model: CrashModel) -> None:
    disk = SimulatedDisk()
    disk.create("/a").append(b"xy")
    disk.sync_directory("/")
    lengths = {len(files["/a"]) for files in outcomes(disk, crash_model)}
    assert lengths == ({0, 2} if crash_model is CrashModel.JOURNALLED else {0, 1, 2})


def test_pending_appends_are_cut_anywhere() -> None:
    disk = one_file(synced=b"ab", pending=[b"cd", b"e"])
    prefixes = [{"/a": b"abcde"[:size]} for size in range(2, 6)]
    assert outcomes(disk, CrashModel.IN_ORDER) == prefixes
    assert outcomes(disk, CrashModel.PREFIXES) == prefixes
    assert outcomes(disk, CrashModel.JOURNALLED) == [prefixes[0], prefixes[-1]]
    torn = {files["/a"] for files in outcomes(disk, CrashModel.TORN)}
    assert torn == {b"ab", b"abc", b"abcd", b"abcde", b"ab\0", b"ab\0\0", b"ab\0\0\0", b"abcd\0"}


def one_segment(*, synced: list[bytes], pending: list[bytes]) -> SimulatedDisk:
    """A mapped window of 2,048 bytes after one byte of "h", written from its start, with a sync in between."""
    disk = SimulatedDisk(window_bytes=2048)
    file = disk.create_segment("/a")
    file.write(b"h", 0)
    window = file.map_window(1, 10)
    assert window is not None
    at = 0
    for number, part in enumerate([*synced, *pending]):
        if number == len(synced):
            file.sync()
        window.bytes[at : at + len(part)] = part
        at += len(part)
    disk.sync_directory("/")
    return disk


def test_pending_copies_show_what_they_replaced() -> None:
    disk = one_segment(synced=[b"ab"], pending=[b"cd", b"e"])
    blank = b"hab".ljust(2049, b"\0")
    prefixes = [{"/a": b"hab" + (b"cde"[:kept]).ljust(2046, b"\0")} for kept in range(4)]
    assert blank == prefixes[0]["/a"]
    assert outcomes(disk, CrashModel.IN_ORDER) == prefixes
    assert outcomes(disk, CrashModel.PREFIXES) == prefixes
    assert {files["/a"][:6] for files in outcomes(disk, CrashModel.JOURNALLED)} == {
        b"hab\0\0\0",
        b"habcd\0",
        b"habcde",
    }
    assert {files["/a"][:6] for files in outcomes(disk, CrashModel.TORN)} == {b"hab\0\0\0", b"habcd\0", b"habcde"}
    assert outcomes(disk, CrashModel.KILLED) == [prefixes[-1]]


def test_sectors_of_a_window_reach_the_disk_each_by_itself() -> None:
    disk = one_segment(synced=[b"ab"], pending=[b"c" * 509, b"d" * 512])
    torn = {
        (files["/a"][3:512].strip(b"\0"), files["/a"][512:1024].strip(b"\0"))
        for files in outcomes(disk, CrashModel.TORN)
    }
    assert torn == {(first, second) for first in (b"", b"c" * 509) for second in (b"", b"d" * 512)}


def test_a_failed_sync_loses_copies_too() -> None:
    disk = one_segment(synced=[b"ab"], pending=[b"cd"])
    disk.faults.append(Fault(0, errno.EIO, frozenset(["sync_file"])))
    with pytest.raises(OSError, match="Input"):
        disk.sync_file("/a")
    assert disk.read("/a")[:5] == b"habcd", "readable as long as the kernel has it"
    for crash_model in POWER_CUTS:
        (only,) = outcomes(disk, crash_model)
        assert only["/a"] == b"hab".ljust(2049, b"\0")


def test_in_order_over_two_files() -> None:
    disk = one_file(synced=b"", pending=[])
    first = disk.create("/b")
    disk.sync_directory("/")
    disk.open("/a")
    second = disk.create("/c")
    first.append(b"1")
    second.append(b"2")
    first.append(b"3")
    found = outcomes(disk, CrashModel.IN_ORDER)
    assert {"/a": b"", "/b": b"1", "/c": b"2"} in found
    assert {"/a": b"", "/b": b"13", "/c": b""} not in found
    assert {"/a": b"", "/b": b"13", "/c": b""} in outcomes(disk, CrashModel.PREFIXES)


def test_rename_is_old_or_new() -> None:
    disk = SimulatedDisk()
    disk.write("/m", b"old")
    file = disk.create("/m.new")
    file.append(b"new")
    file.sync()
    disk.sync_directory("/")
    disk.rename("/m.new", "/m")
    old, new = {"/m": b"old", "/m.new": b"new"}, {"/m": b"new"}
    for crash_model in POWER_CUTS:
        if crash_model is not CrashModel.TORN:
            assert outcomes(disk, crash_model) == sorted([old, new], key=lambda files: sorted(files.items()))
    torn = outcomes(disk, CrashModel.TORN)
    assert len(torn) == 4
    assert {"/m": b"old"} in torn
    assert all("/m" in files for files in torn)


def test_removal_is_pending_until_the_directory_is_synced() -> None:
    disk = one_file(synced=b"x", pending=[])
    disk.remove("/a")
    for crash_model in POWER_CUTS:
        assert outcomes(disk, crash_model) == [{}, {"/a": b"x"}]
    disk.sync_directory("/")
    for crash_model in POWER_CUTS:
        assert outcomes(disk, crash_model) == [{}]


def test_torn_sectors_keep_what_was_synced_and_show_stale_bytes() -> None:
    disk = SimulatedDisk()
    gone = disk.create("/gone")
    gone.append(b"g" * 2000)
    disk.remove("/gone")
    file = disk.create("/a")
    disk.sync_directory("/")
    file.append(b"s" * 700)
    file.sync()
    file.append(b"p" * 800)
    seen = {after_crash(disk, CrashModel.TORN, Random(seed).randrange).read("/a") for seed in range(300)}
    assert all(image.startswith(b"s" * 700) for image in seen)
    assert any(b"g" in image[700:1024] and b"p" in image[1024:] for image in seen)
    assert any(b"\0" in image and b"p" in image for image in seen)
    assert {len(image) for image in seen} >= {700, 1500}


def test_torn_large_file() -> None:
    disk = one_file(synced=b"", pending=[b"x" * 100_000])
    seen = {after_crash(disk, CrashModel.TORN, Random(seed).randrange).read("/a") for seed in range(40)}
    assert len(seen) > 10


def test_kill_keeps_everything_and_a_power_cut_may_follow() -> None:
    disk = one_file(synced=b"ab", pending=[b"cd"], name_synced=False)
    assert not isinstance(disk.lock("/LOCK", b"1"), bytes)
    killed = after_crash(disk, CrashModel.KILLED, Random(0).randrange)
    assert killed.read("/a") == b"abcd"
    assert not isinstance(killed.lock("/LOCK", b"2"), bytes)
    assert {"/a": b"ab", "/LOCK": b"2"} in outcomes(killed, CrashModel.PREFIXES)
    killed.sync_file("/a")
    killed.sync_directory("/")
    assert {files["/a"] for files in outcomes(killed, CrashModel.TORN)} == {b"abcd"}
    assert disk.read("/LOCK") == b"1", "the clone is apart from its origin"


@pytest.mark.parametrize("crash_model", POWER_CUTS)
def test_failed_sync_loses_the_data_for_good(crash_model: CrashModel) -> None:
    disk = SimulatedDisk()
    file = disk.create("/a")
    disk.sync_directory("/")
    file.append(b"ab")
    file.sync()
    file.append(b"cd")
    disk.faults.append(Fault(0, errno.EIO, frozenset(["sync"])))
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.sync()  # "succeeds", as on Linux
    assert disk.read("/a") == b"abcd"
    assert outcomes(disk, crash_model) == [{"/a": b"ab"}]
    file.append(b"ef")
    file.sync()
    assert outcomes(disk, crash_model) == [{"/a": b"ab\0\0ef"}]


def test_seed_replays() -> None:
    disk = one_file(synced=b"ab", pending=[b"c" * 2000, b"d" * 3000])
    for crash_model in ALL:
        first, second = (after_crash(disk, crash_model, Random(5).randrange).files() for _ in range(2))
        assert first == second


def test_many_choices_are_sampled() -> None:
    disk = one_file(synced=b"", pending=[b"x" * 5000])
    assert 20 < len(outcomes(disk, CrashModel.TORN, limit=60)) <= 60
    assert len(outcomes(disk, CrashModel.KILLED)) == 1


def test_the_documented_examples() -> None:
    """docs/testing.md shows them; they have to run. Its files of a program and its tests: test_server.py."""
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(?!# \w+\.py\n)(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "docs/testing.md", "exec"), {})
