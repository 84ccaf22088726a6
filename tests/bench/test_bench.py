"""The benchmark: its figures, its reports, and its rows, which must notice a store's wrong answers."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flin.bench import compaction, embedded, generator, load, loader, memory, picture, report, served, store
from flin.bench.child import ChildError, Task, perform, run_in_child
from flin.bench.comparison import Comparison, store_names
from flin.bench.figures import median_ratio, percentile, percentiles
from flin.bench.progress import Progress
from flin.bench.row import LOAD, Row, WrongAnswerError
from flin.bench.rows import ROWS
from flin.bench.server_process import SERVERS, ServerError, ServerProcess, command_of
from flin.bench.target import Target
from flin.bench.workload import Workload
from flin.cli.main import main
from flin.testing.process import PATIENCE_SECONDS, is_alive, wait_until
from tests.bench.dict_store import DictStore

# Figures.


def test_percentiles_are_nearest_rank() -> None:
    samples = list(range(1, 1001))
    random.Random(1).shuffle(samples)
    assert percentiles(samples) == {"p50": 500, "p99": 990, "p99.9": 999, "max": 1000}
    assert percentiles([7], 1e-3) == {"p50": 0.007, "p99": 0.007, "p99.9": 0.007, "max": 0.007}
    assert percentile([1, 2, 3], 0.5) == 2
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_the_ratio_is_the_median_of_ratios_to_the_faster_peer() -> None:
    peers = {"a": [100.0, 10.0, 50.0], "b": [50.0, 20.0, 100.0]}
    assert median_ratio([200.0, 20.0, 300.0], peers) == 2.0  # of 2, 1 and 3
    assert median_ratio([1.0], {}) is None
    assert median_ratio([], peers) is None


def test_a_peer_that_missed_a_round_is_left_out_of_the_ratio() -> None:
    comparison = Comparison("row", "µs")
    for rate in (10.0, 20.0):
        comparison.add("flin", rate)
        comparison.add("steady", rate / 2)
    comparison.add("failed", 1000.0)
    assert comparison.ratio == 2.0
    assert comparison.to_json()["median"] == {"flin": 15.0, "steady": 7.5, "failed": 1000.0}


# Workload and rows.


def test_a_workload_is_the_same_for_every_store() -> None:
    one, two = Workload(100, 64), Workload(100, 64)
    assert one.keys == two.keys
    assert one.values == two.values
    assert sorted(one.keys) == one.sorted_keys == sorted(one.other_order)
    assert one.keys != one.other_order
    assert {len(key) for key in one.keys} == {16}
    assert {len(value) for value in one.values} == {64}
    assert not set(one.missing_keys) & set(one.keys)
    assert one.sorted_keys[0] < sorted(one.missing_keys)[0]
    assert len(one.hot_keys) == 100
    assert len(set(one.hot_keys)) == 1
    assert sum(map(len, Workload(2500, 10).batches)) == 2500


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_row_runs_and_counts(row: Row) -> None:
    workload = Workload(400, 20)
    row.uses(workload)
    calls: list[int] = []
    for spent in (None, calls):
        database = DictStore()
        if row.loaded:
            LOAD.run(database, workload, None)
        operations = row.run(database, workload, spent)
        assert 0 < operations <= 400
    if row.per_call:
        assert len(calls) == operations
        assert min(calls) >= 0


@pytest.mark.parametrize("name", ["readrandom", "readhot", "scan", "scanreverse", "seek+10"])
def test_a_store_that_loses_writes_is_found_out(name: str) -> None:
    workload = Workload(400, 20)
    database = DictStore(lose=2)
    LOAD.run(database, workload, None)
    with pytest.raises(WrongAnswerError):
        ROWS[name].run(database, workload, None)


def test_a_store_that_invents_keys_is_found_out() -> None:
    workload = Workload(50, 20)
    database = DictStore()
    for key in workload.missing_keys:
        database.put(key, b"")
    with pytest.raises(WrongAnswerError, match="were found"):
        ROWS["readmissing"].run(database, workload, None)


# Stores.


@pytest.mark.parametrize("name", store.STORES)
def test_a_store_does_what_the_rows_need(name: str, tmp_path: Path) -> None:
    if not store.is_installed(name):
        pytest.skip(f"{name} is not installed")
    database = store.open_store(name, str(tmp_path / "db"), 64 << 20)
    database.put_batch([(b"a", b"1"), (b"b", b"2")])
    database.put(b"c", b"3")
    database.put_synced(b"d", b"4")
    database.delete(b"a")
    assert database.get(b"a") is None
    assert database.get(b"d") == b"4"
    assert list(database.scan(reverse=False)) == [(b"b", b"2"), (b"c", b"3"), (b"d", b"4")]
    assert list(database.scan(reverse=True)) == [(b"d", b"4"), (b"c", b"3"), (b"b", b"2")]
    assert list(database.seek(b"bb", 1)) == [(b"c", b"3")]
    database.close()


def test_a_measurement_runs_in_a_child(tmp_path: Path) -> None:
    task = Task("flin", str(tmp_path / "db"), "fillrandom", 300, 20, 64 << 20, True)
    outcome = run_in_child(task, timeout=PATIENCE_SECONDS)
    assert outcome.operations == 300
    assert outcome.rate > 0
    assert outcome.latencies is not None
    again = perform(Task("flin", str(tmp_path / "db"), "readrandom", 300, 20, 64 << 20, False))
    assert again.operations == 300
    assert again.latencies is None


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ChildError, match="flin fillrandom: "):
        run_in_child(
            Task("flin", str(tmp_path / "file"), "fillrandom", 10, 20, 64 << 20, False), timeout=PATIENCE_SECONDS
        )


def test_rows_are_compared_in_turn(tmp_path: Path) -> None:
    settings = embedded.Settings(
        stores=("flin",),
        rows=("fillbatch", "readrandom"),
        value_sizes=(20,),
        count=200,
        rounds=2,
        latencies=True,
        rest_seconds=0.1,
    )
    said = io.StringIO()
    progress = Progress(settings.steps(), said)
    fill, read = embedded.compare(settings, str(tmp_path), progress)
    assert progress.done == settings.steps() == 6  # a load, two rounds of two rows, one round with latencies
    assert fill.name == "fillbatch 20 B"
    assert len(fill.rates["flin"]) == len(read.rates["flin"]) == 2
    assert not fill.latencies
    assert set(read.latencies["flin"]) == {"p50", "p99", "p99.9", "max"}
    assert said.getvalue().count("\n") == 6
    assert not list(tmp_path.iterdir())


def test_a_store_that_fails_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(task: Task) -> None:
        raise ChildError(f"{task.store}: broken")

    monkeypatch.setattr(embedded, "run_in_child", fail)
    settings = embedded.Settings(stores=("flin",), rows=("fillseq", "scan"), value_sizes=(20,), count=10, rounds=1)
    progress = Progress(settings.steps(), io.StringIO())
    fill, scan = embedded.compare(settings, str(tmp_path), progress)
    assert fill.failures == ["flin: flin: broken"] * 2
    assert scan.rates == {}
    assert progress.done == settings.steps()


# Reports.


def comparisons() -> list[Comparison]:
    row = Comparison("fillrandom 100 B", "µs", 1000, target=Target(2))
    row.add("rocksdict", 200_000.0)
    row.add("flin", 300_000.0)
    row.latencies["flin"] = {"p50": 1.234, "p99": 12.34, "p99.9": 1234.5, "max": 2000.0}
    return [row, Comparison("scan <1 KiB>", "µs")]


def test_the_table() -> None:
    assert store_names(comparisons()) == ["flin", "rocksdict"]
    text = report.table(comparisons())
    assert len({len(line) for line in text.splitlines()}) == 1
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert cells == ["fillrandom 100 B", "300,000", "200,000", "1.50", "2", "no"]
    assert text.splitlines()[-1].count(" - ") == 5


def test_latencies_have_a_table_of_their_own() -> None:
    rows = comparisons()
    rows[0].latencies["rocksdict"] = {"p50": 1.0, "p99": 9.0, "p99.9": 9.5, "max": 9.5}
    rates, latencies = report.tables(rows).split("\n\n")
    assert rates == report.table(rows)
    header, _, cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in latencies.splitlines())
    assert header == ["latency", "p50", "p99", "p99.9", "rocksdict p99"]
    assert cells == ["fillrandom 100 B", "1.23 µs", "12.3 µs", "1,234.5 µs", "9.00 µs"]


def test_the_page_fits_into_another() -> None:
    """As a section of the README: headings below its own, no line too long to read."""
    lines = report.markdown([("embedded", comparisons()), ("served", comparisons()[1:])]).splitlines()
    assert [line for line in lines if line.startswith("#")] == ["## Measured", "### embedded", "### served"]
    assert max(map(len, lines)) <= 120


def test_a_column_that_nothing_fills_is_left_out() -> None:
    row = Comparison("64 threads SET", "µs", published=1000.0)
    row.add("flin", 500.0)
    header, _, cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in report.table([row]).splitlines())
    assert header == ["operations/s", "flin", "published", "ratio"]
    assert cells == ["64 threads SET", "500", "1,000", "-"]


def test_the_document_is_json() -> None:
    rows = [comparison.to_json() for comparison in comparisons()]
    document = json.loads(json.dumps(report.document("rows", {"rounds": 1}, rows)))
    assert document["results"][0]["ratio_to_faster_peer"] == 1.5
    assert document["machine"]["cpus"] >= 1


def test_the_picture_is_xml() -> None:
    root = ElementTree.fromstring(picture.svg(comparisons()))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["the faster peer", "fillrandom 100 B", "1.50"]


def test_progress_says_how_far_it_is() -> None:
    said = io.StringIO()
    progress = Progress(2, said)
    progress.step("one")
    progress.step("two")
    assert [line.partition(",")[0] for line in said.getvalue().splitlines()] == ["[  1/2", "[  2/2"]


# Served.

REDIS_BENCHMARK_OUTPUT = """\
SET: rps=0.0 (overall: 0.0)\r====== SET ======
  100000 requests completed in 1.36 seconds

