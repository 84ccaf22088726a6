"""What a service manager is told: systemd, or whatever speaks its protocol (sd_notify(3)): Type=notify, WatchdogSec=.

The protocol is a datagram of lines to the socket that the environment names. Processes that this one starts do not get
to see it: the manager listens to the main process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import MutableMapping

logger = logging.getLogger(__name__)


class ServiceManager:
    """The manager that has started this process; without one nothing is done."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes its variables out of the environment."""
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_watched = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        self.beat_seconds = int(microseconds) / 2_000_000 if is_watched and address else 0.0
        """How often it wants a sign of life: twice in the time that it waits. 0: never."""

    def ready(self, status: str) -> None:
        """Clients are answered."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=stopping")

    def keep_watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on the loop gives signs of life: a loop that hangs gives none, and the manager starts it again."""
        if self.beat_seconds:
            self._tell("WATCHDOG=1")
            loop.call_later(self.beat_seconds, self.keep_watch, loop)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:  # its trouble must not become the server's
            logger.warning("the service manager at %r cannot be told %s: %s", self._address, lines[0], error)
