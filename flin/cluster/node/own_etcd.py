"""A node's way to etcd: the member that it runs itself, or one that is there already; and who belongs to it.

Calls wait, and come from threads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flin.cluster.etcd.certificates import read_certificates
from flin.cluster.etcd.etcd import EtcdKeyValueStore
from flin.cluster.etcd.etcd_channels import FOREIGN_PING_SECONDS, Access
from flin.cluster.etcd.etcd_maintenance import EtcdMaintenance, Member
from flin.cluster.etcd.etcd_member import (
    CLIENT_PORT_OFFSET,
    EtcdMember,
    MemberOptions,
    await_ports,
    find_etcd,
    peer_url,
    resolve,
)
from flin.cluster.etcd.key_value import Delete, KeyValueError, KeyValueStore, Put, Unavailable
from flin.cluster.joining import JoinAnswer, JoinError, JoinRequest
from flin.cluster.keys import JoiningValue, Keys, MembersValue, name_of
from flin.cluster.node.forming import (
    MAX_MEMBERS,
    Add,
    Admitted,
    Guest,
    Promote,
    Refuse,
    Remove,
    admission,
    to_promote,
    unnamed,
)
from flin.cluster.node.node_directory import NodeRecord
from flin.cluster.slot_map import SlotMap, endpoints_of
from flin.net.settings.http_address import parse_http_address
from flin.net.settings.options import ServerOptions

TIMEOUT_SECONDS: Final = 3.0


class NodeEtcd:
    """The node's member, if it runs one, and its client of all members."""

    store: EtcdKeyValueStore
    maintenance: EtcdMaintenance

    def __init__(self, options: ServerOptions) -> None:
        """Nothing is started yet. Raises CertificatesError; EtcdError if etcd is not installed."""
        self._options = options
        self.certificates = read_certificates(options.cluster_tls) if options.cluster_tls else None
        self.is_own = bool(options.raft)
        """Whether etcd is Flin's."""
        self.has_member = False
        """Whether this node runs one of its members; known from the start on."""
        if self.is_own:
            find_etcd()
            self._host, self._port = parse_http_address(options.raft)
        self._member: EtcdMember | None = None

    @property
    def peer_url(self) -> str:
        """Where the node's member is for other members; empty: it runs none."""
        if not self.is_own:
            return ""
        return peer_url(self._host, self._port, is_encrypted=self.certificates is not None)

    @property
    def client_url(self) -> str:
        """Likewise, where clients of etcd ask it."""
        if not self.has_member:
            return ""
        return peer_url(self._host, self._port + CLIENT_PORT_OFFSET, is_encrypted=self.certificates is not None)

    def check_ports(self) -> None:
        """Before others are told of its member: one that does not start keeps all others from joining. EtcdError."""
        if self.is_own:
            await_ports(resolve(self._host), self._port)

    def start(self, record: NodeRecord) -> EtcdKeyValueStore:
        """The client. Raises EtcdError."""
        endpoints = self._options.etcd.split(",") if self._options.etcd else [*record.endpoints]
        self.has_member = self.is_own and bool(record.members)
        self._first = tuple(endpoints)
        if self.has_member:
            endpoints = list(dict.fromkeys([self.client_url, *endpoints]))
            given = MemberOptions(
                name=record.node,
                directory=Path(self._options.dir),
                host=self._host,
                peer_port=self._port,
                listen_address=resolve(self._host),
                cluster=dict(record.members),
                token=record.token,
                is_joining=record.is_joining,
                certificates=self.certificates,
            )
            self._member = EtcdMember(given)
            self._member.start()
        access = Access(self.certificates) if self.is_own else Access(self.certificates, FOREIGN_PING_SECONDS)
        self.store = EtcdKeyValueStore(endpoints, access)
        self.maintenance = EtcdMaintenance(self.store.channels)
        return self.store

    def stop(self) -> None:
        """Idempotent, also before the start."""
        if self._member is not None:
            self._member.stop()

    def endpoints(self, found: SlotMap) -> tuple[str, ...]:
        """Where a process of this node asks etcd, its own member first."""
        if not self.is_own:
            return tuple(self._options.etcd.split(","))
        return endpoints_of(found, self._options.node_id) or (*filter(None, [self.client_url]), *self._first)

    def follow(self, found: SlotMap) -> None:
        """The members are those of the map."""
        if self.is_own and found.nodes:
            self.store.channels.set_endpoints(self.endpoints(found))