Latency by percentile distribution:
0.000% <= 0.543 milliseconds (cumulative count 2)
50.000% <= 1.607 milliseconds (cumulative count 50590)
99.805% <= 10.079 milliseconds (cumulative count 99806)
99.902% <= 10.839 milliseconds (cumulative count 99903)
100.000% <= 12.711 milliseconds (cumulative count 100000)

Cumulative distribution of latencies:
99.965% <= 12.103 milliseconds (cumulative count 99965)

Summary:
  throughput summary: 73313.78 requests per second
  latency summary (msec):
          avg       min       p50       p95       p99       max
        1.882     0.536     1.607     3.255     6.487    12.711
"""


def test_what_redis_benchmark_prints() -> None:
    result = served.parse(REDIS_BENCHMARK_OUTPUT)
    assert result.rate == 73313.78
    assert result.latencies == {"p50": 1.607, "p99": 6.487, "p99.9": 10.839, "max": 12.711}
    with pytest.raises(ServerError, match="no summary: Could not connect"):
        served.parse("Could not connect")


@pytest.mark.parametrize("name", SERVERS)
def test_servers_answer_and_are_compared(name: str, tmp_path: Path, needs_tool: Callable[[str], str]) -> None:
    needs_tool("redis-benchmark")
    if name != "flin":
        needs_tool(name)
    scene = served.Scene(4, 2, 10, ("set", "get"), 200)
    others = served.Scene(4, 1, 10, ("mget", "get"), 200, is_loaded=True, missing=0.02, reconnects=True)
    settings = served.Settings((name,), (scene, others), rounds=1)
    progress = Progress(settings.steps(), io.StringIO())
    rows = served.compare(settings, str(tmp_path), progress)
    assert [row.name for row in rows] == [
        "SET 4 connections pipeline 2 10 B",
        "GET 4 connections pipeline 2 10 B",
        "MGET 4 connections 10 B, 2% missing",
        "GET 4 connections 10 B, 2% missing",
    ]
    for row in rows:
        assert row.failures == []
        assert row.rates[name][0] > 0
        assert row.latencies[name]["p50"] > 0
        assert row.costs[name][0] >= 0
        assert row.generator[name][0] > 0
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ServerError, match=r"flin did not start: .*--no-such-option"):
        ServerProcess("flin", str(tmp_path / "data"), "--no-such-option").start()


def test_the_yardstick_is_durable() -> None:
    assert command_of("redis-server", 1, "d")[-6:] == ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    assert "interval" in command_of("flin", 1, "d")


def test_the_generator_reads_and_writes(tmp_path: Path) -> None:
    with ServerProcess("flin", str(tmp_path / "data")) as server:
        generator.fill(server.port, 100, 64)
        closed = generator.run(generator.Task("closed", server.port, 0.2, 100, 64, connections=2))
        assert closed.requests > 0
        writer = generator.start(generator.Task("write", server.port, 0.5, 100, 64, rate=1000))
        task = generator.Task("open", server.port, 0.5, 100, 64, connections=3, rate=400)
        outcome = generator.run(task)
        assert outcome.requests == 200
        assert outcome.unanswered == 0
        assert set(outcome.latencies) == set(outcome.late) == {"p50", "p99", "p99.9", "max"}
        assert generator.finish(writer, 60).requests >= generator.WRITE_PIPELINE
        missing = generator.Task("closed", server.port, 0.2, 1000, 64, connections=2)
        with pytest.raises(generator.UnexpectedReplyError):
            generator.run(missing)
        counters = compaction.counters(server.port)
        assert counters["connected_clients"] >= 1
        assert counters[compaction.COMPACTIONS_FIGURE] == counters[compaction.FLUSHES_FIGURE] == 0


def test_reads_while_compactions_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole procedure, too short to see a compaction, which it reports."""
    for name, value in {
        "PEAK_SECONDS": 0.2,
        "PEAK_REQUESTS": 500,
        "IDLE_SECONDS": 0.05,
        "WRITER_SLACK_SECONDS": 0.5,
    }.items():
        monkeypatch.setattr(compaction, name, value)
    settings = compaction.Settings(500, 64, 16 << 20, 4, write_rate=400, quiet_seconds=0.3, busy_seconds=0.3, rate=200)
    progress = Progress(compaction.STEPS, io.StringIO())
    result = compaction.run(settings, str(tmp_path), progress)
    assert progress.done == compaction.STEPS
    assert result.quiet.requests == result.busy.requests == 60
    assert result.quiet.unanswered == result.busy.unanswered == 0
    assert result.writer.requests > 0
    assert (result.compactions, result.enough) == (0, False)
    assert "during 0 compactions" in compaction.table(result)
    assert result.peak_memory_bytes > 1 << 20 or not memory.is_supported()
    assert compaction.to_json(result)["p99_ratio"] == result.p99_ratio
    assert not list(tmp_path.iterdir())


