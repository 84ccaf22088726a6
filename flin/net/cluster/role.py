"""The role of a replica, as its server knows it: it leads its group, or it follows.

A server has one role for its life. When a replica's role changes, its server ends and another one begins over the same
store, so that no cached reply, cursor, watch or blocked client outlives the change. This module knows neither etcd nor
logs: whoever runs the replica has this shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from flin.net.cluster.topology import Topology

QUORUM: Final = 3
"""Nodes that vote, from which on one may be lost: from then on what is written is replicated."""


def forming(voting: int) -> str:
    """What is wrong while fewer nodes vote; empty: nothing is. A node that knows of none is one itself.

    >>> forming(1), forming(3)
    ('forming: 1 of 3, not replicated', '')
    """
    return "" if voting >= QUORUM else f"forming: {max(voting, 1)} of {QUORUM}, not replicated"


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """What INFO shows of a replica."""

    voting_nodes: int = 0
    """How many nodes decide together: a majority of them may not be lost."""
    epoch: int = 0
    """The leader's."""
    index: int = 0
    """The number of the last entry of the log that this replica holds."""
    lag_ms: int = 0
    """How old what a follower shows may be; a leader's is 0."""
    skew_ms: int = 0
    """How far this machine's clock is from that of the leader, or of the follower farthest from it."""
    has_room: bool = True
    """Whether its disk takes writes; a leader without room hands over to a follower that has some."""
    etcd_used_share: float = 0.0
    """How much of its quota etcd uses; told from one half on."""
    refusal: str = ""
    """Why its node is given no copies for now."""
    followers: Mapping[str, int] = field(default_factory=dict)
    """For each follower's id the entry up to which it has everything in tables, as last told."""


class ReplicaRole(Protocol):
    @property
    def is_leading(self) -> bool:
        """Never changes."""

    def has_lease(self) -> bool:
        """Whether nobody else can have taken the leader's place yet. Asked at the end of each tick, so it is cheap:
        a comparison of clocks. False also while commands are to be refused, since somebody is to take over. A
        follower's is not asked."""

    def confirm(self) -> None:
        """Return once it is proved, by something that began after this call, that this replica leads. In any thread;
        StorageError if it does not. Asked with `--read-concern strict` alone."""

    def sees_leader(self) -> bool:
        """Whether somebody leads who has shown that within a lease. Asked of followers."""

    def take_over(self) -> None:
        """Ask that this follower lead from now on: the present leader hands over to it. This does not wait."""

    @property
    def topology(self) -> Topology:
        """Which replica has which slots, as last told; another object after each change. `own` is this replica."""

    def figures(self) -> ReplicaFigures:
        """Asked ten times a second."""
