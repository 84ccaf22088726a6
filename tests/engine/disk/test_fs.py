"""The real disk behind the seam, and the rules that every file system must keep, also the simulated one."""

from __future__ import annotations

import ast
import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flin.engine.disk import fs as seam
from flin.engine.disk.directory_lock import HeldDirectory
from flin.engine.disk.fs import OsFileSystem, append_all, join
from flin.testing import SimulatedDisk

Place = tuple[Any, str]


@pytest.fixture(params=["real", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A file system and an empty directory in it."""
    if request.param == "real":
        return OsFileSystem(), str(tmp_path)
    disk = SimulatedDisk()
    disk.make_directory("/d")
    return disk, "/d"


def _write(fs: Any, path: str, data: bytes) -> None:
    file = fs.create(path)
    append_all(file, data)
    file.close()


def test_create_and_read(place: Place) -> None:
    fs, directory = place
    path = join(directory, "f")
    file = fs.create(path)
    assert file.path == path
    assert file.append(b"abc") == 3
    reader = fs.open(path)
    append_all(file, memoryview(b"defgh"))
    assert (reader.path, reader.size()) == (path, 8)
    assert reader.pread(3, 2) == b"cde"
    assert reader.pread(100, 6) == b"gh"
    assert reader.pread(5, 8) == reader.pread(5, 99) == b""
    assert reader.pread_nowait(2, 1) in (b"bc", None)
    assert reader.pread_nowait(100, 0) is None, "what is not there cannot be had without waiting"
    mapped = reader.map()
    assert mapped[2:5] == b"cde"
    file.sync()
    file.close()
    file.close()
    reader.close()
    reader.close()
    assert mapped[:] == b"abcdefgh", "mappings outlive their file object"
    with pytest.raises(OSError, match=r"closed|descriptor"):
        file.append(b"more")


def test_an_empty_file(place: Place) -> None:
    fs, directory = place
    _write(fs, join(directory, "empty"), b"")
    file = fs.open(join(directory, "empty"))
    assert (file.size(), file.map(), file.pread(5, 0)) == (0, b"", b"")
    file.close()


def test_names_are_created_once(place: Place) -> None:
    fs, directory = place
    path = join(directory, "f")
    fs.create(path).close()
    with pytest.raises(FileExistsError):
        fs.create(path)
    absent = join(directory, "absent")
    for call in (fs.open, fs.remove, fs.sync_file, fs.names):
        with pytest.raises(FileNotFoundError):
            call(absent)


def test_rename_replaces(place: Place) -> None:
    fs, directory = place
    old, new = join(directory, "old"), join(directory, "new")
    _write(fs, old, b"1")
    _write(fs, new, b"2")
    reader = fs.open(new)
    fs.rename(old, new)
    fs.sync_directory(directory)
    assert fs.names(directory) == ["new"]
    assert reader.pread(9, 0) == b"2", "who had it open still has it"
    reader.close()
    again = fs.open(new)
    assert again.pread(9, 0) == b"1"
    again.close()


def test_a_second_name(place: Place) -> None:
    fs, directory = place
    fs.make_directory(join(directory, "other"))
    first, second = join(directory, "first"), join(join(directory, "other"), "second")
    _write(fs, first, b"abc")
    fs.link(first, second)
    with pytest.raises(FileExistsError):
        fs.link(first, second)
    with pytest.raises(FileNotFoundError):
        fs.link(join(directory, "absent"), join(directory, "new"))
    fs.remove(first)
    assert fs.names(join(directory, "other")) == ["second"]
    reader = fs.open(second)
    assert reader.pread(9, 0) == b"abc"
    reader.close()


def test_a_removed_file_stays_readable(place: Place) -> None:
    fs, directory = place
    path = join(directory, "f")
    _write(fs, path, b"data")
    reader = fs.open(path)
    mapped = reader.map()
    fs.remove(path)
    assert fs.names(directory) == []
    assert reader.pread(4, 0) == mapped[:] == b"data"
    reader.close()


def test_directories(place: Place) -> None:
    fs, directory = place
    deep = join(join(directory, "a"), "b")
    fs.make_directory(deep)
    fs.make_directory(deep)
    _write(fs, join(deep, "f"), b"x")
    assert fs.names(deep) == ["f"]
    assert not fs.is_file(deep)
    assert fs.is_file(join(deep, "f"))
    assert not fs.is_file(join(deep, "absent"))
    fs.sync_file(join(deep, "f"))
    assert fs.free_bytes(directory) > 0
    with pytest.raises((FileExistsError, NotADirectoryError)):
        fs.make_directory(join(deep, "f"))


def test_lock(place: Place) -> None:
    fs, directory = place
    path = join(directory, "LOCK")
    held = fs.lock(path, b"the first holder, at length")
    assert fs.lock(path, b"x") == b"the first holder, at length"
    held.release()
    held.release()
    again = fs.lock(path, b"second")
    assert not isinstance(again, bytes)
    assert fs.lock(path, b"x") == b"second"
    again.release()


def test_sizes_without_opening(place: Place) -> None:
    fs, directory = place
    _write(fs, join(directory, "f"), b"four")
    assert fs.file_size(join(directory, "f")) == 4
    fs.make_directory(join(directory, "inner"))
    for name in ("absent", "inner"):
        with pytest.raises(OSError, match=r"absent|inner") as raised:
            fs.file_size(join(directory, name))
        assert raised.value.errno in (errno.ENOENT, errno.EISDIR)


def _another(fs: Any) -> Any:
    return fs.for_another_program() if isinstance(fs, SimulatedDisk) else OsFileSystem()


@pytest.mark.parametrize("how", ["gone", "remade", "lock file gone", "lock file remade"])
def test_a_locked_directory_is_no_path(place: Place, how: str) -> None:
    """The holder of a directory's lock never touches another directory that is made at its path."""
    fs, parent = place
    directory = join(parent, "db")
    fs.make_directory(directory)
    for name in ("old", "other"):
        _write(fs, join(directory, name), b"first")
    told: list[int] = []
    lock = fs.lock(join(directory, "LOCK"), b"first")
    lock.on_lost = lambda: told.append(1)
    fs.check_directory(directory)
    reader = fs.open(join(directory, "old"))
    assert not told
    other = _another(fs)
    if how.startswith("lock"):
        other.remove(join(directory, "LOCK"))
    elif isinstance(fs, SimulatedDisk):
        fs.remove_directory(directory)
    else:
        shutil.rmtree(directory)
    if how == "remade":
        other.make_directory(directory)
        for name in ("old", "other"):
            _write(other, join(directory, name), b"second")
    second = other.lock(join(directory, "LOCK"), b"second") if how.endswith("remade") else None
    assert not isinstance(second, bytes), "it is free again"
    before = {name: other.file_size(join(directory, name)) for name in other.names(directory)} if second else {}
    path = join(directory, "old")
    calls: list[Callable[[], object]] = [
        lambda: fs.create(join(directory, "new")),
        lambda: fs.create_segment(join(directory, "new")),
        lambda: fs.open(path),
        lambda: fs.rename(path, join(directory, "other")),
        lambda: fs.link(path, join(directory, "new")),
        lambda: fs.remove(path),
        lambda: fs.names(directory),
        lambda: fs.is_file(path),
        lambda: fs.file_size(path),
        lambda: fs.sync_file(path),
        lambda: fs.sync_directory(directory),
        lambda: fs.check_directory(directory),
    ]
    for call in calls:
        with pytest.raises(OSError, match="removed or replaced") as raised:
            call()
        assert raised.value.errno == errno.ESTALE
    assert len(told) >= len(calls)
    assert reader.pread(9, 0) == b"first", "what is open stays readable"
    reader.close()
    lock.release()
    if second:
        after = {name: other.file_size(join(directory, name)) for name in other.names(directory)}
        assert after == before
        second.release()
        again = fs.lock(join(directory, "LOCK"), b"third")
        fs.check_directory(directory)
        again.release()


# Only the real disk.


def test_a_locked_directory_may_be_renamed(tmp_path: Path) -> None:
    """Its files are found relative to it, wherever it is."""
    fs = OsFileSystem()
    directory = str(tmp_path / "db")
    fs.make_directory(directory)
    lock = fs.lock(join(directory, "LOCK"), b"me")
    os.rename(directory, tmp_path / "elsewhere")
    _write(fs, join(directory, "f"), b"data")
    assert fs.names(directory) == ["LOCK", "f"]
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["LOCK", "f"]
    lock.release()  # type: ignore[union-attr]


CALLS: dict[str, Callable[[OsFileSystem, str], object]] = {
    "create": lambda fs, d: append_all(fs.create(join(d, "new")), b"new"),
    "create_segment": lambda fs, d: fs.create_segment(join(d, "new")).write(b"new", 0),
    "open": lambda fs, d: fs.open(join(d, "f")).pread(9, 0),
    "rename": lambda fs, d: fs.rename(join(d, "f"), join(d, "new")),
    "link": lambda fs, d: fs.link(join(d, "f"), join(d, "new")),
    "remove": lambda fs, d: fs.remove(join(d, "f")),
    "names": lambda fs, d: fs.names(d),
    "is_file": lambda fs, d: fs.is_file(join(d, "f")),
    "file_size": lambda fs, d: fs.file_size(join(d, "f")),
    "sync_file": lambda fs, d: fs.sync_file(join(d, "f")),
    "sync_directory": lambda fs, d: fs.sync_directory(d),
    "check_directory": lambda fs, d: fs.check_directory(d),
}


@pytest.mark.parametrize("moment", ["before the look", "after it"])
@pytest.mark.parametrize("name", CALLS)
def test_a_release_leaves_calls_that_are_under_way_in_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: str
) -> None:
    """The number of its descriptor may at once be another directory's, even one with files of the same names."""
    fs, alone = OsFileSystem(), OsFileSystem()
    places = {place: str(tmp_path / place) for place in ("db", "expected", "other")}
    for place, directory in places.items():
        fs.make_directory(directory)
        _write(fs, join(directory, "f"), b"another's" if place == "other" else b"own")
    locks = [alone.lock(join(places["expected"], "LOCK"), b"me"), fs.lock(join(places["db"], "LOCK"), b"me")]
    expected = CALLS[name](alone, places["expected"])
    look, number = HeldDirectory.check, fs.held[places["db"]].fd
    reused: list[int] = []

    def check(held: HeldDirectory, directory: str) -> None:
        if moment == "after it":
            look(held, directory)
        locks[1].release()  # type: ignore[union-attr]  # as another thread does that closes the database
        while number not in reused[-1:] and len(reused) < 9:
            reused.append(os.open(places["other"], os.O_RDONLY | os.O_DIRECTORY))
        if moment == "before the look":
            look(held, directory)

    with monkeypatch.context() as patch:
        patch.setattr(HeldDirectory, "check", check)
        found = CALLS[name](fs, places["db"])
    for descriptor in reused:
        os.close(descriptor)
    assert found == expected
    contents = [{each.name: each.read_bytes() for each in (tmp_path / place).iterdir()} for place in places]
    assert contents[0] == contents[1]
    assert contents[2] == {"f": b"another's"}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    locks[0].release()  # type: ignore[union-attr]


def test_directories_made_by_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that start together open databases in one new directory."""
    made: Callable[..., None] = os.mkdir

    def beaten(path: str) -> None:
        made(path)
        raise FileExistsError(errno.EEXIST, "somebody was faster", path)

    monkeypatch.setattr(os, "mkdir", beaten)
    OsFileSystem().make_directory(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/b", "/a/b"), (b"/a/b", "/a/b"), (Path("/a/b"), "/a/b"), ("/a/../b/", "/b"), (b"/\xff", "/\udcff")],
)
def test_paths(path: Any, name: str) -> None:
    assert seam.absolute(path) == name


def test_what_is_no_path() -> None:
    for empty in ("", b""):
        with pytest.raises(ValueError, match="empty"):
            seam.absolute(empty)
    for wrong in (None, 5, ["a"]):
        with pytest.raises(TypeError):
            seam.absolute(wrong)  # type: ignore[arg-type]


WITHOUT_STREAMS = """
import mmap, os, sys
from flin.engine.disk.fs import OsFileSystem, pipe
directory, report = sys.argv[1:]
fs = OsFileSystem()
lock = fs.lock(directory + "/LOCK", b"me")
file = fs.create(directory + "/f")
file.append(b"data")
segment = fs.create_segment(directory + "/w")
if later := sys.argv[2].endswith("later"):
    for number in range(3):
        os.close(number)
window = segment.map_window(0, 4)
reader = fs.open(directory + "/f")
mapped = reader.map()
pipes = pipe()
held = {os.path.realpath(f"/proc/self/fd/{number}") for number in range(3) if os.path.exists(f"/proc/self/fd/{number}")}
with open(report, "w") as file:
    file.write(repr((sorted(held), mapped[:], pipes[0] > 2 and pipes[1] > 2)))
"""


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-", "0<&- 2>&-", ""])
def test_no_file_is_a_standard_stream(tmp_path: Path, closed: str) -> None:
    """Whether the streams were closed at the start (a daemon, cron), or are closed later."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system has no /proc to ask for descriptors")
    report = tmp_path / ("report" if closed else "report later")
    (tmp_path / "db").mkdir()
    command = f'exec "$0" -c "$1" "$2" "$3" {closed}'
    subprocess.run(["sh", "-c", command, sys.executable, WITHOUT_STREAMS, tmp_path / "db", report], check=False)
    streams, mapped, pipes_are_above = ast.literal_eval(report.read_text())
    assert not [path for path in streams if str(tmp_path / "db") in path or "pipe" in path]
    assert (mapped, pipes_are_above) == (b"data", True)