@dataclass
class OwnMembership:
    """The members that Flin's nodes run."""

    maintenance: EtcdMaintenance
    record: NodeRecord
    store: KeyValueStore
    keys: Keys

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def members(self) -> list[Member]:
        """Raises KeyValueError."""
        return self.maintenance.members(TIMEOUT_SECONDS)

    def promote_one(self) -> MembersValue:
        found = self.members()
        chosen = to_promote(found)
        if chosen is not None:
            with suppress(Unavailable):  # it is behind still: the next time
                self.maintenance.promote(chosen.id, TIMEOUT_SECONDS)
            found = self.members()
        voting = sorted(each.name for each in found if not each.is_learner and each.name)
        return MembersValue(tuple(voting), tuple(sorted(each.name for each in found if each.is_learner and each.name)))

    def admit(self, request: JoinRequest) -> JoinAnswer:
        """A node wants to join. Raises JoinError."""
        with self._lock:
            try:
                for _ in range(MAX_MEMBERS):
                    joining = self._joining()
                    match admission(self.members(), request.node, request.peer_url, joining):
                        case Refuse(reason):
                            raise JoinError(reason)
                        case Promote(member, name):
                            if not name:
                                raise JoinError(self._who_blocks(member, joining), True)
                            self.maintenance.promote(member, TIMEOUT_SECONDS)
                        case Remove(member):
                            self.maintenance.remove(member, TIMEOUT_SECONDS)
                        case Guest():
                            return self._answer(request, is_guest=True)
                        case Add():
                            told = Put(self.keys.joining_node(request.node), JoiningValue(request.peer_url).encode())
                            self.store.txn((), [told], timeout=TIMEOUT_SECONDS)
                            self.maintenance.add_learner(request.peer_url, TIMEOUT_SECONDS)
                        case Admitted():
                            return self._answer(request)
                raise JoinError("the members of etcd change: ask again", True)
            except KeyValueError as error:  # a learner that is behind, a member that has just started
                raise JoinError(f"not yet: {error}", True) from error

    def _joining(self) -> dict[str, str]:
        """Where the etcds of those are to be that were admitted, and have not come yet."""
        pairs = self.store.get(*self.keys.joining, timeout=TIMEOUT_SECONDS).pairs
        return {name_of(pair.key): JoiningValue.of(pair).peer_url for pair in pairs}

    def _who_blocks(self, member: int, joining: Mapping[str, str]) -> str:
        urls = next((each.peer_urls for each in self.members() if each.id == member), ())
        for node, url in joining.items():
            if url in urls:
                return f"{node} is joining, and has not started its etcd yet: start it, or flin cluster leave {node}"
        return "another node is joining that has not started its etcd yet"

    def remove(self, node: str) -> bool:
        """Its member votes no more, or never will. Whether there was one. Raises KeyValueError."""
        members, joining = self.members(), self._joining()
        unstarted = unnamed(members, joining[node]) if node in joining else None
        gone = [member for member in members if member.name == node or member is unstarted]
        for member in gone:
            self.maintenance.remove(member.id, TIMEOUT_SECONDS)
        self.store.txn((), [Delete(self.keys.joining_node(node))], timeout=TIMEOUT_SECONDS)
        return bool(gone)

    def _answer(self, request: JoinRequest, *, is_guest: bool = False) -> JoinAnswer:
        """is_guest: it runs no member, and is told only where the others are."""
        found = self.members()
        members = () if is_guest else tuple((each.name or request.node, each.peer_urls[0]) for each in found)
        endpoints = tuple(url for each in found if not each.is_learner for url in each.client_urls)
        record = self.record
        return JoinAnswer(record.cluster, record.groups, record.replicas, record.token, members, endpoints)
