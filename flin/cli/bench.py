"""`flin bench`: compares the speed of Flin with its peers (flin/bench/ does the work)."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flin.cli import exit_code
from flin.cli.parsing import Commands, Parser, UsageError, add_command, positive, size

if TYPE_CHECKING:
    from flin.bench import plan
    from flin.bench.comparison import Result

SUMMARY = "compare the speed of Flin with its peers, in turn in one run"
DETAILS = """\
Without WHAT it measures engines inside a Python process (Flin, rocksdict, plyvel) and servers (flin serve, and
redis-server with its append-only file on). Peers that are not installed are left out; redis-server needs
redis-benchmark. A run takes some 30 minutes, with --quick under two.

Each measurement has a fresh process and directory. The ratio is Flin's rate divided by the faster peer's, the
median of the rounds. All engines have a WAL and do not sync each write, unless the row says so. rocksdict and
plyvel get the same memory as Flin, and a Bloom filter. Percentiles are those of single operations. The tables go to
stdout, progress to stderr.

  flin bench compaction   the latency of GETs while compactions run
  flin bench pauses       the latency of GETs and SETs beside flushes and merges, and the causes of pauses
  flin bench curves       how costs grow with keys, shards, value sizes, connections and history, as pictures
  flin bench steps        where the time goes: the steps of each operation, in nanoseconds
  flin bench types        the cost of commands over collections, beside SET and GET and beside redis-server
  flin bench pubsub       the cost of a message to nobody, one or many subscribers, beside redis-server
  flin bench nodes        what replication on three nodes costs, beside one server that syncs each write
  flin bench transactions the cost of transactions beside plain writes, alone and in threads
  flin bench encryption   the cost of an encrypted database beside a plain one
  flin bench backup       the cost of checkpoints, backups and restores, and what writers notice of them
  flin bench load         memory, time and files for millions of keys; time to reopen, also after kill -9
  flin bench scale        the same for a whole life of many keys or bytes: load, overwrite, delete; resumable"""
EXAMPLES = """\
  flin bench --quick
  flin bench --rows fillrandom,ycsb-a,sustained --rounds 5
  flin bench --json bench.json --svg bench.svg --markdown bench.md
  flin bench compaction
  flin bench load --millions 5 --memory-limit 256mb"""


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "bench", run, SUMMARY, DETAILS, EXAMPLES)
    _add_common(parser)
    parser.add_argument("--quick", action="store_true", help="fewer keys, sizes, rounds and rows: under two minutes")
    parser.add_argument("--only", choices=("embedded", "served"), help="measure only this part")
    parser.add_argument("--rows", metavar="ROW,…", help="rows to measure (default: all); an unknown row lists them all")
    parser.add_argument(
        "--keys", type=positive, metavar="N", help="number of keys of the embedded rows (default 200000) and of `open`"
    )
    parser.add_argument("--value-bytes", metavar="N,…", help="value sizes of the embedded rows (default 100,1024)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="number of rounds (default 3)")
    parser.add_argument("--no-latencies", action="store_true", help="skip the extra round that times every call")
    parser.add_argument(
        "--peers-as-they-come", action="store_true", help="run rocksdict and plyvel with their own defaults"
    )
    parser.add_argument("--svg", metavar="FILE", help="write a picture of the ratios")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as a Markdown page")
    # Not required: without WHAT the rows of the table run.
    more = parser.add_subparsers(title="further measurements", metavar="WHAT")
    _add_compaction(more)
    _add_pauses(more)
    _add_curves(more)
    _add_steps(more)
    _add_types(more)
    _add_pubsub(more)
    _add_nodes(more)
    _add_transactions(more)
    _add_encryption(more)
    _add_backup(more)
    _add_load(more)
    _add_scale(more)


def _add_common(parser: Parser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write all measurements as JSON")
    parser.add_argument(
        "--scratch", metavar="DIR", help="directory for the databases (default: the temporary directory)"
    )
    parser.add_argument(
        "--memory-limit", type=size, metavar="SIZE", help="memory of each engine (default 256mb; compaction 128mb)"
    )
    parser.add_argument("--without", default="", metavar="PEER,…", help="peers to leave out")


def _add_rounds(parser: Parser, quick: str, rounds: int) -> None:
    """For measurements that do all rows in turn, round by round."""
    _add_common(parser)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"number of rounds (default {rounds})")


def _add_compaction(more: Commands) -> None:
    details = """\