# Load.


def test_the_order_of_a_load_meets_every_key_once() -> None:
    for count in (1, 10, 1000, 4096):
        assert len({loader.key_at(position, count) for position in range(count)}) == count


@pytest.mark.skipif(not memory.is_supported(), reason="needs /proc/PID/smaps_rollup")
def test_private_memory_counts_children() -> None:
    """The child of a child holds 50 MB."""
    inner = "import time; data = bytearray(b'x' * 50_000_000); print('ready', flush=True); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pids = memory.descendants(process.pid)
        assert len(pids) == 2
        with memory.MemorySampler(process.pid) as sampler:
            while sampler.samples < 3:
                time.sleep(0.01)
        for pid in reversed(pids):
            os.kill(pid, 9)
    assert sampler.most_processes == 2
    assert 50_000_000 < sampler.peak_bytes < 200_000_000
    assert memory.private_bytes(process.pid) == 0  # its end has been waited for


@pytest.mark.slow
def test_a_load_is_killed_and_verified(tmp_path: Path) -> None:
    settings = load.Settings("flin", 50_000, 40, 16 << 20)
    progress = Progress(load.steps(1), io.StringIO())
    result = load.run(settings, str(tmp_path), progress)
    assert result.keys == 50_000
    assert result.files > 0
    assert result.rewritten_before_kill >= 20_000
    assert result.reopen_after_kill_seconds > 0
    assert progress.done == load.steps(1)
    assert "reopen after kill -9" in load.table([result])
    assert not list(tmp_path.iterdir())


