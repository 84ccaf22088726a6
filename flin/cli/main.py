"""The command line: runs the subcommand; an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import flin
from flin.cli import (
    backup,
    bench,
    check,
    checkpoint,
    cluster,
    compact,
    completion,
    du,
    dump,
    exit_code,
    export,
    grpc,
    importing,
    keys,
    repair,
    resize,
    restore,
    serve,
    standalone,
    stats,
)
from flin.cli.dashes import with_two_dashes
from flin.cli.failure import fail, report
from flin.cli.parsing import Parser, UsageError
from flin.cli.termination import Terminated, terminable
from flin.cli.unknown import unknown_text
from flin.engine.disk.fs import leave_standard_numbers
from flin.errors import FlinError

DESCRIPTION = """\
Flin: an embedded key-value engine, and a server that speaks the Redis protocol.

  flin serve                serve a database to Redis clients
  flin cluster ACTION       how a cluster of nodes is; nodes that leave it; certificates
  flin grpc                 answer gRPC in front of a running server
  flin checkpoint DIR NEW   make a second database of a closed one, at once
  flin backup DIR BACKUP    add a backup of a closed database to others
  flin restore BACKUP NEW   make a database of a backup
  flin export DIR FILE      write every key of a closed database into a file
  flin import FILE DIR      make a database of such a file
  flin get, put, delete, scan DIR …   single keys of a closed database
  flin resize DIR NEW       copy a database to another number of workers
  flin check DIR            read and verify a whole database, changing nothing
  flin standalone DIR       make plain databases of the replicas of a lost cluster
  flin repair DIR           save what is left of a damaged database into a new one
  flin dump FILE            show a WAL segment, an SSTable or a manifest
  flin stats DIR            print the figures of a database, changing nothing
  flin du DIR               print what its keys take on disk, by prefix
  flin compact DIR          make a database as small as possible
  flin bench                compare the speed of Flin with its peers
  flin completion SHELL     print a script that completes commands in a shell"""

EPILOG = f"""\
examples:
  flin serve --dir data --port 6380
  flin check data
  flin COMMAND --help

{exit_code.TABLE}"""


def parser() -> Parser:
    top = Parser(prog="flin", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"flin {flin.__version__}")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for module in (
        *(serve, cluster, grpc, resize, checkpoint, backup, restore, export, importing, keys),
        *(check, repair, standalone, dump, stats, du, compact, bench),
    ):
        module.add_parser(commands)
    completion.add_parser(commands, top)
    return top


def main(argv: Sequence[str] | None = None, begin: Callable[[], object] = lambda: None) -> int:
    """The exit code. begin: called once the words are understood, and Ctrl-C is a line and an exit code."""
    leave_standard_numbers()  # in a server started without standard streams, no client's socket gets their numbers
    words = with_two_dashes(sys.argv[1:] if argv is None else argv)
    try:
        arguments, unknown = parser().parse_known_args(words)
    except SystemExit as exit_request:  # argparse has printed the help, the version or an error
        return exit_request.code if isinstance(exit_request.code, int) else exit_code.USAGE
    if unknown:
        print(unknown_text(arguments.parser, unknown), file=sys.stderr)
        return exit_code.USAGE
    try:
        begin()
        # The server has handlers of its own.
        with nullcontext() if arguments.command == "serve" else terminable():
            code: int = arguments.run(arguments)
            if sys.stdout is not None:  # it was closed before the start
                sys.stdout.flush()
        return code
    except UsageError as error:
        return fail(error, exit_code.USAGE)
    except BrokenPipeError:
        return _abandon_output()
    except (FlinError, OSError) as error:
        return report(error)
    except KeyboardInterrupt:
        return fail("interrupted", exit_code.INTERRUPTED)
    except Terminated as error:
        return fail(f"ended by {signal.Signals(error.number).name}", exit_code.SIGNALLED + error.number)


def _abandon_output() -> int:
    """The reader of the output has gone (`flin dump … | head`): the buffered rest must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_code.BROKEN_PIPE