Finds the peak rate of GETs with 50 connections. Then it sends GETs at half of that rate, first alone and then while
a writer forces at least three compactions. The latency of a request counts from the time at which it was due."""
    examples = "  flin bench compaction --seconds 60 --write-rate 5000"
    parser = add_command(
        more, "compaction", run_compaction, "the latency of GETs while compactions run", details, examples
    )
    _add_common(parser)
    parser.add_argument(
        "--keys", type=positive, metavar="N", help="number of keys, with values of 1 KiB (default 50000)"
    )
    parser.add_argument("--seconds", type=positive, metavar="N", help="seconds with the writer (default 60)")
    parser.add_argument("--write-rate", type=positive, metavar="N", help="SETs per second (default 5000)")
    parser.add_argument("--rate", type=positive, metavar="N", help="GETs per second (default: half of the peak)")


def _add_pauses(more: Commands) -> None:
    details = """\
Sends GETs and SETs to both servers in turn, at half of Flin's peak: first with so few SETs that nothing runs in the
background, then with so many that flushes and merges follow each other; to Redis once more while it rewrites its
append-only file. The latency of a request counts from the time at which it was due. Where perf may record (for root,
mostly), the turns of the event loop that take longer than 2 ms are divided by cause. Takes three minutes."""
    examples = "  flin bench pauses --rounds 3 --rate 6000"
    parser = add_command(
        more, "pauses", run_pauses, "pauses beside flushes and merges, and their causes", details, examples
    )
    _add_common(parser)
    parser.add_argument(
        "--keys", type=positive, metavar="N", help="number of keys, with values of 1 KiB (default 50000)"
    )
    parser.add_argument("--seconds", type=positive, metavar="N", help="seconds of each phase (default 15)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="number of rounds (default 2)")
    parser.add_argument("--rate", type=positive, metavar="N", help="requests per second (default: half of the peak)")
    parser.add_argument("--write-percent", type=positive, metavar="N", help="SETs among them (default 30)")


def _add_curves(more: Commands) -> None:
    details = """\
Measures six curves: the cost of one operation with 100,000 to 30 million keys, with 1 to 64 shards, with values of
10 B to 1 MB, with 1 to 1,000 connections, after 1,000 to 64,000 range deletes and takes from a queue, and while five
million pushes and pops pass through a server's queues. Each becomes an SVG. It takes three quarters of an hour and up
to 8 GB of disk.
The first curve stops at --most-keys, and begins no new size after a quarter of an hour."""
    examples = "  flin bench curves --quick\n  flin bench curves --curves keys --most-keys 3000000 --pictures ."
    parser = add_command(
        more, "curves", run_curves, "how the cost of an operation grows with the data and the load", details, examples
    )
    _add_common(parser)
    parser.add_argument("--quick", action="store_true", help="only a few small sizes: half a minute")
    parser.add_argument(
        "--curves", metavar="CURVE,…", help="any of keys, shards, values, connections, history, queues (default: all)"
    )
    parser.add_argument("--most-keys", type=positive, metavar="N", help="largest number of keys (default 30000000)")
    parser.add_argument("--pictures", metavar="DIR", help="directory for keys.svg and the other pictures")


def _add_steps(more: Commands) -> None:
    details = """\
Measures single steps of a put, a batch, a hot and a cold get, a scan, a served SET and GET, a flush and a merge, by
calling the engine's own functions in this process. Each figure is the best of some repeats. Takes half a minute."""
    examples = "  flin bench steps --operations put,'cold get'"
    parser = add_command(more, "steps", run_steps, "where the time goes, in nanoseconds", details, examples)
    _add_common(parser)
    parser.add_argument(
        "--operations", metavar="WORD,…", help="operations to measure (default: all); an unknown one lists them all"
    )


def _add_types(more: Commands) -> None:
    details = """\
Sends commands to collections of 100,000 elements with redis-benchmark, without a pipeline and in pipelines of 16, to
both servers in turn. Costs are processor time of the server's own process for a request; "times base" divides them
by that of SET (writes) or GET (reads), "of GET's" the ratio to Redis by that of GET. Takes about five minutes."""
    examples = "  flin bench types --rows LPUSH,RPOP --rounds 5"
    parser = add_command(more, "types", run_types, "the cost of commands over collections", details, examples)
    _add_common(parser)
    parser.add_argument("--quick", action="store_true", help="small collections, one round: a quarter of a minute")
    parser.add_argument("--rows", metavar="ROW,…", help="rows to measure (default: all); an unknown one lists them all")
    parser.add_argument("--rounds", type=positive, metavar="N", help="number of rounds (default 3)")


