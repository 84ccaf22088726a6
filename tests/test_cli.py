"""The command line: every subcommand on whole, damaged, locked and missing databases, and its exit code."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import flin
import flin.__main__
import flin.engine
from flin.cli import serve
from flin.cli.check import survey
from flin.cli.dump import printable
from flin.cli.main import main, parser
from flin.cli.overlay import OverlayFileSystem, open_unchanged
from flin.cli.stats import lines_of
from flin.cli.ticker import Ticker
from flin.engine.background import value_segments
from flin.errors import LockedError

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Tables of two flushes, with tombstones, a range delete and expiries, and a WAL that is not flushed."""
    path = tmp_path / "db"
    engine = flin.engine.open(str(path), runner="inline")
    engine.put_many({b"key:%04d" % number: b"value %d" % number for number in range(500)})
    engine.flush()
    engine.delete(b"key:0001")
    engine.delete_range(b"key:0100", b"key:0200")
    engine.put(b"lives", b"for an hour", ttl=3600)
    engine.flush()
    engine.put(b'\xff binary "key"', b"\x00\x01" * 100)
    engine.put_many([(b"in the", b"WAL"), (b"only", b"")])
    engine.sync()
    engine.delete_prefix(b"key:03")
    engine.close(flush=False)
    return path


def fingerprint(directory: Path) -> dict[str, tuple[str, int]]:
    """The content and time of change of every file."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in directory.iterdir()
    }


def only(directory: Path, pattern: str) -> Path:
    """The first matching file in the order of names."""
    return sorted(directory.glob(pattern))[0]


def flip(path: Path, offset: int) -> None:
    """Damage one byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


# Help, versions, usage.


def test_every_command_has_help_with_examples_and_exit_codes(capsys: Capture) -> None:
    code, text, _ = run(capsys, "--help")
    assert code == 0
    for command in ("serve", "resize", "check", "dump", "stats", "compact", "bench"):
        assert f"flin {command}" in text
    for words in (
        ["serve"],
        ["resize"],
        ["check"],
        ["dump"],
        ["stats"],
        ["compact"],
        ["bench"],
        ["bench", "load"],
        ["bench", "scale"],
    ):
        code, text, _ = run(capsys, *words, "--help")
        assert code == 0
        assert "examples:\n  flin " in text
        assert "exit codes:\n  0 " in text


