"""A denial: what a user may not do, in Redis's words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from flin.net.wire.replies import shown


class Kind(IntEnum):
    """In this order: of several selectors the one that came furthest says why."""

    COMMAND = 1
    KEY = 2
    AUTH = 3
    CHANNEL = 4


@dataclass(frozen=True, slots=True)
class Denial:
    kind: Kind
    what: bytes
    """The command's full name, or the key or channel that was not allowed."""
    position: int = 0
    """Where that stands in the request."""

    @property
    def text(self) -> str:
        """The error."""
        if self.kind is Kind.COMMAND:
            return f"NOPERM this user has no permissions to run the '{shown(self.what)}' command"
        things = "keys" if self.kind is Kind.KEY else "channels"
        return f"NOPERM this user has no permissions to access one of the {things} used as arguments"

    @property
    def explanation(self) -> bytes:
        """What ACL DRYRUN answers."""
        if self.kind is Kind.COMMAND:
            return b"This user has no permissions to run the '%b' command" % self.what
        thing = b"key" if self.kind is Kind.KEY else b"channel"
        shown_part = self.what.partition(b"\0")[0]  # as C's strings end
        return b"This user has no permissions to access the '%b' %b" % (shown_part, thing)

    @property
    def in_script(self) -> str:
        """The error of redis.call."""
        reasons = {
            Kind.COMMAND: "run this command or subcommand",
            Kind.KEY: "access at least one of the keys mentioned in the command arguments",
            Kind.CHANNEL: "publish to the channel mentioned in the command",
        }
        return f"ERR The user executing the script can't {reasons[self.kind]}"

    @property
    def change(self) -> str:
        """The error within EXEC: the request was allowed when it was queued."""
        reasons = {
            Kind.COMMAND: "no permission to execute the command or subcommand",
            Kind.KEY: "no permission to touch the specified keys",
            Kind.CHANNEL: "no permission to access one of the channels used as arguments to the command",
        }
        return (
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. "
            f"This command is no longer allowed for the following reason: {reasons[self.kind]}"
        )