def _add_pubsub(more: Commands) -> None:
    details = """\
Publishes messages of 64 bytes with redis-benchmark over 50 connections, without a pipeline and in pipelines of 16, to
both servers in turn, while nobody, one client, 100 or 1,000 clients are subscribed. Costs are processor time of the
server's own process for each message that somebody gets. Takes about two minutes."""
    examples = "  flin bench pubsub --rounds 5"
    parser = add_command(more, "pubsub", run_pubsub, "the cost of messages to subscribers", details, examples)
    _add_rounds(parser, "few messages, one round: some seconds", 3)


def _add_nodes(more: Commands) -> None:
    details = """\
Starts three nodes on this machine, with one group and with six, and one server with --sync always, in turn: rates with
64 and 256 connections, and the processor time of Flin's processes and of etcd's for a request. Takes some minutes."""
    parser = add_command(more, "nodes", run_nodes, "what replication costs", details, "  flin bench nodes --rounds 5")
    _add_rounds(parser, "few requests, one round: a minute", 3)


def _add_transactions(more: Commands) -> None:
    details = """\
Puts, batches and transactions on one engine in this process, in turn: the processor time of one operation, and how
often a transaction was tried when four threads change any of many keys, or all the same one. Takes half a minute."""
    examples = "  flin bench transactions --rounds 9"
    parser = add_command(more, "transactions", run_transactions, "the cost of transactions", details, examples)
    _add_rounds(parser, "few operations, one round: a second", 5)


def _add_encryption(more: Commands) -> None:
    details = """\
Writes, reads, scans and opens a plain and an encrypted database in this process, in turn: the processor time of one
operation, by all threads together, those of flushes and merges included. Takes two minutes."""
    examples = "  flin bench encryption --rounds 9"
    parser = add_command(more, "encryption", run_encryption, "the cost of encryption", details, examples)
    _add_rounds(parser, "few operations, one round: some seconds", 3)


def _add_backup(more: Commands) -> None:
    details = """\
Makes checkpoints, backups and restores of 200,000 values of 1 KB, and puts while checkpoints are made. Takes a quarter
of a minute."""
    parser = add_command(more, "backup", run_backup, "the cost of copies", details, "  flin bench backup --rounds 9")
    _add_rounds(parser, "few keys, one round: a second", 5)


def _add_load(more: Commands) -> None:
    details = """\
Writes keys of 100 bytes, one put at a time. Samples the private memory of all processes ten times a second, counts
files and bytes, and times a reopen after a clean close and another one after kill -9 in the middle of writing."""
    examples = "  flin bench load --millions 1 --stores flin,rocksdict"
    parser = add_command(more, "load", run_load, "memory, time and files of millions of keys", details, examples)
    _add_common(parser)
    parser.add_argument(
        "--millions", type=float, default=5.0, metavar="N", help="number of keys, in millions (default 5)"
    )
    parser.add_argument("--stores", default="flin", metavar="STORE,…", help="any of flin (default), rocksdict, plyvel")


def _add_scale(more: Commands) -> None:
    details = """\
Writes keys, one put at a time, opens them again, overwrites half and deletes a quarter, is killed with -9 in the middle
of that. Shows time, peak memory of all processes, files, descriptors, the disk against the data, the largest job and
bytes written per byte given. With --directory it keeps the data, and an interrupted run goes on where it was."""
    examples = """\
  flin bench scale --keys 50000000 --directory /var/tmp/scale
  flin bench scale --data 20gb --value-bytes 65536 --minutes 10"""
    parser = add_command(more, "scale", run_scale, "load, kill, overwrite and delete many keys", details, examples)
    _add_common(parser)
    parser.add_argument("--keys", type=positive, metavar="N", help="number of keys (default 1000000)")
    parser.add_argument("--data", type=size, metavar="SIZE", help="bytes of keys and values, instead of --keys")
    parser.add_argument("--value-bytes", type=positive, default=100, metavar="N", help="size of a value (default 100)")
    parser.add_argument("--minutes", type=positive, metavar="N", help="end the load then, with the keys it has by then")
    parser.add_argument("--directory", metavar="DIR", help="directory to keep, to go on after an interruption")
    parser.add_argument("--store", default="flin", metavar="STORE", help="flin (default), rocksdict or plyvel")


