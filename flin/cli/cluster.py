"""`flin cluster`: what an operator does with a cluster of nodes."""

from __future__ import annotations

import argparse
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from flin.cli import exit_code
from flin.cli.parsing import Commands, UsageError, add_command
from flin.cluster.joining import JoinError, ask, post
from flin.cluster.node.node_directory import SECRET, read_secret
from flin.net.cluster.role import forming
from flin.net.settings.http_address import parse_http_address
from flin.net.settings.options import DEFAULT_DIR, ConfigError

SUMMARY = "how a cluster of nodes is, and who belongs to it"
DETAILS = """\
check         whether the copies of each group are equal: at the same moment, over all that is stored
status        which nodes there are, who leads which group, how far each copy is
leave NODE    the node gives away what it leads and has, then its vote, and ends; a dead one is replaced, if others can
move GROUP FROM TO   a copy of a group goes from one node to another
cancel GROUP  its move is given up, as long as the new copy does not count
certificates  makes an authority and a node's certificate for --cluster-tls, for tests: in DIR, good for these hosts

Any node may be asked: --http is its address. A node that is loopback's alone must be asked on its machine."""
EXAMPLES = """\
  flin cluster status
  flin cluster status --http localhost:8081 --json
  flin cluster check
  flin cluster leave node3
  flin cluster move 4 node1 node5
  flin cluster cancel 4
  flin cluster certificates tls 10.0.0.1 db1.example.com"""

ACTIONS: Final = ("status", "check", "leave", "move", "cancel", "certificates")

ACT_SECONDS: Final = 60.0
"""The node itself waits 20 s for what it has to be given away, and 10 s for etcd."""

STATUS_SECONDS: Final = 20.0


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "cluster", run, SUMMARY, DETAILS, EXAMPLES)
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help="see above")
    parser.add_argument("words", nargs="*", metavar="WORD", help="what is named above")
    parser.add_argument("--http", metavar="HOST:PORT", default="localhost:8080", help="of a node (default %(default)s)")
    parser.add_argument(
        "--cluster-secret-file", metavar="FILE", default=f"{DEFAULT_DIR}/{SECRET}", help="(default %(default)s)"
    )
    parser.add_argument("--cluster-tls", metavar="DIR", default="", help="the certificates of a cluster that has TLS")
    parser.add_argument("--json", action="store_true", help="status as a node tells it")


def run(arguments: argparse.Namespace) -> int:
    try:
        parse_http_address(arguments.http)
        actions = _status, _check, _leave, _move, _cancel, _certificates
        return actions[ACTIONS.index(arguments.action)](arguments)
    except (JoinError, ConfigError) as error:
        raise UsageError(error) from error
    except ValueError as error:
        raise UsageError(f"--http is {arguments.http!r}, {error}") from error


