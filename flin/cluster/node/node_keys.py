"""What a node writes of itself in etcd, and what whoever begins a cluster does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from flin.cluster.etcd.key_value import Delete, Get, KeyValueError, KeyValueStore, ModRevision, Operation, Pair, Put
from flin.cluster.keys import AliveValue, ClusterValue, Keys, NodeValue
from flin.cluster.node.node_directory import NodeRecord
from flin.cluster.node.placement import placed, standing
from flin.cluster.slot_map import is_leaving
from flin.errors import CorruptionError, FlinError

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 3.0
RETRY_SECONDS: Final = 0.5
TELL_SECONDS: Final = 10.0
"""Between two lines of the log about what is waited for."""

Result = TypeVar("Result")


class ClusterError(FlinError):
    """This node cannot be part of the cluster; the text says why, and what to do."""


def begin(store: KeyValueStore, keys: Keys, record: NodeRecord, node: NodeValue) -> bool:
    """Make the cluster with this node alone, all in one transaction; True. Idempotent: nothing is done if it is there,
    or was (somebody has deleted what it says of itself, and others have copies). Raises KeyValueError."""
    replicas = placed(record.groups, record.replicas, standing([record.node]), {})
    puts: list[Operation] = [
        Put(keys.cluster, ClusterValue(record.groups, record.replicas).encode()),
        Put(keys.node(record.node), node.encode()),
        *(Put(keys.replicas(group), value.encode()) for group, value in replicas.items()),
    ]
    absent = [ModRevision(keys.cluster, 0), ModRevision(keys.node(record.node), 0)]
    store.txn(absent, puts, timeout=TIMEOUT_SECONDS)
    return True


def register(store: KeyValueStore, keys: Keys, record: NodeRecord, node: NodeValue, *, is_new: bool) -> bool:
    """Say where this node is now; True. is_new: it has just joined. Raises KeyValueError; ClusterError if it does not
    belong to the cluster any more."""
    key = keys.node(record.node)
    reads = Get(key), Get(keys.cluster), Get(keys.joining_node(record.node))
    there, cluster, joining = store.txn((), reads, timeout=TIMEOUT_SECONDS).found
    if not cluster.pairs:
        wanted = ClusterValue(record.groups, record.replicas).encode().decode()
        raise ClusterError(
            f"there is no cluster {record.cluster} in this etcd: --etcd or --raft names another one. If somebody has "
            f"deleted {keys.cluster.decode()} there, put {wanted}"
        )
    if not there.pairs and not is_new and not joining.pairs:  # one that joins may have ended before it came here
        raise ClusterError(
            f"{record.node} has left the cluster: remove its directory, and give --join if it is to join again"
        )
    revision = 0
    if there.pairs:
        old = _written(there.pairs[0], node)
        if replace(old, labels=node.labels, version=node.version) != replace(node, labels=node.labels):
            logger.warning(
                "this node was at %s %s before, and is at %s %s now", old.host, old.ports, node.host, node.ports
            )
        if is_leaving(old):
            raise ClusterError(
                f"{record.node} is leaving the cluster: finish that with flin cluster leave {record.node}"
            )
        revision = there.pairs[0].mod_revision
    puts = Put(key, node.encode()), Delete(keys.joining_node(record.node))
    if not store.txn([ModRevision(key, revision)], puts, timeout=TIMEOUT_SECONDS).succeeded:
        raise ClusterError(f"another process says that it is {record.node}, too: each node needs an id of its own")
    return True


def _written(pair: Pair, node: NodeValue) -> NodeValue:
    """What this node has said of itself; if somebody has changed that so that it is no value, it is put anew."""
    try:
        return NodeValue.of(pair)
    except CorruptionError as error:
        logger.warning("%s: it is put anew. If this node was leaving, say so again", error)
        return node


def waited(act: Callable[[], Result], what: str) -> Result:
    """What `act` gives, as soon as it gives what is true: etcd may have no majority yet. Ends by signals only."""
    told = -TELL_SECONDS
    while True:
        reason = ""
        try:
            found = act()
            if found:
                return found
        except KeyValueError as error:
            reason = f" ({error})"
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            logger.info("waiting for %s%s", what, reason)
        time.sleep(RETRY_SECONDS)


class Beat:
    """A thread that does something again and again, whatever etcd says to it."""

    def __init__(self, act: Callable[[], None], seconds: float, name: str) -> None:
        self._act = act
        self._seconds = seconds
        self._name = name
        self._ending = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name=f"flin-{name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Soon. It may be within a call to etcd, which has its bounds, and ends at once when the client is closed."""
        self._ending.set()

    def join(self) -> None:
        """Wait for that."""
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._act()
                self._is_failing = False
            except (KeyValueError, CorruptionError) as error:
                if not self._is_failing and not self._ending.is_set():
                    logger.warning("%s: %s", self._name, error)
                self._is_failing = True
            except Exception:  # the outermost frame of the thread, which goes on
                logger.exception("an unexpected exception in the thread %s", self._name)
            self._ending.wait(max(0.0, self._seconds - (time.monotonic() - began)))


def show_alive(
    store: KeyValueStore, keys: Keys, node: str, start: str, free_bytes: Callable[[], int]
) -> Callable[[], None]:
    """To be called each second: proof that the node reaches a majority. It tells how much room its disk has."""
    count = 0

    def put() -> None:
        nonlocal count
        count += 1
        put_alive = Put(keys.alive(node), AliveValue(count, start, free_bytes()).encode())
        store.txn((), (put_alive,), timeout=TIMEOUT_SECONDS)

    return put