def run(arguments: argparse.Namespace) -> int:
    from flin.bench import plan, report
    from flin.bench.progress import Progress

    parts = plan.parts(_choice(arguments))
    progress = Progress(seconds=sum(part.settings.seconds() for part in parts))
    results: list[tuple[plan.Memtable, list[Result]]] = []
    with _scratch(arguments) as scratch:
        progress.say(f"{sum(part.settings.steps() for part in parts)} measurements")
        for part in parts:
            found = part.run(scratch, progress)
            print(f"{part.name}\n\n{report.tables(found)}\n", flush=True)
            results.append((part, found))
            _write_rows(arguments, results)  # at once: an interrupted run leaves its results so far
    failures = [failure for _, found in results for result in found for failure in result.failures]
    for failure in failures:
        _say(failure)
    return exit_code.PROBLEMS if failures else exit_code.OK


def _write_rows(arguments: argparse.Namespace, results: list[tuple[plan.Memtable, list[Result]]]) -> None:
    from flin.bench import picture, report
    from flin.bench.comparison import Comparison

    everything = [result for _, found in results for result in found]
    settings = {part.name: part.to_json() for part, _ in results}
    _write_json(arguments, report.document("rows", settings, [result.to_json() for result in everything]))
    if arguments.svg:
        Path(arguments.svg).write_text(picture.svg([result for result in everything if isinstance(result, Comparison)]))
    if arguments.markdown:
        Path(arguments.markdown).write_text(report.markdown([(part.name, found) for part, found in results]))


def _choice(arguments: argparse.Namespace) -> plan.Choice:
    from flin.bench import plan, served, server_process, store

    without = _names(arguments.without)
    choice = plan.Choice(
        stores=tuple(name for name in store.STORES if name not in without),
        servers=tuple(name for name in server_process.SERVERS if name not in without),
        rows=_known(_names(arguments.rows), plan.ALL_ROWS, "row") if arguments.rows else (),
        only=arguments.only,
        quick=arguments.quick,
        count=arguments.keys,
        value_sizes=_sizes(arguments.value_bytes),
        rounds=arguments.rounds,
        memory_bytes=arguments.memory_limit,
        latencies=not arguments.no_latencies,
        tuned=not arguments.peers_as_they_come,
    )
    rows = choice.chosen()
    if not rows:
        raise UsageError(f"there is no row {arguments.rows} among those of --only {arguments.only}")
    if any(row in plan.EMBEDDED_ROWS for row in rows):
        choice = replace(choice, stores=_installed(choice.stores, store.is_installed))
    if any(row in plan.NEED_REDIS_BENCHMARK for row in rows):
        if served.is_available():
            return replace(choice, servers=_installed(choice.servers, server_process.is_installed))
        left_out = [row for row in rows if row in plan.NEED_REDIS_BENCHMARK]
        _say(f"{served.PROGRAM} is not installed (Debian: apt install redis-tools): left out: {', '.join(left_out)}")
        rest = tuple(row for row in rows if row not in left_out)
        if not rest:
            raise UsageError("nothing is left to be measured")
        choice = replace(choice, rows=rest)
    return choice


def run_compaction(arguments: argparse.Namespace) -> int:
    from flin.bench import compaction, report
    from flin.bench.progress import Progress

    defaults = compaction.Settings()
    settings = compaction.Settings(
        count=arguments.keys or defaults.count,
        memory_bytes=arguments.memory_limit or defaults.memory_bytes,
        write_rate=arguments.write_rate or defaults.write_rate,
        busy_seconds=arguments.seconds or defaults.busy_seconds,
        rate=arguments.rate,
    )
    with _scratch(arguments) as scratch:
        result = compaction.run(settings, scratch, Progress(compaction.STEPS))
    print(compaction.table(result))
    _write_json(arguments, report.document("compaction", asdict(settings), compaction.to_json(result)))
    if not result.enough:
        _say(f"fewer than {compaction.COMPACTIONS} compactions, or requests without an answer: raise --seconds")
        return exit_code.PROBLEMS
    return exit_code.OK


def run_pauses(arguments: argparse.Namespace) -> int:
    from flin.bench import pauses, report, server_process
    from flin.bench.progress import Progress

    defaults = pauses.Settings()
    names = [name for name in defaults.servers if name not in _names(arguments.without)]
    settings = pauses.Settings(
        servers=_installed(names, server_process.is_installed),
        count=arguments.keys or defaults.count,
        memory_bytes=arguments.memory_limit or defaults.memory_bytes,
        write_share=(arguments.write_percent or 100 * defaults.write_share) / 100,
        seconds=arguments.seconds or defaults.seconds,
        rounds=arguments.rounds or defaults.rounds,
        rate=arguments.rate,
    )
    if not settings.servers:
        raise UsageError("nothing is left to be measured")
    with _scratch(arguments) as scratch:
        result = pauses.run(settings, scratch, Progress(settings.steps()))
    print(pauses.table(result))
    _write_json(arguments, report.document("pauses", asdict(settings), pauses.to_json(result)))
    if result.unanswered:
        _say(f"{result.unanswered} requests without an answer")
        return exit_code.PROBLEMS
    return exit_code.OK


