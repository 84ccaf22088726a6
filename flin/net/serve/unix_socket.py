"""The Unix socket: made where nobody listens, with its permissions from the first moment, removed at the end."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

from flin.net.settings.options import ConfigError


class UnixSocket:
    """`socket` is bound and not listening yet."""

    def __init__(self, path: str, permissions: int, backlog: int) -> None:
        """Raises ConfigError where the path is not free. permissions: of the file, such as 0o700."""
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            # Under a mask: a file whose permissions follow later could be opened in between.
            mask = os.umask(0o777 & ~permissions)
            try:
                self.socket.bind(path)
            finally:
                os.umask(mask)
            self._made = _identity(path)
            self.socket.listen(backlog)
            self.socket.setblocking(False)
        except OSError as error:
            self.socket.close()
            raise ConfigError(f"cannot listen on unixsocket {path}: {error.strerror or error}") from error
        except ConfigError:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Remove the file, if it is still this server's."""
        with suppress(OSError):
            if _identity(self.path) == self._made:
                os.unlink(self.path)


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that has died. Raises ConfigError if somebody answers, or if it is another file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(f"unixsocket {path} is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog answers at once, too: somebody listens
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
    raise ConfigError(f"unixsocket {path} is in use: a server answers there")


def _identity(path: str) -> tuple[int, int, int]:
    """With the time, since the number of a removed file is given to the next one."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns
