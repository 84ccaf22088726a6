"""A node of a cluster: `flin serve --node-id`, from its directory to its end.

    1  its directory is locked, and says which node this is; a new node asks one that it is to join, or begins a cluster
    2  its ports are taken, and its member of etcd is started
    3  it writes down where it is (node_keys.py); whoever begins a cluster says how many groups there are
    4  threads show that it lives, and do the controller's work if that is its turn (controller.py)
    5  it starts a process for each group that it holds (node_supervisor.py), and serves the page

All up to 4 waits for etcd, as long as that takes: a node that is started again alone serves nothing before a majority
is there. A signal ends it then at once, since nothing is under way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import flin
from flin.cluster.etcd.etcd_member import QUOTA_BYTES, has_begun
from flin.cluster.joining import JoinAnswer, JoinError, JoinRequest, join
from flin.cluster.keys import Keys, NodeValue
from flin.cluster.log.log_keeper import KEEP_SECONDS, LogKeeper
from flin.cluster.node.controller import STEP_SECONDS, Controller
from flin.cluster.node.hub import Hub
from flin.cluster.node.node_addresses import check_addresses, client_host
from flin.cluster.node.node_directory import (
    WORKERS,
    NodeRecord,
    make_secret,
    read_record,
    read_secret,
    secret_path,
    write_record,
)
from flin.cluster.node.node_keys import Beat, ClusterError, begin, register, show_alive, waited
from flin.cluster.node.node_page import NodePage
from flin.cluster.node.node_supervisor import NodeSupervisor
from flin.cluster.node.old_copies import OldCopies
from flin.cluster.node.own_etcd import NodeEtcd, OwnMembership
from flin.cluster.node.succession import Succession
from flin.cluster.replica.checkpoint_giver import CheckpointGiver
from flin.cluster.replica.disk_room import room_of
from flin.cluster.slot_map import client_id
from flin.cluster.workers.assignment import shared
from flin.cluster.workers.groups import Group, slots_of, what_fills
from flin.cluster.workers.ports import WorkerSockets, bind_all
from flin.cluster.workers.supervisor import LOCK_SECONDS, locked
from flin.cluster.workers.workers_lock import workers_lock
from flin.cluster.workers.workers_page import WorkersPage
from flin.engine.disk.file_name import group_name, is_group_name
from flin.engine.disk.fs import OsFileSystem
from flin.net.cluster.board import Board, new_board
from flin.net.diagnostics import Diagnostics
from flin.net.pid_file import pid_file
from flin.net.settings.options import ConfigError, ServerOptions

if TYPE_CHECKING:
    from flin.admin.server import Page

logger = logging.getLogger(__name__)

JOIN_SECONDS: Final = 60.0
"""How long a node that joins waits for the other one: all may be started at the same moment."""

RETRY_SECONDS: Final = 0.3
ALIVE_SECONDS: Final = 1.0

NAME_BYTES: Final = 8
"""In random names: of a cluster, of a process."""


def serve_node(options: ServerOptions, page: Page, remark: str = "") -> int:
    """Be a node until SIGTERM or SIGINT. The exit code: 0 after a clean end. Before any worker is started it raises
    ConfigError, ClusterError, EtcdError, CertificatesError and what opening a directory raises; then WorkerError."""
    check_addresses(options)
    etcd = NodeEtcd(options)
    for number in (signal.SIGHUP, signal.SIGUSR1):  # till they are passed on
        signal.signal(number, signal.SIG_IGN)
    with Diagnostics(options, options.node_id) as diagnostics, ExitStack() as held:
        held.callback(locked(OsFileSystem(), options.dir).release)
        held.enter_context(pid_file(options.pidfile))
        lock = held.enter_context(workers_lock(options.dir, LOCK_SECONDS, WORKERS))
        path = secret_path(options.cluster_secret_file, options.dir)
        record, is_new, sockets = _recorded(options, path, etcd, held)
        secret = read_secret(path)
        held.callback(etcd.stop)
        store = etcd.start(record)
        keys = Keys(record.cluster)
        node = _node_value(options, sockets, etcd)
        if not record.is_joining and (is_new or etcd.is_own):  # it may have ended before it had done so
            waited(partial(begin, store, keys, record, node), "etcd" if is_new else "a majority of the cluster's etcd")
        waited(partial(register, store, keys, record, node, is_new=is_new), "a majority of the cluster's etcd")
        start, lost = secrets.token_hex(NAME_BYTES), options.replace_after
        membership = OwnMembership(etcd.maintenance, record, store, keys) if etcd.is_own else None
        controller = Controller(store, keys, record.node, start, membership, replace_seconds=lost, groups=record.groups)
        keeper = LogKeeper(
            store,
            etcd.maintenance,
            keys,
            quota_bytes=QUOTA_BYTES if etcd.is_own else options.etcd_quota,
            is_mine=lambda: controller.is_acting,
            defragments=etcd.is_own,
        )
        beats = (
            Beat(show_alive(store, keys, record.node, start, room_of(options.dir, options)), ALIVE_SECONDS, "alive"),
            Beat(controller.step, STEP_SECONDS, "controller"),
            Beat(keeper.step, KEEP_SECONDS, "log keeper"),
        )
        for act in (*(beat.join for beat in beats), store.close, *(beat.end for beat in beats)):
            held.callback(act)  # the last one is called first
        groups = _groups_of(options, record)
        context = None if etcd.certificates is None else etcd.certificates.server_context()
        workers_page = WorkersPage(page, options.dir, groups)
        giver = CheckpointGiver(options.dir, record.groups, workers_page.source)
        board = new_board(record.groups + 1)
        held.callback(os.close, board)
        links = None if etcd.certificates is None else etcd.certificates.client_context()
        hub = Hub(Board(board, record.groups + 1), record.groups, record.node, secret, links)
        asked = (lambda: keeper.room, workers_page.source, workers_page.waiting, giver, hub)
        node_page = NodePage(record, etcd, store, keys, controller, membership, *asked)
        page.extend(node_page.extension(secret), context)
        supervisor = NodeSupervisor(
            options,
            groups,
            sockets,
            lock,
            board,
            diagnostics,
            workers_page,
            _options_of(options, groups, sockets),
            record=record,
            controller=controller,
            etcd=etcd,
            secret=secret,
            old_copies=OldCopies(store, keys, record.node, groups),
            succession=Succession(store, keys, record.node, controller.away),
            hub=hub,
            remark=remark,
        )
        waited(supervisor.is_placed, "groups that this node is to hold")
        return asyncio.run(supervisor.run())


def _recorded(
    options: ServerOptions, secret: str, etcd: NodeEtcd, held: ExitStack
) -> tuple[NodeRecord, bool, list[WorkerSockets]]:
    """Which node this is, whether it is new, and its ports. If one is taken, that is told before anything is asked."""
    record = known_node(options, etcd.peer_url)
    if record is not None:
        return record, False, _bound(options, record.groups, held)
    etcd.check_ports()
    if not options.join:
        make_secret(secret)
        sockets = _bound(options, options.groups, held)
        cluster = f"c-{secrets.token_hex(NAME_BYTES)}"
        members = ((options.node_id, etcd.peer_url),) if etcd.is_own else ()
        record = NodeRecord(options.node_id, cluster, options.groups, options.replicas, cluster, members)
    else:
        look = JoinRequest(options.node_id, "", flin.__version__)
        groups = _ask(options, look, secret, etcd).groups
        sockets = _bound(options, groups, held)
        found = _ask(options, replace(look, peer_url=etcd.peer_url), secret, etcd)
        record = NodeRecord(
            options.node_id,
            found.cluster,
            found.groups,
            found.replicas,
            found.token,
            found.members,
            True,
            found.endpoints,
        )
    tell_what_is_fixed(options, record)
    write_record(options.dir, record)
    return record, True, sockets


def known_node(options: ServerOptions, peer_url: str) -> NodeRecord | None:
    """Which node the directory is of. None: it is new, or is to ask once more. ConfigError, ClusterError.

    peer_url: where its member of etcd is to be for others; empty: it uses one that others run."""
    record, directory = read_record(options.dir), Path(options.dir)
    if record is None:
        if (directory / "etcd").exists():
            raise ConfigError(f"{options.dir} has an etcd, but does not say whose: move it away, and begin again")
        if found := what_fills(OsFileSystem(), options.dir):
            raise ConfigError(
                f"{options.dir} holds {found}, and a node begins with an empty directory: give another --dir; "
                "docs/nodes.md says how a cluster gets the keys of a server (From one server to nodes)"
            )
        return None
    if record.node != options.node_id:
        raise ConfigError(f"{options.dir} is of the node {record.node}, not {options.node_id}")
    if record.members and not has_begun(directory):
        if any(is_group_name(each.name) for each in directory.iterdir()):  # it would begin with nothing, and answer
            raise ClusterError(
                f"the data of its etcd, {directory / 'etcd'}, is lost, and the other nodes count on it: at one of them "
                f"`flin cluster leave {record.node}`, remove {options.dir}, then let it join again. If no other node "
                f"is left: flin standalone {options.dir}"
            )
        if record.is_joining and options.join:
            logger.info("%s was admitted to the cluster, but its etcd was never started: it asks again", record.node)
            return None
    if problem := _other_etcd(record, peer_url):
        raise ConfigError(f"{options.dir}: {problem}")
    if options.join:
        logger.info("%s belongs to a cluster already: --join has no effect", record.node)
    tell_what_is_fixed(options, record)
    return record


def tell_what_is_fixed(options: ServerOptions, record: NodeRecord) -> None:
    """Say which of the given options the cluster has decided otherwise when it began."""
    given = dict(options.file_values) | dict(options.overridden)
    for name, fixed in (("groups", record.groups), ("replicas", record.replicas)):
        if name in given and getattr(options, name) != fixed:
            logger.warning("--%s %d has no effect: the cluster began with %d", name, getattr(options, name), fixed)


def _other_etcd(record: NodeRecord, peer_url: str) -> str:
    """Why its etcd cannot be there, if it cannot: the others go on where they know it to be."""
    before = dict(record.members).get(record.node, "")
    if before and peer_url != before:
        given = f"now it is to be at {peer_url}" if peer_url else "now --etcd is given"
        return (
            f"the other nodes know the etcd of {record.node} at {before}, and {given}: give the same --raft (and "
            f"--cluster-tls, or none) as before, or `flin cluster leave {record.node}`, remove the directory, and join"
        )
    if peer_url and not record.members and not (record.token and record.endpoints):
        return f"{record.node} uses an etcd that others run: give --etcd as before, not --raft"
    return ""


def _bound(options: ServerOptions, groups: int, held: ExitStack) -> list[WorkerSockets]:
    sockets = bind_all(replace(options, workers=groups))
    for each in sockets:
        held.callback(each.close)
    return sockets


def _ask(options: ServerOptions, request: JoinRequest, secret: str, etcd: NodeEtcd) -> JoinAnswer:
    """Ask the node that is to be joined, until it answers. ClusterError."""
    deadline = time.monotonic() + JOIN_SECONDS
    context = None if etcd.certificates is None else etcd.certificates.client_context()
    is_told = False
    while True:
        try:
            return join(options.join, request, read_secret(secret), context)
        except (JoinError, OSError, ConfigError) as error:
            is_final = isinstance(error, JoinError) and not error.is_passing
            if is_final or time.monotonic() >= deadline:
                raise ClusterError(f"cannot join the cluster by {options.join}: {error}") from error
            if not is_told:
                logger.info("waiting for %s, for %g s at most: %s", options.join, JOIN_SECONDS, error)
            is_told = True
            time.sleep(RETRY_SECONDS)


def _node_value(options: ServerOptions, sockets: list[WorkerSockets], etcd: NodeEtcd) -> NodeValue:
    ports = tuple((group, each.port, each.tls_port) for group, each in enumerate(sockets))
    host = client_host(options)
    raft = options.raft if etcd.has_member else ""
    name, _, value = options.label.partition("=")
    labels = ((name, value),) if name else ()
    return NodeValue(host, ports, options.http, etcd.client_url, raft, flin.__version__, labels)


def _groups_of(options: ServerOptions, record: NodeRecord) -> tuple[Group, ...]:
    """All groups, each with the place that this node's copy has."""
    return tuple(
        Group(
            group,
            client_id(record.cluster, record.node, group),
            *slots_of(group, record.groups),
            Path(options.dir, group_name(group)),
        )
        for group in range(record.groups)
    )


def _options_of(
    options: ServerOptions, groups: tuple[Group, ...], sockets: list[WorkerSockets]
) -> tuple[ServerOptions, ...]:
    """Those of each replica's process. What is for the whole server is divided, as among workers."""
    share = shared(replace(options, workers=len(groups)))
    return tuple(
        replace(
            share,
            dir=str(group.directory),
            port=each.port or each.tls_port,
            tls_port=None if options.tls_port is None else each.tls_port,
            pidfile="",
            workers=1,
        )
        for group, each in zip(groups, sockets, strict=True)
    )