def run_curves(arguments: argparse.Namespace) -> int:
    from flin.bench import curve, curves, report, served, server_process
    from flin.bench.progress import Progress

    settings = curves.QUICK if arguments.quick else curves.Settings()
    chosen = _known(_names(arguments.curves), curves.CURVES, "curve")
    if "connections" in chosen and not served.is_available():
        _say(f"{served.PROGRAM} is not installed (Debian: apt install redis-tools): left out: connections")
        chosen = tuple(name for name in chosen if name != "connections")
    names = [name for name in settings.servers if name not in _names(arguments.without)]
    servers = _installed(names, server_process.is_installed) if "connections" in chosen else ()
    most = arguments.most_keys or max(settings.counts)
    counts = tuple(count for count in settings.counts if count <= most) or (most,)
    memory_bytes = arguments.memory_limit or settings.memory_bytes
    settings = replace(settings, curves=chosen, servers=servers, counts=counts, memory_bytes=memory_bytes)
    if arguments.pictures and not Path(arguments.pictures).is_dir():
        raise UsageError(f"{arguments.pictures} is not a directory")
    drawn = []
    with _scratch(arguments) as scratch:
        for one in curves.run(settings, scratch, Progress(settings.steps())):
            drawn.append(one)
            print(f"{report.aligned(curve.table(one))}\n", flush=True)
            _write_json(arguments, report.document("curves", asdict(settings), [each.to_json() for each in drawn]))
            if arguments.pictures and one.lines:
                (Path(arguments.pictures) / f"{one.name}.svg").write_text(curve.svg(one))
    failures = [failure for one in drawn for failure in one.failures]
    for failure in failures:
        _say(failure)
    return exit_code.PROBLEMS if failures else exit_code.OK


def run_steps(arguments: argparse.Namespace) -> int:
    from flin.bench import lab, steps
    from flin.bench.progress import Progress

    operations = _known(_names(arguments.operations), steps.OPERATIONS, "operation")
    number = sum(step.operation in operations for step in steps.STEPS)
    with _scratch(arguments) as scratch, lab.Lab(scratch) as made:
        measured = steps.run(made, Progress(number), operations)
    print(steps.table(measured))
    settings = {"keys": lab.KEYS, "value_bytes": lab.VALUE_BYTES, "operations": operations}
    problems = [one.problem for one in measured if one.problem]
    return _end(arguments, "steps", settings, [asdict(one) for one in measured], problems)


def run_types(arguments: argparse.Namespace) -> int:
    from flin.bench import type_costs

    rows = _known(_names(arguments.rows), type_costs.ROW_NAMES, "row")
    return _run_beside_redis(arguments, "types", type_costs, rows=rows)


def run_pubsub(arguments: argparse.Namespace) -> int:
    from flin.bench import pubsub

    return _run_beside_redis(arguments, "pubsub", pubsub)


def _run_beside_redis(arguments: argparse.Namespace, kind: str, measurement: Any, **changes: Any) -> int:
    from flin.bench import served, server_process
    from flin.bench.progress import Progress

    if not served.is_available():
        raise UsageError(f"{served.PROGRAM} is not installed (Debian: apt install redis-tools)")
    settings = measurement.QUICK if arguments.quick else measurement.Settings()
    names = [name for name in settings.servers if name not in _names(arguments.without)]
    settings = replace(
        settings,
        servers=_installed(names, server_process.is_installed),
        rounds=arguments.rounds or settings.rounds,
        **changes,
    )
    with _scratch(arguments) as scratch:
        result = measurement.run(settings, scratch, Progress(settings.steps()))
    print(measurement.table(settings, result))
    return _end(arguments, kind, asdict(settings), result.to_json(), result.failures)


def run_nodes(arguments: argparse.Namespace) -> int:
    from flin.bench import nodes

    if missing := nodes.missing():
        raise UsageError(missing)
    return _run_rounds(arguments, "nodes", nodes)