def test_links_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    os.mkfifo(tmp_path / "pipe")
    fs = OsFileSystem()
    assert [fs.is_file(str(tmp_path / name)) for name in ("f", "link", "pipe")] == [True, False, False]


def test_files_are_not_inherited(tmp_path: Path) -> None:
    fs = OsFileSystem()
    file = fs.create(str(tmp_path / "f"))
    reader = fs.open(str(tmp_path / "f"))
    lock = fs.lock(str(tmp_path / "LOCK"), b"me")
    script = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if int(n) > 2])"
    if sys.platform == "linux":
        done = subprocess.run(
            [sys.executable, "-c", script.replace("for n", "for n", 1)],
            close_fds=False, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert str(tmp_path) not in done.stdout
    lock.release()  # type: ignore[union-attr]
    reader.close()
    file.close()


class Stingy:
    """An append file that takes a few bytes at a time, and then none."""

    path = "f"

    def __init__(self, *takes: int) -> None:
        self.takes = list(takes)
        self.data = b""

    def append(self, data: Any) -> int:
        taken = min(len(data), self.takes.pop(0))
        self.data += bytes(data[:taken])
        return taken

    def sync(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("takes", [(10,), (3, 3, 3, 3), (1,) * 10, (9, 1)])
def test_append_all_goes_on_after_a_short_write(takes: tuple[int, ...]) -> None:
    file = Stingy(*takes)
    append_all(file, b"0123456789")
    assert file.data == b"0123456789"


@pytest.mark.parametrize("takes", [(0, 0), (5, 0)])
def test_append_all_gives_up_where_nothing_is_taken(takes: tuple[int, ...]) -> None:
    with pytest.raises(OSError, match="takes no more bytes"):
        append_all(Stingy(*takes), b"0123456789")


def test_a_read_that_the_system_cuts_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(bytes(range(100)))
    reader = OsFileSystem().open(str(tmp_path / "f"))
    whole: Callable[[int, int, int], bytes] = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: whole(fd, min(size, 7), offset))
    assert reader.pread(50, 10) == bytes(range(10, 60))
    assert reader.pread(500, 90) == bytes(range(90, 100))
    reader.close()


def test_a_disk_without_reads_that_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"data")
    reader = OsFileSystem().open(str(tmp_path / "f"))
    monkeypatch.setattr(seam, "_RWF_NOWAIT", None)
    assert reader.pread_nowait(4, 0) is None
    reader.close()