def test_version(capsys: Capture) -> None:
    assert run(capsys, "--version") == (0, f"flin {flin.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["check"],
        ["check", "--fast", "."],
        ["dump", "f", "--limit", "0"],
        ["compact", "d", "--memory-limit", "x"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: Capture) -> None:
    code, output, errors = run(capsys, *arguments)
    assert (code, output) == (2, "")
    assert "flin" in errors


@pytest.mark.parametrize("command", ["check", "stats", "compact"])
def test_a_directory_without_a_database_is_2(command: str, tmp_path: Path, capsys: Capture) -> None:
    missing, empty, other, above, node, file = (
        tmp_path / name for name in ("missing", "empty", "other", "above", "node", "file")
    )
    for path in (empty, other, above, node):
        path.mkdir()
    (other / "notes.txt").touch()
    for path in (above / "db", node / "group-00", node / "group-01"):
        flin.engine.open(path, runner="inline").close()
    file.touch()
    before = sorted(tmp_path.rglob("*"))
    for path, reason in {
        missing: f"there is no directory '{missing}': name that of a database",
        file: f"{file} is a file: name the directory of the database (flin dump shows a single file)",
        empty: f"{empty} holds no Flin database: it is empty (flin serve and flin.engine.open make databases)",
        other: f"{other} holds no Flin database",
        above: f"{above} holds no Flin database, but {above / 'db'} does",
        node: f"{node} holds no Flin database, but {node / 'group-00'} does, and group-01 beside it: name one of them",
    }.items():
        assert run(capsys, command, path) == (2, "", f"flin: {reason}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_url_where_only_a_directory_can_be_is_2(capsys: Capture) -> None:
    code, output, errors = run(capsys, "du", "redis://localhost:6380")
    assert (code, output) == (2, "")
    assert "is a URL, and this command takes a directory" in errors


def test_a_directory_that_cannot_be_read_is_2(database: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Root may read everything, so the call raises the error that others would get from the kernel."""

    def refuse(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("flin.cli.parsing.os.listdir", refuse)
    reason = f"{database} cannot be read: Permission denied; run flin as its owner, {database.owner()}"
    assert run(capsys, "check", database) == (2, "", f"flin: {reason}\n")


UNKNOWN = {
    "serve --tls": "flin serve: there is no option --tls: see --tls-port",
    "serve --tls-ciphersuites x": "flin serve: there is no option --tls-ciphersuites: the cipher suites of TLS 1.3",
    "serve --tls-replication yes": "flin serve: there is no option --tls-replication: nodes of a cluster talk over TLS",
    "serve --replicaof x": "flin serve: there is no option --replicaof: a server of its own has no replicas",
    "serve --maxmemory-policy x": "it must be one of volatile-lru",
    "serve -p 6379": "flin serve: there is no option -p: it is called --port",
    "serve --memory_limit=1gb": "flin serve: there is no option --memory_limit: it is spelled --memory-limit",
    "serve --prot 7812": "flin serve: there is no option --prot: --protected-mode is meant, perhaps",
    "serve --tcp 5": "--tcp-backlog or --tcp-keepalive is meant, perhaps",
    "serve --zzz": "flin serve: there is no option --zzz. See flin serve --help",
    "serve redis.conf": "flin serve does not take 'redis.conf': a configuration file is named by --config",
    "check db other": "flin check does not take 'other' after DIR",
    "check --jsno db": "flin check: there is no option --jsno. See flin check --help",
    "repair db --dry": "flin repair: there is no option --dry: --dry-run is meant, perhaps",
    "dump f --ful": "flin dump: there is no option --ful: --full is meant, perhaps",
    "stats db --unixsocket": "flin stats: there is no option --unixsocket. See flin stats --help",
    "bench --qick": "flin bench: there is no option --qick: --quick is meant, perhaps",
    "bench load --million 4": "flin bench load: there is no option --million: --millions is meant, perhaps",
    "serv --port 1": "flin: COMMAND is 'serv': serve is meant, perhaps. See flin --help",
    "completion x": "flin completion: SHELL is 'x': it must be one of bash, zsh, fish. See flin completion --help",
    "bench curves more": "flin bench curves does not take 'more'. See flin bench curves --help",
}


@pytest.mark.parametrize("words", UNKNOWN)
def test_what_is_not_known_is_named(words: str, capsys: Capture) -> None:
    """Never taken for something longer; for Redis' names the error says what there is instead."""
    code, output, errors = run(capsys, *words.split())
    assert (code, output) == (2, "")
    assert UNKNOWN[words] in errors
    assert errors.count("\n") == 1


def test_a_directory_is_no_file_to_dump(database: Path, capsys: Capture) -> None:
    reason = f"{database} is a directory: name one of its files, such as {database}/MANIFEST"
    assert run(capsys, "dump", database) == (2, "", f"flin: {reason}\n")
    assert run(capsys, "dump", database / "no") == (2, "", f"flin: there is no file '{database}/no'\n")


def test_sizes_with_binary_units(database: Path, capsys: Capture) -> None:
    assert run(capsys, "compact", database, "--memory-limit", "64MiB")[0] == 0
    arguments = parser().parse_args(["serve", "--dir", str(database), "--memory-limit", "64MiB"])
    assert serve.options_of(arguments).memory_limit == 64 << 20
    code, _, errors = run(capsys, "serve", "--memory-limit", "64x")
    assert (code, errors) == (
        2,
        "flin: --memory-limit is '64x', it must be a size: whole bytes, or a number with kb, mb, gb or tb (256mb)\n",
    )


@pytest.mark.parametrize("command", ["check", "stats", "compact"])
def test_a_database_in_use_is_3(command: str, database: Path, capsys: Capture) -> None:
    with flin.engine.open(str(database), runner="inline"):
        before = fingerprint(database)
        code, output, errors = run(capsys, command, database)
        assert fingerprint(database) == before
    assert (code, output) == (3, "")
    assert "is already open in this process since " in errors


def test_an_interrupt_is_130(database: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(directory: str, group: None, key: None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flin.cli.check.check", interrupt)
    assert run(capsys, "check", database) == (130, "", "flin: interrupted\n")


@pytest.mark.parametrize("ignores", [False, True])
def test_an_interruption_while_modules_are_loaded(ignores: bool) -> None:
    """No traceback; a process that ignores SIGINT goes on doing so."""
    program = f"""
import os, signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "flin.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
        return None
signal.signal(signal.SIGINT, signal.{"SIG_IGN" if ignores else "default_int_handler"})
sys.meta_path.insert(0, Interrupting())
sys.argv = ["flin", "--version"]
from flin.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    shown = (done.returncode, done.stdout, done.stderr)
    assert shown == ((0, f"flin {flin.__version__}\n", "") if ignores else (130, "", "flin: interrupted\n"))


def test_ctrl_c_is_as_ever_once_a_command_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", ["flin", "stats", str(tmp_path / "absent")])
    assert flin.__main__.main() == 2
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_an_interrupt_does(
    database: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """What was begun is cleaned up, and a handler that was set before is set again."""
    ended = []

    def take_long(directory: str, group: None, key: None) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            ended.append(directory)

    before = signal.signal(number, signal.SIG_DFL)  # under nohup it is ignored
    monkeypatch.setattr("flin.cli.check.check", take_long)
    assert run(capsys, "check", database) == (128 + number, "", f"flin: ended by {number.name}\n")
    assert ended == [str(database)]
    assert signal.signal(number, before) == signal.SIG_DFL


def test_an_ignored_signal_stays_ignored(database: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def check(directory: str, group: None, key: None) -> tuple[list[str], str]:
        os.kill(os.getpid(), signal.SIGHUP)
        return [], "well"

    monkeypatch.setattr("flin.cli.check.check", check)
    try:
        assert run(capsys, "check", database) == (0, "well\n", "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_reader_that_goes_away_is_141(database: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "flin", "dump", str(only(database, "*.sst"))],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_python_m_flin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flin", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"flin {flin.__version__}\n"


# check


def test_check_of_a_whole_database(database: Path, capsys: Capture) -> None:
    before = fingerprint(database)
    code, output, errors = run(capsys, "check", database)
    assert (code, output, errors) == (0, f"{database}: 303 keys, all well\n", "")
    assert fingerprint(database) == before


def test_check_names_every_damaged_table(database: Path, capsys: Capture) -> None:
    tables = sorted(database.glob("*.sst"))
    assert len(tables) == 2
    for table in tables:
        flip(table, 40)
    before = fingerprint(database)
    code, output, _ = run(capsys, "check", database)
    assert code == 1
    for table in tables:
        assert f"{table}: corrupt at offset " in output
    assert output.endswith(f"problems in {database}\n")
    assert fingerprint(database) == before


def test_check_names_all_where_the_database_cannot_be_opened(database: Path, capsys: Capture) -> None:
    table, other = sorted(database.glob("*.sst"))
    flip(table, 40)
    other.unlink()
    code, output, _ = run(capsys, "check", database)
    assert code == 1
    assert f"{table}: corrupt" in output
    assert f"{other}: corrupt at offset 0: the manifest names this file" in output


def test_check_of_a_damaged_manifest(database: Path, capsys: Capture) -> None:
    flip(database / "MANIFEST", 60)
    flip(only(database, "*.sst"), 40)
    code, output, _ = run(capsys, "check", database)
    assert code == 1
    assert f"{database / 'MANIFEST'}: corrupt at offset 8" in output
    assert f"{only(database, '*.sst')}: corrupt" in output


def test_check_of_a_missing_manifest(database: Path, capsys: Capture) -> None:
    (database / "MANIFEST").unlink()
    code, output, _ = run(capsys, "check", database)
    assert code == 1
    assert "MANIFEST" in output
    assert not (database / "MANIFEST").exists()


def test_check_of_a_damaged_wal(database: Path, capsys: Capture) -> None:
    segment = only(database, "*.wal")
    flip(segment, 100)  # in the first frame, which later ones vouch for
    code, output, _ = run(capsys, "check", database)
    assert code == 1
    assert f"{segment}: corrupt at offset " in output


def test_a_torn_tail_is_no_problem(database: Path, capsys: Capture) -> None:
    """A frame whose writing a kill cut short was never answered."""
    engine = flin.engine.open(str(database), runner="inline")
    engine.put(b"one more", b"x")
    newest = sorted(database.glob("*.wal"))[-1]
    torn = newest.read_bytes() + b"\x07" * 30
    engine.close(flush=False)
    newest.write_bytes(torn)
    code, output, _ = run(capsys, "check", database)
    assert (code, output) == (0, f"{database}: 304 keys, all well\n")


def test_a_survey_finds_nothing_in_a_whole_database(database: Path) -> None:
    assert list(survey(OverlayFileSystem(), str(database))) == []


# stats


def test_stats(database: Path, capsys: Capture) -> None:
    before = fingerprint(database)
    code, output, errors = run(capsys, "stats", database)
    assert (code, errors) == (0, "")
    assert "keys         303\n" in output
    assert "\ntables\n  files " in output
    assert "\nvalue_files\n  files " in output
    code, output, _ = run(capsys, "stats", database, "--json")
    assert json.loads(output)["wal"]["torn"] == ""
    assert fingerprint(database) == before


def test_stats_of_a_damaged_database_is_1(database: Path, capsys: Capture) -> None:
    flip(database / "MANIFEST", 60)
    code, output, errors = run(capsys, "stats", database)
    assert (code, output) == (1, "")
    assert errors.startswith(f"flin: {database / 'MANIFEST'}: corrupt")


def test_lines_of_nested_figures() -> None:
    figures = {"a": 1_000_000, "long": {"x": 0.5, "yes": True}, "none": {}}
    assert list(lines_of(figures)) == ["a     1,000,000", "long", "  x    0.5", "  yes  True", "none  {}"]


# compact


def test_compact_with_too_little_memory_is_2(database: Path, capsys: Capture) -> None:
    code, output, errors = run(capsys, "compact", database, "--memory-limit", "5")
    assert (code, output) == (2, "")
    assert "memory_limit" in errors


def test_compact(database: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "compact", database)
    assert code == 0
    assert output.startswith("303 keys; before: ")
    assert len(list(database.glob("*.sst"))) == 1
    assert run(capsys, "check", database)[0] == 0
    with flin.engine.open(str(database), runner="inline") as engine:
        assert engine.get(b"key:0001") is None
        assert engine.get(b"key:0499") == b"value 499"
        assert (engine.ttl(b"lives") or 0) > 3000


# dump


def test_dump_of_a_manifest(database: Path, capsys: Capture) -> None:
    code, output, _ = run(capsys, "dump", database / "MANIFEST")
    assert code == 0
    assert output.startswith("manifest, format 2, ")
    assert "shard 0, run 0 (0 is the newest): 1 table\n" in output
    for table in database.glob("*.sst"):
        assert f"  {table.name} at 0: " in output


def test_dump_of_a_table(database: Path, capsys: Capture, tmp_path: Path) -> None:
    older, newer = sorted(database.glob("*.sst"))
    code, output, _ = run(capsys, "dump", older)
    assert code == 0
    assert "section 0: " in output
    assert '  put "key:0499" = "value 499"\n' in output
    assert output.count("\n  put ") == 500
    _, output, _ = run(capsys, "dump", newer)
    assert '  delete range "key:0100" to "key:0200"\n' in output
    assert '  delete "key:0001"\n' in output
    assert '  put "lives" = "for an hour", expires 20' in output
    # By its magic, not by its name; and not more than asked for.
    other = tmp_path / "renamed"
    other.write_bytes(older.read_bytes())
    code, output, _ = run(capsys, "dump", other, "--limit", 3)
    assert code == 0
    assert output.count("\n  put ") == 3


def test_dump_of_a_segment(database: Path, capsys: Capture) -> None:
    segment = only(database, "*.wal")
    code, output, _ = run(capsys, "dump", segment)
    assert code == 0
    assert output.startswith("WAL segment ")
    assert 'put "\\xff binary \\"key\\"" = "\\x00\\x01' in output
    assert "… (200 bytes)" in output
    assert '  put "only" = ""\n' in output
    assert '  delete range "key:03" to "key:04"\n' in output
    assert "  end: closed cleanly" in output
    assert "…" not in run(capsys, "dump", segment, "--full")[1]
    assert run(capsys, "dump", segment, "--limit", 1)[1].count("sequence ") == 2  # the header's and one frame's


def test_dump_of_value_files(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_segments, "MAX_EMPTY_BYTES", 1 << 20)  # small segments are kept
    directory = tmp_path / "values"
    with flin.engine.open(str(directory), runner="inline", value_threshold=300) as engine:
        for count, text in ((9, b"old"), (7, b"new")):
            engine.put_many({b"k%d" % number: text * 300 for number in range(count)})
            engine.flush()
        engine.compact()  # learns that the first file is worn
        engine.put(b"k0", b"")
        engine.compact()
    _, output, _ = run(capsys, "dump", directory / "MANIFEST")
    segment, collected = only(directory, "*.wal"), only(directory, "*.val")
    assert f": {segment.name}, 5,400 of " in output
    assert f": {collected.name}, 1,800 of " in output
    code, output, _ = run(capsys, "dump", collected)
    assert code == 0
    assert output.startswith(f"value file {2**63 + int(collected.name[:8]) * 2**20}, format 1, ")
    assert output.count('  put "k') == 2
    assert '  put "k8" = "oldold' in output
    code, output, _ = run(capsys, "dump", only(directory, "*.sst"))
    assert code == 0
    assert re.search(r'  put "k1" = 900 bytes at \d+ in value file \d+\n', output)
    assert '  put "k0" = ""' in output


def test_check_reads_value_files(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_segments, "MAX_EMPTY_BYTES", 1 << 20)  # small segments are kept
    directory = tmp_path / "values"
    with flin.engine.open(str(directory), runner="inline", value_threshold=300) as engine:
        engine.put_many({b"k%d" % number: b"%d" % number * 900 for number in range(9)})
        engine.flush()
        engine.put_many({b"k%d" % number: b"new" * 300 for number in range(5)})
    assert run(capsys, "check", directory)[0] == 0
    first, second = sorted(directory.glob("*.wal"))
    whole = first.read_bytes()
    at = whole.index(b"7" * 900)
    flip(first, at + 100)
    code, output, _ = run(capsys, "check", directory)
    assert code == 1
    assert f"{first}: corrupt at offset {at}: the checksum of the value of b'k7' does not match\n" in output
    assert "1 problem in" in output
    first.unlink()
    code, output, _ = run(capsys, "check", directory)
    assert code == 1
    assert f"{first}: corrupt at offset 0: the manifest names this file, and there is no such regular file\n" in output
    first.write_bytes(whole[: at + 10])
    code, output, _ = run(capsys, "check", directory)
    assert code == 1
    assert f"{first}: corrupt at offset {at + 10}: the file is {at + 10} bytes long, the manifest says" in output
    assert str(second) not in output


def test_dump_shows_what_is_before_the_damage(database: Path, capsys: Capture) -> None:
    segment = only(database, "*.wal")
    data = segment.read_bytes()
    segment.write_bytes(data[: data.index(b"only") + 2])
    code, output, _ = run(capsys, "dump", segment)
    assert code == 1
    assert "binary" in output
    assert output.splitlines()[-1].startswith("damaged at offset ")
    table = only(database, "*.sst")
    flip(table, 40)
    code, output, _ = run(capsys, "dump", table)
    assert code == 1
    assert output.splitlines()[-1].startswith("damaged at offset ")


def test_dump_of_something_else_is_2(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "00000001.1.wal"
    for content in (b"", b"hello", b"x" * 1000):
        path.write_bytes(content)
        code, output, errors = run(capsys, "dump", path)
        assert (code, output) == (2, "")
        assert "is no WAL segment, value file, SSTable or manifest" in errors
    assert run(capsys, "dump", tmp_path)[0] == 2


def test_printable() -> None:
    assert printable(b'it\'s "so"\n\xff') == r'''"it's \"so\"\n\xff"'''


# The view that changes nothing.


def test_an_engine_on_the_overlay_changes_only_the_overlay(database: Path) -> None:
    before = fingerprint(database)
    with open_unchanged(str(database)) as engine:
        engine.put_many({b"new %d" % number: b"x" for number in range(1000)})
        engine.delete_prefix(b"key:")
        engine.compact()
        assert len(engine) == 1004
        assert engine.verify() == []
    assert fingerprint(database) == before
    with open_unchanged(str(database)) as engine:
        assert len(engine) == 303


def test_overlays_share_and_keep_engines_out(database: Path) -> None:
    with open_unchanged(str(database)), pytest.raises(LockedError):
        flin.engine.open(str(database), runner="inline")


def test_the_overlay_is_a_file_system(tmp_path: Path) -> None:
    fs = OverlayFileSystem()
    real = tmp_path / "real"
    real.write_bytes(b"on disk")
    new = str(tmp_path / "new")
    with pytest.raises(FileExistsError):
        fs.create(str(real))
    file = fs.create(new)
    assert file.append(b"in ") + file.append(b"memory") == 9
    assert fs.open(new).map() == b"in memory"
    assert fs.open(new).pread(100, 3) == b"memory"
    assert fs.names(str(tmp_path)) == ["new", "real"]
    fs.rename(new, str(real))
    assert fs.open(str(real)).pread_nowait(2, 0) == b"in"
    fs.remove(str(real))
    assert fs.names(str(tmp_path)) == []
    assert not fs.is_file(str(real))
    for call in (fs.open, fs.remove, fs.make_directory):
        with pytest.raises(FileNotFoundError):
            call(new)
    assert real.read_bytes() == b"on disk"


def test_a_ticker_is_silent_for_what_is_quick(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ticker("quick"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("flin.cli.ticker.EVERY_SECONDS", 0.001)
    said = io.StringIO()
    with Ticker("slow", lambda: "a detail", stream=said):
        while not said.getvalue():
            time.sleep(0.001)
    assert said.getvalue().startswith("slow: ")
    assert "a detail" in said.getvalue()


# serve


def options(*arguments: str) -> Any:
    return serve.options_of(parser().parse_args(["serve", *arguments]))


def test_serve_takes_defaults_then_the_file_then_the_command_line(tmp_path: Path) -> None:
    config = tmp_path / "flin.toml"
    config.write_text('[server]\nport = 7000\nmemory_limit = "64mb"\nrequirepass = "secret"\n')
    assert options().port == 6380
    found = options(
        "--config", str(config), "--port", "7001", "--bind", "127.0.0.1", "--bind", "::1", "--sync", "always"
    )
    assert (found.port, found.memory_limit, found.requirepass) == (7001, 64 << 20, "secret")
    assert (found.bind, found.sync) == (("127.0.0.1", "::1"), "always")
    assert options("--protected-mode", "no").protected_mode is False
    assert options("--slowlog-log-slower-than", "-1").slowlog_log_slower_than == -1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "70000"),
        ("--memory-limit", "much"),
        ("--config", "nowhere.toml"),
        ("--maxclients", "0"),
        ("--shards", "3"),
        ("--value-threshold", "7"),
        ("--value-threshold", "1x"),
    ],
)
def test_serve_refuses_what_makes_no_sense(arguments: tuple[str, ...], capsys: Capture) -> None:
    code, _, errors = run(capsys, "serve", *arguments)
    assert code == 2
    assert errors.startswith("flin: ")
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "--appendonly no",
            "--appendonly is 'no', it can only be 'yes' here: every write goes into the",
        ),
        ("--save 900 1", "--save is '900 1', it can only be '' here: Flin writes no RDB file"),
        ("--daemonize yes", "--daemonize is 'yes', it can only be 'no' here: flin serve runs in the foreground"),
        ("--appendfsync often", "it must be one of always, everysec, no, which --sync calls always, interval, never"),
        ("--appendfsync no --sync always", "--appendfsync: the same option is given twice, as --sync, too"),
    ],
)
def test_names_of_redis_that_are_not_so(line: str, error: str, capsys: Capture) -> None:
    code, _, errors = run(capsys, "serve", *line.split())
    assert code == 2
    assert error in errors


def test_names_of_redis_that_are_understood() -> None:
    found = options("--appendonly", "yes", "--save", "", "--daemonize", "no", "--appendfsync", "always")
    assert (found.sync, found.overridden) == ("always", (("sync", "--appendfsync"),))


def test_check_config_shows_what_is_given(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "flin.toml"
    config.write_text('[server]\nport = 7000\nmemory_limit = "64mb"\nrequirepass = "secret"\n')
    monkeypatch.setenv("FLIN_PORT", "7001")
    assert run(capsys, "serve", "--check-config", "--config", config, "--dir", tmp_path / "db", "--timeout", "5m") == (
        0,
        "# The options are right. All others have their defaults (flin serve --help).\n[server]\n"
        f'port = 7001  # FLIN_PORT\nmemory_limit = 67108864  # {config}\nrequirepass = "…"  # {config}\n'
        f'dir = "{tmp_path}/db"  # --dir\ntimeout = 300  # --timeout\n',
        "",
    )
    assert not (tmp_path / "db").exists()
    assert run(capsys, "serve", "--check-config", "--config", config, "--tls-port", "1")[0] == 2


def test_serve_refuses_a_file_with_a_key_outside_its_table(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "flin.toml"
    config.write_text('requirepass = "secret"\n')
    code, _, errors = run(capsys, "serve", "--config", config, "--dir", tmp_path / "db")
    assert (code, errors) == (2, f"flin: {config}: unknown option outside the table [server]: 'requirepass'\n")
    assert not (tmp_path / "db").exists()


def test_serve_refuses_other_shards_than_the_directory_has(database: Path, capsys: Capture) -> None:
    code, _, errors = run(capsys, "serve", "--dir", database, "--port", 0, "--shards", 4)
    assert (code, errors) == (2, f"flin: {database} has 1 shards, which is fixed; leave --shards out\n")


def test_serve_without_its_extra_says_what_to_install(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("flin.net.server.serve", lambda options, remark, **named: 0)
    assert run(capsys, "serve", "--dir", tmp_path / "db", "--port", 0) == (
        0,
        "",
        "flin: without uvloop and hiredis the server is slow: pip install 'flin[server]'\n",
    )


def test_without_standard_output(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a daemon is started with: the exit code tells all the same."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["stats", str(database)]) == 0
    assert main(["stats", str(database / "absent")]) == 2


def test_serve_until_sigterm(tmp_path: Path) -> None:
    from flin.bench.server_process import ServerProcess

    with ServerProcess("flin", str(tmp_path / "db")) as server:
        assert server.printed() != "it printed nothing"
        os.kill(server.pid, signal.SIGTERM)
        assert server.stop() == 0


def test_serve_on_a_directory_in_use_is_3(database: Path, capsys: Capture) -> None:
    with flin.engine.open(str(database), runner="inline"):
        code, _, errors = run(capsys, "serve", "--dir", database, "--port", 0)
    assert code == 3
    assert "already open in this process" in errors


def test_serve_on_a_port_in_use_is_1(tmp_path: Path, capsys: Capture) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, _, errors = run(capsys, "serve", "--dir", tmp_path / "db", "--port", port)
    assert code == 1
    assert str(port) in errors


def test_serve_on_a_damaged_database_is_1(database: Path, capsys: Capture) -> None:
    flip(database / "MANIFEST", 60)
    code, _, errors = run(capsys, "serve", "--dir", database, "--port", 0)
    assert code == 1
    assert "MANIFEST: corrupt" in errors