# The command.


def test_bench_runs_the_rows_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--only",
        "embedded",
        "--rows",
        "fillseq,fillbatch",
        "--keys",
        "100",
        "--value-bytes",
        "30",
        "--rounds",
        "1",
    ]
    files = ["--json", str(tmp_path / "out.json"), "--svg", str(tmp_path / "out.svg"), "--scratch", str(tmp_path)]
    assert main(["bench", "--without", "rocksdict,plyvel", *arguments, *files]) == 0
    output = capsys.readouterr()
    assert "| fillbatch 30 B" in output.out
    assert "left]" in output.err
    document = json.loads((tmp_path / "out.json").read_text())
    assert [row["row"] for row in document["results"]] == ["fillseq 30 B", "fillbatch 30 B"]
    assert (tmp_path / "out.svg").read_text().startswith("<svg")


def test_bench_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "is_installed", lambda name: name == "flin")
    monkeypatch.setattr(served, "is_available", lambda: False)
    assert main(["bench", "--rows", "fillseq,plain", "--keys", "10", "--rounds", "1", "--value-bytes", "9"]) == 0
    errors = capsys.readouterr().err
    assert "flin bench: rocksdict is not installed: left out\n" in errors
    assert "flin bench: plyvel is not installed: left out\n" in errors
    assert "redis-benchmark is not installed" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rows", "fillnothing"],
        ["--value-bytes", "ten"],
        ["--scratch", "nowhere"],
        ["--keys", "0"],
        ["load", "--stores", "oracle"],
        ["compaction", "--seconds", "1_0"],
    ],
)
def test_bench_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    assert main(["bench", *arguments]) == 2


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")
@pytest.mark.parametrize(
    "words", ["--rows fillrandom", "--rows headline-served", "load --millions 1", "curves --curves values"]
)
def test_an_interrupted_bench_leaves_nothing(tmp_path: Path, words: str) -> None:
    """Neither its scratch directory nor a process."""
    if "served" in words and not served.is_available():
        pytest.skip("redis-benchmark is not installed")
    command = [sys.executable, "-m", "flin", "bench", *words.split(), "--scratch", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: any(tmp_path.rglob("data*")) and processes_of(process.pid), "a measurement")
            started = processes_of(process.pid)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 143, errors
    assert errors.endswith("flin: ended by SIGTERM\n")
    assert list(tmp_path.iterdir()) == []
    assert not any(map(is_alive, started))


def processes_of(pid: int) -> list[int]:
    return [found for found in memory.descendants(pid) if found != pid]