def test_opening_that_fails_leaves_nothing_to_clean_up(tmp_path: Path) -> None:
    """Warnings are errors here: a half-made object must not complain when it goes."""
    with pytest.raises(FileNotFoundError):
        OsFileSystem().open(str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        OsFileSystem().create(str(tmp_path / "absent" / "f"))


def test_a_locked_directory_is_synced_without_another_file(tmp_path: Path) -> None:
    """A process that has run out of files for a moment must not take that for a failed sync, which is final."""
    fs = OsFileSystem()
    lock = fs.lock(str(tmp_path / "LOCK"), b"me")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        fs.sync_directory(str(tmp_path))
        with pytest.raises(OSError, match="Too many open files"):
            fs.sync_directory(str(tmp_path.parent))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    lock.release()  # type: ignore[union-attr]
    fs.sync_directory(str(tmp_path))


def test_a_lock_that_cannot_say_who_holds_it_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else this process would hold it until its end, by a descriptor that nothing knows."""

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    path = str(tmp_path / "LOCK")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="no space left"):
            OsFileSystem().lock(path, b"me")
    lock = OsFileSystem().lock(path, b"me")
    assert not isinstance(lock, bytes)
    lock.release()


@pytest.fixture
def mapping_directory(tmp_path: Path) -> Iterator[str]:
    """A directory on a file system where segments are mapped: in memory, if the tests' own (a container's overlay) is
    none."""
    if seam.maps_safely(str(tmp_path)):
        yield str(tmp_path)
        return
    if not (os.path.isdir("/dev/shm") and seam.maps_safely("/dev/shm")):
        pytest.skip("no file system here writes over what it wrote: nothing is mapped")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield directory


def _segment_place(kind: str, directory: str) -> Place:
    if kind == "real":
        return OsFileSystem(), directory
    disk = SimulatedDisk(window_bytes=seam.WINDOW_BYTES)
    disk.make_directory("/d")
    return disk, "/d"


@pytest.mark.parametrize("kind", ["real", "simulated"])
def test_segment_file(kind: str, mapping_directory: str) -> None:
    fs, directory = _segment_place(kind, mapping_directory)
    path = join(directory, "w")
    file = fs.create_segment(path)
    with pytest.raises(FileExistsError):
        fs.create_segment(path)
    assert file.write(b"header", 0) == 6
    window = file.map_window(6, 100)
    assert window is not None
    assert window.start <= 6
    assert window.stop >= 6 + 100
    window.bytes[6 - window.start : 11 - window.start] = b"first"
    reader = fs.open(path)
    assert reader.size() == window.stop
    assert reader.pread(12, 0) == b"headerfirst\0"
    assert file.map_window(11, seam.WINDOW_BYTES) is None, "so much is better written"
    assert file.write(b"long" * 10, window.stop - 3) == 40, "over zeros and beyond"
    again = file.map_window(window.stop + 37, 3)
    assert again is not None
    again.bytes[window.stop + 37 - again.start : window.stop + 40 - again.start] = b"end"
    assert reader.pread(50, window.stop - 3) == b"long" * 10 + b"end" + bytes(7)
    file.sync()
    for each in (window.bytes, again.bytes, file, file, reader):
        each.close()


def test_copies_into_a_window_survive_kill(mapping_directory: str) -> None:
    program = """
import os, signal, sys
from flin.engine.disk.fs import OsFileSystem
file = OsFileSystem().create_segment(sys.argv[1])
window = file.map_window(0, 4)
window.bytes[0:4] = b"kept"
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = join(mapping_directory, "w")
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -9
    assert Path(path).read_bytes()[:6] == b"kept\0\0"


def test_nothing_is_mapped_where_blocks_move(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a file system that copies on write, or an unknown one, segments are written."""
    device = os.stat(tmp_path).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    for number, (kinds, maps) in enumerate([({name: "ext4"}, True), ({name: "btrfs"}, False), ({}, False)]):
        seam.maps_safely.cache_clear()
        monkeypatch.setattr(seam, "_mounted", lambda kinds=kinds: kinds)
        file = OsFileSystem().create_segment(str(tmp_path / f"w{number}"))
        window = file.map_window(0, 4)
        assert (window is not None) == (maps and sys.platform.startswith("linux"))
        if window is not None:
            window.bytes.close()
        file.close()
    seam.maps_safely.cache_clear()