def run_transactions(arguments: argparse.Namespace) -> int:
    from flin.bench import transactions

    return _run_rounds(arguments, "transactions", transactions, memory_bytes=arguments.memory_limit)


def run_encryption(arguments: argparse.Namespace) -> int:
    from flin.bench import encryption

    return _run_rounds(arguments, "encryption", encryption)


def run_backup(arguments: argparse.Namespace) -> int:
    from flin.bench import backup

    return _run_rounds(arguments, "backup", backup)


def _run_rounds(arguments: argparse.Namespace, kind: str, measurement: Any, **changes: int | None) -> int:
    from flin.bench.progress import Progress

    given = {name: value for name, value in {"rounds": arguments.rounds, **changes}.items() if value}
    settings = replace(measurement.QUICK if arguments.quick else measurement.Settings(), **given)
    with _scratch(arguments) as scratch:
        result = measurement.run(settings, scratch, Progress(settings.steps()))
    print(measurement.table(result))
    return _end(arguments, kind, asdict(settings), result.to_json(), getattr(result, "failures", ()))


def _end(arguments: argparse.Namespace, kind: str, settings: Any, found: Any, failures: Sequence[str] = ()) -> int:
    from flin.bench import report

    _write_json(arguments, report.document(kind, settings, found))
    for failure in failures:
        _say(failure)
    return exit_code.PROBLEMS if failures else exit_code.OK


def run_load(arguments: argparse.Namespace) -> int:
    from flin.bench import load, store
    from flin.bench.progress import Progress

    wanted = _known(_names(arguments.stores), tuple(store.STORES), "store")
    names = _installed(wanted, store.is_installed)
    defaults = load.Settings()
    settings = [
        load.Settings(
            store=name,
            count=max(1, int(arguments.millions * 1_000_000)),
            memory_bytes=arguments.memory_limit or defaults.memory_bytes,
        )
        for name in names
    ]
    progress = Progress(load.steps(len(settings)))
    with _scratch(arguments) as scratch:
        results = [load.run(one, scratch, progress) for one in settings]
    print(load.table(results))
    return _end(arguments, "load", {"stores": [asdict(one) for one in settings]}, [asdict(each) for each in results])


def run_scale(arguments: argparse.Namespace) -> int:
    from flin.bench import scale, store
    from flin.bench.progress import Progress

    (name,) = _known([arguments.store], tuple(store.STORES), "store")
    if not store.is_installed(name):
        raise UsageError(f"{name} is not installed")
    defaults = scale.Settings()
    settings = scale.Settings(
        name,
        arguments.keys or defaults.count,
        arguments.value_bytes,
        arguments.memory_limit or defaults.memory_bytes,
        60.0 * (arguments.minutes or 0),
    )
    if arguments.data:
        settings = replace(settings, count=max(1, arguments.data // settings.pair_bytes))
    with _scratch(arguments) as scratch:
        directory = scale.make_directory(arguments.directory or scratch)
        try:
            note = scale.run(settings, directory, Progress(len(scale.STEPS)))
        except scale.OtherRunError as error:
            raise UsageError(str(error)) from None
    print(scale.table(note))
    return _end(arguments, "scale", asdict(settings), asdict(note))


@contextmanager
def _scratch(arguments: argparse.Namespace) -> Iterator[str]:
    """A directory that is removed at the end, whatever happens; processes that still write into it are killed first."""
    from flin.bench import processes

    if arguments.scratch is not None and not Path(arguments.scratch).is_dir():
        raise UsageError(f"--scratch: {arguments.scratch} is not a directory")
    with tempfile.TemporaryDirectory(prefix="flin-bench-", dir=arguments.scratch) as scratch:
        try:
            yield scratch
        except BaseException:
            processes.end_children()
            raise


def _installed(names: Iterable[str], is_installed: Callable[[str], bool]) -> tuple[str, ...]:
    """Those of the names that are installed. Prints one line for each other."""
    there = tuple(name for name in names if is_installed(name))
    for name in names:
        if name not in there:
            _say(f"{name} is not installed: left out")
    return there


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _known(names: list[str], known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The names; all known ones if none are given."""
    for name in names:
        if name not in known:
            raise UsageError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return tuple(names) or known


def _sizes(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(positive(size) for size in _names(text))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--value-bytes: {error}") from None


def _write_json(arguments: argparse.Namespace, document: dict[str, Any]) -> None:
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(document, indent=2) + "\n")


def _say(text: str) -> None:
    print(f"flin bench: {text}", file=sys.stderr)