@contextmanager
def _asking(arguments: argparse.Namespace) -> Iterator[None]:
    """Around what speaks to a node, and nothing else: output that nobody reads any more is an OSError, too."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"no node answers at {arguments.http}: {error.strerror or error}; name one with --http HOST:PORT"
        ) from error


def _status(arguments: argparse.Namespace) -> int:
    found = _told_by_a_node(arguments)
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(status_lines(found)))
    return exit_code.PROBLEMS if problems_of(found) else exit_code.OK


def _told_by_a_node(arguments: argparse.Namespace) -> Any:
    if arguments.words:
        raise UsageError(f"{arguments.action} takes no words: --http says which node is asked")
    headers: dict[str, str] = {}
    host = parse_http_address(arguments.http)[0]
    if host not in ("localhost", "127.0.0.1", "::1"):  # there it is asked for
        headers["Authorization"] = f"Bearer {read_secret(arguments.cluster_secret_file).decode()}"
    with _asking(arguments):
        found = ask(arguments.http, "GET", "/cluster/status", b"", headers, _context(arguments), STATUS_SECONDS)
    return json.loads(found)


def _check(arguments: argparse.Namespace) -> int:
    """PROBLEMS if copies differ, or cannot be compared."""
    from flin.cluster.replica.comparing import Asked, compared

    found = _told_by_a_node(arguments)
    asked = Asked(read_secret(arguments.cluster_secret_file), _context(arguments))
    addresses = {name: node["http"] for name, node in found["nodes"].items()}
    code = exit_code.OK
    for each in found["groups"]:
        group, leader = each["group"], each["leader"]
        if leader is None:
            print(f"group {group}: nobody leads it, so it cannot be compared")
            code = exit_code.PROBLEMS
            continue
        result = compared(asked, group, leader, sorted(each["replicas"]), addresses)
        if result.is_equal:
            print(f"group {group}: {len(result.digests)} copies are equal at entry {result.entry}")
            continue
        code = exit_code.PROBLEMS
        digests = ", ".join(f"{name} {value}" for name, value in sorted(result.digests.items()))
        print(f"group {group}: {result.problem or f'DIFFERENT at entry {result.entry}: {digests}'}", flush=True)
    return code


def _leave(arguments: argparse.Namespace) -> int:
    if len(arguments.words) != 1:
        raise UsageError("name the node that is to leave: flin cluster leave NODE")
    left: list[int] = []
    while (told := _done(arguments, "leave", {"node": arguments.words[0]}))["left"] is None:
        if told["groups"] != left:
            left = told["groups"]
            print(f"{arguments.words[0]} still has the groups {' '.join(map(str, left))}", flush=True)
    print(f"{told['left']} has left; there are {' '.join(told['nodes'])}")
    return exit_code.OK


def _move(arguments: argparse.Namespace) -> int:
    if len(arguments.words) != 3 or not arguments.words[0].isdecimal():
        raise UsageError("name a group and two nodes: flin cluster move GROUP FROM TO")
    group, giver, taker = arguments.words
    _done(arguments, "move", {"group": int(group), "from": giver, "to": taker})
    print(f"group {group}: a copy moves from {giver} to {taker}; flin cluster status says how far it is")
    return exit_code.OK


def _cancel(arguments: argparse.Namespace) -> int:
    if len(arguments.words) != 1 or not arguments.words[0].isdecimal():
        raise UsageError("name the group whose move is to be given up: flin cluster cancel GROUP")
    told = _done(arguments, "cancel", {"group": int(arguments.words[0])})
    print(f"group {told['group']}: it does not move; copies are on {' '.join(told['nodes'])}")
    return exit_code.OK


def _done(arguments: argparse.Namespace, what: str, body: dict[str, Any]) -> Any:
    secret, data = read_secret(arguments.cluster_secret_file), json.dumps(body).encode()
    with _asking(arguments):
        found = post(arguments.http, f"/cluster/{what}", data, secret, _context(arguments), ACT_SECONDS)
    return json.loads(found)


def _certificates(arguments: argparse.Namespace) -> int:
    if not arguments.words:
        raise UsageError("name a directory, and hosts: flin cluster certificates DIR HOST…")
    from flin.cluster.etcd.certificates import make_certificates

    directory, *hosts = arguments.words
    made = make_certificates(directory, hosts)
    print(f"{made.authority}, {made.certificate} and {made.key}: --cluster-tls {directory}")
    return exit_code.OK


def _context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if not arguments.cluster_tls:
        return None
    from flin.cluster.etcd.certificates import read_certificates

    return read_certificates(arguments.cluster_tls).client_context()


def problems_of(found: dict[str, Any]) -> list[str]:
    """What somebody should look at, of a node's answer."""
    problems = [f"{name} does not show itself" for name, node in found["nodes"].items() if node["is_away"]]
    problems += [f"group {each['group']} has no leader" for each in found["groups"] if each["leader"] is None]
    problems += [f"group {group} of {found['asked']} {what}" for group, what in found["waiting"].items()]
    problems += [
        f"group {each['group']}: {name}'s replica is not there; --http {found['nodes'][name]['http']} says why"
        for each in found["groups"]
        for name in each["missing"]
        if name != found["asked"] and name in found["nodes"] and not found["nodes"][name]["is_away"]
    ]
    problems += [
        f"{name} is given no copies for now: it could not take group {each['group']}, since {each['why']}"
        for name, each in found.get("refused", {}).items()
    ]
    if text := forming(len(found["voting"])):
        problems.append(f"{text}: the loss of one node is the loss of all")
    problems += [f"etcd of {each['node']}: {each['error']}" for each in found["etcd"] if "error" in each]
    problems += [f"etcd of {each['node']}: {text}" for each in found["etcd"] for text in each.get("errors", ())]
    return problems


def status_lines(found: dict[str, Any]) -> list[str]:
    """A node's answer, for people."""
    led: dict[str, list[str]] = {name: [] for name in found["nodes"]}
    for each in found["groups"]:
        if each["leader"] is not None:
            led.setdefault(each["leader"], []).append(str(each["group"]))
    etcd = {each["node"]: each for each in found["etcd"]}
    lines = [f"cluster {found['cluster']}, as {found['asked']} sees it", ""]
    rows = [("node", "clients", "votes", "leads groups", "etcd")]
    for name, node in found["nodes"].items():
        votes = "yes" if name in found["voting"] else "learns" if name in found["learning"] else "no"
        place = f"{node['host']}:{node['ports'][0]}" if node["ports"] else node["host"]
        rows.append((name, place, votes, " ".join(led[name]) or "none", _etcd_cell(etcd.get(name))))
    lines += _table(rows)
    rows = [("group", "leader", "epoch", "next entry", "in tables")]
    for each in found["groups"]:
        tables = " ".join(f"{name}:{index}" for name, index in sorted(each["replicas"].items()))
        leader = each["leader"] or "nobody"
        rows.append((str(each["group"]), leader, str(each["epoch"]), str(each["index"]), tables))
    lines += ["", *_table(rows), ""]
    lines += [f"group {each['group']}: {_move_cell(each['move'])}" for each in found["groups"] if each["move"]]
    return lines + (problems_of(found) or ["all is well"])


def _move_cell(move: dict[str, str]) -> str:
    giver, taker = move["from"] or "nobody", move["to"]
    if taker:
        return f"{taker} makes a copy, in place of that on {giver}"
    return f"the copy on {giver} goes, when the others are abreast and it does not lead"


def _etcd_cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none"
    if "error" in found:
        return "away"
    leads = ", leads" if found["leads"] else ""
    return f"{found['version']}, {found['size_bytes'] >> 20} MiB{leads}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
