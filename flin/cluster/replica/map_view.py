"""The map of the cluster as a replica knows it: listed once, then kept up by a watch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from flin.cluster.etcd.key_value import Compacted, Event, KeyValueError, KeyValueStore, Unavailable, Watch, WatchBatch
from flin.cluster.keys import Keys, LeaderValue, ReplicasValue
from flin.cluster.slot_map import SlotMap, changed, endpoints_of, map_of, topology_of
from flin.cluster.workers.assignment import ReplicaPlace
from flin.errors import CorruptionError
from flin.net.cluster.topology import Node, Topology

logger = logging.getLogger(__name__)

LIST_SECONDS: Final = 2.0
"""How long one listing may take; it is asked for again."""

RETRY_SECONDS: Final = 0.2


class MapView:
    """`map` and `topology` are replaced as wholes, by the watch's thread."""

    topology: Topology

    def __init__(
        self,
        store: KeyValueStore,
        keys: Keys,
        place: ReplicaPlace,
        own: Node,
        on_leader: Callable[[], None],
        on_endpoints: Callable[[Sequence[str]], None] = lambda endpoints: None,
    ) -> None:
        """own: the replica's addresses. Told, in any thread: on_leader, when its group has another leader, or should
        have; on_endpoints, when etcd has other members."""
        self.map = SlotMap()
        self._store = store
        self._keys = keys
        self._place = place
        self._own = own
        self._on_leader = on_leader
        self._told = SlotMap()  # the map without what is known here before the watch tells
        self._leads: LeaderValue | None = None
        self._watch: Watch | None = None
        self._on_endpoints = on_endpoints
        self._endpoints = place.endpoints
        self._has_ended = threading.Event()
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """List and watch; once the cluster is there, the topology is. False: `give_up` or `end` was called meanwhile.
        What is no map is waited out: to end would end the node with all of its groups, which may well lead."""
        is_told = False
        while not self._has_ended.is_set():
            try:
                if self._list():
                    return True
            except Unavailable as error:  # for as long as no majority is there: told once
                if not is_told:
                    logger.warning("the map of the cluster cannot be read yet: %s", error)
                is_told = True
            except (CorruptionError, ValueError) as error:
                if not is_told:
                    logger.error("the map of the cluster cannot be used until it is put right: %s", error)
                is_told = True
            self._has_ended.wait(RETRY_SECONDS)
        return False

    def give_up(self) -> None:
        """Wait for the map no longer, if it has not come yet: etcd may never answer, if its node was killed."""
        if self._watch is None:
            self._has_ended.set()

    def lead(self, leader: LeaderValue) -> None:
        """This replica leads, whatever the watch has not told yet."""
        with self._lock:
            self._leads = leader
            self._set(self._told)

    def follow(self, leader: LeaderValue) -> None:
        """This replica has led, and follows this one, unless the watch has told of a later one."""
        group = self._place.group
        with self._lock:
            self._leads = None
            told = self._told.leaders.get(group)
            is_later = told is not None and told.epoch > leader.epoch
            leaders = self._told.leaders if is_later else {**self._told.leaders, group: leader}
            self._set(replace(self._told, leaders=leaders))

    def end(self) -> None:
        """Not from the watch's thread."""
        self._has_ended.set()
        if self._watch is not None:
            self._watch.cancel()

    def _list(self) -> bool:
        found = self._store.get(*self._keys.map, timeout=LIST_SECONDS)
        with self._lock:
            self._set(map_of(self._keys, found.pairs, self._place.groups))
            if self.map.cluster is None:
                return False
        self._watch = self._store.watch(*self._keys.map, found.revision + 1, self._receive)
        return True

    def _receive(self, told: WatchBatch | KeyValueError) -> None:
        if isinstance(told, WatchBatch):
            own = self._own_values
            with self._lock:
                self._change(told.events)
            if self._own_values != own:
                self._on_leader()
            return
        if not isinstance(told, Compacted):
            logger.error("the map of the cluster is watched no more: %s", told)
        threading.Thread(target=self.begin, name="map", daemon=True).start()

    def _change(self, events: Iterable[Event]) -> None:
        """One by one: what came with one that is damaged never comes again. What is known goes on to be told."""
        found = self._told
        for event in events:
            try:
                found = changed(found, self._keys, (event,), self._place.groups)
            except CorruptionError as error:
                logger.error("a change of the cluster's map is not understood: %s", error)
        try:
            self._set(found)
        except ValueError as error:
            logger.error("a change of the cluster's map is not understood: %s", error)

    @property
    def _own_values(self) -> tuple[LeaderValue | None, ReplicasValue | None]:
        group = self._place.group
        return self.map.leaders.get(group), self.map.replicas.get(group)

    def _set(self, found: SlotMap) -> None:
        self._told = found
        if self._leads is not None:
            found = replace(found, leaders={**found.leaders, self._place.group: self._leads})
        if found.cluster is not None:
            self.topology = topology_of(found, self._place.cluster, self._place.node, self._place.group, own=self._own)
        self.map = found
        endpoints = endpoints_of(found, self._place.node)
        if endpoints and endpoints != self._endpoints:
            self._endpoints = endpoints
            self._on_endpoints(endpoints)
