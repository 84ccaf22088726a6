"""What an operator does with etcd: its members, their state, alarms, room on their disks."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from flin.cluster.etcd.etcd_channels import Channels, Method
from flin.cluster.etcd.etcd_pb2 import (
    CORRUPT,
    NOSPACE,
    AlarmRequest,
    AlarmResponse,
    DefragmentRequest,
    DefragmentResponse,
    MemberAddRequest,
    MemberAddResponse,
    MemberListRequest,
    MemberListResponse,
    MemberPromoteRequest,
    MemberPromoteResponse,
    MemberRemoveRequest,
    MemberRemoveResponse,
    MoveLeaderRequest,
    MoveLeaderResponse,
    StatusRequest,
    StatusResponse,
)

_STATUS: Final = Method("/etcdserverpb.Maintenance/Status", StatusResponse)
_ALARM: Final = Method("/etcdserverpb.Maintenance/Alarm", AlarmResponse)
_DEFRAGMENT: Final = Method("/etcdserverpb.Maintenance/Defragment", DefragmentResponse)
_MOVE_LEADER: Final = Method("/etcdserverpb.Maintenance/MoveLeader", MoveLeaderResponse)
_LIST: Final = Method("/etcdserverpb.Cluster/MemberList", MemberListResponse)
_ADD: Final = Method("/etcdserverpb.Cluster/MemberAdd", MemberAddResponse)
_PROMOTE: Final = Method("/etcdserverpb.Cluster/MemberPromote", MemberPromoteResponse)
_REMOVE: Final = Method("/etcdserverpb.Cluster/MemberRemove", MemberRemoveResponse)

_ALARM_NAMES: Final = {NOSPACE: "NOSPACE", CORRUPT: "CORRUPT"}


class Member(NamedTuple):
    id: int
    name: str
    """Empty, until it has been started."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool
    """It gets everything and has no vote."""


class Status(NamedTuple):
    """One member's state."""

    member: int
    version: str
    leader: int
    """The member that leads, as this one knows; 0: nobody."""
    size_bytes: int
    """Its file's size."""
    used_bytes: int
    """The rest of the file is free, and used again."""
    applied: int
    is_learner: bool
    errors: tuple[str, ...]
    quota_bytes: int
    """How large its file may be; 0: it does not say (before etcd 3.6)."""


class Alarm(NamedTuple):
    member: int
    name: str
    """NOSPACE or CORRUPT."""


class EtcdMaintenance:
    """All calls may raise Unavailable (ask again) and Refused."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def members(self, timeout: float) -> list[Member]:
        return _members(self._channels.call(_LIST, MemberListRequest(), timeout))

    def add_learner(self, peer_url: str, timeout: float) -> list[Member]:
        """A member that gets everything and has no vote. All members, the new one among them, are what it is started
        with. If it is there already (an answer was lost), it is not added again."""
        there = self.members(timeout)
        if any(peer_url in member.peer_urls for member in there):
            return there
        return _members(self._channels.call(_ADD, MemberAddRequest(peer_urls=[peer_url], is_learner=True), timeout))

    def promote(self, member: int, timeout: float) -> None:
        """Make a learner vote. Unavailable, as long as it is behind the leader."""
        if any(each.id == member and not each.is_learner for each in self.members(timeout)):
            return
        self._channels.call(_PROMOTE, MemberPromoteRequest(id=member), timeout)

    def remove(self, member: int, timeout: float) -> None:
        """It need not run. Idempotent."""
        if any(each.id == member for each in self.members(timeout)):
            self._channels.call(_REMOVE, MemberRemoveRequest(id=member), timeout)

    def status(self, endpoint: str, timeout: float) -> Status:
        """What the member at an endpoint says of itself."""
        found = self._channels.call_at(endpoint, _STATUS, StatusRequest(), timeout)
        return Status(
            found.header.member_id, found.version, found.leader, found.db_size, found.db_size_in_use,
            found.raft_applied_index, found.is_learner, tuple(found.errors), found.db_size_quota,
        )  # fmt: skip

    def alarms(self, timeout: float) -> list[Alarm]:
        found = self._channels.call(_ALARM, AlarmRequest(action=AlarmRequest.GET), timeout)
        return [Alarm(each.member_id, _ALARM_NAMES.get(each.alarm, str(each.alarm))) for each in found.alarms]

    def disarm(self, timeout: float) -> None:
        """Take all alarms NOSPACE back: puts are taken again. While there is no room, the alarm comes back."""
        for alarm in self.alarms(timeout):
            if alarm.name == "NOSPACE":
                request = AlarmRequest(action=AlarmRequest.DEACTIVATE, member_id=alarm.member, alarm=NOSPACE)
                self._channels.call(_ALARM, request, timeout)

    def defragment(self, endpoint: str, timeout: float) -> None:
        """Write the file of the member at an endpoint anew, without what is free. It answers nothing meanwhile."""
        self._channels.call_at(endpoint, _DEFRAGMENT, DefragmentRequest(), timeout)

    def move_leader(self, endpoint: str, target: int, timeout: float) -> None:
        """The member at an endpoint, which must lead etcd, hands that over."""
        self._channels.call_at(endpoint, _MOVE_LEADER, MoveLeaderRequest(target_id=target), timeout)


def _members(response: Any) -> list[Member]:
    return [
        Member(each.id, each.name, tuple(each.peer_urls), tuple(each.client_urls), each.is_learner)
        for each in response.members
    ]
