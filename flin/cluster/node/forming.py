"""How the members of etcd become a quorum: what is to be done next. Pure.

Two members that vote stop when either stops, so the second one only learns, with a copy of everything. The third makes
them vote, one after the other: etcd 3.4 takes one learner at a time, so the second votes just before the third learns.
Until the third has caught up (seconds), two vote. Each later one learns, then votes. Nodes from the sixth on run none.

A node may die between its admission and the start of its etcd. Its member has no name then, and nobody else may join.
Where it is to be is written down: so it is admitted again, also at another address, or is told to leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, TypeVar

from flin.net.cluster.role import QUORUM

MAX_MEMBERS: Final = 5
"""Each write goes to all members. Of five, two may be lost."""


class MemberLike(Protocol):
    """As `etcd_maintenance.Member`."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def peer_urls(self) -> tuple[str, ...]: ...
    @property
    def is_learner(self) -> bool: ...


M = TypeVar("M", bound=MemberLike)


@dataclass(frozen=True, slots=True)
class Add:
    """Add it as a learner."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """It has been added before: tell it again."""


@dataclass(frozen=True, slots=True)
class Promote:
    """First let this member vote, then look again."""

    member: int
    name: str


@dataclass(frozen=True, slots=True)
class Remove:
    """First remove this member, which the node was to be before, then look again."""

    member: int


@dataclass(frozen=True, slots=True)
class Guest:
    """It is to run no member."""


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: str


Admission: TypeAlias = Add | Admitted | Promote | Remove | Guest | Refuse


def admission(
    members: Sequence[MemberLike], node: str, peer_url: str, joining: Mapping[str, str] | None = None
) -> Admission:
    """What to do about a node that wants its etcd to join. joining: where the etcds of those are to be that were
    admitted before, by node."""
    for member in members:
        if peer_url in member.peer_urls:
            if not member.name:
                return Admitted()
            return Refuse(
                f"{member.name} at {peer_url} is a member already. If its directory is lost: "
                f"flin cluster leave {member.name}, then let it join again"
            )
        if member.name == node:
            return Refuse(f"there is a node {node} already, at {' '.join(member.peer_urls)}: choose another --node-id")
    before = unnamed(members, (joining or {}).get(node, ""))
    if before is not None:
        return Remove(before.id)
    learner = next((member for member in members if member.is_learner), None)
    if learner is not None:
        return Promote(learner.id, learner.name)
    if len(members) >= MAX_MEMBERS:
        return Guest()
    return Add()


def unnamed(members: Sequence[M], peer_url: str) -> M | None:
    """The member at this address that has never been started."""
    return next((member for member in members if not member.name and peer_url in member.peer_urls), None)


def to_promote(members: Sequence[M]) -> M | None:
    """The member that is to vote next, if any."""
    if len(members) < QUORUM:
        return None
    return next((member for member in members if member.is_learner and member.name), None)
